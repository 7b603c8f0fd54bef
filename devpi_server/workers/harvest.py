"""Read the metadata of wheels from afar before anybody asks, where upstream has none to offer.

Only of projects in use, only of their newest release, a few wheels a tick: so
that resolvers find metadata on the pages of a poor upstream, and upstream does
not find us on every file that it has.
"""

from __future__ import annotations

import logging

from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.concurrency import BoundedCache, Clock
from devpi_server.errors import DevpiError
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Page
from devpi_server.sources.mirror import Mirror
from devpi_server.store.marks import Marks
from devpi_server.upstream.files import Wanted
from devpi_server.upstream.wheels import lacks_metadata
from devpi_server.workers.interest import in_use
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)

_AT_ONCE = 10  # wheels a tick
_OF_ONE = 4  # wheels of one release: more differ in their platform only
_TRIED = 20_000  # wheels that are not tried again
_REST = 3600.0  # seconds, once upstream has turned out not to send parts of files
_ENOUGH = 3  # failures in a row that say so


class Harvest:
    """A worker: looks at what is in use, and rests where upstream does not send parts."""

    def __init__(
        self, *, name: str, mirror: Mirror, interest: Marks, leader: Leader, clock: Clock
    ) -> None:
        self.name = f"harvest {name}"
        self.every = 60.0
        self._mirror = mirror
        self._interest = interest
        self._leader = leader
        self._clock = clock
        self._tried: BoundedCache[str, bool] = BoundedCache(_TRIED)
        self._not_before = 0.0

    def tick(self) -> None:
        if not self._leader.is_this_process() or self._clock() < self._not_before:
            return
        left, failures = _AT_ONCE, 0
        for project in in_use(self._interest, self._clock):
            for wanted in self._wanted(project)[:left]:
                self._tried.put(wanted.path, True, 1)  # noqa: FBT003 - the value
                failures = 0 if self._read(wanted) else failures + 1
                left -= 1
            if left <= 0 or failures >= _ENOUGH:
                break
        if failures >= _ENOUGH:
            self._not_before = self._clock() + _REST

    def _read(self, wanted: Wanted) -> bool:
        try:
            return self._mirror.files.read_metadata(wanted)
        except DevpiError as error:
            log.info("cannot read the metadata of %s: %s", wanted.link.filename, error.message)
            return False

    def _wanted(self, project: NormalizedName) -> list[Wanted]:
        """The wheels of the project's newest release that lack metadata, and were not tried."""
        try:
            page = self._mirror.view(project, Freshness.ANY).load()
        except DevpiError:
            return []  # it has just gone
        found = []
        for link in newest(page):
            path = names.file_path(link.filename, link.url, link.digests)
            if lacks_metadata(link) and not self._tried.get(path):
                found.append(Wanted(path, project, link))
        return found[:_OF_ONE]


def newest(page: Page) -> list[Link]:
    """The links of the newest final release of a page."""
    releases: dict[Version, list[Link]] = {}
    for link in page.links:
        try:
            version = Version(names.version_of(link.filename, page.name) or "")
        except InvalidVersion:
            continue
        if not version.is_prerelease and link.yanked is False:
            releases.setdefault(version, []).append(link)
    return releases[max(releases)] if releases else []
