"""The hot path: pages and files that were sent before, without going through bottle.

Why it exists: bottle takes 20 to 30 µs a request, this takes a few.  It decides
nothing: what it may answer was put here by ``web.simple`` and ``web.files``, and
each request still asks the source whether the page is the same (two stats), or
the downloads for the file.  Anything else goes on to the application behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple, Protocol
from wsgiref.util import FileWrapper

from devpi_server.concurrency import BoundedCache, Clock
from devpi_server.errors import DevpiError
from devpi_server.names import NormalizedName
from devpi_server.observe import Answered, Observer
from devpi_server.records import Freshness, Origin
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Indexes
from devpi_server.services.pages import PageKey, Pages, Rendered
from devpi_server.services.readymade import ReadyMade
from devpi_server.web import conditional
from devpi_server.web.heldfile import Answer, Part, held_answer

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Headers = list[tuple[str, str]]

# Set in the environ where nothing but what is hot may be answered, as the thread may not wait.
ONLY_HOT = "devpi.only_hot"
# The header that asks for pages with whole URLs (devpi.md 1.0).
ABSOLUTE_URLS = "HTTP_X_DEVPI_ABSOLUTE_URLS"

_BUDGET = 8 * 1024 * 1024  # bytes of keys in memory
_BLOCK = 256 * 1024  # bytes at a time, for servers that have no better way to send a file
_LONGEST_KEY = 1000  # characters: longer headers take the long way


class NotHot(BaseException):
    """Unwinds a request that has to go the long way, on a thread that may wait."""


class Readiness(Protocol):
    """Knows which requests need no thread of their own."""

    def is_ready(self, path: str, accept: str, accept_encoding: str) -> bool:
        """Whether a GET like this is answered without waiting: a matter of microseconds."""


class _Known(NamedTuple):
    project: NormalizedName
    key: PageKey
    content_type: str


class Hot:
    """Which requests lead to which pages and files; ``remember…`` is how they get here."""

    def __init__(
        self,
        indexes: Indexes,
        pages: Pages,
        downloads: Downloads,
        observer: Observer,
        clock: Clock,
        ready_made: ReadyMade | None = None,
    ) -> None:
        self._ready_made = ready_made
        self._indexes = indexes
        self._pages = pages
        self._downloads = downloads
        self._observer = observer
        self._clock = clock
        self._known: BoundedCache[tuple[str, str, str], _Known] = BoundedCache(_BUDGET)
        # Path of the request → index and path of the file.
        self._files: BoundedCache[str, tuple[str, str]] = BoundedCache(_BUDGET)

    def in_front_of(self, app: WSGIApp) -> WSGIApp:
        """The application, with the known requests answered before it."""

        def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if _may_be_hot(environ):
                known = self._known.get(_key(environ))
                found = self._answer(known, environ) if known is not None else None
                if found is not None:
                    status, headers, body = found
                    start_response(status, headers)
                    return (body,) if body else ()
                file = self._files.get(environ["PATH_INFO"])
                if "application/json" in environ.get("HTTP_ACCEPT", ""):
                    file = None  # what is known of it is asked for
                if file is not None and (held := self._file(file, environ)) is not None:
                    start_response(held.status, held.headers)
                    return sent(held.body, environ)
            if environ.get(ONLY_HOT):
                raise NotHot
            return app(environ, start_response)

        return answer

    def _file(self, file: tuple[str, str], environ: Environ) -> Answer | None:
        try:
            if not self._indexes.find(file[0]).is_public:
                return None
            ready = self._downloads.held(*file)
            answer = held_answer(ready, environ) if ready is not None else None
            if answer is not None and self._ready_made is not None:
                self._ready_made.offer_file(*file)
        except (DevpiError, OSError):  # the long way finds out what to say
            return None
        if answer is not None:
            seen = event(environ, answer.status, Origin.HIT.value, self._clock, answer.headers)
            self._observer.answered(seen)
        return answer

    def is_ready(self, path: str, accept: str, accept_encoding: str) -> bool:
        """Whether a GET like this is answered without waiting: a matter of microseconds."""
        file = self._files.get(path)
        known = self._known.get((path, accept, accept_encoding))
        try:
            if file is not None:
                return "application/json" not in accept and self._indexes.find(file[0]).is_near
            return known is not None and self._is_at_hand(known)
        except DevpiError:
            return False

    def _is_at_hand(self, known: _Known) -> bool:
        rendered = self._pages.held(known.key)
        index = self._indexes.find(known.key.index_name)
        if rendered is None or not index.is_near:
            return False
        # ANY: a page that has expired is found out later, on a thread that may wait.
        return index.source.view(known.project, Freshness.ANY).stamp == rendered.stamp

    def remember(self, environ: Environ, project: NormalizedName, key: PageKey, type_: str) -> None:
        """Answer requests like this one from now on, as long as the page is the same and public."""
        cost = sum(len(part) for part in _key(environ))
        if cost <= _LONGEST_KEY:
            self._known.put(_key(environ), _Known(project, key, type_), cost + 500)
        if self._ready_made is not None:
            self._ready_made.offer_page(environ["PATH_INFO"], key)

    def remember_file(self, environ: Environ, index_name: str, path: str) -> None:
        """Answer requests for this file from now on, as long as it is held and public."""
        key = environ["PATH_INFO"]
        if len(key) <= _LONGEST_KEY:
            self._files.put(key, (index_name, path), 2 * len(key) + 300)
        if self._ready_made is not None:
            self._ready_made.offer_file(index_name, path)

    def _answer(self, known: _Known, environ: Environ) -> tuple[str, Headers, bytes] | None:
        rendered = self._pages.held(known.key)
        if rendered is None:
            return None
        try:
            index = self._indexes.find(known.key.index_name)
            view = index.source.view(known.project)
        except DevpiError:
            return None
        if view.stamp != rendered.stamp or not index.is_public:
            return None
        if self._ready_made is not None:
            self._ready_made.offer_page(environ["PATH_INFO"], known.key)
        answer = page_answer(rendered, known.content_type, known.key, view.origin, environ)
        seen = event(environ, answer[0], view.origin.value, self._clock, answer[1])
        self._observer.answered(seen)
        return answer


def _may_be_hot(environ: Environ) -> bool:
    return (
        environ["REQUEST_METHOD"] == "GET"
        and not environ.get("QUERY_STRING")
        and ABSOLUTE_URLS not in environ
    )


def _key(environ: Environ) -> tuple[str, str, str]:
    # All that an answer depends on besides the page; the method and the query are checked.
    return (
        environ["PATH_INFO"],
        environ.get("HTTP_ACCEPT", ""),
        environ.get("HTTP_ACCEPT_ENCODING", ""),
    )


def sent(body: bytes | BinaryIO | Part, environ: Environ) -> Iterable[bytes]:
    """The body as a server takes it."""
    if isinstance(body, bytes):
        return (body,) if body else ()
    wrapper: Callable[..., Iterable[bytes]] = environ.get("wsgi.file_wrapper", FileWrapper)
    return wrapper(body, _BLOCK)


def page_answer(
    rendered: Rendered,
    content_type: str,
    key: PageKey,
    origin: Origin,
    environ: Environ,
    is_public: bool = True,  # noqa: FBT001, FBT002 - the hot path passes nothing
) -> tuple[str, Headers, bytes]:
    """Status line, headers and body for a rendered page, or its 304."""
    headers = list(page_headers(rendered.tag, origin, is_public=is_public).items())
    if conditional.is_held_by_client(environ.get("HTTP_IF_NONE_MATCH"), rendered.tag):
        return "304 Not Modified", headers, b""
    headers.append(("Content-Type", content_type))
    headers.append(("Content-Length", str(len(rendered.body))))
    headers.append(("X-Content-Type-Options", "nosniff"))
    if key.encoding is not key.encoding.IDENTITY:
        headers.append(("Content-Encoding", key.encoding.token))
    return "200 OK", headers, rendered.body


def page_headers(tag: str, origin: Origin, *, is_public: bool) -> dict[str, str]:
    """The headers of a page that was not sent, too, because the client has it."""
    return {
        "ETag": f'"{tag}"',
        "Cache-Control": f"{'' if is_public else 'private, '}max-age=0, must-revalidate",
        "Vary": "Accept, Accept-Encoding" + ("" if is_public else ", Authorization"),
        "X-Devpi-Cache": origin.value,
    }


def event(
    environ: Environ,
    status: str,
    origin: str,
    clock: Clock,
    headers: Headers,
    seconds: float | None = None,
) -> Answered:
    """What an observer is told of an answered request."""
    size = 0
    if environ["REQUEST_METHOD"] != "HEAD":
        for name, value in headers:
            if name == "Content-Length":
                size = int(value)
    return Answered(
        clock(),
        environ.get("REMOTE_ADDR", "-"),
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        status[:3],
        origin,
        size,
        seconds,
    )
