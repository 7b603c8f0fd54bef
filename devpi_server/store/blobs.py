"""Blobs: file contents by their sha256."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devpi_server.errors import Busy


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that is held, whole and verified."""

    sha256: str
    size: int
    path: Path


class IncomingBlob(Protocol):
    """Content that is being written. Others may read what is there already."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    @property
    def sha256(self) -> str:
        """Digest of all that was written so far, in hex."""

    def write(self, data: bytes) -> None:
        """Append. Raises StoreError."""

    def reader(self) -> int:
        """A file descriptor to read with; it stays good after ``commit``."""

    def link(self, target: Path) -> None:
        """Give what was written a name elsewhere, durably.

        :raises OSError: the name is taken, or is on a disk where it cannot be linked to.
        """

    def commit(self) -> Blob:
        """Keep it, durably. Raises StoreError."""

    def abandon(self) -> None:
        """Forget it; no effect after ``commit``."""


class BlobStore(Protocol):
    """Content-addressed storage of files. All methods raise StoreError for a sick disk."""

    def find(self, sha256: str) -> Blob | None:
        """The blob, None if it is not held."""

    def incoming(self, prefix: str = "") -> IncomingBlob:
        """Begin a new blob; the prefix lets other processes find it while it grows."""

    def adopt(self, link: Callable[[Path], None]) -> IncomingBlob:
        """Begin with a file that is whole already, and is shared with somebody else.

        :param link: gives that file another name, at the path that it is called with.
        """

    def under_way(self, prefix: str) -> tuple[str, int] | None:
        """A blob of any process that is being written under this prefix.

        :return: its name, and a descriptor to read it with, which the caller closes.
        """

    def kept_at(self, sha256: str) -> float | None:
        """When the blob was last committed, in seconds since the epoch; None: it is not held."""

    def remove(self, sha256: str) -> None:
        """Drop the blob, if it is held."""

    def digests(self) -> Iterator[str]:
        """The sha256 of every blob, in no order."""


def expect_held(blobs: BlobStore, digests: Iterable[str]) -> None:
    """For a transaction that makes rows that name these blobs: all of them are there still.

    :raises Busy: one has just been deleted, because nobody named it (``workers.reclaim``).
    """
    for sha256 in digests:
        if blobs.find(sha256) is None:
            raise Busy("the same bytes were just being deleted, try again")


def keep(blobs: BlobStore, data: bytes) -> Blob:
    """Store the data, durably.

    :raises StoreError: the disk is sick.
    """
    incoming = blobs.incoming()
    try:
        incoming.write(data)
        return incoming.commit()
    finally:
        incoming.abandon()
