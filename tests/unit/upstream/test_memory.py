"""Large pages take turns; a process that serves is spared long pauses."""

from __future__ import annotations

import gc
import threading

import pytest

from devpi_server.concurrency import Crew
from devpi_server.errors import Overloaded
from devpi_server.upstream import memory
from devpi_server.upstream.memory import Turns, settle_in

LONG = 30.0  # seconds that no test takes unless it fails
LARGE = 2 * 1024 * 1024


def work(turns: Turns, size: int) -> str:
    with turns.of(size):
        return "done"


def test_one_large_page_comes_after_another() -> None:
    """Who has its turn may begin again within it."""
    turns = Turns()
    begun = threading.Event()
    with turns.of(LARGE), turns.of(LARGE):

        def other() -> str:
            begun.set()
            return work(turns, LARGE)

        waiting = Crew("turn", 1).submit(other)
        assert begun.wait(LONG)
        assert not waiting.done()
    assert waiting.result(LONG) == "done"


def test_a_small_page_waits_for_nobody() -> None:
    """However large the one is that has its turn."""
    turns = Turns()
    with turns.of(LARGE):
        assert Crew("turn", 1).submit(lambda: work(turns, 1000)).result(LONG) == "done"


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited too long is to come again."""
    monkeypatch.setattr(memory, "_LONGEST", 0.01)
    turns = Turns()
    with turns.of(LARGE):
        waiting = Crew("turn", 1).submit(lambda: work(turns, LARGE))
        assert isinstance(waiting.exception(LONG), Overloaded)


def test_what_is_there_when_a_process_begins_to_serve_is_not_looked_through_again() -> None:
    """Each full collection would be a pause for everybody."""
    try:
        settle_in()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
