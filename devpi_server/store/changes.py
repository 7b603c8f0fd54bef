"""What is being changed right now, as all processes see it.

Whoever changes something says so for as long as it takes; several may at once.  A process
that dies says so no longer, because the kernel takes its locks back.

Why shared locks that nobody waits for: who changes something is never held up by who
only asks whether somebody does.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from devpi_server.store.locks import lock_file, place_of

log = logging.getLogger(__name__)

_TAKEN = (errno.EACCES, errno.EAGAIN)
_ASKING = 1.0  # seconds, for who asks and was stopped in that very moment


class Changes:
    """Names, and whether somebody says that they are being changed.

    :param path: the lock file; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self._fd = lock_file(path)
        self._guard = threading.Lock()
        # POSIX locks do not count within a process: place → how many threads say so.
        self._mine: dict[int, int] = {}

    @contextmanager
    def making(self, names: Iterable[str]) -> Iterator[None]:
        """Say that the names are being changed while the context lasts."""
        places = [place_of(name) for name in names]
        begun = []
        try:
            for place in places:
                self._begin(place)
                begun.append(place)
            yield
        finally:
            for place in begun:
                self._end(place)

    def is_under_way(self, name: str) -> bool:
        """Whether anybody is changing it, at this moment."""
        place = place_of(name)
        with self._guard:
            if place in self._mine:
                return True
            if not self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, place):
                return True
            self._lock(fcntl.LOCK_UN, place)
        return False

    def _begin(self, place: int) -> None:
        until = time.monotonic() + _ASKING
        with self._guard:
            self._mine[place] = self._mine.get(place, 0) + 1
            if self._mine[place] > 1:
                return
            # Only somebody who asks holds it against us, for a moment.
            while not self._lock(fcntl.LOCK_SH | fcntl.LOCK_NB, place) and time.monotonic() < until:
                time.sleep(0)

    def _end(self, place: int) -> None:
        with self._guard:
            self._mine[place] -= 1
            if not self._mine[place]:
                del self._mine[place]
                self._lock(fcntl.LOCK_UN, place)

    def _lock(self, kind: int, place: int) -> bool:
        """Whether it could be done at once."""
        if self._fd < 0:
            return True
        try:
            fcntl.lockf(self._fd, kind, 1, place)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            # A file system without locks: then this process is alone, as far as it can see.
            log.debug("no lock between processes: %s", error)
        return True

    def close(self) -> None:
        """Let go of the file."""
        with self._guard:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
