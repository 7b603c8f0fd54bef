"""Refresh what is in use before it expires, where no feed says what has changed."""

from __future__ import annotations

from devpi_server.concurrency import Clock
from devpi_server.store.locks import Lock, Locks
from devpi_server.store.marks import Marks
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.trust import Trust
from devpi_server.workers.interest import hours

_IN_USE = 1  # hours: asked for in this hour or the last
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
        locks: Locks,
        clock: Clock,
        expiry: float,
    ) -> None:
        self.name = f"ahead {mirror}"
        self.every = max(15.0, expiry / 6)
        self._pages = pages
        self._interest = interest
        self._trust = trust
        self._locks = locks
        self._clock = clock
        self._expiry = expiry
        self._leading: Lock | None = None

    def tick(self) -> None:
        if self._leading is None:
            self._leading = self._locks.try_hold(self.name)
        if self._leading is None or self._expiry <= self.every:
            return
        now = self._clock()
        begun = 0
        for project in self._interest.projects():
            asked = self._interest.get(project)
            held = self._pages.held(project)
            if asked is None or held is None or hours(now) - asked.value > _IN_USE:
                continue
            # What does not reach the next tick without expiring.
            if now - held.checked + self.every >= self._expiry and not self._trust.covers(held):
                self._pages.refresh(project)
                begun += 1
                if begun == _AT_ONCE:
                    return
