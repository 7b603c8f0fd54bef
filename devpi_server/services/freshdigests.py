"""Digests of small files that have just come, until the worker has read them.

Why: ``pip`` is to get a digest with the first page that shows a file, as it did
from ``pypi-server``.  It costs nothing that counts: a file is read once, when a
page that has changed is rendered, and larger ones are left to the worker.  It
is not kept: a file that is written to at this moment may look the same later.
"""

from __future__ import annotations

import hashlib

from devpi_server.concurrency import BoundedCache
from devpi_server.errors import NoSuchFile, StoreError
from devpi_server.records import NO_DIGESTS, Digests
from devpi_server.sources.directory import Directory, Held
from devpi_server.store.folderfiles import File
from devpi_server.store.incoming import translated

_AT_ONCE = 8 * 1024 * 1024  # bytes that are read for one page
_COST = 32 * 1024  # bytes that could be read while a file is opened
_KNOWN = 10_000  # files


class FreshDigests:
    """The digests of files of a directory.

    :param algorithm: as hashlib calls it; None: there are none.
    """

    def __init__(self, directory: Directory, algorithm: str | None) -> None:
        self._directory = directory
        self._algorithm = algorithm
        self._known: BoundedCache[tuple[str, int, int, int], str] = BoundedCache(_KNOWN)

    def page(self) -> PageDigests:
        """For the files of one page."""
        return PageDigests(self)

    def of(self, held: Held, most: int) -> tuple[Digests, int]:
        """The digests of the file, and how many bytes were read for it.

        :param most: bytes to read.
        """
        if self._algorithm is None or self._algorithm in held.digests:
            return held.digests, 0
        file = held.file
        known = self._known.get(_key(file))
        if known is not None:
            return {self._algorithm: known}, 0
        if file.size > most:
            return NO_DIGESTS, 0
        try:
            opened, now = self._directory.open(held)
            with opened, translated(f"read {file.filename}"):
                data = opened.read(most + 1)
        except (NoSuchFile, StoreError):
            return NO_DIGESTS, 0
        if now.file != file or len(data) != file.size:
            return NO_DIGESTS, len(data)
        digest = hashlib.new(self._algorithm, data, usedforsecurity=False).hexdigest()
        self._known.put(_key(file), digest, 1)
        return {self._algorithm: digest}, len(data)

    def learn(self, file: File, digests: Digests) -> None:
        """These are the digests of this file, whoever has read it."""
        if self._algorithm is not None and self._algorithm in digests:
            self._known.put(_key(file), digests[self._algorithm], 1)


class PageDigests:
    """The same, for as many files as can be read while somebody waits for a page."""

    def __init__(self, digests: FreshDigests) -> None:
        self._digests = digests
        self._left = _AT_ONCE

    def of(self, held: Held) -> Digests:
        """The digests of the file; none if it would take too long."""
        found, size = self._digests.of(held, self._left)
        self._left -= size + _COST if size else 0
        return found


def _key(file: File) -> tuple[str, int, int, int]:
    return file.path, file.size, file.modified, file.inode
