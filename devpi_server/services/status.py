"""How the server is doing, for ``/+status``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from devpi_server import __version__
from devpi_server.concurrency import Clock
from devpi_server.services.access import Principal, may_read
from devpi_server.services.founding import UUID
from devpi_server.services.index_options import options_of
from devpi_server.services.indexes import Indexes
from devpi_server.store.feedstate import FeedFile
from devpi_server.store.meta import MetaStore


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    """Where to look for the state of one mirror."""

    name: str
    url: str
    feed: FeedFile

    def describe(self, now: float) -> dict[str, Any]:
        """Which feed of changes it follows, how far, and how long ago that answered."""
        state = self.feed.state()
        answered = state is not None and state.answered_at > 0
        return {
            "upstream": urlsplit(self.url).netloc.rpartition("@")[2],
            "feed": state.kind if state else "unknown",
            "serial": state.serial if state and state.serial else None,
            "lag": round(now - state.answered_at, 1) if state and answered else None,
            "problem": state.problem if state else None,
        }


class Status:
    """The state of the server.

    :param mirrors: those that run.
    """

    def __init__(
        self,
        mirrors: Callable[[], Sequence[MirrorStatus]],
        meta: MetaStore,
        indexes: Indexes,
        clock: Clock,
    ) -> None:
        self._mirrors = mirrors
        self._meta = meta
        self._indexes = indexes
        self._clock = clock

    def describe(self, principal: Principal) -> dict[str, Any]:
        """What anybody may know, in devpi's words: no paths, no secrets, no closed mirrors.

        Lags are in seconds; of times, devpi has seconds since the epoch.  Nothing is done here
        between a change and its effects, so the events that devpi counts are always done.
        """
        now = self._clock()
        with self._meta.reading() as tables:
            serial, uuid = tables.serial, tables.fact(UUID)
            last = tables.audit.last(1)
        changed = last[0].at if last else None
        rows = self._indexes.by_name()
        return {
            "role": "MASTER",
            "uuid": uuid,
            "versioninfo": {"devpi-server": __version__},
            "serial": serial,
            "last-commit-timestamp": changed,
            "event-serial": serial,
            "event-serial-timestamp": changed,
            "event-serial-in-sync-at": now,
            "metrics": [],
            "polling_replicas": {},
            "mirrors": {
                mirror.name: mirror.describe(now)
                for mirror in self._mirrors()
                if mirror.name in rows and may_read(principal, options_of(rows[mirror.name]))
            },
        }
