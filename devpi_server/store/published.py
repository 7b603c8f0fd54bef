"""Ready-made answers on disk, for a web server in front that sends them by itself.

*A published file is a promise: it is what the application would answer now.*  This module
keeps it, in any number of processes and whenever one of them dies:

* All that is published of a project, in whichever index, lies in one folder.  Whoever
  changes anything about the project (``changing``) says so first, moves that folder away in
  one step, makes the change, and is only then done.
* Who publishes opens the folder first, then sees whether nobody is changing the project,
  and only then reads the truth.  If a change begins after that, what he writes lands in the
  folder that has been moved away, where nobody looks (``shelf``).  So nobody waits for
  anybody, and a process that is stopped in between harms nothing.
* What time may make untrue is noted under the time (``due``), and moved away before it.
* The web server finds everything through a *lease*: a name made of the clock's tens of
  seconds, which exists only while a process looks after the above (``extend``).  When all
  have died, or hang, the names run out.

::

    published/
    ├── leases/<tens of seconds>     → ..
    ├── projects/<project>/          <user>,<index>,<word>,page.{json,html}[.gz]; files
    ├── files/<user>,<index>/<…>/    → ../../../projects/<project>/<file>
    ├── due/<tens of seconds>/<project>
    └── dropped/                     what is being deleted

Why the pages' dates are made from their bytes: nginx makes its ETags from date and size.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from devpi_server.store.changes import Changes
from devpi_server.store.incoming import NOTE, Incoming, translated

LEASE = 10  # seconds in the name of a lease
# A lease is extended for less than three times that; what is due earlier may not be published.
SOON = 3.0 * LEASE

_EVERYTHING = "*"
_COMMAS = 4  # in the names of files
_DATES = 0x7FFFFFFF  # what every file system can keep
_BEFOREHAND = 2.5 * LEASE  # seconds: the longest lease, and the time between two looks


class Changing(Protocol):
    """What the stores tell of what they are about to change."""

    def changing(self, projects: Iterable[str]) -> AbstractContextManager[None]:
        """While it lasts, and until something is published after it, nothing of them is."""

    def changing_all(self) -> AbstractContextManager[None]:
        """The same of everything."""


class _NothingPublished:
    """``Changing`` where nothing is ever published."""

    @contextmanager
    def changing(self, projects: Iterable[str]) -> Iterator[None]:
        yield

    @contextmanager
    def changing_all(self) -> Iterator[None]:
        yield


NOTHING_PUBLISHED: Changing = _NothingPublished()


class Published:
    """The folder.

    :param changes: a lock file of its own.
    """

    def __init__(self, folder: Path, changes: Path, incoming: Incoming) -> None:
        self.folder = folder
        self._changes = Changes(changes)
        self._incoming = incoming
        self._projects = f"{folder}{os.sep}projects"
        self._dropped = f"{folder}{os.sep}dropped"

    @contextmanager
    def changing(self, projects: Iterable[str]) -> Iterator[None]:
        """Make a change that concerns these projects only.

        :raises StoreError: nothing has been changed; or it has, and somebody may be told
            otherwise for some seconds yet.
        """
        names = list(projects)
        with self._changes.making(names):
            for name in names:
                self._drop(f"{self._projects}{os.sep}{name}")
            yield
            # For file systems without locks: what was published meanwhile.
            for name in names:
                self._drop(f"{self._projects}{os.sep}{name}")

    @contextmanager
    def changing_all(self) -> Iterator[None]:
        """Make a change that may concern anything; raises as ``changing`` does."""
        with self._changes.making([_EVERYTHING]):
            self._drop(self._projects)
            yield
            self._drop(self._projects)

    @contextmanager
    def shelf(self, project: str) -> Iterator[Shelf | None]:
        """Where to publish what is read from now on; None while it is being changed.

        :raises StoreError: the disk is sick.
        """
        place = f"{self._projects}{os.sep}{project}"
        fd = -1
        with translated("publish"), suppress(FileNotFoundError):  # dropped in this very moment
            os.makedirs(place, exist_ok=True)
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            changes = (_EVERYTHING, project)
            if fd < 0 or any(self._changes.is_under_way(change) for change in changes):
                yield None
            else:
                yield Shelf(project, fd, self.folder, self._incoming)
        finally:
            if fd >= 0:
                os.close(fd)

    def has(self, project: str, name: str) -> bool:
        """Whether a page of this name is published. One stat."""
        return os.path.exists(f"{self._projects}{os.sep}{project}{os.sep}{name}")

    def has_file(self, name: str) -> bool:
        """Whether a file is."""
        return (self.folder / "files" / _way(name)).exists()

    def due(self, project: str, until: float) -> None:
        """Note, before it is published, that it is not to be after that time.

        :param until: seconds since the epoch.
        """
        with translated("note when a page is due"):
            folder = self.folder / "due" / str(int(until) // LEASE)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / project).touch()

    def begin(self) -> None:
        """Nothing is published: whatever an earlier process has left is not."""
        with self.changing_all():
            for name in ("due", "files"):
                self._drop(str(self.folder / name))

    def extend(self, now: float) -> None:
        """Drop what is due soon, then let the web server trust the rest for a while.

        :param now: seconds since the epoch.
        """
        with translated("look after what is published"):
            for name in _names(self.folder / "due"):
                if name.isdecimal() and int(name) * LEASE <= now + _BEFOREHAND:
                    self._expire(name)
            leases = self.folder / "leases"
            leases.mkdir(parents=True, exist_ok=True)
            current = int(now) // LEASE
            wanted = {str(current), str(current + 1)}
            there = set(_names(leases))
            for name in wanted - there:
                with suppress(FileExistsError):
                    (leases / name).symlink_to("..")
            for name in there - wanted:
                (leases / name).unlink(missing_ok=True)
            for name in _names(Path(self._dropped)):
                self._delete(Path(self._dropped, name))

    def close(self) -> None:
        """Let go of the lock file."""
        self._changes.close()

    def _expire(self, name: str) -> None:
        """Drop what is due in these seconds."""
        folder = self.folder / "due" / name
        for project in _names(folder):
            with self.changing([project]):
                (folder / project).unlink(missing_ok=True)
        with suppress(OSError):  # somebody has just noted another one
            folder.rmdir()

    def _delete(self, place: Path) -> None:
        """Delete what was moved away, and the ways that led there."""
        for project in (place, *filter(Path.is_dir, place.iterdir())):
            for name in _names(project):
                way = self.folder / "files" / _way(name) if name.count(",") >= _COMMAS else None
                if way is not None and way.is_symlink() and not way.exists():
                    way.unlink(missing_ok=True)
        shutil.rmtree(place)

    def _drop(self, place: str) -> None:
        """Move it away, if it is there; a name that is too long for the disk never is."""
        aside = f"{self._dropped}{os.sep}{secrets.token_hex(8)}"
        with translated("withdraw what is published"), suppress(FileNotFoundError):
            try:
                os.lstat(place)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return
                raise
            os.makedirs(self._dropped, exist_ok=True)
            os.rename(place, aside)  # who else has done so was quicker


class Shelf:
    """The folder of a project, held open: it stays the same one when it is moved away."""

    def __init__(self, project: str, fd: int, folder: Path, incoming: Incoming) -> None:
        self._project = project
        self._fd = fd
        self._folder = folder
        self._incoming = incoming

    def put(self, name: str, body: bytes) -> None:
        """Publish the bytes.

        :raises StoreError: the disk is sick.
        """
        part = self._incoming.part(NOTE)
        try:
            part.write(body)
            date = int.from_bytes(hashlib.sha256(body).digest()[:4], "big") & _DATES
            part.move(name, self._fd, mtime_ns=date * 1_000_000_000)
        finally:
            part.abandon()

    def link(self, name: str, file: Path) -> None:
        """Publish a file that never changes.

        :param name: ``<user>,<index>,<head>,<tail>,<file name>``.
        :raises StoreError: it cannot be done; then no part of it is seen.
        """
        place = self._folder / "files" / _way(name)
        target = f"../../../projects/{self._project}/{name}"
        with translated("publish a file"), suppress(FileExistsError):
            with suppress(FileExistsError):
                os.link(file, name, dst_dir_fd=self._fd)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)


def _way(name: str) -> str:
    """Where a file is found below ``files``: an index a folder, not too many in it."""
    user, index, head, rest = name.split(",", 3)
    return f"{user},{index}/{head}/{rest}"


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
