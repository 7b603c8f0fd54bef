"""Files of the store on their way into a dump."""

from __future__ import annotations

import os
import secrets
from hashlib import sha256
from pathlib import Path

from devpi_server.errors import StoreError
from devpi_server.store.incoming import Incoming, translated

_BLOCK = 1 << 20


class Copies:
    """The files of a dump.

    :param incoming: a folder of the same file system.
    """

    def __init__(self, folder: Path, incoming: Incoming, *, hard_links: bool) -> None:
        self._folder = folder
        self._incoming = incoming
        self._hard_links = hard_links

    def keep(self, source: Path, relpath: str, digest: str | None) -> str:
        """See to it that the file is in the dump, and return its ``relpath``.

        :param digest: sha256 of what the file should be, as far as it is known.
        :raises StoreError: the disk fails, or the file is not what it should be.
        """
        target = self._folder / relpath
        with translated(f"dump {source}"):
            if not self._is_there(source, target, digest):
                target.parent.mkdir(parents=True, exist_ok=True)
                if self._hard_links:
                    self._link(source, target)
                else:
                    self._copy(source, target, digest)
        return relpath

    def _is_there(self, source: Path, target: Path, digest: str | None) -> bool:
        try:
            state = target.lstat()
        except FileNotFoundError:
            return False
        if self._hard_links:
            return target.samefile(source)
        # Of a copy only a whole one has a name; but the file may have changed since.
        return (
            digest is not None
            and state.st_size == source.stat().st_size
            and _sha256(target) == digest
        )

    def _link(self, source: Path, target: Path) -> None:
        temporary = self._incoming.folder / secrets.token_hex(8)
        os.link(source, temporary)
        temporary.replace(target)

    def _copy(self, source: Path, target: Path, digest: str | None) -> None:
        part = self._incoming.part()
        try:
            with source.open("rb") as file:
                while block := file.read(_BLOCK):
                    part.write(block)
            if digest is not None and part.sha256 != digest:
                raise StoreError(f"cannot dump {source}: its bytes are not what they were")
            part.commit(target, durable=False)
        finally:
            part.abandon()


def _sha256(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
