"""A way out that tells an observer what was asked, what came of it, and how long that took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from devpi_server.errors import UpstreamError
from devpi_server.observe import Asked, Observer
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream, UpstreamClient

T = TypeVar("T")


class Observed:
    """An ``UpstreamClient``."""

    def __init__(self, client: UpstreamClient, observer: Observer) -> None:
        self._client = client
        self._observer = observer

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        return self._asked("page", lambda: self._client.get(url, etag=etag, anew=anew))

    @contextmanager
    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> Iterator[Stream | NotModified | Absent]:
        what = "page" if page else "file"
        with ExitStack() as stack:
            answer = self._client.stream(url, etag=etag, page=page)
            yield self._asked(what, lambda: stack.enter_context(answer))

    def size(self, url: str) -> int | Absent | None:
        return self._asked("size", lambda: self._client.size(url))

    def part(self, url: str, start: int, stop: int) -> bytes:
        return self._asked("part", lambda: self._client.part(url, start, stop))

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        return self._asked("question", lambda: self._client.post(url, body, content_type))

    def _asked(self, what: str, ask: Callable[[], T]) -> T:
        begin = time.monotonic()
        outcome = "fresh"
        try:
            answer = ask()
            if isinstance(answer, NotModified):
                outcome = "unchanged"
            elif isinstance(answer, Absent):
                outcome = "absent"
            return answer
        except UpstreamError as error:
            outcome = type(error).__name__
            raise
        finally:
            self._observer.asked(Asked(what, outcome, time.monotonic() - begin))
