"""Files below a folder whose content may be anybody's: no path and no link leads out of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devpi_server.errors import BadDump
from devpi_server.store.incoming import translated

_BLOCK = 1 << 20
_LONGEST = 4096  # bytes; no file system takes more
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not to wait for the other end, should it be a pipe.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def parts_of(relpath: str) -> tuple[str, ...]:
    """The segments of a relative path.

    :raises BadDump: it could lead elsewhere, or is no path.
    """
    parts = tuple(relpath.split("/"))
    if (
        len(relpath.encode()) > _LONGEST
        or "\0" in relpath
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise BadDump(f"{relpath[:200]!r} is not the path of a file in the dump")
    return parts


@contextmanager
def opened(root: Path, parts: tuple[str, ...]) -> Iterator[int]:
    """A descriptor of the regular file ``root/parts…``; only the root may be a symbolic link.

    :raises BadDump: there is no such file.
    :raises StoreError: the disk fails.
    """
    path = "/".join(parts)
    with _folder_of(root, parts) as folder:
        fd = _open(path, parts[-1], _FILE, folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadDump(f"{path} is not a file")
        yield fd
    finally:
        os.close(fd)


def link(root: Path, path: Path, target: Path) -> None:
    """Give a file below the root another name; a symbolic link is given one itself.

    :raises BadDump: its folder is not there.
    :raises StoreError: the disk fails, or is another one.
    """
    parts = path.relative_to(root).parts
    with _folder_of(root, parts) as folder, translated(f"link {path}"):
        os.link(parts[-1], target, src_dir_fd=folder, follow_symlinks=False)


@contextmanager
def _folder_of(root: Path, parts: tuple[str, ...]) -> Iterator[int]:
    with translated(f"read {root}"):
        fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for at, part in enumerate(parts[:-1], start=1):
            inner = _open("/".join(parts[:at]), part, _FOLDER, fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def blocks(root: Path, path: Path) -> Iterator[bytes]:
    """The content of a file below the root.

    :raises BadDump: there is no such file.
    :raises StoreError: the disk fails.
    """
    with opened(root, path.relative_to(root).parts) as fd:
        while True:
            with translated(f"read {path}"):
                block = os.read(fd, _BLOCK)
            if not block:
                return
            yield block


def _open(path: str, part: str, flags: int, folder: int) -> int:
    with translated(f"read {path}"):
        try:
            return os.open(part, flags, dir_fd=folder)
        except FileNotFoundError as error:
            raise BadDump(f"{path} is missing") from error
        except OSError as error:
            # NAMETOOLONG: no file has such a name.  NXIO: a socket or a device.
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise BadDump(f"{path} is a symbolic link, or not a folder") from error
            if error.errno in (errno.ENAMETOOLONG, errno.ENXIO):
                raise BadDump(f"{path} is not a file") from error
            raise
