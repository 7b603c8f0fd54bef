"""Which projects have files that are held, without reading all of it each time."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from fakes import FakeClock

from devpi_server.store.heldfiles import HeldFile
from devpi_server.store.heldprojects import HeldProjects

NOW = 1_700_000_000


@pytest.fixture
def held(tmp_path: Path, clock: FakeClock) -> HeldProjects:
    return HeldProjects(tmp_path / "held", clock)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW + 10)


def record(folder: Path, project: str, *, modified: int = NOW, place: str = "ab") -> Path:
    """Add a record to one of the folders, which has been changed then."""
    record = HeldFile(f"+f/1/2/{project}-1.whl", f"{project}-1.whl", project, "", "0" * 64, 1)
    path = folder / "held" / place / project
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(record))
    os.utime(path.parent, (modified, modified))
    return path


def test_nothing_is_held_at_first(held: HeldProjects) -> None:
    assert held.names() == set()


def test_what_comes_and_goes_is_seen(held: HeldProjects, tmp_path: Path) -> None:
    path = record(tmp_path, "one")
    record(tmp_path, "two", place="cd")
    assert held.names() == {"one", "two"}

    path.unlink()
    assert held.names() == {"two"}


def test_a_folder_that_has_not_changed_is_not_read_again(
    held: HeldProjects, tmp_path: Path
) -> None:
    record(tmp_path, "one")
    assert held.names() == {"one"}

    record(tmp_path, "hidden", modified=NOW)
    assert held.names() == {"one"}
    record(tmp_path, "seen", modified=NOW + 1)
    assert held.names() == {"one", "hidden", "seen"}


def test_a_folder_that_may_change_again_unseen_is_read_again(
    held: HeldProjects, tmp_path: Path, clock: FakeClock
) -> None:
    """Time stamps are coarse."""
    record(tmp_path, "one", modified=NOW + 9)
    assert held.names() == {"one"}

    record(tmp_path, "two", modified=NOW + 9)
    assert held.names() == {"one", "two"}


def test_a_record_that_cannot_be_read_is_none(held: HeldProjects, tmp_path: Path) -> None:
    record(tmp_path, "one").write_bytes(b"{")

    assert held.names() == set()
