"""The addresses of one upstream, in order, with a breaker each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from devpi_server.concurrency import Clock
from devpi_server.errors import Failed, TimedOut, Unreachable, UpstreamError

log = logging.getLogger(__name__)

# What is about the address.  A refusal or nonsense may be about the one page.
_OUT_OF_ORDER = (Unreachable, TimedOut, Failed)
_SHORTEST, _LONGEST = 10.0, 300.0  # seconds that a failing address is passed over


@dataclass(slots=True)
class _Breaker:
    until: float = 0.0  # passed over until then
    pause: float = 0.0  # what the next failure costs, doubled


class Origins:
    """Ordered fail-over: the first address that works, and back to an earlier one when it heals.

    An address that failed is passed over for some seconds, longer each time;
    it is still tried when no other is left, so no state needs a restart.
    """

    def __init__(self, urls: Sequence[str], clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._breakers = {url: _Breaker() for url in urls}
        self.first = urls[0]

    def in_order(self) -> list[str]:
        """The addresses to try, the best first."""
        now = self._clock()
        with self._guard:
            return sorted(self._breakers, key=lambda url: self._breakers[url].until > now)

    def passed_over(self) -> int:
        """How many of them are out of order now."""
        now = self._clock()
        with self._guard:
            return sum(breaker.until > now for breaker in self._breakers.values())

    def failed(self, url: str, error: UpstreamError) -> None:
        """This is what came of asking the address."""
        if not isinstance(error, _OUT_OF_ORDER):
            return
        with self._guard:
            breaker = self._breakers[url]
            breaker.pause = min(_LONGEST, max(_SHORTEST, breaker.pause * 2))
            breaker.until = self._clock() + breaker.pause

    def worked(self, url: str) -> None:
        """The address has answered."""
        with self._guard:
            self._breakers[url] = _Breaker()
