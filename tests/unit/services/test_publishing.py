"""What is told of a push to another server when this one itself is at fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes import FakeClock, FakeSource, MemoryBlobs
from upstream.artefacts import sdist, wheel

from devpi_server.concurrency import Blocking
from devpi_server.errors import Busy, CorruptBlob, Overloaded, StoreError
from devpi_server.names import project
from devpi_server.services.access import Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.index_options import options_of
from devpi_server.services.indexes import Index
from devpi_server.services.picking import Picked
from devpi_server.services.publishing import Publishing
from devpi_server.services.push_order import Elsewhere, Order
from devpi_server.store.blobs import keep
from devpi_server.store.database import Database
from devpi_server.store.meta import Actor, FileKind, IndexRow, StoredFile
from devpi_server.upstream.publish import Attached, Fields, Said, Target

ROW = IndexRow("alice", "dev", "stage", {}, id=1)
INDEX = Index("alice/dev", ROW, options_of(ROW), FakeSource(), None, None, (), {})
ORDER = Order("demo", project("demo"), "1.0", frozenset(FileKind))
TO = Elsewhere(Target("https://there.test/legacy/"), registers=False)


class FakePublisher:
    """Says what it is told to say, or raises it."""

    def __init__(self, *answers: Said | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[dict[str, str]] = []

    def post(
        self, target: Target, fields: Fields, files: Sequence[Attached] = (), *, trusted: bool
    ) -> Said:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.sent.append(dict(fields))
        return answer


class World:
    """A release of two files, and a way out."""

    def __init__(self, folder: Path, *answers: Said | Exception) -> None:
        self.meta = Database(folder / "db", FakeClock())
        self.blobs = MemoryBlobs()
        self.publisher = FakePublisher(*answers)
        self.places = Blocking(1)
        self.files = [self._stored(each) for each in (wheel("demo", "1.0"), sdist("demo", "1.0"))]

    def _stored(self, artefact: object) -> StoredFile:
        data: bytes = artefact.data  # type: ignore[attr-defined]
        name: str = artefact.filename  # type: ignore[attr-defined]
        sha256 = keep(self.blobs, data).sha256
        return StoredFile(
            project("demo"), "1.0", FileKind.RELEASE, name, sha256, len(data), uploaded=0.0
        )

    def publish(self) -> tuple[list[tuple[object, ...]], bool]:
        publishing = Publishing(self.meta, self.blobs, self.publisher, self.places)
        picked = Picked("1.0", {"summary": "a demo"}, tuple(self.files))
        return publishing.publish(Principal("alice"), Origin("here"), INDEX, ORDER, picked, TO)

    def noted(self) -> list[str]:
        with self.meta.reading() as tables:
            return [row.action for row in tables.audit.last(5)]


def test_a_sick_disk_on_the_way_hides_nothing_of_what_went_before(tmp_path: Path) -> None:
    world = World(tmp_path, Said(200, ""), StoreError("cannot read an uploaded file: it is sick"))

    actions, ok = world.publish()

    assert not ok
    assert [(action[0], action[3]) for action in actions] == [
        (200, ""),
        (-1, "cannot read an uploaded file: it is sick"),
    ]
    assert world.noted() == ["published", "publish"]
    world.meta.close()


def test_what_was_sent_is_told_though_it_cannot_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, Said(200, ""), Said(200, ""))
    writing, count = world.meta.writing, 0

    def busy(actor: Actor) -> object:
        nonlocal count
        count += 1
        if count > 1:
            raise Busy("the database is in use")
        return writing(actor)

    monkeypatch.setattr(world.meta, "writing", busy)

    actions, ok = world.publish()

    assert ok
    assert len(actions) == 2
    assert "cannot note what came of alice/dev/demo/1.0: the database is in use" in caplog.text
    world.meta.close()


@pytest.mark.parametrize("part", ["file", "signature", "provenance"])
def test_nothing_is_sent_of_a_release_that_is_not_whole(tmp_path: Path, part: str) -> None:
    world = World(tmp_path, Said(200, ""), Said(200, ""))
    missing = "0" * 64
    first, last = world.files
    parts = {"file": {"sha256": missing}}.get(part, {part: missing})
    world.files = [first, StoredFile(**{**_fields(last), **parts})]

    with pytest.raises(CorruptBlob, match="run devpi-fsck"):
        world.publish()
    assert (world.publisher.sent, world.noted()) == ([], [])
    world.meta.close()


def _fields(file: StoredFile) -> dict[str, object]:
    return {name: getattr(file, name) for name in StoredFile.__slots__}


def test_a_push_takes_a_place_as_long_as_it_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path, Said(200, ""), Said(200, ""))
    with world.places.place(), pytest.raises(Overloaded):
        world.publish()
    assert (world.publisher.sent, world.noted()) == ([], [])

    assert world.publish()[1]
    world.meta.close()


def test_a_file_with_a_name_that_says_nothing_is_told_and_not_sent(tmp_path: Path) -> None:
    """It came with a dump, say."""
    world = World(tmp_path, Said(200, ""))
    first, last = world.files
    world.files = [StoredFile(**{**_fields(first), "filename": "demo.unknown"}), last]

    actions, ok = world.publish()

    assert not ok
    assert [action[0] for action in actions] == [-1, 424]
    world.meta.close()
