"""Pages, ready to send: rendered and compressed once a version, then kept in memory.

Why rendering is a flight: fifty clients that ask for one new page cause one
rendering, on one of two threads, so a burst of cold pages cannot take the
processor from requests that need no rendering.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

import zstandard

from devpi_server.concurrency import BoundedCache, Crew, SingleFlight
from devpi_server.names import NormalizedName
from devpi_server.records import Listing, Origin, View
from devpi_server.simple import render
from devpi_server.simple.negotiate import Encoding
from devpi_server.sources.base import Source

_BUDGET = 24 * 1024 * 1024  # bytes of rendered pages in memory
_OVERHEAD = 500  # bytes of memory for each beside its body
_RENDER_WITHIN = 30.0  # seconds
_SMALL = 300  # links: rendered in a few milliseconds

Work = Callable[[], bytes]


class PageKey(NamedTuple):
    """Which representation of which page."""

    index_name: str
    project: NormalizedName | None  # None: the listing
    is_json: bool
    encoding: Encoding
    prefix: str  # relative URL of the index's root
    # The members of the index that who asks may read; None: all.
    shown: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """A representation: bytes that are sent as they are."""

    stamp: Hashable  # of the view that it was made from
    tag: str  # equal tags: equal bytes
    body: bytes


class Pages:
    """The pages of all indexes."""

    def __init__(self) -> None:
        self._held: BoundedCache[PageKey, Rendered] = BoundedCache(_BUDGET)
        self._flights: SingleFlight[Rendered] = SingleFlight(Crew("render", 2))

    @property
    def memory(self) -> int:
        """Bytes of memory that they take."""
        return self._held.spent

    def held(self, key: PageKey) -> Rendered | None:
        """What was rendered last for the key; whether it is current, its stamp says."""
        return self._held.get(key)

    def project(
        self, key: PageKey, project: NormalizedName, source: Source
    ) -> tuple[Rendered, Origin]:
        """A project page.

        :param source: the index, as who asks may see it.
        :raises NoSuchProject: it is known not to have the project.
        :raises UpstreamError: cannot tell.
        """
        view = source.view(project)
        return self.of_view(key, view), view.origin

    def of_view(self, key: PageKey, view: View) -> Rendered:
        """The page of a project as it is in this view."""
        # A small page that has just been fetched is not worth a flight.
        small = view.at_hand and len(view.load().links) <= _SMALL
        return self._rendered(key, view.stamp, lambda: _project_page(key, view), at_once=small)

    def listing(self, key: PageKey, source: Source, title: str) -> Rendered:
        """The list of projects that are held.

        :param source: the index, as who asks may see it.
        :param title: of the page for people.
        """
        listing = source.listing()
        return self._rendered(key, listing.stamp, lambda: _listing_page(key, listing, title))

    def made(self, key: PageKey, stamp: Hashable, work: Work) -> Rendered:
        """A page of another make: what work returns, if it is not held with this stamp."""
        return self._rendered(key, stamp, work)

    def _rendered(
        self, key: PageKey, stamp: Hashable, work: Work, *, at_once: bool = False
    ) -> Rendered:
        rendered = self._held.get(key)
        if rendered is not None and rendered.stamp == stamp:
            return rendered
        if at_once:
            return self._render(key, stamp, work)
        return self._flights.do(
            (key, stamp), lambda: self._render(key, stamp, work), _RENDER_WITHIN
        )

    def _render(self, key: PageKey, stamp: Hashable, work: Work) -> Rendered:
        plain = self._held.get(key._replace(encoding=Encoding.IDENTITY))
        body = plain.body if plain is not None and plain.stamp == stamp else work()
        rendered = Rendered(stamp, _tag(body, key.encoding), compress(body, key.encoding))
        self._held.put(key, rendered, len(rendered.body) + _OVERHEAD)
        return rendered


def rendered_once(body: bytes, encoding: Encoding) -> Rendered:
    """A representation that is not kept."""
    tag = _tag(body, encoding)
    return Rendered(None, tag, compress(body, encoding))


def _tag(body: bytes, encoding: Encoding) -> str:
    return f"{hashlib.sha256(body).hexdigest()[:32]}-{encoding.token}"


def _project_page(key: PageKey, view: View) -> bytes:
    renderer = render.json_page if key.is_json else render.html_page
    return renderer(view.load(), key.prefix)


def _listing_page(key: PageKey, listing: Listing, title: str) -> bytes:
    if key.is_json:
        return b"".join(render.listing_json(listing.names()))
    return b"".join(render.listing_html(listing.names(), title))


def compress(body: bytes, encoding: Encoding) -> bytes:
    """The body in the encoding."""
    if encoding is Encoding.GZIP:
        gzip = zlib.compressobj(6, wbits=31)
        return gzip.compress(body) + gzip.flush()
    if encoding is Encoding.ZSTD:
        return zstandard.ZstdCompressor(level=6).compress(body)
    return body
