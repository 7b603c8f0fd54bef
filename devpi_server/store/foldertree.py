"""The directories below a root: whether one has changed, and what lies in it.

A directory's times change with each name that comes or goes, so one stat tells
whether its list of names is still true; this works on every file system and
over NFS.  Two things that a stat does not tell are seen to here:

* A name that comes in the same tick of the clock in which the directory was
  listed leaves no trace.  So a listing is *settled* only if it began some time
  after its stat was first seen; until then the directory is listed again.  That
  time is measured here, not by comparing the clock of a file server with ours.
* A file that is written over in place changes itself, not its directory.  Who
  needs to know stats the file.

The change time is looked at beside the modification time: rsync and tar set the
latter back.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from devpi_server.concurrency import Clock

T = TypeVar("T")

Timer = Callable[[], float]  # seconds since some moment; never goes back

GLANCE = 0.001  # seconds of a request for looking at what is hardly likely to have changed
MANY = 256  # stats that a request makes whatever they cost

_SECOND = 1_000_000_000
_FINE = 0.05  # seconds: several ticks of any kernel
_COARSE = 2.5  # seconds: more than a tick of FAT, the coarsest file system
_LONG_AGO = 3600.0  # seconds: no two clocks of one network differ as much
_AT_A_TIME = 8  # looks between two glances at the clock

# It is not there, or is not ours to read. All other errors may be passing.
FINAL = {
    errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG,
}  # fmt: skip


class Mark(NamedTuple):
    """What a stat says of a directory: equal marks, equal names, once settled."""

    device: int
    inode: int
    modified: int  # nanoseconds
    changed: int


class Inside(NamedTuple):
    """What lies in a directory, dot-files and dot-directories aside."""

    files: set[str]  # symbolic links too, wherever they lead
    folders: set[str]


@dataclass(slots=True, eq=False)
class Node:
    """A directory, and what its last listing was worth."""

    path: str
    root: int  # which of the roots it belongs to
    depth: int = 0
    mark: Mark | int | None = None  # of the listing, or an error number; None: list it
    error: int | None = None  # why it could not be listed
    since: float = 0.0  # when the mark was first seen
    listed: float = 0.0
    is_settled: bool = False
    children: dict[str, Node] = field(default_factory=dict)

    def child(self, name: str) -> Node:
        """The directory of this name in this one."""
        return Node(os.path.join(self.path, name), self.root, self.depth + 1)

    def is_true(self) -> bool:
        """Whether the last listing says what lies there now. One stat."""
        return self.is_settled and self.mark is not None and self.mark == self.look()

    def look(self) -> Mark | int:
        """What a stat says now, or its error number.

        Only a root may be a symbolic link: below, links to directories are not
        followed, as ``pypi-server`` did not, so none leads in circles.
        """
        try:
            found = os.stat(self.path, follow_symlinks=self.depth == 0)
        except OSError as error:
            return error.errno or errno.EIO
        if not stat.S_ISDIR(found.st_mode):
            return errno.ENOTDIR
        return Mark(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)

    def note(self, mark: Mark, begun: float, clock: Clock) -> None:
        """Remember a listing that began at that moment, after this look."""
        if mark != self.mark:
            self.mark, self.since = mark, begun
        self.listed = begun
        self.error = None
        self.is_settled = begun - self.since >= rest(mark.modified) or is_old(
            max(mark.modified, mark.changed), clock
        )

    def note_error(self, mark: Mark | int, number: int, begun: float) -> None:
        """Remember that it could not be listed; it will be tried again if that may pass."""
        self.mark = mark if number in FINAL else None
        self.error = number
        self.listed = begun
        self.is_settled = True


def list_directory(path: str) -> Inside:
    """What lies in the directory. Raises OSError."""
    inside = Inside(set(), set())
    with os.scandir(path) as found:
        for each in found:
            name = each.name
            if name[0] == ".":
                continue
            if each.is_file(follow_symlinks=False) or each.is_symlink():
                inside.files.add(name)
            elif each.is_dir(follow_symlinks=False):
                inside.folders.add(name)
    return inside


def rest(modified: int) -> float:
    """Seconds after which no change can have this time of modification any more.

    :param modified: in nanoseconds.
    """
    return _FINE if modified % _SECOND else _COARSE


def is_old(moment: int, clock: Clock) -> bool:
    """Whether the moment, in nanoseconds, is past however badly the clocks are set."""
    return clock() - moment / _SECOND > _LONG_AGO


class Rota(Generic[T]):
    """Things that are looked at in turn, as many at a time as there is time for."""

    def __init__(self, items: Sequence[T] = (), timer: Timer = time.monotonic) -> None:
        self.items = items
        self._timer = timer
        self._next = 0

    def turn(self, until: float, at_least: int = 0) -> Iterator[T]:
        """At most all of them once, beginning where the last turn has ended.

        :param until: by the timer.
        """
        for count in range(len(self.items)):
            if count >= at_least and count % _AT_A_TIME == 0 and self._timer() > until:
                return
            # Two threads may skip or repeat one: the next round makes good for it.
            at = self._next % len(self.items)
            self._next = at + 1
            yield self.items[at]
