"""What asking upstream means: the protocol of the way out, and its answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from devpi_server.concurrency import Room

# Where nothing that is held can stand in, a client waits longer; still below pip's 15 s.
PATIENT = 2.5  # times the timeout


@dataclass(frozen=True, slots=True)
class Fresh:
    """A document, whole and decoded."""

    url: str  # after redirects
    document: bytes
    content_type: str
    etag: str | None = None
    serial: int | None = None  # X-PyPI-Last-Serial
    # What the document takes of the memory for large ones, as long as this is referred to.
    room: Room | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NotModified:
    """Upstream says that what is held is current."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Upstream says that there is no such thing."""


class Stream(Protocol):
    """A body that is arriving; upstream's status is known and good."""

    @property
    def length(self) -> int | None:
        """Bytes of the body as it is on the wire; None: not told."""

    @property
    def content_type(self) -> str:
        """As upstream says it."""

    @property
    def url(self) -> str:
        """Where it comes from, after redirects."""

    @property
    def etag(self) -> str | None:
        """As upstream says it."""

    @property
    def serial(self) -> int | None:
        """X-PyPI-Last-Serial."""

    @property
    def encoded(self) -> bool:
        """Whether the body is in a content encoding."""

    def chunks(self) -> Iterator[bytes]:
        """The body as it is on the wire, as it arrives.

        :raises UpstreamError: it broke off, or it is not as long as it said.
        """

    def decoded(self, limit: int) -> Iterator[bytes]:
        """The body without its content encoding.

        :raises UpstreamError: as ``chunks``; or it is longer than the limit in bytes.
        """


class UpstreamClient(Protocol):
    """The way out. Every method raises UpstreamError when it cannot tell."""

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        """A project page, whole, within the deadline for pages.

        :param anew: on a new connection, which may lead to another node of a CDN.
        """

    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> AbstractContextManager[Stream | NotModified | Absent]:
        """A body of any size; ``page``: as an index page, in a content encoding."""

    def size(self, url: str) -> int | Absent | None:
        """The size of a file in bytes, without its body; None: upstream does not tell."""

    def part(self, url: str, start: int, stop: int) -> bytes:
        """The bytes of a file from start up to stop, neither more nor less.

        :raises Unsupported: upstream does not send parts of files.
        """

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        """The answer to a question that changes nothing, whole and of bounded size.

        :raises Unsupported: nobody takes questions there.
        """
