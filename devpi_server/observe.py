"""What happened, as events: what logs and metrics hang on.

The core tells an ``Observer`` and knows no log format and no metrics library.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple, Protocol, TextIO


class Answered(NamedTuple):
    """One request was answered. A tuple, because there are thousands of them a second."""

    at: float  # seconds since the epoch
    client: str
    method: str
    path: str
    status: str  # three digits
    origin: str  # the value of X-Devpi-Cache, or "-"
    size: int = 0  # bytes of the body, as far as its header tells
    seconds: float | None = None  # that it took; None: it was ready


class Asked(NamedTuple):
    """Upstream was asked, and has answered or not."""

    what: str  # page, file, size, part or question
    outcome: str  # fresh, unchanged, absent, or the class of the error
    seconds: float  # until that was known


class Observer(Protocol):
    """Is told what happened; quick, and must not raise."""

    def answered(self, event: Answered) -> None:
        """A request was answered."""

    def asked(self, event: Asked) -> None:
        """Upstream was asked."""


class Both:
    """Two observers that are told the same."""

    def __init__(self, first: Observer, second: Observer) -> None:
        self._first = first
        self._second = second

    def answered(self, event: Answered) -> None:
        self._first.answered(event)
        self._second.answered(event)

    def asked(self, event: Asked) -> None:
        self._first.asked(event)
        self._second.asked(event)


class _Nobody:
    def answered(self, event: Answered) -> None:
        """Not of interest."""

    def asked(self, event: Asked) -> None:
        """Nor is this."""


UNOBSERVED: Observer = _Nobody()

_EVERY = 0.2  # seconds between two writes
_WAITING = 100_000  # events that wait to be written; beyond, the oldest are dropped


class AccessLog:
    """Writes a line a request.

    Why not ``logging``: a record, a lock and a write for each request more than
    halved the requests a second of a threaded server.  Here a request appends
    to a queue, and one thread writes what has come together.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._events: deque[Answered] = deque(maxlen=_WAITING)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def answered(self, event: Answered) -> None:
        self._events.append(event)
        if self._thread is None:
            self._start()

    def asked(self, event: Asked) -> None:
        """Not of interest: what fails is logged by who has asked."""

    def flush(self) -> None:
        """Write all that waits."""
        lines = []
        while self._events:
            lines.append(_line(self._events.popleft()))
        if lines:
            self._stream.write("".join(lines))
            self._stream.flush()

    def _start(self) -> None:
        # At the first request, not before: a server may fork its workers after it is wired.
        with self._starting:
            if self._thread is None:
                atexit.register(self.flush)
                self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_EVERY)
            with suppress(OSError, ValueError):  # nobody reads it now: the server goes on
                self.flush()


def _line(event: Answered) -> str:
    seconds, fraction = divmod(event.at, 1)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    path = event.path
    if not (path.isascii() and path.isprintable()):
        path = ascii(path)  # what a client sends does not get to forge lines
    return (
        f"{when},{int(fraction * 1000):03} [INFO] devpi_server.access: "
        f'{event.client} "{event.method} {path}" {event.status} {event.origin}\n'
    )
