"""Puts a file with its signature into a folder of packages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fakes import MemoryBlobs

from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.received import Form, ReceivedFile
from devpi_server.sources.directory import Directory
from devpi_server.store.blobs import BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks

NAME = "demo-1.0.tar.gz"


@dataclass(frozen=True)
class Putting:
    """A way to put files there.

    :param overwrites: one that is there is replaced.
    :param elsewhere: uploads arrive on another disk.
    """

    folder: Path
    datadir: Path
    overwrites: bool
    elsewhere: bool

    def begin(self) -> FolderUploads:
        """As a server does: what others have left is removed."""
        incoming = self._incoming()
        incoming.sweep()
        directory = Directory(
            Folders([self.folder], clock=time.time), FolderFacts(self.datadir / "facts", incoming)
        )
        locks = Locks(self.datadir / "locks")
        uploads = FolderUploads(directory, locks, overwrites=self.overwrites)
        uploads.sweep()
        return uploads

    def put(self, word: str) -> None:
        """Let the file and its signature be this word."""
        uploads = self.begin()
        incoming = self._incoming()
        blobs = MemoryBlobs() if self.elsewhere else LocalBlobs(self.datadir / "files", incoming)
        files = {
            "content": _received(blobs, NAME, word),
            "gpg_signature": _received(blobs, f"{NAME}.asc", word),
        }
        uploads.upload(Form({}, files))
        for file in files.values():
            file.incoming.abandon()

    def _incoming(self) -> Incoming:
        return Incoming(self.datadir / "incoming")


def _received(blobs: BlobStore, filename: str, word: str) -> ReceivedFile:
    incoming = blobs.incoming()
    incoming.write(word.encode())
    return ReceivedFile(filename, incoming, incoming.size, incoming.sha256, "", "")
