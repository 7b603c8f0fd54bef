"""The files in folders of packages."""

from __future__ import annotations

from pathlib import Path

from devpi_server import names
from devpi_server.errors import NoSuchFile
from devpi_server.services.owners.base import ClientHas, Facts, Owned, Ready
from devpi_server.sources.directory import Directory, Held
from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.incoming import translated

_BLOCK = 1024 * 1024


class FolderFiles:
    """They lie there already, and are their owner's.

    :param blobs: where a copy is made of what is pushed elsewhere.
    """

    def __init__(self, directory: Directory, blobs: BlobStore) -> None:
        self._directory = directory
        self._blobs = blobs

    def open(self, path: str, client_has: ClientHas) -> Ready:
        return self.held(path)

    def held(self, path: str) -> Ready:
        found = self._directory.at(path)
        if found.held is None:  # metadata, which is ours
            return Ready(
                found.filename,
                found.sha256,
                found.size,
                found.path,
                is_lasting=path.startswith("+f/"),
            )
        # A signature can be made anew for the same file.
        is_lasting = path.startswith("+f/") and not path.endswith(names.SIGNATURE)
        return _ready(found.held, found.path, is_lasting=is_lasting)

    def describe(self, path: str, client_has: ClientHas) -> Ready:
        return self.held(path)

    def facts(self, path: str) -> Facts:
        held = self._directory.at(path).held
        if held is None:
            raise NoSuchFile("no such file")
        return Facts(held.file.project, held.file.version or None, held.digests, held.uploaded)

    def fetch(self, path: str, within: float) -> Blob:
        found = self._directory.at(path)
        incoming = self._blobs.incoming()
        try:
            with translated(f"read {found.filename}"), found.path.open("rb") as file:
                while block := file.read(_BLOCK):
                    incoming.write(block)
            if found.sha256 not in (None, incoming.sha256):
                raise NoSuchFile(f"{found.filename} has just been replaced")
            return incoming.commit()
        finally:
            incoming.abandon()


def ready(held: Held, *, is_lasting: bool = False) -> Ready:
    """A file of the folders as it is sent.

    :param is_lasting: the address is of just these bytes.
    """
    return _ready(held, held.path, is_lasting=is_lasting)


def _ready(held: Held, path: Path, *, is_lasting: bool) -> Ready:
    file = held.file
    owned = Owned(file.modified, file.inode)
    return Ready(file.filename, held.sha256, file.size, path, owned, is_lasting)
