"""Putting files into a folder of packages, and taking them out, each in one step.

The folder is its owner's: nothing but whole packages and their signatures ever has
a name in it.  What arrives lies in the data directory; if that is on the same disk,
the file gets its second name here when it is whole.  Otherwise it is copied, as a file
whose name begins with a dot, which nobody lists, and which ``sweep`` removes if the
process is killed.

Who comes first has the name: a hard link is never made over a file that is there.
Only file systems without hard links have to be believed that nobody else puts a file
there at that very moment.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devpi_server.errors import Busy, Conflict
from devpi_server.names import SIGNATURE
from devpi_server.store.blobs import IncomingBlob
from devpi_server.store.incoming import has_writer, sync_folder, translated
from devpi_server.store.locks import Locks

_PREFIX, _ENDING = ".devpi-", ".part"
_BLOCK = 1024 * 1024
_PATIENCE = 10.0  # seconds for another upload of the same name
# Another disk, or one that has no hard links.
_NO_LINK = {
    errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK,
    errno.EACCES,
}  # fmt: skip


class FolderWrites:
    """The way into one folder."""

    def __init__(self, folder: Path, locks: Locks) -> None:
        self._folder = folder
        self._locks = locks

    @contextmanager
    def alone(self, filename: str) -> Iterator[None]:
        """Keep other uploads of the name waiting.

        :raises Busy: one takes too long.
        """
        with self._locks.hold(f"put {self._folder / filename}", _PATIENCE) as is_held:
            if not is_held:
                raise Busy(f"another upload of {filename} is under way, try again")
            yield

    def put(self, filename: str, content: IncomingBlob, signature: IncomingBlob | None) -> None:
        """Put a new file there, with its signature; to be called ``alone``.

        :raises Conflict: a file has this name.
        :raises StoreError: the disk is sick, or may not be written to.
        """
        target = self._folder / filename
        signed = self._folder / (filename + SIGNATURE)
        with translated(f"put {filename} into the folder"):
            if os.path.lexists(target):
                raise _taken(filename)
            if signature is not None:  # one that is there has been left by who was killed
                self._replace(signed, signature)
            try:
                self._add(target, content)
            except FileExistsError as error:
                if signature is not None:
                    signed.unlink(missing_ok=True)
                raise _taken(filename) from error
            sync_folder(self._folder)

    def replace(self, filename: str, content: IncomingBlob, signature: IncomingBlob | None) -> None:
        """The same over a file that may be there; to be called ``alone``."""
        signed = self._folder / (filename + SIGNATURE)
        with translated(f"put {filename} into the folder"):
            signed.unlink(missing_ok=True)  # rather none than that of another file
            self._replace(self._folder / filename, content)
            if signature is not None:
                self._replace(signed, signature)
            sync_folder(self._folder)

    def sweep(self) -> None:
        """Remove what uploads that were killed have left.

        :raises StoreError: it may not be removed.
        """
        with translated(f"look for unfinished files in {self._folder}"):
            for path in list(self._folder.glob(f"{_PREFIX}*{_ENDING}")):
                if not has_writer(str(path)):
                    path.unlink(missing_ok=True)

    def _add(self, target: Path, content: IncomingBlob) -> None:
        """Raises FileExistsError."""
        try:
            content.link(target)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            with self._copied(content) as copy:
                try:
                    os.link(copy, target)
                except OSError as again:
                    if again.errno not in _NO_LINK:
                        raise
                    if os.path.lexists(target):
                        raise FileExistsError(target) from again
                    os.replace(copy, target)

    def _replace(self, target: Path, content: IncomingBlob) -> None:
        place = self._free()
        try:
            content.link(place)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            with self._copied(content) as copy:
                os.replace(copy, target)
        else:
            os.replace(place, target)

    @contextmanager
    def _copied(self, content: IncomingBlob) -> Iterator[Path]:
        """A whole copy in the folder, which is gone afterwards unless it has another name."""
        place = self._free()
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "wb", buffering=0) as copy, _gone_in_the_end(place):
            fcntl.flock(copy, fcntl.LOCK_EX)
            with os.fdopen(content.reader(), "rb") as file:
                while block := file.read(_BLOCK):
                    view = memoryview(block)
                    while view:
                        view = view[copy.write(view) :]
            os.fsync(copy.fileno())
            yield place

    def _free(self) -> Path:
        return self._folder / f"{_PREFIX}{secrets.token_hex(8)}{_ENDING}"


@contextmanager
def _gone_in_the_end(place: Path) -> Iterator[None]:
    """Remove the file after all that, if it is there still."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            place.unlink()


def remove(paths: list[Path]) -> None:
    """Remove the files, and their signatures after them.

    :raises StoreError: one may not be removed.
    """
    with translated("remove a file of the folder"):
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_name(path.name + SIGNATURE).unlink(missing_ok=True)
        for folder in {path.parent for path in paths}:
            with suppress(FileNotFoundError):
                sync_folder(folder)


def _taken(filename: str) -> Conflict:
    return Conflict(f"File already exists: {filename}")
