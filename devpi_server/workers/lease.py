"""The clock of what is published: drops what is due, and extends the web server's lease."""

from __future__ import annotations

from devpi_server.concurrency import Clock
from devpi_server.store.locks import Locks
from devpi_server.store.published import Published
from devpi_server.workers.leader import Leader


class Lease:
    """A worker, in one of the processes that share a data directory."""

    name = "publish"
    every = 2.0

    def __init__(self, published: Published, locks: Locks, clock: Clock) -> None:
        self._published = published
        self._leader = Leader(locks, self.name)
        self._clock = clock
        self._last = 0.0

    def tick(self) -> None:
        if not self._leader.is_this_process():
            return
        now, last = self._clock(), self._last
        self._last = now
        if now < last:  # by the time of now, what is due was noted too late
            self._published.begin()
        self._published.extend(now)
