"""The way out for releases: upload forms to another server, as twine sends them.

A form is sent once and to the address that it is for, so what it holds and the
password with it reach nobody else: neither a redirect nor a second attempt can
take them anywhere.  Its files are read while they are sent, in constant memory.
"""

from __future__ import annotations

import io
import json
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from devpi_server.concurrency import Clock
from devpi_server.errors import TimedOut
from devpi_server.store.incoming import translated
from devpi_server.upstream.addresses import host_of
from devpi_server.upstream.client import Reply, RequestsClient

_BEGINNING = 60.0  # seconds that a form of any size may take
_SLOWEST = 100_000  # bytes a second, on the average of the whole form
_LONGEST = 500  # characters of what the other server says
_SAYINGS = ("message", "detail", "error", "title")  # keys of JSON

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where to upload, and as whom."""

    url: str
    username: str = ""  # with no password: nobody
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Attached:
    """A file of a form."""

    name: str  # of the field
    filename: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Said:
    """What the other server says to a form."""

    status: int
    text: str  # a line; empty where all is well


class Publisher(Protocol):
    """Takes forms to other servers."""

    def post(
        self, target: Target, fields: Fields, files: Sequence[Attached] = (), *, trusted: bool
    ) -> Said:
        """Send one form.

        :param trusted: whether it may go to a private network.
        :raises OffLimits: it would lead there, and may not.
        :raises UpstreamError: it could not be sent, or nobody has answered in time.
        :raises StoreError: a file cannot be read.
        """


class HttpPublisher:
    """A ``Publisher`` by the rules of ``upstream.client``.

    :param timeout: seconds; the unit of all waits.
    :param networks: private ones that anybody may send to, as ``10.0.0.0/8``.
    """

    def __init__(self, *, timeout: float, clock: Clock, networks: Sequence[str]) -> None:
        self._timeout = timeout
        self._clock = clock
        self._networks = tuple(networks)

    def post(
        self, target: Target, fields: Fields, files: Sequence[Attached] = (), *, trusted: bool
    ) -> Said:
        client = RequestsClient(
            timeout=self._timeout,
            clock=self._clock,
            urls=[target.url],
            allow_networks=self._networks,
            own_host_is_trusted=trusted,
        )
        try:
            with closing(Outgoing(fields, files, host_of(target.url))) as form:
                reply = client.publish(target.url, form, form.content_type, _basic(target))
        finally:
            client.close()
        return Said(reply.status, _line(reply))


class Outgoing:
    """A form on its way out: what the HTTP library takes for a file.

    :param host: that it is for, in messages.
    """

    def __init__(
        self,
        fields: Fields,
        files: Sequence[Attached],
        host: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._host = host
        self._clock = clock
        self._open = ExitStack()
        self._files = [(_part(boundary, each.name, each.filename), each) for each in files]
        self._fields = b"".join(
            _part(boundary, name) + value.encode("utf-8", "replace") + b"\r\n"
            for name, value in fields
        )
        self._end = f"--{boundary}--\r\n".encode()
        self._pieces = self._in_order()
        self._piece: BinaryIO = io.BytesIO()
        self._deadline: float | None = None

    def __len__(self) -> int:
        files = sum(len(head) + each.size + 2 for head, each in self._files)
        return len(self._fields) + files + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read():
            yield block

    def read(self, size: int = 64 * 1024) -> bytes:
        """The next bytes, none at the end.

        :raises TimedOut: they are taken too slowly.
        """
        now = self._clock()
        if self._deadline is None:
            self._deadline = now + _BEGINNING + len(self) / _SLOWEST
        if now > self._deadline:
            raise TimedOut(f"{self._host} takes the form too slowly")
        with translated("read an uploaded file"):
            while not (block := self._piece.read(size)):
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._piece = piece
        return block

    def close(self) -> None:
        """Let go of the files."""
        self._open.close()

    def _in_order(self) -> Iterator[BinaryIO]:
        yield io.BytesIO(self._fields)
        for head, each in self._files:
            yield io.BytesIO(head)
            yield self._open.enter_context(each.path.open("rb"))
            yield io.BytesIO(b"\r\n")
        yield io.BytesIO(self._end)


def _part(boundary: str, name: str, filename: str | None = None) -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    if filename is not None:
        head += f'; filename="{_quoted(filename)}"\r\nContent-Type: application/octet-stream'
    return f"{head}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    """As browsers do it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _basic(target: Target) -> str | None:
    if not (target.username or target.password):
        return None
    return "Basic " + b64encode(f"{target.username}:{target.password}".encode()).decode()


def _line(reply: Reply) -> str:
    """What the server says, in one line; servers say it in the reason phrase, the body or both."""
    if 200 <= reply.status < 300:
        return ""
    if reply.location:
        said = [f"it redirects to {reply.location}, push to that address"]
    else:
        said = [reply.reason]
        words = _words(reply)
        if words and words not in reply.reason:
            said.append(words)
    text = " ".join(" - ".join(filter(None, said)).split())
    return "".join(char for char in text if char.isprintable())[:_LONGEST]


def _words(reply: Reply) -> str:
    if reply.content_type.startswith("text/plain"):
        return reply.text
    if "json" in reply.content_type:
        try:
            found: Any = json.loads(reply.text)
        except ValueError:
            return ""
        if isinstance(found, dict):
            return next((str(found[key]) for key in _SAYINGS if found.get(key)), "")
    return ""
