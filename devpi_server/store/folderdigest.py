"""Reading one file of a folder of packages, to learn what it holds.

What is learned belongs to the file as it was before and after: a file that
somebody writes to at this moment is left alone, and read when it rests.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import BinaryIO, NamedTuple

from devpi_server.errors import NoSuchFile
from devpi_server.store.folderfacts import Fact, path_as_text
from devpi_server.store.folderfiles import File
from devpi_server.store.incoming import translated

_BLOCK = 1024 * 1024


def open_file(file: File) -> tuple[BinaryIO, File]:
    """Open a file; and what it turns out to be, by then.

    :raises NoSuchFile: it is gone, or no file any more.
    :raises StoreError: it cannot be read.
    """
    with translated(f"read {file.filename}"):
        try:
            # What has become a pipe by now is not to wait for a writer.
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENXIO):
                raise NoSuchFile(f"{file.filename} has just been removed") from error
            raise
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise NoSuchFile(f"{file.filename} is not a file")
        opened = os.fdopen(fd, "rb")
    now = replace(file, size=found.st_size, modified=found.st_mtime_ns, inode=found.st_ino)
    return opened, now


class Said(NamedTuple):
    """What a distribution file says of itself."""

    metadata: bytes | None = None  # of a wheel, byte for byte
    requires_python: str | None = None


class Examined(NamedTuple):
    """A file that was read from beginning to end."""

    fact: Fact  # still without the digest of the metadata
    metadata: bytes | None


def examine(
    file: File, algorithms: Sequence[str], ask: Callable[[BinaryIO, File], Said]
) -> Examined | None:
    """Read a file from beginning to end.

    :param algorithms: of the digests, as hashlib calls them.
    :param ask: finds out what it says of itself.
    :return: None if it is not the file that it was, before or after.
    :raises NoSuchFile: it is gone, or no file any more.
    :raises StoreError: it cannot be read.
    """
    opened, now = open_file(file)
    with opened, translated(f"read {file.filename}"):
        if now != file:
            return None
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
        while block := opened.read(_BLOCK):
            for each in hashes.values():
                each.update(block)
        opened.seek(0)
        said = ask(opened, file)
        if not (_is_still(file, os.fstat(opened.fileno())) and _is_there(file)):
            return None
    digests = {name: each.hexdigest() for name, each in hashes.items()}
    path = path_as_text(file.path)
    fact = Fact(path, file.size, file.modified, file.inode, digests, None, said.requires_python)
    return Examined(fact, said.metadata)


def _is_there(file: File) -> bool:
    try:
        return _is_still(file, os.stat(file.path))
    except FileNotFoundError:
        return False


def _is_still(file: File, found: os.stat_result) -> bool:
    return (found.st_ino, found.st_size, found.st_mtime_ns) == (
        file.inode,
        file.size,
        file.modified,
    )
