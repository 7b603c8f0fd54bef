"""What may be published for a web server in front, and when it is.

The application offers what it has just answered.  Here it is decided, on a thread of its
own, whether anybody may read it and how long time leaves it true; ``store.published``
keeps the promise from then on.

Not published: what needs a permission; pages with whole URLs, which depend on who asks;
pages that a mirror has to confirm first; lists of projects, which installers do not read.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable

from devpi_server import names
from devpi_server.concurrency import BoundedCache, Clock, Crew
from devpi_server.errors import DevpiError, StoreError
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Indexes
from devpi_server.services.pages import PageKey, Pages
from devpi_server.simple.negotiate import Encoding
from devpi_server.store.published import SOON, Published

log = logging.getLogger(__name__)

# The addresses of pages that the web server knows: an index's own, and /simple/.
_PAGE = re.compile(r"/(?:([^/,]+)/([^/,]+)/)?(\+?simple)/([a-z0-9-]+)/\Z")
_FILE = re.compile(r"\+f/([0-9a-f]{3})/([0-9a-f]{13})/([^/]+)\Z")
_AGAIN = 2.0  # seconds: what is offered again sooner has perhaps not been seen to yet
# Seconds: so that the application hears of what clients use, which mirrors keep fresh.
_UNHEARD = 1800.0
_REMEMBERED = 50_000
_WAITING = 1000  # offers

Work = Callable[[], None]


class ReadyMade:
    """The one who publishes."""

    def __init__(
        self,
        published: Published,
        indexes: Indexes,
        pages: Pages,
        downloads: Downloads,
        clock: Clock,
    ) -> None:
        self._published = published
        self._indexes = indexes
        self._pages = pages
        self._downloads = downloads
        self._clock = clock
        self._crew = Crew("publish", 1)
        self._offered: BoundedCache[tuple[str, bool], float] = BoundedCache(_REMEMBERED)
        self._waiting = threading.BoundedSemaphore(_WAITING)

    def offer_page(self, address: str, key: PageKey) -> None:
        """A page that was just sent, to somebody who had not to say who he is.

        :param address: path of the request.
        """
        if self._is_new(address, is_json=key.is_json):
            self._later(lambda: self._page(address, key))

    def offer_file(self, index: str, path: str) -> None:
        """A file of the index, likewise."""
        if self._is_new(f"{index}/{path}"):
            self._later(lambda: self._file(index, path))

    def _is_new(self, address: str, *, is_json: bool = False) -> bool:
        now = self._clock()
        last = self._offered.get((address, is_json))
        if last is not None and 0 <= now - last < _AGAIN:
            return False
        self._offered.put((address, is_json), now, 1)
        return True

    def _later(self, work: Work) -> None:
        if not self._waiting.acquire(blocking=False):
            return  # it is offered again with the next request

        def do() -> None:
            try:
                work()
            except StoreError as error:
                log.warning("cannot publish: %s", error.message)
            except DevpiError:
                log.debug("what was offered is not there any more", exc_info=True)
            finally:
                self._waiting.release()

        self._crew.submit(do)

    def _page(self, address: str, key: PageKey) -> None:
        found = _PAGE.match(address)
        if found is None or found[4] != key.project:
            return
        project = NormalizedName(found[4])
        ending = "json" if key.is_json else "html"
        name = ",".join([*(part or "" for part in found.groups()[:3]), f"page.{ending}"])
        if self._published.has(project, name):
            return
        with self._published.shelf(project) as shelf:
            if shelf is None:
                return
            index = self._indexes.find(key.index_name)
            if not index.is_public:
                return
            view = index.source.view(project, Freshness.ANY)
            if not self._is_noted(project, view.until()):
                return
            # The plain one is made first, since the other is made of it; and seen last.
            plain = self._pages.of_view(key._replace(encoding=Encoding.IDENTITY), view)
            packed = self._pages.of_view(key._replace(encoding=Encoding.GZIP), view)
            shelf.put(f"{name}.gz", packed.body)
            shelf.put(name, plain.body)

    def _is_noted(self, project: NormalizedName, until: float) -> bool:
        """Note until when what is about to be published is true; whether that is worth it."""
        if until == math.inf:
            return True
        until = min(until, self._clock() + _UNHEARD)
        if until < self._clock() + SOON:
            return False
        self._published.due(project, until)
        # Looked at once more: from here on, who looks after what is due knows of it.
        return until >= self._clock() + SOON

    def _file(self, index_name: str, path: str) -> None:
        found = _FILE.match(path)
        if found is None or "," in index_name:
            return
        user, _, name = index_name.partition("/")
        filed = ",".join((user, name, *found.groups()))
        if self._published.has_file(filed):
            return
        project = self._downloads.facts(index_name, names.split_companion(path)[0]).project
        with self._published.shelf(project) as shelf:
            if shelf is None or not self._indexes.find(index_name).is_public:
                return
            ready = self._downloads.held(index_name, path)
            if ready is not None and ready.owned is None:
                shelf.link(filed, ready.path)
