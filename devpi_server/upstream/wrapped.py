"""A client that asks through another one, and answers some questions in its own way.

Why mirrors of odd upstreams are clients: what asks for pages knows one form of
address, ``<base><project>/``, and one form of answer.  A wrapper answers these
questions for an upstream that is built otherwise, so the page cache, its
freshness and its fail-over need not know (``flat``, ``crawl``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from devpi_server.names import NormalizedName
from devpi_server.simple.negotiate import Form
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream, UpstreamClient


class Wrapped:
    """An ``UpstreamClient`` that leaves everything to another one."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        return self._client.get(url, etag=etag, anew=anew)

    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> AbstractContextManager[Stream | NotModified | Absent]:
        return self._client.stream(url, etag=etag, page=page)

    def size(self, url: str) -> int | Absent | None:
        return self._client.size(url)

    def part(self, url: str, start: int, stop: int) -> bytes:
        return self._client.part(url, start, stop)

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        return self._client.post(url, body, content_type)


class Unlisted(Wrapped):
    """For an upstream whose list of projects is not to be fetched: as if it had none."""

    @contextmanager
    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> Iterator[Stream | NotModified | Absent]:
        if page:
            yield Absent()
            return
        with self._client.stream(url, etag=etag) as answer:
            yield answer


def fresh(url: str, document: bytes, serial: int | None = None) -> Fresh:
    """A document that was made here, in JSON, with a tag that tells it from others."""
    tag = f'"{hashlib.sha256(document).hexdigest()}"'
    return Fresh(url, document, Form.JSON.content_type, tag, serial)


def split(url: str) -> tuple[str, NormalizedName]:
    """The address of an index and the project, of the address of a project's page."""
    base, _, project = url.rstrip("/").rpartition("/")
    return f"{base}/", NormalizedName(project)
