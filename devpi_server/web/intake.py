"""The body of a request on its way in: where it lies, how large it may get.

waitress receives a body whole before it calls the application.  Its own place for one is the
system's temporary folder, often a RAM disk; here a body lies on the disk of the data directory,
without a name, so that nothing is left of it when the process is killed.

A request is *turned away* when its body is too large, the disk fails, or nobody stands behind it.
The application is called at once; only when it wants to read the body, which it does after it has
asked who may, is it told why there is none.  What the client still sends is thrown away (``Rest``):
to close the connection before would take the answer away from it, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from waitress.adjustments import Adjustments
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver

from devpi_server.errors import BadRequest, DevpiError, StoreError, TooLarge, Unauthenticated
from devpi_server.store.incoming import translated

log = logging.getLogger(__name__)

# Method, path and headers as waitress has them ("X_DEVPI_AUTH"); on the I/O thread: no waiting.
TakesLarge = Callable[[str, str, Mapping[str, str]], bool]

SMALL = 1024 * 1024  # bytes of a body that anybody may send: a login, a list of settings
_IN_MEMORY = 512 * 1024  # bytes of a body that needs no file
_LONGEST_CHUNK_LINE = 4096  # sizes and extensions, which waitress gathers in memory
_LONGEST_TRAILER = 16 * 1024
_CHUNKED_AT_ONCE = 8192  # bytes; waitress copies as many once or twice for each chunk in them


def shows_credentials(headers: Mapping[str, str]) -> bool:
    """Whether somebody stands behind the request; it is found out later whether that is true."""
    return "AUTHORIZATION" in headers or "X_DEVPI_AUTH" in headers


@dataclass(frozen=True, slots=True)
class Intake:
    """What is taken in.

    :param scratch: makes a file for a body: in memory until it has so many bytes.
    :param limit: bytes of the largest body.
    :param takes_large: whether this request may bring more than ``SMALL`` bytes.
    """

    scratch: Callable[[int], IO[bytes]]
    limit: int
    takes_large: TakesLarge = lambda *_: True


class Request(HTTPRequestParser):  # type: ignore[misc]
    """A request whose body lies where we want it, or that is turned away."""

    body_rcv: Any
    content_length: int

    turned_away: DevpiError | None = None  # why
    rest = 0  # bytes that are still to come then, as far as they are waited for

    def __init__(self, adj: Adjustments, intake: Intake) -> None:
        super().__init__(adj)
        self._intake = intake
        self._may_be_large: bool | None = None  # not asked yet

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is None:
            return
        if self.chunked:
            self.headers.pop("CONTENT_LENGTH", None)  # RFC 9112, 6.3: it does not count
        self.body_rcv.buf = _Buffer(self._intake.scratch(_IN_MEMORY))
        self._check(self.content_length)

    def received(self, data: bytes) -> int:
        body = self.body_rcv
        if body is None:
            return int(super().received(data))
        if self.chunked:
            data = data[:_CHUNKED_AT_ONCE]
        try:
            consumed = int(super().received(data))
            if self.completed and not self.error:
                body.buf.finish()
        except StoreError as error:
            self.body_bytes_received += len(data)
            self._turn_away(error)
            return len(data)
        if isinstance(body, ChunkedReceiver):
            self._check(len(body.buf))
            if len(body.control_line) > _LONGEST_CHUNK_LINE or len(body.trailer) > _LONGEST_TRAILER:
                self._turn_away(BadRequest("the request has chunks with more than a size"))
        return consumed

    def _check(self, size: int) -> None:
        """Turn it away if this is more than it may bring."""
        limit = self._intake.limit
        if size > limit:
            told = f"the request has more than {limit} bytes"
            self._turn_away(TooLarge(f"{told}, the --max-request-body-size of this server"))
        elif size > SMALL and not self._takes_large():
            self._turn_away(Unauthenticated(f"log in to send more than {SMALL} bytes"))

    def _takes_large(self) -> bool:
        if self._may_be_large is None:
            try:
                asked = self._intake.takes_large(self.command, self.path, self.headers)
            except DevpiError as error:
                log.warning("whether to take %s: %s", self.path, error.message)
                asked = False
            self._may_be_large = asked
        return self._may_be_large

    def _turn_away(self, error: DevpiError) -> None:
        self.turned_away = error
        self.headers["CONTENT_LENGTH"] = str(self.content_length or self.body_bytes_received)
        self.headers["CONNECTION"] = "close"
        rest = self.content_length - self.body_bytes_received
        self.rest = self._intake.limit if self.chunked else min(rest, self._intake.limit)
        self.close()
        self.body_rcv = None
        self.content_length = 0
        self.expect_continue = False
        self.completed = True


class Withheld:
    """The body of a request that was turned away: who reads it learns why."""

    def __init__(self, error: DevpiError) -> None:
        self._error = error

    def read(self, size: int = -1) -> bytes:
        """Raise the error."""
        raise self._error


class Rest(HTTPRequestParser):  # type: ignore[misc]
    """What a client goes on to send after it was turned away; never completed."""

    def __init__(self, adj: Adjustments, size: int) -> None:
        super().__init__(adj)
        self._left = size

    @property
    def is_over(self) -> bool:
        """Whether no more of it is waited for."""
        return self._left <= 0

    def received(self, data: bytes) -> int:
        self._left -= len(data)
        return len(data)


class _Buffer:
    """What waitress' receivers need of a buffer, over one file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0

    def append(self, data: bytes) -> None:
        with translated("receive a request"):
            self._file.write(data)
        self._size += len(data)

    def finish(self) -> None:
        """Bring all of it to the disk's cache, and go to its start."""
        with translated("receive a request"):
            self._file.seek(0)

    def getfile(self) -> IO[bytes]:
        return self._file

    def __len__(self) -> int:
        return self._size

    def close(self) -> None:
        with suppress(OSError):  # it writes what it had not written yet, which nobody wants
            self._file.close()
