"""Refresh what is in use before it expires, where no feed says what has changed."""

from __future__ import annotations

from devpi_server.concurrency import Clock
from devpi_server.store.marks import Marks
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.trust import Trust
from devpi_server.workers.interest import in_use
from devpi_server.workers.leader import Leader

_AT_ONCE = 100  # refreshes a tick


class Ahead:
    """A worker: so that no client waits for a page that somebody uses.

    :param expiry: seconds after which a page is checked with upstream.
    """

    def __init__(
        self,
        *,
        mirror: str,
        pages: PageCache,
        interest: Marks,
        trust: Trust,
        leader: Leader,
        clock: Clock,
        expiry: float,
    ) -> None:
        self.name = f"ahead {mirror}"
        self.every = max(15.0, expiry / 6)
        self._pages = pages
        self._interest = interest
        self._trust = trust
        self._leader = leader
        self._clock = clock
        self._expiry = expiry

    def tick(self) -> None:
        if not self._leader.is_this_process() or self._expiry <= self.every:
            return
        now = self._clock()
        begun = 0
        for project in in_use(self._interest, self._clock):
            held = self._pages.held(project)
            if held is None:
                continue
            # What does not reach the next tick without expiring.
            if now - held.checked + self.every >= self._expiry and not self._trust.covers(held):
                self._pages.refresh(project)
                begun += 1
                if begun == _AT_ONCE:
                    return
