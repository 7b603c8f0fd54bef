"""A file that is arriving: one writer, many readers at their own speed.

The download belongs to the server: readers come and go, it goes on.  The last
block is held back until length and digest are right, so that no client ever
takes a wrong or short body for whole.  When an attempt fails and another one
begins, only readers that have not been given a byte yet stay.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from devpi_server.concurrency import Alarm
from devpi_server.errors import DevpiError, TimedOut, Unreachable
from devpi_server.store.heldfiles import HeldFile

HELD_BACK = 64 * 1024  # bytes that are released only when all is verified
# Readers are woken in steps: with hundreds of them each wake-up costs.
_STEP = 256 * 1024  # bytes
_AT_LEAST_EVERY = 0.1  # seconds
_BLOCK = 256 * 1024  # bytes that a reader gets at once


class _Descriptor:
    """A file descriptor that is closed when nobody refers to it any more.

    The readers of an attempt outlive it, and read without a lock.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Arriving:
    """The state that the writer and the readers of one file share.

    :param length: of the file in bytes; None: upstream does not tell.
    :param alarm: wakes the readers when upstream falls silent between two steps.
    """

    def __init__(self, length: int | None, alarm: Alarm) -> None:
        self.length = length
        # Lands when there is something to send, or never will be.
        self.started: Future[None] = Future()
        # Lands when the file is held, or will not be.
        self.finished: Future[HeldFile] = Future()
        self._alarm = alarm
        self._changed = threading.Condition()
        self._attempt: _Descriptor | None = None
        self._released = 0  # bytes that may be read
        self._woken_at = 0
        self._woken_time = 0.0
        self._is_alarmed = False
        self._readers: set[Reader] = set()
        self._was_read = False
        self._wakers: set[Callable[[], None]] = set()
        self._is_verified = False  # every byte is known to be right
        self._failure: DevpiError | None = None

    # The writer's side, on one thread at a time.

    def begin(self, fd: int) -> None:
        """Start an attempt whose bytes can be read from the descriptor, which is ours now."""
        with self._changed:
            self._attempt = _Descriptor(fd)
            self._released = self._woken_at = 0

    def advance(self, received: int) -> None:
        """Note how many bytes are there, and release all but the last block."""
        end = self.length if self.length is not None else received
        released = max(0, min(received, end - HELD_BACK))
        is_to_alarm = False
        with self._changed:
            self._released = max(self._released, released)
            news = self._released - self._woken_at
            since = time.monotonic() - self._woken_time
            if news >= _STEP or (news and since >= _AT_LEAST_EVERY):
                self._wake()
            elif news and not self._is_alarmed:
                self._is_alarmed = is_to_alarm = True
        if is_to_alarm:
            self._alarm.after(_AT_LEAST_EVERY, self._catch_up)
        if released and not self.started.done():
            self.started.set_result(None)

    def _catch_up(self) -> None:
        """Wake for what was released since the last step."""
        with self._changed:
            self._is_alarmed = False
            if self._released > self._woken_at:
                self._wake()

    def is_awaited(self) -> bool:
        """Whether somebody would profit from another attempt: a reader without a byte yet.

        Who waits for the start of the file has no reader yet.
        """
        with self._changed:
            return not self._was_read or any(reader.attempt is None for reader in self._readers)

    def release(self, size: int) -> None:
        """All of the size bytes are verified: readers may have them."""
        with self._changed:
            self.length = self._released = size
            self._is_verified = True
            self._wake()
        if not self.started.done():
            self.started.set_result(None)

    def finish(self, held: HeldFile) -> None:
        """The file is held."""
        self.finished.set_result(held)

    def fail(self, error: DevpiError) -> None:
        """Give up. Readers get the error, unless they may have all bytes already."""
        with self._changed:
            if not self._is_verified:
                self._failure = error
                self._attempt = None  # the error's traceback would keep its descriptor open
                self._wake()
        if not self.started.done():
            self.started.set_exception(error)
        self.finished.set_exception(error)

    def _wake(self) -> None:
        """Let the readers look for news. The lock is held."""
        self._woken_at, self._woken_time = self._released, time.monotonic()
        self._changed.notify_all()
        for waker in self._wakers:
            waker()

    def is_verified(self) -> bool:
        """Whether all bytes are there and right, so that it is about to be held."""
        with self._changed:
            return self._is_verified

    # The readers' side.

    def reader(self, start: int = 0, stop: int | None = None) -> Reader:
        """A reader of the bytes from start up to stop, or to the end."""
        reader = Reader(self, start, stop)
        with self._changed:
            self._was_read = True
            self._readers.add(reader)
        return reader


class Reader:
    """One client's way through an arriving file. Close it."""

    def __init__(self, arriving: Arriving, start: int, stop: int | None) -> None:
        self.position = start
        self.start = start
        self.stop = stop
        self.attempt: _Descriptor | None = None  # which its bytes are from, once it has some
        self._arriving = arriving

    @property
    def length(self) -> int | None:
        """Bytes in all, None if nobody knows yet."""
        stop = self.stop if self.stop is not None else self._arriving.length
        return None if stop is None else stop - self.start

    def ready(self) -> bool:
        """Whether there is something to read, or to raise, or the end is reached."""
        with self._arriving._changed:
            return self._ready()

    def is_over(self) -> bool:
        """Whether nothing will come any more: all that there is has been read."""
        with self._arriving._changed:
            return self._arriving._failure is None and self._is_at_end()

    def on_news(self, waker: Callable[[], None]) -> None:
        """Call back whenever there may be something to read; quick, and must not raise."""
        with self._arriving._changed:
            self._arriving._wakers.add(waker)

    def peek(self, size: int) -> bytes:
        """Up to size bytes from the position, as many as there are; never waits.

        :raises Unreachable: the download failed.
        """
        with self._arriving._changed:
            size = min(size, self._available())
            if size <= 0:
                return b""
            self.attempt = attempt = self._arriving._attempt
        return os.pread(attempt.fd, size, self.position) if attempt else b""

    def advance(self, size: int) -> None:
        """Go on by as many bytes."""
        self.position += size

    def blocks(self, gap: float) -> Iterator[bytes]:
        """All bytes, waiting for them on this thread.

        :param gap: seconds to wait at most for the next bytes.
        :raises UpstreamError: the download failed, or stands still.
        """
        while True:
            with self._arriving._changed:
                self._arriving._changed.wait_for(self._ready, timeout=gap)
            block = self.peek(_BLOCK)
            if block:
                self.advance(len(block))
                yield block
            elif self._is_done():
                return
            else:
                raise TimedOut("the download stands still")

    def close(self) -> None:
        """Let go of the file; may be called again."""
        with self._arriving._changed:
            self._arriving._readers.discard(self)
        self.attempt = None

    def _available(self) -> int:
        """Bytes that could be read now. The lock is held."""
        arriving = self._arriving
        if arriving._failure is not None:
            raise Unreachable(arriving._failure.message) from arriving._failure
        if self.attempt is not None and self.attempt is not arriving._attempt:
            raise Unreachable("the download failed and begins anew")
        end = arriving._released if self.stop is None else min(self.stop, arriving._released)
        return max(0, end - self.position)

    def _ready(self) -> bool:
        try:
            return self._available() > 0 or self._is_at_end()
        except Unreachable:
            return True

    def _is_done(self) -> bool:
        with self._arriving._changed:
            return self._is_at_end()

    def _is_at_end(self) -> bool:
        if self.stop is not None and self.position >= self.stop:
            return True
        return self._arriving._is_verified and self.position >= self._arriving._released
