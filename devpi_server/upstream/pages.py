"""Upstream's project pages: held, current within the expiry, one flight a project.

What a caller gets, in this order:

1. a page that is young, or that the change feed vouches for, as it is, for two stats;
2. else upstream's word, if it comes within the deadline;
3. else, whatever the reason, the page held before: stale, never broken;
4. else, with nothing held, the reason.

Only upstream's own 404 makes a project absent, for 60 s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Hashable, Mapping
from dataclasses import replace

from devpi_server.concurrency import BoundedCache, Clock, Crew, SingleFlight
from devpi_server.errors import (
    Corrupt,
    NoSuchProject,
    Overloaded,
    StoreError,
    TimedOut,
    Unreachable,
    UpstreamError,
)
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Listing, Origin, Page, View
from devpi_server.simple import parse
from devpi_server.store.heldfiles import Fact, Facts
from devpi_server.store.locks import Locks
from devpi_server.store.pagefiles import HeldPage, PageFiles
from devpi_server.store.vanished import Vanished, without
from devpi_server.upstream.base import PATIENT
from devpi_server.upstream.refresh import Landed, Refresher
from devpi_server.upstream.trust import Trust

log = logging.getLogger(__name__)

ABSENT_FOR = 60.0  # seconds that upstream's 404 is remembered
_ABSENT_REMEMBERED = 20_000  # names, so that guessing names fills no memory
_DOUBTS = 3  # times that upstream is asked again at once because its page was doubted meanwhile
# After a failure, stale pages are served without waiting for this long.
_SICK_FOR = 10.0  # seconds
# Parsed pages are needed again at once, to render them and to find the links of files.
_PARSED = 8 * 1024 * 1024  # bytes in memory
_LINK = 1500  # bytes that a link takes in memory, about
_ASKED_REMEMBERED = 50_000  # projects


class PageCache:
    """The pages of one upstream index.

    :param name: of the mirror; keeps its locks apart from other mirrors'.
    :param expiry: seconds that a page is served without asking upstream; 0: none at all.
    :param timeout: seconds to wait for upstream where a held page can stand in.
    :param keep_vanished: whether pages go on listing what upstream has removed.
    :param trust_changed: whether a file without a digest may be another one tomorrow; else
        pages state the digest that it had first.
    """

    def __init__(
        self,
        *,
        name: str,
        refresher: Refresher,
        files: PageFiles,
        facts: Facts,
        vanished: Vanished,
        trust: Trust,
        locks: Locks,
        crew: Crew,
        clock: Clock,
        expiry: float,
        timeout: float,
        offline: bool,
        keep_vanished: bool = False,
        trust_changed: bool = False,
    ) -> None:
        self._name = name
        self._refresher = refresher
        self._files = files
        self._facts = facts
        self._vanished = vanished
        self._trust = trust
        self._locks = locks
        self._clock = clock
        self._expiry = expiry
        self._timeout = timeout
        self._offline = offline
        self._keep_vanished = keep_vanished
        self._trust_changed = trust_changed
        self._flights: SingleFlight[Landed] = SingleFlight(crew)
        self._absent_until: BoundedCache[str, float] = BoundedCache(_ABSENT_REMEMBERED)
        self._sick_until = 0.0
        self._parsed: BoundedCache[tuple[str, Hashable], Page] = BoundedCache(_PARSED)
        # Project → when a client asked for it last. A plain dict: this is the hot path.
        self._asked: dict[NormalizedName, float] = {}

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        """The page of the project.

        :raises NoSuchProject: upstream says so, or it is not held and may not be asked for.
        :raises UpstreamError: cannot tell, and nothing is held.
        """
        held = self._files.find(project)
        if freshness is Freshness.ANY or self._offline:
            if held is None:
                raise NoSuchProject(f"{project} is not in the cache")
            return self._view(project, held, Origin.HIT)
        # A request that was parked and runs again is to find the outcome it waited for.
        if self._flights.was_awaited(project):
            return self._ask(project, held)
        if held is not None:
            self._asked[project] = self._clock()
            if self._is_current(project, held):
                return self._view(project, held, Origin.HIT)
            if self._refresher.is_resting(project):
                return self._view(project, held, Origin.STALE)
        elif self._clock() < (self._absent_until.get(project) or 0):
            raise NoSuchProject(f"upstream has no project {project}")
        return self._ask(project, held)

    def listing(self) -> Listing:
        """The projects whose page is held, sorted."""
        return Listing(self._files.stamp(), self._files.projects)

    def refresh(self, project: NormalizedName) -> None:
        """Ask upstream for the page in the background, however current it is."""
        self._flights.join(project, lambda: self._refresh(project, force=True))

    def asked_since(self, when: float) -> list[NormalizedName]:
        """The projects that clients of this process have asked for since then."""
        asked = list(self._asked.items())
        if len(asked) > _ASKED_REMEMBERED:
            self._asked = {}
        return [project for project, last in asked if last >= when]

    def held(self, project: NormalizedName) -> HeldPage | None:
        """Whether the page is held, and since when it is current."""
        return self._files.find(project)

    def expire(self, project: NormalizedName) -> None:
        """The page has changed upstream: it is not current any more.

        An answer that is on its way now may be older than that, and does not count.
        """
        self._absent_until.discard(project)
        # In this order: what comes in between, somebody has asked for after this.
        if self._is_being_asked_for(project) or self._files.find(project) is not None:
            self._trust.doubts.add(project)
        self._files.expire(project)

    def drop(self, project: NormalizedName) -> None:
        """Hold the page no longer."""
        self._absent_until.discard(project)
        self._files.remove(project)

    def _is_current(self, project: NormalizedName, held: HeldPage) -> bool:
        if not self._expiry:
            return False  # the way to say: always ask, whatever the feed says
        if self._trust.doubts.exist(project):
            return False
        # A page dated in the future was so by a clock that has been set back since.
        return -2 < self._clock() - held.checked < self._expiry or self._trust.covers(held)

    def _until(self, project: NormalizedName, held: HeldPage) -> float:
        if self._offline:
            return math.inf
        if not self._is_current(project, held):
            return 0.0
        return max(held.checked + self._expiry, self._trust.covered_until(held))

    def _view(
        self, project: NormalizedName, held: HeldPage, origin: Origin, *, at_hand: bool = False
    ) -> View:
        stamp: Hashable = (held.stamp, self._facts.stamp(project))
        if self._keep_vanished:
            stamp = (stamp, self._vanished.stamp(project))
        return View(
            stamp,
            lambda: self._load(project, held),
            origin,
            at_hand,
            lambda: self._until(project, held),
        )

    def _ask(self, project: NormalizedName, held: HeldPage | None) -> View:
        """Let upstream decide, as long as it does so in time."""
        wait = self._timeout * PATIENT
        if held is not None:
            wait = 0.0 if self._clock() < self._sick_until else self._timeout
        try:
            landed = self._flights.do(project, lambda: self._refresh(project), wait)
        except (UpstreamError, StoreError, Overloaded) as error:
            if isinstance(error, TimedOut | Unreachable):
                self._sick_until = self._clock() + _SICK_FOR
            if held is None:
                raise
            log.warning("serving %s stale: %s", project, error.message)
            return self._view(project, held, Origin.STALE)
        self._asked[project] = self._clock()
        return self._view(project, landed.held, landed.origin, at_hand=landed.at_hand)

    def _refresh(self, project: NormalizedName, *, force: bool = False) -> Landed:
        """Runs as a flight."""
        with self._locks.hold(self._lock(project), self._timeout):
            held = self._files.find(project)
            if held is not None and not force and self._is_current(project, held):
                return Landed(held, Origin.REVALIDATED)  # another process was quicker
            try:
                landed = self._refresher.refresh(project)
                for _ in range(_DOUBTS):
                    if not self._trust.doubts.exist(project):
                        break
                    # Who joined this flight may have asked after the doubt.
                    landed = self._refresher.refresh(project)
            except NoSuchProject:
                if not self._trust.doubts.exist(project):
                    self._absent_until.put(project, self._clock() + ABSENT_FOR, 1)
                self._sick_until = 0.0
                raise
            self._sick_until = 0.0
            at_hand = landed.page is not None and self._remember(project, landed.held, landed.page)
            # Without the page: who waits for a thread to render it is not to keep it in memory.
            return Landed(landed.held, landed.origin, at_hand=at_hand)

    def _is_being_asked_for(self, project: NormalizedName) -> bool:
        """Whether some process is asking upstream for the page."""
        lock = self._locks.try_hold(self._lock(project))
        if lock is not None:
            lock.release()
        return lock is None

    def _lock(self, project: NormalizedName) -> str:
        return f"page {self._name} {project}"

    def _remember(self, project: NormalizedName, held: HeldPage, page: Page) -> bool:
        """Keep the page in memory, if it is not too large for that."""
        cost = (len(page.links) + 1) * _LINK
        self._parsed.put((project, held.stamp), page, cost)
        return cost <= _PARSED

    def _load(self, project: NormalizedName, held: HeldPage) -> Page:
        """The page, with what holding its files has taught us."""
        page = self._parsed.get((project, held.stamp)) or self._read(project, held)
        if self._keep_vanished:
            page = self._with_vanished(page)
        facts = self._facts.read(project)
        if not facts:
            return page
        taught = (
            link if self._trust_changed and not link.digests else _taught(link, facts)
            for link in page.links
        )
        return replace(page, links=tuple(taught))

    def _with_vanished(self, page: Page) -> Page:
        gone = self._vanished.read(page.name)
        kept = (
            link
            for link in without(gone.links, page.links)
            if gone.refusal(link.filename, page.name) is None
        )
        return replace(page, links=(*page.links, *kept))

    def _read(self, project: NormalizedName, held: HeldPage) -> Page:
        with self._refresher.turns.of(held.size):
            found = self._files.read(project)
            if found is None:
                self._files.remove(project)  # damaged: the next request fetches it
                raise Corrupt(f"the page of {project} is damaged in the cache, try again")
            head, document = found
            page = parse.page(document, head.content_type, head.url, project, head.serial)
        self._remember(project, held, page)
        return page


def _taught(link: Link, facts: Mapping[str, Fact]) -> Link:
    fact = facts.get(link.filename)
    # Without a digest, the name is all that tells files apart, wherever it leads now.
    if fact is None or (link.digests and fact.url != link.url):
        return link
    # A fact that was learned from afar knows no digest, so it counts only where there is none.
    if link.digests.get("sha256", fact.sha256) != fact.sha256:
        return link
    core_metadata = link.core_metadata
    if core_metadata is None and fact.metadata is not None:
        core_metadata = {"sha256": fact.metadata}
    return replace(
        link,
        digests={"sha256": fact.sha256, **link.digests} if fact.sha256 else link.digests,
        size=fact.size if link.size is None else link.size,
        core_metadata=core_metadata,
    )
