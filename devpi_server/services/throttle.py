"""Whoever guesses passwords has to wait longer and longer; nobody else has to.

Failures are counted a pair of address and user name, and an address: the first
slows down who tries many passwords, the second who tries many names.  A user
name alone is not counted, so that nobody is locked out from elsewhere; and a
pair that was right before does not suffer for its address, behind which there
may be a whole office with one misconfigured robot.

Nothing sleeps here: a wait is an answer, and costs no thread.  What is asked
too early is not looked at, and not counted either, so that a stubborn client
gets in as soon as its password is right.  Each process counts for itself.
"""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeVar

from devpi_server.concurrency import Clock
from devpi_server.errors import TooManyAttempts

_FREE_OF_PAIR = 5  # failures that cost nothing: people mistype, robots come several at once
_FREE_OF_ADDRESS = 30
_FIRST, _LONGEST = 1.0, 60.0  # seconds to wait; doubled with each failure
_FORGET = 1800.0  # seconds after the last failure
_KNOWN = 7 * 86400.0  # seconds after the last success
_ENTRIES = 10_000  # of each kind; the oldest goes first

_Pair = tuple[str, str]
K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Failures:
    count: int
    last: float


class Throttle:
    """The failures of the last half hour, in limited memory.

    :param clock: any that goes steadily.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pairs: OrderedDict[_Pair, _Failures] = OrderedDict()
        self._addresses: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[_Pair, float] = OrderedDict()  # when they were right

    def check(self, address: str, user: str) -> None:
        """Whether a password may be tried now.

        :raises TooManyAttempts: not yet.
        """
        seconds = math.ceil(self.wait(address, user))
        if seconds > 0:
            raise TooManyAttempts(
                f"too many wrong passwords, try again in {seconds} s", retry_after=seconds
            )

    def wait(self, address: str, user: str) -> float:
        """Seconds until this address may try a password of this user; 0: now."""
        place, pair = _keys(address, user)
        now = self._clock()
        with self._lock:
            wait = _rest(self._pairs.get(pair), _FREE_OF_PAIR, now)
            if self._known.get(pair, -math.inf) <= now - _KNOWN:
                wait = max(wait, _rest(self._addresses.get(place), _FREE_OF_ADDRESS, now))
        return wait

    def failed(self, address: str, user: str) -> None:
        """The password was wrong, or there is no such user."""
        place, pair = _keys(address, user)
        now = self._clock()
        with self._lock:
            _count(self._pairs, pair, now)
            _count(self._addresses, place, now)

    def succeeded(self, address: str, user: str) -> None:
        """The password was right: what this user failed before is forgiven.

        Only that: who has a password of his own cannot wipe out what he tried of others.
        """
        place, pair = _keys(address, user)
        now = self._clock()
        with self._lock:
            forgiven = self._pairs.pop(pair, None)
            failures = self._addresses.get(place)
            if forgiven is not None and failures is not None:
                failures.count -= min(forgiven.count, failures.count)
            self._known[pair] = now
            self._known.move_to_end(pair)
            if len(self._known) > _ENTRIES:
                self._known.popitem(last=False)


def _count(failures: OrderedDict[K, _Failures], key: K, now: float) -> None:
    found = failures.get(key)
    if found is None or found.last <= now - _FORGET:
        found = failures[key] = _Failures(0, now)
    found.count += 1
    found.last = now
    failures.move_to_end(key)
    if len(failures) > _ENTRIES:
        failures.popitem(last=False)


def _rest(failures: _Failures | None, free: int, now: float) -> float:
    """Of the delay that the failures have earned, what is not over."""
    if failures is None or failures.count < free:
        return 0.0
    delay = min(_LONGEST, _FIRST * 2.0 ** min(failures.count - free, 10))
    return max(0.0, min(delay, failures.last + delay - now))


def _keys(address: str, user: str) -> tuple[str, _Pair]:
    place = _place(address)
    return place, (place, user[:200])


def _place(address: str) -> str:
    """What one client has of addresses: of IPv6, 2**64; a Unix socket is one place."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(found), 64), strict=False))
        found = found.ipv4_mapped
    return str(found)
