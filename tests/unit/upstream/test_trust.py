"""What the feed has named is not forgotten before upstream has lived up to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeClock
from tracing import stepping

from devpi_server.names import NormalizedName
from devpi_server.store import marks as marks_module
from devpi_server.store.doubts import Doubts
from devpi_server.store.feedstate import FeedFile
from devpi_server.store.incoming import Incoming
from devpi_server.store.marks import Mark, Marks
from devpi_server.upstream import trust as trust_module
from devpi_server.upstream.trust import Trust

DEMO = NormalizedName("demo")
MODULES = trust_module, marks_module


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "promises", Incoming(tmp_path / "incoming"))


@pytest.fixture
def trust(marks: Marks, tmp_path: Path) -> Trust:
    clock = FakeClock()
    feed = FeedFile(tmp_path / "feed", Incoming(tmp_path / "incoming"), clock)
    doubts = Doubts(tmp_path / "doubts")
    return Trust(feed=feed, promises=marks, doubts=doubts, base="https://index.test/", clock=clock)


def named(marks: Marks, serial: int) -> Mark:
    """The feed names the project."""
    marks.put(DEMO, serial, now=float(serial))
    mark = marks.get(DEMO)
    assert mark is not None
    return mark


def test_a_promise_that_was_kept_is_over(marks: Marks, trust: Trust) -> None:
    """Nothing of it stays on disk."""
    trust.fulfil(DEMO, named(marks, 5))
    assert trust.promise(DEMO) is None
    assert list(marks.projects()) == []


def test_a_newer_promise_stays_whenever_it_comes(marks: Marks, trust: Trust) -> None:
    """The follower may name the project again at any moment while the old promise is dropped."""
    line = 0
    while True:
        line += 1
        old = named(marks, 5)

        def name_again(at: int, line: int = line) -> None:
            if at == line:
                named(marks, 6)

        with stepping(name_again, *MODULES) as lines:
            trust.fulfil(DEMO, old)
        if len(lines) < line:
            break
        found = trust.promise(DEMO)
        assert found is not None, f"lost before line {lines[-1]}"
        assert found.value == 6
        trust.fulfil(DEMO, found)
    assert line > 4
    assert trust.promise(DEMO) is None


def test_a_promise_that_was_named_again_is_not_fulfilled_by_the_old_one(
    marks: Marks, trust: Trust
) -> None:
    """What upstream has said is older than the newer promise."""
    old = named(marks, 5)
    newer = named(marks, 6)
    trust.fulfil(DEMO, old)
    assert trust.promise(DEMO) == newer
    trust.fulfil(DEMO, newer)
    assert trust.promise(DEMO) is None
    trust.fulfil(DEMO, newer)
