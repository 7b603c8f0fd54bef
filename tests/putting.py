"""Puts a file with its signature into a folder of packages: ``FOLDER DATADIR HOW WORD``.

HOW is ``new`` or ``over``; WORD is what is in both files.  With WORD ``sweep``, what others
have left is removed instead.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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


def main(words: Sequence[str]) -> int:
    folder, datadir = map(Path, words[:2])
    how, disk, word = words[2:]
    incoming = Incoming(datadir / "incoming")
    incoming.sweep()
    blobs = MemoryBlobs() if disk == "another" else LocalBlobs(datadir / "files", incoming)
    directory = Directory(
        Folders([folder], clock=time.time), FolderFacts(datadir / "facts", incoming)
    )
    uploads = FolderUploads(directory, Locks(datadir / "locks"), overwrites=how == "over")
    uploads.sweep()
    if word:
        files = {
            "content": _received(blobs, NAME, word),
            "gpg_signature": _received(blobs, f"{NAME}.asc", word),
        }
        uploads.upload(Form({}, files))
        for file in files.values():
            file.incoming.abandon()
    return 0


def _received(blobs: BlobStore, filename: str, word: str) -> ReceivedFile:
    incoming = blobs.incoming()
    incoming.write(word.encode())
    return ReceivedFile(filename, incoming, incoming.size, incoming.sha256, "", "")
