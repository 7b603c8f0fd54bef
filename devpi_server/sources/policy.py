"""Policies: what of a source may be seen. ``Guarded`` is the only wrapper they need."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Protocol

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Listing, Page, View
from devpi_server.sources.base import Source
from devpi_server.upstream.files import FileFetcher


class Policy(Protocol):
    """Decides about pages; pure but for what it was made with."""

    def stamp(self, now: float) -> Hashable:
        """Changes when ``keep`` would decide differently."""

    def keep(self, page: Page, now: float) -> Page:
        """The page without what may not be seen."""

    def until(self, now: float) -> float:
        """How long time alone does not change the stamp, in seconds since the epoch."""


class Guarded:
    """A source seen through a policy."""

    def __init__(self, source: Source, policy: Policy, clock: Clock) -> None:
        self._source = source
        self._policy = policy
        self._clock = clock

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        view = self._source.view(project, freshness)
        now = self._clock()
        return View(
            (view.stamp, self._policy.stamp(now)),
            lambda: self._policy.keep(view.load(), now),
            view.origin,
            view.at_hand,
            lambda: min(view.until(), self._policy.until(now)),
        )

    def listing(self) -> Listing:
        return self._source.listing()


class HeldOnly:
    """For ``--offline-mode``: of a page, the files that can be served."""

    def __init__(self, files: FileFetcher) -> None:
        self._files = files

    def stamp(self, now: float) -> Hashable:
        # Files come and go behind our back: other processes, a cleaned disk.
        return int(now) // 60

    def until(self, now: float) -> float:
        return now

    def keep(self, page: Page, now: float) -> Page:
        held = tuple(
            link
            for link in page.links
            if self._files.find(names.file_path(link.filename, link.url, link.digests))
        )
        return replace(page, links=held)
