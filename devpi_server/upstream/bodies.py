"""Bodies of answers, however long they say they are; and the HTTP library's errors as ours."""

from __future__ import annotations

import io
import logging
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError
from urllib3.exceptions import HTTPError as Urllib3Error

from devpi_server.concurrency import Room
from devpi_server.errors import Corrupt, Overloaded, TimedOut, Unreachable
from devpi_server.upstream.addresses import host_of
from devpi_server.upstream.base import Stream
from devpi_server.upstream.connections import Response

log = logging.getLogger(__name__)

_SMALL = 1024 * 1024  # bytes: bodies that need no room
_STEP = 1024 * 1024  # bytes: a room grows by

_CHUNK = 256 * 1024
_LONGEST_REASON = 100
# A file may come slowly, on a train, but not as slowly as somebody who wants to hold a thread.
_SLOWEST = 1024  # bytes
_LAP = 60.0  # seconds, in which so many come at least
_MOMENT = 0.1  # seconds that a body that nobody wants has to come, to keep its connection
_TIMEOUTS = (ConnectTimeoutError, ReadTimeoutError, TimeoutError)
_SIPS = 4  # reads at most of a body that nobody wants, to keep its connection


@dataclass(slots=True)
class Body:
    """A ``Stream`` over a response.

    :param deadline: when all of it is due; None: as long as it goes on at the slowest pace.
    """

    _response: Response
    _deadline: float | None = None
    url: str = field(init=False)
    length: int | None = field(init=False)
    content_type: str = field(init=False)
    etag: str | None = field(init=False)
    serial: int | None = field(init=False)
    encoded: bool = field(init=False)

    def __post_init__(self) -> None:
        headers = self._response.headers
        self.url = self._response.url
        self.length = length_of(self._response)
        self.content_type = headers.get("Content-Type", "")
        self.etag = headers.get("ETag")
        serial = headers.get("X-PyPI-Last-Serial", "")
        self.serial = int(serial) if re.fullmatch("[0-9]{1,18}", serial) else None
        encoding = headers.get("Content-Encoding", "").strip().lower()
        self.encoded = encoding not in ("", "identity")

    def chunks(self) -> Iterator[bytes]:
        raw, headers = self._response.raw, self._response.headers
        received = marked = 0
        within = _LAP if self._deadline is None else self._deadline - time.monotonic()
        with translated(self.url), raw.wire.within(within) as watch:
            while chunk := raw.read1(_CHUNK, decode_content=False):
                received += len(chunk)
                if self._deadline is None and received - marked >= _SLOWEST:
                    marked = received
                    watch.extend(_LAP)
                yield chunk
        if self.length is not None and received != self.length:
            raise Unreachable(
                f"{host_of(self.url)} broke off after {received} of {self.length} bytes"
            )
        # A header that was cut is taken for a whole one, so that nothing tells the length.
        if not received and self.length is None and "Transfer-Encoding" not in headers:
            raise Unreachable(f"{host_of(self.url)} broke off before the first byte")

    def decoded(self, limit: int) -> Iterator[bytes]:
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            pieces = self.chunks()
        elif encoding in ("gzip", "x-gzip"):
            pieces = _gunzip(self.chunks(), self.url)
        else:
            raise Corrupt(f"{host_of(self.url)} answers in the encoding {encoding[:40]!r}")
        if not self.encoded and (self.length or 0) > limit:
            raise self._too_large(limit)
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > limit:
                raise self._too_large(limit)
            yield piece

    def _too_large(self, limit: int) -> Corrupt:
        return Corrupt(f"{host_of(self.url)} sends more than {limit >> 20} MB at once")


def whole(answer: Stream, limit: int, deadline: float, room: Room | None = None) -> bytes:
    """The body in memory.

    :param room: grows with the body, once that is large.
    :raises Corrupt: it is longer than the limit in bytes.
    :raises TimedOut: it takes longer than until the deadline.
    :raises Overloaded: there is no room until then.
    """
    document = io.BytesIO()
    paid = _SMALL
    for chunk in answer.decoded(limit):
        size = document.tell() + len(chunk)
        if room is not None and size > paid:
            if not room.grow(size - paid + _STEP, deadline - time.monotonic()):
                raise Overloaded("too many large pages arrive at the same time", retry_after=5)
            paid = size + _STEP
        document.write(chunk)
        if time.monotonic() > deadline:
            raise TimedOut(f"{host_of(answer.url)} sends its answer too slowly")
    return document.getvalue()  # without a copy


def _gunzip(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Decode gzip in pieces of bounded size, however strongly it is compressed."""
    decoder = zlib.decompressobj(31)
    try:
        for chunk in chunks:
            data = chunk
            while data:
                yield decoder.decompress(data, _CHUNK)
                data = decoder.unconsumed_tail
            if decoder.unused_data:  # at once: it would be gathered without a limit
                break
        yield decoder.flush()
    except zlib.error as error:
        raise Corrupt(f"{host_of(url)} sends broken gzip") from error
    if not decoder.eof:
        raise Corrupt(f"{host_of(url)} sends gzip that breaks off")
    if decoder.unused_data:
        raise Corrupt(f"{host_of(url)} sends gzip with something behind it")


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the HTTP library's errors into ours, once, at this border.

    :raises TimedOut: no answer in time.
    :raises Unreachable: anything else that went wrong with the connection.
    """
    try:
        yield
    except (requests.RequestException, Urllib3Error, OSError, ValueError) as error:
        # NewConnectionError counts as a timeout there, whatever happened.
        if isinstance(error, _TIMEOUTS) and not isinstance(error, NewConnectionError):
            raise TimedOut(f"{host_of(url)} did not answer in time") from error
        # ValueError: urllib3's own, for a Content-Length or a chunk size that is no number.
        log.debug("request of %s failed: %s", host_of(url), error)
        raise Unreachable(f"{host_of(url)} cannot be reached: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """One short phrase for what the HTTP library wraps in many layers."""
    seen: BaseException | None = error
    inner = error
    while seen is not None:
        inner = seen
        args = [arg for arg in seen.args if isinstance(arg, BaseException)]
        reason = getattr(seen, "reason", None)
        if not isinstance(reason, BaseException):
            reason = args[0] if args else seen.__cause__
        seen = reason
    text = getattr(inner, "strerror", None)
    if not text and type(inner) is OSError:  # the standard library's, of a proxy
        text = ascii(str(inner))[1:-1][:_LONGEST_REASON]
    return str(text or type(inner).__name__)


def let_go(response: Response) -> None:
    """Close the response; its connection is kept for the next request if little is unread.

    What comes is not waited for: nobody wants it.
    """
    length = length_of(response)
    # A 200 that is left unread is a file that nobody wants.
    small = response.status != 200 and (length is None or length <= _CHUNK)
    if small or response.method == "HEAD":
        raw = response.raw
        with suppress(Urllib3Error, OSError, ValueError), raw.wire.within(_MOMENT):
            raw.wire.hurry(_MOMENT)
            for _ in range(_SIPS):
                if not raw.read1(_CHUNK, decode_content=False):
                    break
    response.close()


def length_of(response: Response) -> int | None:
    """The body's bytes on the wire; None: not told."""
    text = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text[:15])
