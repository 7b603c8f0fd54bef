"""The picture of a folder is true before anybody asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeClock

from devpi_server.names import project
from devpi_server.store.folders import Folders
from devpi_server.workers import watch
from devpi_server.workers.watch import Events, Watch

FOO = project("foo")
SOON = 20.0


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    (tmp_path / "sub").mkdir()
    return Folders([tmp_path], clock=FakeClock())


def test_a_tick_lists_what_has_changed(folders: Folders, tmp_path: Path) -> None:
    """So a request finds it done."""
    watch = Watch("x", folders)
    watch.tick()
    (tmp_path / "sub" / "foo-1.0.zip").touch()
    watch.tick()
    assert len(folders.contents(FOO, look=False).files) == 1


@pytest.mark.skipif(not watch.has_events(), reason="watchdog is not installed")
def test_an_event_leads_to_where_it_happened(folders: Folders, tmp_path: Path) -> None:
    """No round is needed."""
    folders.refresh(1.0)
    events = Events("x", folders, wait=SOON)
    events._begin()
    (tmp_path / "sub" / "foo-1.0.zip").write_bytes(b"x")
    events.tick()
    events.close()
    assert len(folders.contents(FOO, look=False).files) == 1


@pytest.mark.skipif(not watch.has_events(), reason="watchdog is not installed")
def test_a_folder_without_events_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked at in turn."""
    events = Events("x", Folders([tmp_path / "none"], clock=FakeClock()), wait=0.0)
    events.tick()
    events.close()
    assert "is looked at in turn" in caplog.text
