"""What nobody names any more leaves the disk, a day later and not before."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeClock
from people import join
from server import App
from uploading import basic, upload
from upstream import Upstream
from upstream.artefacts import sdist

from devpi_server.errors import Busy
from devpi_server.names import project
from devpi_server.store.blobs import Blob, BlobStore, expect_held
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.database import Database
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.store.meta import (
    Actor,
    FileKind,
    IndexRow,
    MetaStore,
    Release,
    StoredFile,
    User,
)
from devpi_server.workers.reclaim import GRACE, Reclaim

ME = Actor("alice", "127.0.0.1")
DEMO = project("demo")


class Store:
    """A data directory without a server."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.blobs: BlobStore = LocalBlobs(folder / "files", Incoming(folder / "incoming"))
        self.meta: MetaStore = Database(folder / "devpi.sqlite", clock)
        self.locks = Locks(folder / "locks")
        self.worker = Reclaim(self.meta, self.blobs, self.locks, clock)
        with self.meta.writing(ME) as tables:
            tables.users.add(User("alice", 1.0))
            self.index = tables.indexes.add(IndexRow("alice", "dev", "stage", {})).id
            tables.releases.put(self.index, Release(DEMO, "1.0", {}))

    def keep(self, content: bytes) -> Blob:
        incoming = self.blobs.incoming()
        incoming.write(content)
        return incoming.commit()

    def put(self, filename: str, content: bytes) -> Blob:
        """A file of alice's index."""
        blob = self.keep(content)
        file = StoredFile(DEMO, "1.0", FileKind.RELEASE, filename, blob.sha256, blob.size, 1.0)
        with self.meta.writing(ME) as tables:
            tables.files.put(self.index, file)
        return blob

    def remove(self, filename: str) -> None:
        with self.meta.writing(ME) as tables:
            tables.files.remove(self.index, filename)

    def pass_a_day(self) -> None:
        self.clock.now = max(self.clock.now, time.time()) + GRACE + 1

    def orphans(self) -> list[str]:
        with self.meta.reading() as tables:
            return tables.orphans.since(self.clock() + 1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    # The disk has the time of the wall.
    return Store(tmp_path, FakeClock(time.time()))


def test_what_was_removed_is_deleted_after_a_day(store: Store) -> None:
    blob = store.put("demo-1.0.tar.gz", b"content")
    store.remove("demo-1.0.tar.gz")
    store.worker.tick()
    assert store.blobs.find(blob.sha256) is not None

    store.pass_a_day()
    store.worker.tick()
    assert store.blobs.find(blob.sha256) is None
    assert store.orphans() == []


def test_what_another_row_names_stays(store: Store) -> None:
    blob = store.put("demo-1.0.tar.gz", b"content")
    store.put("demo-1.0.zip", b"content")
    store.remove("demo-1.0.tar.gz")
    store.pass_a_day()
    store.worker.tick()

    assert store.blobs.find(blob.sha256) is not None
    assert store.orphans() == []


def test_what_was_let_go_again_has_its_day_from_then_on(store: Store) -> None:
    store.put("demo-1.0.tar.gz", b"content")
    store.remove("demo-1.0.tar.gz")
    store.pass_a_day()
    blob = store.put("demo-1.0.tar.gz", b"content")
    store.remove("demo-1.0.tar.gz")
    store.worker.tick()

    assert store.blobs.find(blob.sha256) is not None


def test_what_was_just_kept_anew_is_about_to_be_named(store: Store) -> None:
    """An upload of the same bytes is between its blob and its row."""
    store.put("demo-1.0.tar.gz", b"content")
    store.remove("demo-1.0.tar.gz")
    store.pass_a_day()
    blob = store.keep(b"content")
    os.utime(blob.path, (store.clock(), store.clock()))
    store.worker.tick()
    assert store.blobs.find(blob.sha256) is not None

    store.pass_a_day()
    store.worker.tick()
    assert store.blobs.find(blob.sha256) is None


def test_one_of_many_processes_does_it(store: Store, tmp_path: Path) -> None:
    store.worker.tick()
    blob = store.put("demo-1.0.tar.gz", b"content")
    store.remove("demo-1.0.tar.gz")
    store.pass_a_day()
    Reclaim(store.meta, store.blobs, store.locks, store.clock).tick()

    assert store.blobs.find(blob.sha256) is not None


def test_many_are_deleted_in_many_transactions(store: Store) -> None:
    for number in range(120):
        store.put(f"demo-1.{number}.tar.gz", b"%d" % number)
    with store.meta.writing(ME) as tables:
        tables.indexes.remove(store.index)
    store.pass_a_day()
    store.worker.tick()

    assert list(store.blobs.digests()) == []
    assert store.orphans() == []


def test_a_row_is_not_made_of_what_is_gone(store: Store) -> None:
    blob = store.keep(b"content")
    expect_held(store.blobs, [blob.sha256])
    store.blobs.remove(blob.sha256)

    with pytest.raises(Busy):
        expect_held(store.blobs, [blob.sha256])


def test_a_mirrored_file_that_is_deleted_with_the_uploaded_one_is_fetched_again(
    app: Callable[..., App], up: Upstream, clock: FakeClock
) -> None:
    file = up.release("demo", "1.0")
    server = app()
    path = server.links("demo")[file.filename]["url"]
    assert server(path).body == file.data
    sha256 = hashlib.sha256(file.data).hexdigest()
    with server.services.meta.writing(ME) as tables:
        row = tables.indexes.add(IndexRow("root", "dev", "stage", {}))
        tables.releases.put(row.id, Release(DEMO, "1.0", {}))
        tables.files.put(
            row.id, StoredFile(DEMO, "1.0", FileKind.RELEASE, file.filename, sha256, file.size, 1.0)
        )
        tables.indexes.remove(row.id)
    clock.advance(time.time() - clock() + GRACE + 1)
    server.tick("reclaim")

    assert not list((server.datadir / "files").rglob(sha256))
    assert server(path).body == file.data
    assert up.count(file.path) == 2


def test_an_upload_whose_bytes_were_just_deleted_is_to_be_sent_again(
    app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its bytes and its row, the worker was quicker: no row names what is gone."""
    server = app()
    join(server, "alice")
    server.add_index("alice/dev")
    mine = basic("alice", "password of alice")
    find = LocalBlobs.find
    monkeypatch.setattr(LocalBlobs, "find", lambda self, sha256: None)
    assert upload(server, "alice/dev", sdist("demo", "1.0"), mine).status == 503
    monkeypatch.setattr(LocalBlobs, "find", find)
    assert server("/alice/dev/+simple/demo/").status == 404

    assert upload(server, "alice/dev", sdist("demo", "1.0"), mine).status == 200
    path = server.links("demo", "/alice/dev/+simple/")["demo-1.0.tar.gz"]["url"]
    monkeypatch.setattr(LocalBlobs, "find", _gone_after(LocalBlobs.find, 1))
    assert server.request("POST", path, {"testenvs": {}}, mine).status == 503


def _gone_after(find: Callable[..., Blob | None], times: int) -> Callable[..., Blob | None]:
    calls = iter(range(times))

    def found(self: LocalBlobs, sha256: str) -> Blob | None:
        return find(self, sha256) if next(calls, None) is not None else None

    return found
