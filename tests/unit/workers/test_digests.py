"""Files are read soon after they have come, and not before they are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from fakes import FakeClock

from devpi_server.errors import NoSuchFile, StoreError
from devpi_server.names import project
from devpi_server.store.folderdigest import Examined, Said, examine
from devpi_server.store.folderfacts import Fact, FolderFacts
from devpi_server.store.folderfiles import File
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.workers import digests as module
from devpi_server.workers.digests import Digests

Ask = Callable[[BinaryIO, File], Said]


class Office:
    """The worker, a folder, and the order in which it reads."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.data = folder / "data"
        self.clock = FakeClock(0.0)
        self.timer = FakeClock(0.0)
        self.facts = FolderFacts(self.data / "folders", Incoming(self.data / "incoming"))
        self.folders = Folders([self.root], clock=self.clock)
        self.locks = Locks(self.data / "locks")
        self.others = 0.0  # seconds of the processor that other threads have used
        self.paused: list[float] = []
        self.worker = self.one_more()
        self.read: list[str] = []
        self.error: Exception | None = None
        monkeypatch.setattr(module, "examine", self._examine)

    def one_more(self, algorithms: Sequence[str] = ()) -> Digests:
        return Digests(
            name="x",
            folders=self.folders,
            facts=self.facts,
            locks=self.locks,
            clock=self.clock,
            timer=self.timer,
            algorithms=algorithms,
            others=lambda: self.others,
            pause=self.paused.append,
        )

    def restart(self, algorithms: Sequence[str] = ()) -> None:
        self.locks.close()
        self.locks = Locks(self.data / "locks")
        self.worker = self.one_more(algorithms)

    def _examine(self, file: File, algorithms: Sequence[str], ask: Ask) -> Examined | None:
        if self.error is not None:
            raise self.error
        self.read.append(file.filename)
        return examine(file, algorithms, ask)

    def put(self, name: str, content: bytes = b"x") -> Path:
        (self.root / name).write_bytes(content)
        return self.root / name

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.folders.refresh(1.0)
            self.worker.tick()
            self.timer.advance(1.0)

    def known(self, name: str) -> Fact | None:
        return next(self.facts.of([self.folders.locate(name)]))


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    return Office(tmp_path, monkeypatch)


def test_a_file_is_read_once_it_has_rested(office: Office) -> None:
    """Half a copy is not worth a digest."""
    place = office.put("foo-1.0.zip")
    office.tick()
    assert office.read == []
    place.write_bytes(b"more")
    office.folders.contents(project("foo"))
    office.tick()
    assert office.read == []
    office.tick()
    assert office.read == ["foo-1.0.zip"]
    assert office.known("foo-1.0.zip") is not None


def test_a_file_is_read_once(office: Office) -> None:
    """Also over restarts, and when it is written over again."""
    place = office.put("foo-1.0.zip")
    office.tick(4)
    office.folders = Folders([office.root], clock=office.clock)
    office.restart()
    office.tick(4)
    assert office.read == ["foo-1.0.zip"]
    place.write_bytes(b"other")
    office.tick(5)
    assert office.read == ["foo-1.0.zip"] * 2


def test_old_files_are_read_at_once_and_the_newest_first(office: Office) -> None:
    """At the start there is nothing to wait for; who has just copied something waits."""
    for number in (2, 3, 1):
        place = office.put(f"foo-{number}.zip")
        os.utime(place, (number, number))  # the time of a change is out of reach, its order not
    office.clock.now = 1e11
    office.tick()
    assert office.read == ["foo-1.zip", "foo-3.zip", "foo-2.zip"]


def test_what_comes_meanwhile_is_read_first(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is to do."""
    office.clock.now = 1e11
    for number in range(5):
        office.put(f"foo-{number}.zip")
    reading = office._examine

    def slowly(file: File, algorithms: Sequence[str], ask: Ask) -> Examined | None:
        office.timer.advance(5.0)
        return reading(file, algorithms, ask)

    monkeypatch.setattr(module, "examine", slowly)
    office.tick()
    assert office.read == ["foo-4.zip"]
    office.put("bar-1.zip")
    office.tick(5)
    assert office.read == [
        "foo-4.zip",
        "bar-1.zip",
        "foo-3.zip",
        "foo-2.zip",
        "foo-1.zip",
        "foo-0.zip",
    ]


@pytest.mark.parametrize(("share", "pauses"), [(0.05, []), (0.5, [0.09, 0.09])])
def test_it_gives_way_to_those_who_have_work(
    office: Office, monkeypatch: pytest.MonkeyPatch, share: float, pauses: list[float]
) -> None:
    """A file takes it a hundredth of a second here, in which they use some of the processor."""
    monkeypatch.setattr(module, "is_old", lambda *_: True)

    def slowly(file: File, algorithms: Sequence[str], ask: Ask) -> Examined | None:
        office.timer.advance(0.01)
        office.others += share * 0.01
        return examine(file, algorithms, ask)

    monkeypatch.setattr(module, "examine", slowly)
    office.put("a-1.zip")
    office.put("b-1.zip")
    office.tick()

    assert office.paused == pytest.approx(pauses)


def test_a_file_that_cannot_be_read_is_tried_again_when_it_has_changed(office: Office) -> None:
    """Its owner may give us the permission."""
    place = office.put("foo-1.0.zip")
    office.error = StoreError("no")
    office.tick(4)
    office.error = None
    office.tick(4)
    assert office.read == []
    place.chmod(0o600)
    office.tick(4)
    assert office.read == ["foo-1.0.zip"]


def test_a_file_that_has_just_gone_is_no_fault(office: Office) -> None:
    """Owners clean up."""
    office.put("foo-1.0.zip")
    office.error = NoSuchFile("gone")
    office.tick(4)
    assert office.folders.locate("foo-1.0.zip")


def test_a_full_disk_makes_the_worker_pause_and_loses_nothing(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line in the log a minute."""
    office.put("foo-1.0.zip")
    office.put("bar-1.0.zip")

    def full(project: str, fact: Fact) -> None:
        raise StoreError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(office.facts, "add", full)
        office.tick(30)
        assert len(caplog.messages) == 1
    office.timer.advance(100.0)
    office.tick(5)
    assert office.known("foo-1.0.zip")
    assert office.known("bar-1.0.zip")


def test_one_of_several_processes_reads(office: Office) -> None:
    """The others see what it has learned."""
    office.put("foo-1.0.zip")
    office.tick(4)
    other = office.one_more()
    assert not other._leader.is_this_process()
    other.tick()


def test_a_digest_that_is_wanted_later_is_made_later(office: Office) -> None:
    """``--hash-algo md5`` after years with sha256."""
    office.put("foo-1.0.zip")
    office.tick(4)
    office.restart(["md5"])
    office.tick(4)
    fact = office.known("foo-1.0.zip")
    assert fact is not None
    assert fact.digests.keys() == {"sha256", "md5"}


def test_servers_with_different_algorithms_leave_each_other_theirs(office: Office) -> None:
    """Else each would read all files again for what the other has forgotten."""
    office.put("foo-1.zip")
    for algorithm in ("md5", "sha512", "md5", "sha512"):
        office.restart([algorithm])
        office.tick(4)

    fact = office.known("foo-1.zip")
    assert fact is not None
    assert set(fact.digests) == {"sha256", "md5", "sha512"}
    assert office.read == ["foo-1.zip"] * 2
