"""How the server is doing, for ``/+status``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from devpi_server import __version__
from devpi_server.concurrency import Clock
from devpi_server.store.feedstate import FeedFile


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
    """The state of the server."""

    def __init__(self, mirrors: Callable[[], Sequence[MirrorStatus]], clock: Clock) -> None:
        self._mirrors = mirrors
        self._clock = clock

    def describe(self) -> dict[str, Any]:
        """Everything that anybody may know: no paths, no secrets. Lags are in seconds."""
        now = self._clock()
        return {
            "role": "STANDALONE",
            "versioninfo": {"devpi-server": __version__},
            "mirrors": {mirror.name: mirror.describe(now) for mirror in self._mirrors()},
        }
