"""Asking upstream for a page, and deciding what its answer is worth.

An answer is *behind* when its serial is below one that was promised by the
change feed or held already: a stale node of upstream's CDN.  Then what is held
stays, and upstream is asked again later, on a new connection, for a bounded
time: serials must never freeze a project (protocol.md 3.3).
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

from devpi_server import names
from devpi_server.concurrency import BoundedCache, Clock
from devpi_server.errors import Corrupt, NoSuchProject, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Origin, Page
from devpi_server.simple import parse
from devpi_server.simple.fields import QUARANTINED
from devpi_server.store.marks import Mark
from devpi_server.store.pagefiles import HeldPage, PageFiles, PageHead
from devpi_server.store.vanished import WHOLE, Gone, Vanished, without
from devpi_server.upstream.base import Absent, Fresh, NotModified, UpstreamClient
from devpi_server.upstream.memory import Turns
from devpi_server.upstream.origins import Origins
from devpi_server.upstream.trust import Trust

log = logging.getLogger(__name__)

_GIVE_UP = 600.0  # seconds that an answer may stay behind until it is accepted
_SHORTEST, _LONGEST = 1.0, 60.0  # seconds between two tries while it is behind
_REMEMBERED = 10_000  # projects that are behind at the same time


@dataclass(frozen=True, slots=True)
class Landed:
    """What asking has come to."""

    held: HeldPage
    origin: Origin
    page: Page | None = None  # parsed already, if it is new
    at_hand: bool = False  # the page is in memory


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of a mirror that bear on what its upstream's answers mean."""

    ignore_serials: bool = False  # mirror_ignore_serial_header
    keep_vanished: bool = False  # mirror_keep_vanished
    forbidden_is_absent: bool = False  # mirror_forbidden_is_absent
    feed_vouches: bool = True  # not where pages come from other sites as well (mirror_crawl)


@dataclass(frozen=True, slots=True)
class _Behind:
    since: float
    pause: float
    until: float


class _NotHere(Exception):
    """An address that stands in for the first does not have the project.

    That does not say that there is none: only the first address can say so.
    """


class Refresher:
    """Asks the upstream of one mirror; keeps what it says."""

    def __init__(
        self,
        *,
        client: UpstreamClient,
        origins: Origins,
        files: PageFiles,
        vanished: Vanished,
        trust: Trust,
        rules: Rules,
        clock: Clock,
    ) -> None:
        self._client = client
        self._origins = origins
        self._files = files
        self._vanished = vanished
        self._trust = trust
        self._rules = rules
        self._clock = clock
        self.turns = Turns()
        self._behind: BoundedCache[str, _Behind] = BoundedCache(_REMEMBERED)

    def is_resting(self, project: NormalizedName) -> bool:
        """Whether upstream was behind just now, so that asking again had better wait."""
        behind = self._behind.get(project)
        return behind is not None and self._clock() < behind.until

    def refresh(self, project: NormalizedName) -> Landed:
        """Ask the addresses of upstream in order, and hold what the first good answer says.

        :raises NoSuchProject: upstream says so.
        :raises UpstreamError: none of them can tell.
        """
        doubts = self._trust.doubts.of(project)
        try:
            landed = self._ask_in_order(project)
        except NoSuchProject:
            self._trust.doubts.settle(project, doubts)
            raise
        self._trust.doubts.settle(project, doubts)
        return landed

    def _ask_in_order(self, project: NormalizedName) -> Landed:
        head = self._files.head(project)
        faults: list[UpstreamError] = []
        for base in self._origins.in_order():
            try:
                landed = self._ask(base, project, head if head and head.base == base else None)
            except UpstreamError as error:
                self._origins.failed(base, error)
                faults.append(error)
            except _NotHere:
                self._origins.worked(base)  # and the first address is still to be asked
            except NoSuchProject:
                self._origins.worked(base)
                raise
            else:
                self._origins.worked(base)
                return landed
        raise faults[0]

    def _ask(self, base: str, project: NormalizedName, head: PageHead | None) -> Landed:
        promise = self._trust.promise(project) if base == self._origins.first else None
        again = self._behind.get(project) is not None
        answer = self._get(f"{base}{project}/", head, anew=again)
        if isinstance(answer, Absent):
            if base != self._origins.first:
                raise _NotHere
            return self._lose(project, promise)
        if isinstance(answer, NotModified):
            if head is None:
                raise Corrupt(f"upstream says that {project} is not modified, unasked")
            return self._revalidate(project, head, promise)
        return self._judge(base, project, head, answer, promise)

    def _revalidate(self, project: NormalizedName, head: PageHead, promise: Mark | None) -> Landed:
        """Upstream has what is held; it keeps its stamp, so nothing is rendered anew."""
        if self._is_behind(project, head.serial, head, promise):
            return self._stay(project)
        held = self._files.touch(project)
        if held is None:
            raise Corrupt(f"the page of {project} went away while it was revalidated")
        return self._done(project, Landed(held, Origin.REVALIDATED), promise)

    def _get(self, url: str, head: PageHead | None, *, anew: bool) -> Fresh | NotModified | Absent:
        try:
            return self._client.get(url, etag=head.etag if head else None, anew=anew)
        except UpstreamError as error:
            if self._rules.forbidden_is_absent and error.status == 403:
                return Absent()
            raise

    def _judge(
        self,
        base: str,
        project: NormalizedName,
        head: PageHead | None,
        answer: Fresh,
        promise: Mark | None,
    ) -> Landed:
        """Hold a document, once it has turned out to be a page of this project, and not behind."""
        sha256 = hashlib.sha256(answer.document).hexdigest()
        same = head is not None and head.sha256 == sha256 and head.url == answer.url
        # Upstream without ETags says "not modified" by sending the same bytes.
        if same and head is not None:
            return self._revalidate(project, head, promise)
        with self.turns.of(len(answer.document)):
            return self._take(base, project, head, answer, sha256, promise)

    def _take(
        self,
        base: str,
        project: NormalizedName,
        head: PageHead | None,
        answer: Fresh,
        sha256: str,
        promise: Mark | None,
    ) -> Landed:
        page = parse.page(answer.document, answer.content_type, answer.url, project, answer.serial)
        behind = self._is_behind(project, page.serial, head, promise)
        if behind and head is not None:
            return self._stay(project)
        self._note_vanished(project, page)
        new = PageHead(base, answer.url, answer.content_type, answer.etag, page.serial, sha256)
        followed = base == self._origins.first and self._rules.feed_vouches
        held = self._files.write(project, new, answer.document, followed=followed)
        landed = Landed(held, Origin.MISS, page)
        if behind:  # the first page that there is, but not for longer than need be
            self._files.expire(project)
            return landed
        return self._done(project, landed, promise)

    # Behind, or not.

    def _is_behind(
        self,
        project: NormalizedName,
        serial: int | None,
        head: PageHead | None,
        promise: Mark | None,
    ) -> bool:
        """Whether an answer with this serial is older than what is known to exist."""
        wanted = max(promise.value if promise else 0, (head.serial if head else None) or 0)
        if serial is None or serial >= wanted or self._rules.ignore_serials:
            return False
        now = self._clock()
        behind = self._behind.get(project)
        if behind is not None and now - behind.since > _GIVE_UP:
            log.warning(
                "%s: upstream stays behind serial %d, accepting %d", project, wanted, serial
            )
            return False
        since, pause = (
            (behind.since, min(_LONGEST, behind.pause * 2)) if behind else (now, _SHORTEST)
        )
        self._behind.put(project, _Behind(since, pause, now + pause), 1)
        log.info("%s: upstream is behind, with serial %d instead of %d", project, serial, wanted)
        return True

    def _stay(self, project: NormalizedName) -> Landed:
        """Upstream is behind: what is held stays, and is asked for again later."""
        held = self._files.find(project)
        if held is None:
            raise Corrupt(f"the page of {project} went away while upstream was behind")
        return Landed(held, Origin.STALE)

    def _done(self, project: NormalizedName, landed: Landed, promise: Mark | None) -> Landed:
        """The answer is good."""
        self._behind.discard(project)
        if promise is not None:
            self._trust.fulfil(project, promise)
        if self._trust.promise(project) is not None:
            self._files.expire(project)  # it was named again while upstream was being asked
        return landed

    # What upstream has taken away.

    def _lose(self, project: NormalizedName, promise: Mark | None) -> Landed:
        """Upstream does not have the project, any more."""
        if self._rules.keep_vanished and (held := self._files.touch(project)) is not None:
            log.warning("upstream has removed %s, it is kept", project)
            return self._done(project, Landed(held, Origin.REVALIDATED), promise)
        self._note_vanished(project, Page(project))
        self._files.remove(project)
        if promise is not None:
            self._trust.fulfil(project, promise)
        raise NoSuchProject(f"upstream has no project {project}")

    def _note_vanished(self, project: NormalizedName, page: Page) -> None:
        """Remember the links that the new page has lost, and whether it is quarantined."""
        held = self._held_links(project)
        self._vanished.update(project, lambda before: _gone(before, held, page))

    def _held_links(self, project: NormalizedName) -> tuple[Link, ...]:
        held = self._files.find(project)
        with self.turns.of(held.size if held is not None else 0):
            found = self._files.read(project)
            if found is None:
                return ()
            head, document = found
            try:
                page = parse.page(document, head.content_type, head.url, project, head.serial)
            except Corrupt:  # held by an earlier version of ours that was less strict
                return ()
            return page.links


def _gone(before: Gone, held: tuple[Link, ...], page: Page) -> Gone:
    """What is gone, now that upstream shows this page."""
    links = without((*held, *before.links), page.links)
    refused = dict(before.refused)
    if page.status is not None and page.status.status == QUARANTINED:
        refused[WHOLE] = page.status.reason or "upstream has quarantined the project"
    elif page.links:
        refused.pop(WHOLE, None)
    listed = {
        version for link in page.links if (version := names.version_of(link.filename, page.name))
    }
    kept = {
        key: why
        for key, why in refused.items()
        if not any(names.same_version(key, version) for version in listed)
    }
    return Gone(links, kept)
