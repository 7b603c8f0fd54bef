"""Files under way: every write of the store begins here and ends with a rename.

A *part* is a file in ``<datadir>/incoming`` that its writer holds a kernel
lock on.  ``commit`` makes it durable and moves it to its place in one step, so
no reader ever sees half a file; a writer that dies leaves an unlocked part,
which the next start sweeps away.  Several processes may share the folder.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO

from devpi_server.errors import Full, StoreError

log = logging.getLogger(__name__)

NOTE = "note-"  # begins the names of parts that will be small files
_BLOCK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the operating system's errors into ours, once, at this border.

    :raises Full: the disk or the quota is full.
    :raises StoreError: anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Full(f"no space left to {what}") from error
        raise StoreError(f"cannot {what}: {error.strerror}") from error


class Part:
    """One file on its way in. Made by ``Incoming.part``; not for several threads to write."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.size = 0
        self._fd = fd
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Append the data.

        :raises StoreError: it could not be written; the part is to be abandoned.
        """
        with translated("write a file"):
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        """Digest of all that was written, in hex."""
        return self._hash.hexdigest()

    def reader(self) -> int:
        """A new file descriptor to read the part with, which also survives ``commit``."""
        with translated("read a file"):
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def commit(self, target: Path, *, durable: bool, mtime_ns: int | None = None) -> None:
        """Move the part to its place, replacing what is there.

        :param durable: survive a power failure too: fsync the file and its folder.
        :param mtime_ns: modification time to give it, else now.
        :raises StoreError: nothing was moved.
        """
        with translated("keep a file"):
            if mtime_ns is not None:
                os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            if durable:
                os.fsync(self._fd)
            try:
                os.replace(self.path, target)
            except FileNotFoundError:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self.path, target)
            if durable:
                sync_folder(target.parent)
        self._close()

    def link(self, target: Path) -> None:
        """Give it another name, beside the one that it has here; its bytes are durable then.

        :raises OSError: the name is taken, or is on a disk where it cannot be linked to.
        """
        os.fsync(self._fd)
        os.link(self.path, target)

    def move(self, name: str, folder: int, *, mtime_ns: int) -> None:
        """Move the part into the folder that this file descriptor is of, wherever it is now.

        Not durable; parameters and errors as ``commit`` has them.
        """
        with translated("keep a file"):
            os.utime(self._fd, ns=(mtime_ns, mtime_ns))
            os.replace(self.path, name, dst_dir_fd=folder)
        self._close()

    def abandon(self) -> None:
        """Delete the part; does nothing once it is committed or abandoned."""
        if self._fd >= 0:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)


class Incoming:
    """The folder of parts.

    :raises StoreError: it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with translated(f"make the folder {folder}"):
            folder.mkdir(parents=True, exist_ok=True)

    def part(self, prefix: str = "") -> Part:
        """A new, empty part, whose file name starts with the prefix."""
        with translated("begin a file"):
            while True:
                path = self.folder / f"{prefix}{secrets.token_hex(8)}.part"
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
                fcntl.flock(fd, fcntl.LOCK_EX)
                if os.fstat(fd).st_nlink:
                    return Part(path, fd)
                os.close(fd)  # a sweep of another process was between open and lock

    def adopted(self, link: Callable[[Path], None]) -> Part:
        """A part that is whole already, and has another name elsewhere.

        :param link: gives it its name here, which is what it is called with.
        """
        with translated("keep a file"):
            while True:
                path = self.folder / f"{secrets.token_hex(8)}.part"
                link(path)
                with suppress(FileNotFoundError):
                    part = Part(path, os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
                    # Shared, for it is not ours alone; a sweep leaves it to us all the same.
                    fcntl.flock(part._fd, fcntl.LOCK_SH)
                    if path.exists():
                        break
                    part._close()  # a sweep of another process was between open and lock
            while block := os.read(part._fd, _BLOCK):
                part._hash.update(block)
                part.size += len(block)
        return part

    def write(
        self, target: Path, data: bytes, *, durable: bool, mtime_ns: int | None = None
    ) -> None:
        """Put the data at the target in one atomic step: the one way to write a small file."""
        part = self.part(NOTE)
        try:
            part.write(data)
            part.commit(target, durable=durable, mtime_ns=mtime_ns)
        finally:
            part.abandon()

    def scratch(self, in_memory: int) -> IO[bytes]:
        """A file for reading and writing that has no name, and is gone when it is closed.

        It begins in memory, and moves to this folder's disk once it has more bytes than that;
        then any write may raise OSError.
        """
        return SpooledTemporaryFile(in_memory, dir=str(self.folder))

    def spool(self, chunks: Iterable[bytes]) -> BinaryIO:
        """The bytes as a file without a name: slow clients are to hold no thread."""
        part = self.part()
        try:
            for chunk in chunks:
                part.write(chunk)
            return os.fdopen(part.reader(), "rb")
        finally:
            part.abandon()

    def find(self, prefix: str) -> Path | None:
        """A part whose name starts with the prefix and that is being written, by any process."""
        with translated("look for a file under way"), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(prefix) and has_writer(entry.path):
                    return self.folder / entry.name
        return None

    def sweep(self) -> int:
        """Delete the parts of writers that are no more; return how many they were."""
        swept = 0
        with translated("sweep the incoming folder"):
            for path in list(self.folder.iterdir()):
                with suppress(FileNotFoundError):
                    swept += self._sweep_one(path)
        if swept:
            log.info("swept %d unfinished files of an earlier run", swept)
        return swept

    def _sweep_one(self, path: Path) -> bool:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.unlink()
            return True
        finally:
            os.close(fd)


def has_writer(path: str) -> bool:
    """Whether the writer of the part at the path lives."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: who else looks at the same moment is not taken for the writer.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def append_line(path: Path, record: bytes) -> None:
    """Add a line to a file of notes, which and whose folder are made if they are not there.

    A line in one append is atomic between processes; the leading line end keeps a line
    torn by a crash from swallowing this one, so readers leave out empty lines.

    :param record: without a line end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, b"\n" + record + b"\n")
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power failure."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
