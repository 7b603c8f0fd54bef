"""An upstream that is one page with the files of all projects, served as an index.

The page is fetched once for all projects that are asked for within a while, and
revalidated after that; what it says of one project is answered as a page of its
own, with a tag that changes only when that page does.  So a new file of one
project makes no other project's page stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from devpi_server.concurrency import Clock, Crew, SingleFlight
from devpi_server.errors import Corrupt, Denied
from devpi_server.records import Link
from devpi_server.simple import flat, parse, render
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream, UpstreamClient
from devpi_server.upstream.wrapped import Wrapped, fresh, split

_CURRENT_FOR = 30.0  # seconds, as pages of many projects are asked for at the same time
_PATIENCE = 60.0  # seconds; the client has deadlines of its own
_FILES = (".html", ".htm", ".xml", ".txt")
_PARTS = 200  # of a listing that comes in parts


@dataclass(frozen=True, slots=True)
class _Held:
    """The page, as it came: parsed links would take ten times the memory."""

    parts: tuple[Fresh, ...]
    checked: float

    @property
    def etag(self) -> str | None:
        # The first part does not tell whether the others have changed.
        return self.parts[0].etag if len(self.parts) == 1 else None

    def links(self) -> Iterator[Link]:
        for part in self.parts:
            yield from parse.flat(part.document, part.content_type, part.url)[0]


class Flat(Wrapped):
    """Answers for a project's page, and for the list of projects, out of the one page."""

    def __init__(self, client: UpstreamClient, clock: Clock) -> None:
        super().__init__(client)
        self._clock = clock
        self._held: dict[str, _Held] = {}  # by address, of which a mirror has a few
        self._flights: SingleFlight[_Held] = SingleFlight(Crew("flat", 2))

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        base, project = split(url)
        page = flat.page(self._current(base).links(), project)
        if not page.links:
            return Absent()
        answer = fresh(base, render.document(page))
        return NotModified() if etag == answer.etag else answer

    @contextmanager
    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> Iterator[Stream | NotModified | Absent]:
        if not page:
            with self._client.stream(url, etag=etag) as answer:
                yield answer
            return
        names = flat.projects(self._current(url).links())
        listing = fresh(url, b"".join(render.listing_json(names)))
        yield NotModified() if etag == listing.etag else _Whole(listing)

    def _current(self, base: str) -> _Held:
        held = self._held.get(base)
        if held is not None and 0 <= self._clock() - held.checked < _CURRENT_FOR:
            return held
        return self._flights.do(base, lambda: self._refresh(base), _PATIENCE)

    def _refresh(self, base: str) -> _Held:
        """Ask for the page. Runs as a flight."""
        held = self._held.get(base)
        now = self._clock()
        try:
            answer = self._client.get(_address(base), etag=held.etag if held else None)
            parts = tuple(self._parts(answer)) if isinstance(answer, Fresh) else ()
        except Denied as error:
            # Without its status: a 403 for the one page is not about a project.
            raise Denied(error.message, retry_after=error.retry_after) from error
        if isinstance(answer, Absent):
            # It says nothing about any project, so no project is gone.
            raise Corrupt("upstream's page with the files of all projects is not there")
        if parts:
            held = _Held(parts, now)
        elif held is not None:
            held = _Held(held.parts, now)
        else:
            raise Corrupt("upstream says that its page is not modified, unasked")
        self._held[base] = held
        return held

    def _parts(self, answer: Fresh) -> Iterable[Fresh]:
        size = 0
        for _ in range(_PARTS):
            yield answer
            size += len(answer.document)
            further = parse.flat(answer.document, answer.content_type, answer.url)[1]
            if further is None:
                return
            following = self._client.get(further)
            if not isinstance(following, Fresh) or size > parse.MAX_BYTES:
                break
            answer = following
        raise Corrupt("upstream's list of files does not come to its end")


@dataclass(frozen=True, slots=True)
class _Whole:
    """A ``Stream`` of what is there already."""

    _answer: Fresh
    encoded: bool = False
    serial: int | None = None

    @property
    def length(self) -> int | None:
        return len(self._answer.document)

    @property
    def content_type(self) -> str:
        return self._answer.content_type

    @property
    def url(self) -> str:
        return self._answer.url

    @property
    def etag(self) -> str | None:
        return self._answer.etag

    def chunks(self) -> Iterator[bytes]:
        yield self._answer.document

    def decoded(self, limit: int) -> Iterator[bytes]:
        return self.chunks()


def _address(base: str) -> str:
    """Without the slash that every index has at its end, if it is the address of a file."""
    address = base.rstrip("/")
    return address if address.lower().endswith(_FILES) else base
