"""Locks exclude processes and threads, and die with their holder."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devpi_server.errors import StoreError
from devpi_server.store.locks import Locks

LONG = 30.0
ROOT = Path(__file__).parents[3]

# Reads names, tells for each whether it holds it now.
OTHER = """
import sys
from pathlib import Path
from devpi_server.store.locks import Locks
locks = Locks(Path(sys.argv[1]))
held = {}
for line in sys.stdin:
    act, name = line.split()
    if act == "release":
        held.pop(name).release()
    else:
        lock = locks.try_hold(name)
        if lock is not None:
            held[name] = lock
    print(name in held, flush=True)
"""


class Other:
    """Another process with the same locks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def holds(self, name: str) -> bool:
        return self._say(f"hold {name}")

    def release(self, name: str) -> None:
        self._say(f"release {name}")

    def die(self) -> None:
        self._process.kill()
        self._process.wait()

    def _say(self, line: str) -> bool:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline() == "True\n"


@contextmanager
def process_with(path: Path) -> Iterator[Other]:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Other(process)
        process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "processes"


@pytest.fixture
def locks(path: Path) -> Iterator[Locks]:
    locks = Locks(path)
    yield locks
    locks.close()


@pytest.fixture
def other(path: Path, locks: Locks) -> Iterator[Other]:
    with process_with(path) as other:
        yield other


def test_a_lock_excludes_other_processes_until_it_is_released(locks: Locks, other: Other) -> None:
    """One holder a name, in either direction."""
    lock = locks.try_hold("file")
    assert lock is not None
    assert not other.holds("file")
    lock.release()
    assert other.holds("file")
    assert locks.try_hold("file") is None
    other.release("file")
    assert locks.try_hold("file") is not None


def test_names_do_not_disturb_each_other(locks: Locks, other: Other) -> None:
    """Different names are different locks."""
    assert locks.try_hold("one") is not None
    assert other.holds("two")
    assert locks.try_hold("three") is not None


def test_a_lock_excludes_threads_of_one_process(locks: Locks) -> None:
    """The kernel alone would let them through."""
    lock = locks.try_hold("file")
    assert lock is not None
    assert locks.try_hold("file") is None
    lock.release()
    assert locks.try_hold("file") is not None


def test_a_dead_process_holds_nothing(locks: Locks, other: Other) -> None:
    """Nobody has to clean up after a kill."""
    assert other.holds("file")
    assert locks.try_hold("file") is None
    other.die()
    assert locks.try_hold("file") is not None


def test_releasing_one_lock_keeps_the_others(locks: Locks, other: Other) -> None:
    """A byte range is released, not the file."""
    one, two = locks.try_hold("one"), locks.try_hold("two")
    assert one is not None
    assert two is not None
    one.release()
    assert not other.holds("two")


def test_closing_releases_all(locks: Locks, other: Other) -> None:
    """And may be done twice."""
    locks.try_hold("one")
    locks.try_hold("two")
    locks.close()
    locks.close()
    assert other.holds("one")
    assert other.holds("two")


def test_who_waits_gets_the_lock_when_it_is_free(locks: Locks) -> None:
    """``hold`` waits as long as it may, and releases at its end."""
    first = locks.try_hold("file")
    assert first is not None
    outcome: list[bool] = []

    def wait() -> None:
        with locks.hold("file", LONG) as held:
            outcome.append(held)

    thread = threading.Thread(target=wait)
    thread.start()
    first.release()
    thread.join()
    assert outcome == [True]
    assert locks.try_hold("file") is not None


def test_who_may_not_wait_goes_on_without(locks: Locks) -> None:
    """Locks save work, they guard nothing: past the deadline ``hold`` tells that it is not held."""
    with locks.hold("file", 0.0) as mine:
        assert mine
        with locks.hold("file", 0.01) as held:
            assert not held
        # And has not released what it did not hold.
        assert locks.try_hold("file") is None


def test_an_error_releases_the_lock(locks: Locks) -> None:
    """The context ends the lock however it ends."""
    with pytest.raises(KeyError), locks.hold("file", 0.0):
        raise KeyError
    assert locks.try_hold("file") is not None


def test_a_lock_file_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    """The reason is told at the start."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        Locks(tmp_path / "file" / "locks")
