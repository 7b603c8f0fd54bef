"""Which projects clients care about, noted for all processes and over restarts."""

from __future__ import annotations

from collections.abc import Iterator

from devpi_server.concurrency import Clock
from devpi_server.names import NormalizedName
from devpi_server.store.marks import Marks
from devpi_server.upstream.pages import PageCache

_IN_USE = 1  # hours: asked for in this hour or the last
HOT_FOR = 72  # hours after a request that a changed project is refreshed without another


def hours(now: float) -> int:
    """The hour of a moment: notes are made at most once an hour a project."""
    return int(now // 3600)


def in_use(interest: Marks, clock: Clock) -> Iterator[NormalizedName]:
    """The projects that somebody has asked for just now."""
    for project in interest.projects():
        asked = interest.get(project)
        if asked is not None and hours(clock()) - asked.value <= _IN_USE:
            yield project


class Interest:
    """A worker: writes down what was asked for."""

    def __init__(self, mirror: str, pages: PageCache, interest: Marks, clock: Clock) -> None:
        self.name = f"interest {mirror}"
        self.every = 30.0
        self._pages = pages
        self._interest = interest
        self._clock = clock
        self._noted_at = 0.0

    def tick(self) -> None:
        now = self._clock()
        for project in self._pages.asked_since(self._noted_at):
            self._interest.put(project, hours(now), now)
        self._noted_at = now
