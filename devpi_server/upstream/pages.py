"""Upstream's project pages: held, current within the expiry, one flight a project.

What a caller gets, in this order:

1. a page younger than the expiry as it is, for the price of two stats;
2. else upstream's word, if it comes within the deadline;
3. else, whatever the reason, the page held before: stale, never broken;
4. else, with nothing held, the reason.

Only upstream's own 404 makes a project absent, for 60 s.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from devpi_server.concurrency import BoundedCache, Clock, Crew, SingleFlight
from devpi_server.errors import Corrupt, NoSuchProject, TimedOut, Unreachable, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Listing, Origin, Page, View
from devpi_server.simple import parse
from devpi_server.store.heldfiles import Fact, Facts
from devpi_server.store.locks import Locks
from devpi_server.store.pagefiles import HeldPage, PageFiles, PageHead
from devpi_server.upstream.base import Absent, Fresh, NotModified, UpstreamClient

log = logging.getLogger(__name__)

ABSENT_FOR = 60.0  # seconds that upstream's 404 is remembered
_ABSENT_REMEMBERED = 20_000  # names, so that guessing names fills no memory
# With nothing to fall back on, a client rather waits longer; still below pip's 15 s.
PATIENT = 2.5  # times the timeout
# After a failure, stale pages are served without waiting for this long.
_SICK_FOR = 10.0  # seconds
# Parsed pages are needed again at once, to render them and to find the links of files.
_PARSED = 8 * 1024 * 1024  # bytes in memory
_LINK = 1500  # bytes that a link takes in memory, about


@dataclass(frozen=True, slots=True)
class _Landed:
    """What a flight has found out."""

    held: HeldPage
    origin: Origin


class PageCache:
    """The pages of one upstream index.

    :param base_url: the simple index, with a trailing slash.
    :param expiry: seconds that a page is served without asking upstream.
    :param timeout: seconds to wait for upstream where a held page can stand in.
    """

    def __init__(
        self,
        *,
        client: UpstreamClient,
        base_url: str,
        files: PageFiles,
        facts: Facts,
        locks: Locks,
        crew: Crew,
        clock: Clock,
        expiry: float,
        timeout: float,
        offline: bool,
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._files = files
        self._facts = facts
        self._locks = locks
        self._clock = clock
        self._expiry = expiry
        self._timeout = timeout
        self._offline = offline
        self._flights: SingleFlight[_Landed] = SingleFlight(crew)
        self._absent_until: BoundedCache[str, float] = BoundedCache(_ABSENT_REMEMBERED)
        self._sick_until = 0.0
        self._parsed: BoundedCache[tuple[str, Hashable], Page] = BoundedCache(_PARSED)

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        """The page of the project.

        :raises NoSuchProject: upstream says so, or it is not held and may not be asked for.
        :raises UpstreamError: cannot tell, and nothing is held.
        """
        held = self._files.find(project)
        # A request that was parked and runs again is to find the outcome it waited for.
        if self._flights.was_awaited(project) and freshness is Freshness.CURRENT:
            return self._ask(project, held)
        if held is not None and (freshness is Freshness.ANY or self._is_current(held)):
            return self._view(project, held, Origin.HIT)
        if self._offline or freshness is Freshness.ANY:
            raise NoSuchProject(f"{project} is not in the cache")
        if self._clock() < (self._absent_until.get(project) or 0):
            raise NoSuchProject(f"upstream has no project {project}")
        return self._ask(project, held)

    def listing(self) -> Listing:
        """The projects whose page is held, sorted."""
        return Listing(self._files.stamp(), self._files.projects)

    def _is_current(self, held: HeldPage) -> bool:
        # A page dated in the future was so by a clock that has been set back since.
        return self._offline or -2 < self._clock() - held.checked < self._expiry

    def _view(self, project: NormalizedName, held: HeldPage, origin: Origin) -> View:
        stamp = (held.stamp, self._facts.stamp(project))
        return View(stamp, lambda: self._load(project, held.stamp), origin)

    def _ask(self, project: NormalizedName, held: HeldPage | None) -> View:
        """Let upstream decide, as long as it does so in time."""
        wait = self._timeout * PATIENT
        if held is not None:
            wait = 0.0 if self._clock() < self._sick_until else self._timeout
        try:
            landed = self._flights.do(project, lambda: self._refresh(project), wait)
        except UpstreamError as error:
            if isinstance(error, TimedOut | Unreachable):
                self._sick_until = self._clock() + _SICK_FOR
            if held is None:
                raise
            log.warning("serving %s stale: %s", project, error.message)
            return self._view(project, held, Origin.STALE)
        return self._view(project, landed.held, landed.origin)

    def _refresh(self, project: NormalizedName) -> _Landed:
        """Ask upstream for the page and hold what it says. Runs as a flight."""
        with self._locks.hold(f"page {self._base_url} {project}", self._timeout):
            held = self._files.find(project)
            if held is not None and self._is_current(held):
                return _Landed(held, Origin.REVALIDATED)  # another process was quicker
            head = self._files.head(project) if held is not None else None
            if head is not None and head.base != self._base_url:
                head = None  # what another upstream said: its ETag means nothing here
            answer = self._client.get(
                f"{self._base_url}{project}/", etag=head.etag if head else None
            )
            self._sick_until = 0.0
            if isinstance(answer, Absent):
                self._files.remove(project)
                self._absent_until.put(project, self._clock() + ABSENT_FOR, 1)
                raise NoSuchProject(f"upstream has no project {project}")
            if isinstance(answer, NotModified):
                held = self._files.touch(project)
                if held is None:
                    raise Corrupt(f"the page of {project} went away while it was revalidated")
                return _Landed(held, Origin.REVALIDATED)
            return self._keep(project, head, answer)

    def _keep(self, project: NormalizedName, old: PageHead | None, answer: Fresh) -> _Landed:
        """Hold a document, once it has turned out to be a page of this project."""
        sha256 = hashlib.sha256(answer.document).hexdigest()
        same = old is not None and old.sha256 == sha256 and old.url == answer.url
        # Upstream without ETags: the same bytes keep their stamp, nothing is rendered anew.
        if same and (held := self._files.touch(project)) is not None:
            return _Landed(held, Origin.REVALIDATED)
        page = parse.page(answer.document, answer.content_type, answer.url, project, answer.serial)
        head = PageHead(
            self._base_url, answer.url, answer.content_type, answer.etag, answer.serial, sha256
        )
        held = self._files.write(project, head, answer.document)
        self._remember(project, held.stamp, page)
        return _Landed(held, Origin.MISS)

    def _remember(self, project: NormalizedName, stamp: Hashable, page: Page) -> None:
        self._parsed.put((project, stamp), page, (len(page.links) + 1) * _LINK)

    def _load(self, project: NormalizedName, stamp: Hashable) -> Page:
        """The page, with what holding its files has taught us."""
        page = self._parsed.get((project, stamp)) or self._read(project, stamp)
        facts = self._facts.read(project)
        if not facts:
            return page
        return replace(page, links=tuple(_taught(link, facts) for link in page.links))

    def _read(self, project: NormalizedName, stamp: Hashable) -> Page:
        found = self._files.read(project)
        if found is None:
            self._files.remove(project)  # damaged: the next request fetches it
            raise Corrupt(f"the page of {project} is damaged in the cache, try again")
        head, document = found
        page = parse.page(document, head.content_type, head.url, project, head.serial)
        self._remember(project, stamp, page)
        return page


def _taught(link: Link, facts: Mapping[str, Fact]) -> Link:
    fact = facts.get(link.filename)
    if fact is None or fact.url != link.url:
        return link
    if link.digests.get("sha256", fact.sha256) != fact.sha256:
        return link
    core_metadata = link.core_metadata
    if core_metadata is None and fact.metadata is not None:
        core_metadata = {"sha256": fact.metadata}
    return replace(
        link,
        digests={"sha256": fact.sha256, **link.digests},
        size=fact.size if link.size is None else link.size,
        core_metadata=core_metadata,
    )
