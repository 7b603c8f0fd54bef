"""Follow upstream's changes, so that pages are current without being asked for.

One process of those that share a data directory does it: the one that holds
the lock.  The order within a tick makes it safe to die at any moment: what a
change means is done first, the cursor is written last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from devpi_server.concurrency import Clock
from devpi_server.errors import FeedWentBack, Unsupported, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.store.feedstate import FeedFile, FeedState
from devpi_server.store.marks import Marks
from devpi_server.store.vanished import WHOLE, Gone, Vanished
from devpi_server.upstream.changes import Change, ChangeFeed, clearance_of, quarantine_of
from devpi_server.upstream.listings import SPARINGLY
from devpi_server.upstream.pages import PageCache
from devpi_server.workers.interest import HOT_FOR, hours
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)

_LONGEST_PAUSE = 600.0  # seconds between two tries of a feed that does not answer
_WINDOW = 3  # polls that may fail until pages are checked by their age again
_LOOK_AGAIN = 3600.0  # seconds until an upstream without a feed is asked again for one
_KEEP_PROMISES = 900.0  # seconds that a change of a page that is not held is remembered
NONE = "none"


class Follow:
    """A worker: one poll of one mirror's feed.

    :param base: the upstream address that the serials belong to.
    :param choose: finds out which feed upstream has; None: it has none.
    :param every: seconds between two polls.
    """

    def __init__(
        self,
        *,
        mirror: str,
        base: str,
        choose: Callable[[], ChangeFeed | None],
        feed: FeedFile,
        promises: Marks,
        interest: Marks,
        pages: PageCache,
        vanished: Vanished,
        leader: Leader,
        clock: Clock,
        every: float,
    ) -> None:
        self.name = f"follow {mirror}"
        self.every = every
        self._base = base
        self._choose = choose
        self._file = feed
        self._promises = promises
        self._interest = interest
        self._pages = pages
        self._vanished = vanished
        self._leader = leader
        self._clock = clock
        self._feed: ChangeFeed | None = None
        self._chosen_at = 0.0
        self._not_before = 0.0
        self._failures = 0
        self._pruned_at = 0.0

    def tick(self) -> None:
        if not self._leader.is_this_process() or self._clock() < self._not_before:
            return
        try:
            self._poll_or_begin()
        except UpstreamError as error:
            self._fail(error)
        else:
            self._failures = 0

    def _poll_or_begin(self) -> None:
        try:
            self._poll()
        except FeedWentBack as error:
            log.warning("%s: %s, beginning anew", self.name, error.message)
            self._begin(self._current_feed())

    def _poll(self) -> None:
        # A list of all projects is what is left where there is no journal: look for one again.
        again = self._feed is not None and self._feed.kind == "listing" and self._is_due()
        feed = self._current_feed() if again or self._feed is None else self._feed
        if feed is None:
            return
        state = self._file.state()
        if state is None or state.base != self._base or state.kind != feed.kind:
            self._begin(feed)
            return
        if state.problem:
            log.info("%s: the %s feed answers again", self.name, feed.kind)
        more = True
        while more:
            changes = feed.since(state.serial)
            for project, rows in changes.by_project.items():
                self._named(project, rows)
            more = changes.more
            # Only a feed that was read to its end vouches for the pages that it did not name.
            answered_at = state.answered_at if more else self._clock()
            state = replace(state, serial=changes.serial, answered_at=answered_at, problem=None)
            self._file.write(state)
        self._not_before = self._clock() + _pause(feed, self.every) - self.every
        self._prune()

    def _is_due(self) -> bool:
        return self._clock() - self._chosen_at >= _LOOK_AGAIN

    def _current_feed(self) -> ChangeFeed | None:
        """The feed that upstream has now."""
        self._feed = self._choose()
        self._chosen_at = self._clock()
        if self._feed is None:
            self._not_before = self._clock() + _LOOK_AGAIN
            state = self._file.state()
            if state is None or state.kind != NONE or state.base != self._base:
                log.info("%s: upstream has no feed of changes, pages are checked by age", self.name)
                self._file.write(FeedState(self._base, NONE))
        return self._feed

    def _begin(self, feed: ChangeFeed | None) -> None:
        """Start to follow: pages checked from now on are covered, older ones once they are."""
        if feed is None:
            return
        now = self._clock()
        serial = feed.start()
        self._file.write(
            FeedState(
                self._base,
                feed.kind,
                serial,
                covered_since=int(now),
                answered_at=now,
                window=_WINDOW * max(_pause(feed, self.every), 60.0),
            )
        )
        log.info("%s: following the %s feed from serial %d", self.name, feed.kind, serial)

    def _named(self, project: NormalizedName, rows: tuple[Change, ...]) -> None:
        """The feed has named a project."""
        now = self._clock()
        self._promises.put(project, max(row.serial for row in rows), now)
        self._note_quarantine(project, rows)
        if self._pages.held(project) is None:
            return
        log.debug("%s: %s has changed", self.name, project)
        self._pages.expire(project)
        asked = self._interest.get(project)
        if asked is not None and hours(now) - asked.value <= HOT_FOR:
            self._pages.refresh(project)

    def _note_quarantine(self, project: NormalizedName, rows: tuple[Change, ...]) -> None:
        """What upstream quarantines is refused at once, also by the address of its files."""
        if any(quarantine_of(row) or clearance_of(row) for row in rows):
            log.warning("%s: %s: %s", self.name, project, ", ".join(row.action for row in rows))
            self._vanished.update(project, lambda gone: _judged(gone, rows))

    def _fail(self, error: UpstreamError) -> None:
        """Log once a state, and wait longer each time."""
        self._failures += 1
        if isinstance(error, Unsupported):
            self._feed = None  # it had one: next time, what it has is found out anew
        pause = min(_LONGEST_PAUSE, self.every * 2 ** min(self._failures, 10))
        self._not_before = self._clock() + max(pause, error.retry_after or 0) - self.every
        state = self._file.state()
        if state is None:
            state = FeedState(self._base, NONE)
        if state.problem != error.message:
            log.warning("%s: no answer: %s", self.name, error.message)
            self._file.write(replace(state, problem=error.message))

    def _prune(self) -> None:
        """Forget old changes of pages that are not held."""
        now = self._clock()
        if now - self._pruned_at < _KEEP_PROMISES:
            return
        self._pruned_at = now
        for project in list(self._promises.projects()):
            promise = self._promises.get(project)
            if promise is None or promise.since >= now - _KEEP_PROMISES:
                continue
            if self._pages.held(project) is None:
                self._promises.drop(project, promise)


def _judged(gone: Gone, rows: tuple[Change, ...]) -> Gone:
    """What is refused, after these rows."""
    refused = dict(gone.refused)
    for row in rows:
        key = row.version or WHOLE
        if scope := quarantine_of(row):
            reason = f"upstream has quarantined the {scope}"
            refused[WHOLE if scope == "project" else key] = reason
        elif scope := clearance_of(row):
            refused.pop(WHOLE if scope == "project" else key, None)
    return replace(gone, refused=refused)


def _pause(feed: ChangeFeed, every: float) -> float:
    """Seconds between two polls; the list of all projects is large, so that is read sparingly."""
    return max(every, SPARINGLY) if feed.kind == "listing" else every
