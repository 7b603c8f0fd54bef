"""Locks between the processes that share a data directory.

They save work (one fetch a file, one leader), they never guard correctness:
that comes from atomic renames.  The kernel releases them when a process dies.

Why byte ranges of one file and not a file a lock: nothing has to be cleaned
up, and no name from outside ever becomes a path.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devpi_server.store.incoming import translated

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 0.005, 0.1  # seconds between two tries


class Locks:
    """Named advisory locks, exclusive between processes and within this one.

    :param path: the lock file; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = lock_file(path)
        # POSIX locks do not exclude threads of one process from each other.
        self._mine: set[int] = set()
        self._guard = threading.Lock()

    def try_hold(self, name: str) -> Lock | None:
        """The lock, or None while somebody else holds it."""
        place = place_of(name)
        with self._guard:
            if place in self._mine or self._fd < 0:
                return None
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    return None
                # A file system without locks: then this process is alone, as far as it can see.
                log.debug("no lock between processes: %s", error)
            self._mine.add(place)
        return Lock(self, place)

    @contextmanager
    def hold(self, name: str, seconds: float) -> Iterator[bool]:
        """Wait for the lock, but no longer than that: tells whether it is held.

        Who did not get it may go on all the same, see the module's docstring.
        """
        deadline = time.monotonic() + seconds
        pause = _SHORTEST
        while (lock := self.try_hold(name)) is None and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(_LONGEST, pause * 2)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _release(self, place: int) -> None:
        with self._guard:
            self._mine.discard(place)
            if self._fd >= 0:
                with suppress(OSError):
                    fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, place)

    def close(self) -> None:
        """Release all; from now on, every lock is held by somebody else."""
        with self._guard:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def lock_file(path: Path) -> int:
    """The file descriptor of a file for locks, which is made if it is missing."""
    with translated(f"open the lock file {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def place_of(name: str) -> int:
    """The byte of such a file that stands for the name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


class Lock:
    """A lock that is held, until ``release``."""

    def __init__(self, locks: Locks, place: int) -> None:
        self._locks = locks
        self._place = place

    def release(self) -> None:
        """Let others have it. Once only."""
        self._locks._release(self._place)
