"""A doubt is there until upstream has been asked after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tracing import stepping

from devpi_server.errors import StoreError
from devpi_server.names import NormalizedName
from devpi_server.store import doubts as doubts_module
from devpi_server.store.doubts import Doubts

DEMO = NormalizedName("demo")


@pytest.fixture
def doubts(tmp_path: Path) -> Doubts:
    return Doubts(tmp_path / "doubted")


def test_what_nobody_doubts_is_not_doubted(doubts: Doubts) -> None:
    assert not doubts.exist(DEMO)
    assert doubts.of(DEMO) == frozenset()


def test_a_doubt_is_there_until_it_is_settled(doubts: Doubts, tmp_path: Path) -> None:
    """And then nothing of it."""
    doubts.add(DEMO)
    assert doubts.exist(DEMO)
    doubts.settle(DEMO, doubts.of(DEMO))
    assert not doubts.exist(DEMO)
    assert list(tmp_path.rglob("*")) == [tmp_path / "doubted"]


def test_many_doubts_take_no_more_room_than_one(doubts: Doubts, tmp_path: Path) -> None:
    for _ in range(20):
        doubts.add(DEMO)
    assert len(list((tmp_path / "doubted" / DEMO).iterdir())) == 1


def test_a_newer_doubt_is_not_settled(doubts: Doubts) -> None:
    """By who has asked before it."""
    doubts.add(DEMO)
    seen = doubts.of(DEMO)
    doubts.add(DEMO)
    doubts.settle(DEMO, seen)
    assert doubts.exist(DEMO)


def test_settling_what_is_settled_does_nothing(doubts: Doubts) -> None:
    doubts.add(DEMO)
    seen = doubts.of(DEMO)
    doubts.settle(DEMO, seen)
    doubts.settle(DEMO, seen)
    assert not doubts.exist(DEMO)


def test_a_doubt_is_never_out_of_sight(doubts: Doubts) -> None:
    """Added at any moment while an older one is settled, and looked for at each later one."""
    line = 0
    while True:
        line += 1
        doubts.add(DEMO)
        older = doubts.of(DEMO)
        seen: list[bool] = []

        def step(at: int, line: int = line, seen: list[bool] = seen) -> None:
            if at == line:
                doubts.add(DEMO)
            if at >= line:
                seen.append(doubts.exist(DEMO))

        with stepping(step, doubts_module):
            doubts.settle(DEMO, older)
        if not seen:
            break
        assert all(seen), f"{line} lines into it: {seen}"
        assert doubts.exist(DEMO)
    assert line > 4


def test_a_doubt_that_cannot_be_noted_is_told(doubts: Doubts, tmp_path: Path) -> None:
    (tmp_path / "doubted").write_bytes(b"")
    with pytest.raises(StoreError, match="note a doubt"):
        doubts.add(DEMO)
