"""Uploads into a folder of packages: whole or not there, and one of several wins."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import FakeClock, MemoryBlobs

from devpi_server.errors import BadRequest, Conflict, DigestMismatch, NoSuchVersion, StoreError
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.received import Form, ReceivedFile
from devpi_server.sources.directory import Directory
from devpi_server.store.blobs import BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks

pytestmark = pytest.mark.straight("a service, called without a server")

NAME = "demo-1.0.tar.gz"
Sent = tuple[str, bytes]  # file name and bytes


class Place:
    """Two folders of packages, and what arrives for them."""

    def __init__(self, folder: Path, blobs: BlobStore | None = None) -> None:
        self.first, self.second = folder / "first", folder / "second"
        self.first.mkdir(exist_ok=True)
        self.second.mkdir(exist_ok=True)
        self.incoming = Incoming(folder / "data" / "incoming")
        self.blobs = blobs or LocalBlobs(folder / "data" / "files", self.incoming)
        self.locks = Locks(folder / "data" / "locks")
        folders = Folders([self.first, self.second], clock=FakeClock())
        self.directory = Directory(folders, FolderFacts(folder / "facts", self.incoming))

    def upload(
        self,
        content: Sent | None = (NAME, b"new"),
        signature: Sent | None = None,
        *,
        overwrites: bool = False,
        **fields: str,
    ) -> str:
        sent = {"content": content, "gpg_signature": signature}
        files = {name: self._received(*each) for name, each in sent.items() if each is not None}
        form = Form({name: (value,) for name, value in fields.items()}, files)
        try:
            uploads = FolderUploads(self.directory, self.locks, overwrites=overwrites)
            return uploads.upload(form)
        finally:
            for file in files.values():
                file.incoming.abandon()

    def remove(self, project: str, version: str) -> list[str]:
        return FolderUploads(self.directory, self.locks).remove(project, version)

    def files(self) -> dict[str, bytes]:
        """What lies in the first folder, dot-files too."""
        return {path.name: path.read_bytes() for path in self.first.iterdir()}

    def _received(self, filename: str, data: bytes) -> ReceivedFile:
        incoming = self.blobs.incoming()
        incoming.write(data)
        return ReceivedFile(
            filename,
            incoming,
            len(data),
            incoming.sha256,
            hashlib.md5(data, usedforsecurity=False).hexdigest(),
            hashlib.blake2b(data, digest_size=32).hexdigest(),
        )


@pytest.fixture(params=["same disk", "another disk", "a disk without hard links"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """What arrives lies on some disk."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    if "without" in request.param:
        monkeypatch.setattr(os, "link", link)
    place = Place(tmp_path, None if request.param == "same disk" else MemoryBlobs())
    yield place
    place.locks.close()


def test_a_file_is_there_with_its_signature(place: Place) -> None:
    sha256 = hashlib.sha256(b"new").hexdigest()

    assert place.upload((NAME, b"new"), (f"{NAME}.asc", b"PGP"), sha256_digest=sha256) == NAME
    assert place.files() == {NAME: b"new", f"{NAME}.asc": b"PGP"}
    assert place.directory.find(NAME).file.is_signed
    assert (place.first / NAME).stat().st_mode & 0o777 == 0o644


def test_a_name_that_is_there_is_taken(place: Place) -> None:
    place.upload((NAME, b"old"))
    with pytest.raises(Conflict):
        place.upload((NAME, b"new"), (f"{NAME}.asc", b"PGP"))
    (place.second / "other-1.0.zip").write_bytes(b"")
    with pytest.raises(Conflict):
        place.upload(("other-1.0.zip", b"new"))

    assert place.files() == {NAME: b"old"}


def test_what_somebody_copies_there_meanwhile_is_not_written_over(place: Place) -> None:
    (place.first / NAME).symlink_to("nowhere")  # which is nothing that is listed
    with pytest.raises(Conflict):
        place.upload((NAME, b"new"), (f"{NAME}.asc", b"PGP"))

    assert (place.first / NAME).is_symlink()
    assert not (place.first / f"{NAME}.asc").exists()


def test_a_signature_that_was_left_alone_gives_way(place: Place) -> None:
    (place.first / f"{NAME}.asc").write_bytes(b"left")
    place.upload((NAME, b"new"), (f"{NAME}.asc", b"PGP"))

    assert place.files() == {NAME: b"new", f"{NAME}.asc": b"PGP"}


def test_a_file_may_give_way_with_its_signature(place: Place) -> None:
    for signature in ((f"{NAME}.asc", b"PGP"), None):
        place.upload((NAME, b"new"), signature, overwrites=True)

    assert place.files() == {NAME: b"new"}


@pytest.mark.parametrize("with_signature", [True, False])
def test_of_twenty_uploads_of_one_name_one_wins(place: Place, *, with_signature: bool) -> None:
    start = threading.Barrier(20)

    def upload(number: int) -> int | None:
        body = str(number).encode() * 10_000
        signature = (f"{NAME}.asc", str(number).encode()) if with_signature else None
        start.wait()
        try:
            place.upload((NAME, body), signature)
        except Conflict:
            return None
        return number

    with ThreadPoolExecutor(20) as pool:
        (winner,) = [each for each in pool.map(upload, range(20)) if each is not None]

    expected = {NAME: str(winner).encode() * 10_000}
    if with_signature:
        expected[f"{NAME}.asc"] = str(winner).encode()
    assert place.files() == expected


@pytest.mark.parametrize(
    ("content", "signature", "fields", "error"),
    [
        (None, None, {}, BadRequest),
        (("demo", b"x"), None, {}, BadRequest),
        (("../demo-1.0.zip", b"x"), None, {}, BadRequest),
        ((".demo-1.0.zip", b"x"), None, {}, BadRequest),
        (("demo-1.0.zip\n", b"x"), None, {}, BadRequest),
        ((f"{NAME}.asc", b"x"), None, {}, BadRequest),
        ((NAME, b"x"), ("other-1.0.tar.gz.asc", b"x"), {}, BadRequest),
        ((NAME, b"x"), (f"../{NAME}.asc", b"x"), {}, BadRequest),
        ((NAME, b"x"), None, {"sha256_digest": "0" * 64}, DigestMismatch),
        ((NAME, b"x"), None, {"md5_digest": "0" * 32}, DigestMismatch),
        ((NAME, b"x"), None, {"blake2_256_digest": "0" * 64}, DigestMismatch),
    ],
)
def test_what_is_not_sound_is_refused(
    tmp_path: Path,
    content: Sent | None,
    signature: Sent | None,
    fields: dict[str, str],
    error: type[Exception],
) -> None:
    place = Place(tmp_path)
    with pytest.raises(error):
        place.upload(content, signature, **fields)

    assert place.files() == {}


def test_a_version_is_removed_with_signatures_and_what_it_hides(tmp_path: Path) -> None:
    place = Place(tmp_path)
    for folder in (place.first, place.second, place.first / "sub"):
        folder.mkdir(exist_ok=True)
        for name in (NAME, f"{NAME}.asc", "demo-1.0.0-py3-none-any.whl", "demo-2.0.zip"):
            (folder / name).write_bytes(b"x")

    assert place.remove("Demo", "1.0") == ["demo-1.0.0-py3-none-any.whl", NAME]
    left = [path.name for path in tmp_path.rglob("demo*")]
    assert left == ["demo-2.0.zip"] * 3
    for project, version in (("demo", "1.0"), ("none", "1.0"), ("../x", "1.0")):
        with pytest.raises(NoSuchVersion):
            place.remove(project, version)


def test_what_was_left_by_an_upload_that_was_killed_is_swept(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.upload()
    (place.first / ".devpi-0123.part").write_bytes(b"half")
    (place.first / ".mine").write_bytes(b"")
    incoming = place.incoming.part()  # of an upload that is under way
    incoming.link(place.first / ".devpi-4567.part")
    FolderUploads(place.directory, place.locks).sweep()

    assert sorted(place.files()) == [".devpi-4567.part", ".mine", NAME]
    incoming.abandon()


@pytest.mark.parametrize("overwrites", [True, False])
def test_a_folder_that_is_away_is_a_sick_disk(tmp_path: Path, *, overwrites: bool) -> None:
    place = Place(tmp_path)
    place.first.rmdir()
    with pytest.raises(StoreError):
        place.upload(overwrites=overwrites)
