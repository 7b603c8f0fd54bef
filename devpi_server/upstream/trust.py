"""What the change feed is worth: when a page needs no asking, and what it must live up to."""

from __future__ import annotations

from devpi_server.concurrency import Clock
from devpi_server.names import NormalizedName
from devpi_server.store.doubts import Doubts
from devpi_server.store.feedstate import FeedFile
from devpi_server.store.marks import Mark, Marks
from devpi_server.store.pagefiles import HeldPage


class Trust:
    """The word of one mirror's feed, as all processes see it.

    :param doubts: what somebody has asked to be looked at anew, and nobody has yet.
    :param base: the address whose changes the feed names; serials mean nothing elsewhere.
    """

    def __init__(
        self, *, feed: FeedFile, promises: Marks, doubts: Doubts, base: str, clock: Clock
    ) -> None:
        self.doubts = doubts
        self._feed = feed
        self._promises = promises
        self._base = base
        self._clock = clock

    def covers(self, held: HeldPage) -> bool:
        """Whether the feed would have named the page, had it changed since it was checked."""
        return self._clock() < self.covered_until(held)

    def covered_until(self, held: HeldPage) -> float:
        """Until when that holds, unless the feed answers again; 0: it does not."""
        state = self._feed.state()
        if (
            state is not None
            and held.followed
            and held.checked > state.covered_since > 0
            and state.base == self._base
            and self._clock() >= state.answered_at
        ):
            return state.answered_at + state.window
        return 0.0

    def promise(self, project: NormalizedName) -> Mark | None:
        """The serial that the feed has named for the project, not yet lived up to."""
        return self._promises.get(project)

    def fulfil(self, project: NormalizedName, promise: Mark) -> None:
        """The promise has been kept, or given up; a newer one stays."""
        self._promises.drop(project, promise)
