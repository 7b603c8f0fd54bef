"""How far a mirror has followed its upstream's changes: the cursor and what it is worth.

One process writes it, all read it; it is read again at most once a second, so
asking it costs the hot path no system call.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import orjson

from devpi_server.concurrency import Clock
from devpi_server.store.incoming import Incoming, translated
from devpi_server.store.published import NOTHING_PUBLISHED, Changing

log = logging.getLogger(__name__)

_REREAD = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class FeedState:
    """The state of one feed."""

    base: str  # the upstream that the serials belong to
    kind: str  # xml-rpc, listing or none
    serial: int = 0  # all changes up to here are known
    covered_since: int = 0  # pages checked since then would have been named if they had changed
    answered_at: float = 0.0  # when the feed answered last
    window: float = 0.0  # seconds that its last answer is believed
    problem: str | None = None  # why it does not answer now

    def covers_as(self, other: FeedState) -> bool:
        """Whether the other one vouches for all pages that this one vouches for."""
        return self.base == other.base and self.covered_since >= other.covered_since > 0


class FeedFile:
    """Where the state is kept."""

    def __init__(
        self,
        path: Path,
        incoming: Incoming,
        clock: Clock,
        published: Changing = NOTHING_PUBLISHED,
    ) -> None:
        self._published = published
        self._path = path
        self._incoming = incoming
        self._clock = clock
        self._state: FeedState | None = None
        self._read_at = float("-inf")

    def state(self) -> FeedState | None:
        """The state, at most a second old; None: nothing is followed."""
        if not 0 <= self._clock() - self._read_at < _REREAD:
            self._state = self._read()
            self._read_at = self._clock()
        return self._state

    def write(self, state: FeedState) -> None:
        """Keep the state. Last, when everything that it says has been done."""
        before = self._read()
        if before is None or before.covers_as(state):
            self._write(state)
        else:  # pages that it vouched for, it does no longer
            with self._published.changing_all():
                self._write(state)

    def _write(self, state: FeedState) -> None:
        self._incoming.write(self._path, orjson.dumps(state), durable=True)
        self._state = state
        self._read_at = self._clock()

    def _read(self) -> FeedState | None:
        with translated("read the state of a feed"):
            try:
                return FeedState(**orjson.loads(self._path.read_bytes()))
            except FileNotFoundError:
                return None
            except (orjson.JSONDecodeError, TypeError):
                log.warning("the state of a feed is damaged, following begins anew")
                return None
