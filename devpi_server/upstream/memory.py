"""Memory: large pages take turns, as parsed they need several times that of their document.

And what a process that serves does once, so that its memory costs little.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from devpi_server.errors import Overloaded

_LARGE = 1024 * 1024  # bytes
_M_MMAP_THRESHOLD = -3  # in malloc.h of the GNU C library
_LONGEST = 30.0  # seconds that one waits for its turn


class Turns:
    """For the pages of one mirror."""

    def __init__(self) -> None:
        self._turn = threading.RLock()

    @contextmanager
    def of(self, size: int) -> Iterator[None]:
        """Work with a document of so many bytes; a small one waits for nobody.

        :raises Overloaded: too many large ones are before it.
        """
        if size <= _LARGE:
            yield
            return
        if not self._turn.acquire(timeout=_LONGEST):
            raise Overloaded("too many large pages are read at the same time", retry_after=5)
        try:
            yield
        finally:
            self._turn.release()


def settle_in() -> None:
    """Prepare this process for a long time of serving.

    From now on, large blocks that are freed go back to the system at once.  The GNU C library
    does so until it has seen some; then it keeps them, for each thread its own, which comes to
    many hundred megabytes after some large pages.

    What is in memory now is here to stay, so the collector need not look through it again and
    again: 100,000 objects are a pause of 50 ms for all threads.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
    gc.collect()
    gc.freeze()
