"""One thread works for all who have asked before it began."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import FakeClock

from devpi_server.store.turns import Turns

SOON = 20.0


class Work:
    """Work that goes on only when it is told to."""

    def __init__(self) -> None:
        self.done: list[set[str]] = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self, items: Sequence[str]) -> None:
        self.begun.release()
        assert self.go_on.acquire(timeout=SOON)
        self.done.append(set(items))


def test_who_asks_during_a_run_waits_for_the_next_which_is_one_for_all() -> None:
    """The run under way may have passed the spot already."""
    work = Work()
    turns = Turns("x", work)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(turns.do, ["a"], SOON)
        assert work.begun.acquire(timeout=SOON)
        others = [pool.submit(turns.do, [item], SOON) for item in "abc"]
        while len(turns._next.items) < 3:  # until all three have asked
            threading.Event().wait(0.001)
        work.go_on.release()
        assert first.result(SOON)
        assert work.begun.acquire(timeout=SOON)
        work.go_on.release()
        assert all(other.result(SOON) for other in others)

    assert work.done == [{"a"}, {"a", "b", "c"}]


def test_work_that_does_not_end_is_not_waited_for_by_each_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was, once, for as long as one does."""
    now = FakeClock(0.0)
    monkeypatch.setattr("devpi_server.store.turns.time.monotonic", now)
    work = Work()
    turns = Turns("x", work)
    assert not turns.do(["a"], 0.0)
    now.advance(10.0)
    assert not turns.do(["b"], 10.0)
    work.go_on.release(2)


def test_who_cannot_wait_longer_is_told() -> None:
    """A listing that hangs holds one thread, not all."""
    work = Work()
    turns = Turns("x", work)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(turns.do, ["a"], SOON)
        assert work.begun.acquire(timeout=SOON)
        assert not turns.do(["b"], 0.0)
        work.go_on.release()
        assert first.result(SOON)


def test_an_error_is_for_all_of_the_run_and_for_nobody_after() -> None:
    """The next run tries again."""
    failures = iter([ValueError("no"), None])

    def work(items: Sequence[str]) -> None:
        error = next(failures)
        if error is not None:
            raise error

    turns = Turns("x", work)
    with pytest.raises(ValueError, match="no"):
        turns.do(["a"], SOON)
    assert turns.do(["a"], SOON)
