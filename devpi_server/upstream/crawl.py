"""Links to third-party sites, as installers followed them until 2016.

A project's page comes with what the home and download pages that it names link
to (``simple.legacy`` has the rules).  One level: nothing that is found on those
pages is visited.

A site that does not answer costs its links, not the page: it is logged, and
what it had said before stands in.  All sites of a project are asked at the
same time, and what comes too late is left out until the next time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent import futures
from functools import partial

from devpi_server.concurrency import BoundedCache, Crew
from devpi_server.errors import Corrupt, TimedOut, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.simple import legacy, parse, render, sniff
from devpi_server.simple.fields import QUARANTINED
from devpi_server.upstream.base import Absent, Fresh, NotModified, UpstreamClient
from devpi_server.upstream.wrapped import Wrapped, fresh, split

log = logging.getLogger(__name__)

MOST_PAGES = 10  # of a project
LARGEST_PAGE = 5 * 1024 * 1024  # bytes, decoded
_VISITS = 20  # threads
_REMEMBERED = 4 * 1024 * 1024  # bytes of links in memory
_LINK = 500  # bytes that a link takes in memory, about


class Crawling(Wrapped):
    """Answers for a project's page with what its sites link to.

    :param timeout: seconds for all sites of a project together.
    """

    def __init__(self, client: UpstreamClient, timeout: float) -> None:
        super().__init__(client)
        self._timeout = timeout
        self._crew = Crew("crawl", _VISITS)
        self._last: BoundedCache[tuple[str, str], Sequence[Link]] = BoundedCache(_REMEMBERED)

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        # Without the tag: a page that has not changed says nothing of its sites.
        answer = self._client.get(url, anew=anew)
        if not isinstance(answer, Fresh):
            return answer
        found = self._with_sites(answer, split(url)[1])
        return NotModified() if etag and etag == found.etag else found

    def _with_sites(self, answer: Fresh, project: NormalizedName) -> Fresh:
        if sniff.kind(answer.document, answer.content_type) is not sniff.Kind.HTML:
            return answer  # only HTML has such links
        page = parse.page(answer.document, answer.content_type, answer.url, project, answer.serial)
        if page.status is not None and page.status.status == QUARANTINED:
            return answer
        text = sniff.text(answer.document, answer.content_type)
        eggs = legacy.eggs(text, answer.url, project)
        sites = legacy.pages(text, answer.url, page)[:MOST_PAGES]
        if not eggs and not sites:
            return answer
        document = render.document(legacy.merged(page, eggs, self._crawl(sites, project)))
        return fresh(answer.url, document, page.serial)

    def _crawl(self, sites: Sequence[str], project: NormalizedName) -> list[Link]:
        """What the sites link to, in their order."""
        deadline = time.monotonic() + self._timeout
        visits = {
            site: self._crew.submit(partial(self._visit, site, project, deadline)) for site in sites
        }
        futures.wait(visits.values(), self._timeout)
        found: list[Link] = []
        for site, visit in visits.items():
            try:
                if not visit.done():
                    raise TimedOut("no answer in time")
                links = visit.result()
                self._last.put((project, site), links, (len(links) + 1) * _LINK)
            except UpstreamError as error:
                log.warning("%s: cannot look for files at %s: %s", project, site, error.message)
                links = self._last.get((project, site)) or []
            found += links
        return found

    def _visit(self, site: str, project: NormalizedName, deadline: float) -> Sequence[Link]:
        """Runs on a thread of the crew."""
        if time.monotonic() > deadline:
            raise TimedOut("no answer in time")  # nobody waits for it any more
        with self._client.stream(site, page=True) as answer:
            if isinstance(answer, Absent | NotModified):
                raise Corrupt("there is no such page")
            if not answer.content_type.lower().startswith("text/html"):
                raise Corrupt("it is no web page")
            document = bytearray()
            for chunk in answer.decoded(LARGEST_PAGE):
                document += chunk
                if time.monotonic() > deadline:
                    raise TimedOut("it comes too slowly")
            text = sniff.text(bytes(document), answer.content_type)
            return legacy.archives(text, answer.url, project)
