"""Ends what is past its deadline on a connection, whatever upstream does.

Why: the timeout of a socket is one for each read, so who sends a byte now and
then would hold a thread for ever.  A socket that is shut down ends the read
that waits for it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from devpi_server.concurrency import Alarm


class Watch:
    """A socket that is used until a deadline; made by ``Watchdog.over``."""

    def __init__(
        self, connection: socket.socket, seconds: float, clock: Callable[[], float]
    ) -> None:
        self.is_past = False
        self._socket = connection
        self._clock = clock
        self.extend(seconds)

    def extend(self, seconds: float) -> None:
        """Move the deadline to so many seconds from now."""
        self._until = self._clock() + seconds

    def look(self) -> None:
        """Shut the socket down if the deadline has passed."""
        if self._until <= self._clock() and not self.is_past:
            self.is_past = True
            with suppress(OSError):  # it is closed already
                # Of the plain socket below TLS, which has no time for good-byes.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Watchdog:
    """Looks at all sockets in use, again and again as long as there are any.

    :param every: seconds between two looks.
    """

    def __init__(
        self, alarm: Alarm, every: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._alarm = alarm
        self._every = every
        self._clock = clock
        self._guard = threading.Lock()
        self._watches: set[Watch] = set()
        self._is_set = False  # whether the alarm will ring

    @contextmanager
    def over(self, connection: socket.socket, seconds: float) -> Iterator[Watch]:
        """Let the context use the socket for so many seconds at most.

        :raises TimeoutError: it took longer, so the socket is of no use any more.
        """
        watch = Watch(connection, seconds, self._clock)
        self._begin(watch)
        try:
            try:
                yield watch
            finally:
                self._end(watch)
        except Exception as error:
            if not watch.is_past:
                raise
            raise TimeoutError("past its deadline") from error
        # What was read may be short of its end without saying so.
        if watch.is_past:
            raise TimeoutError("past its deadline")

    def _begin(self, watch: Watch) -> None:
        with self._guard:
            self._watches.add(watch)
            is_set, self._is_set = self._is_set, True
        if not is_set:
            self._alarm.after(self._every, self._look)

    def _end(self, watch: Watch) -> None:
        with self._guard:
            self._watches.discard(watch)

    def _look(self) -> None:
        # Within the guard: a socket whose use has ended serves another request already.
        with self._guard:
            for watch in self._watches:
                watch.look()
            self._is_set = goes_on = bool(self._watches)
        if goes_on:
            self._alarm.after(self._every, self._look)


class Wire:
    """The socket that a response comes through."""

    def __init__(self, connection: socket.socket, watchdog: Watchdog) -> None:
        self._socket = connection
        self._watchdog = watchdog

    def within(self, seconds: float) -> AbstractContextManager[Watch]:
        """Let the context read for so many seconds at most; see ``Watchdog.over``."""
        return self._watchdog.over(self._socket, seconds)

    def hurry(self, seconds: float) -> None:
        """From now on, wait no longer than this for the next bytes."""
        self._socket.settimeout(seconds)
