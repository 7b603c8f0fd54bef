"""Counts of what happened, cheap enough for the hot path.

A request costs an append: what has come together is counted a thousand at a time, or when
somebody wants to know.  No name of a project, a user or an index is kept.
"""

from __future__ import annotations

import bisect
import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from devpi_server.observe import Answered, Asked

_AT_ONCE = 1000  # answers that are counted together
# Seconds: up to these, in a histogram.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PUSH"})


@dataclass(slots=True)
class Durations:
    """How long things of one kind took."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> Sequence[tuple[str, float]]:
        """Bound, as Prometheus writes it → how many took no longer."""
        found, count = [], 0
        for bound, more in zip((*map(str, BOUNDS), "+Inf"), self.buckets, strict=True):
            count += more
            found.append((bound, float(count)))
        return found


class Counts:
    """An ``Observer``."""

    def __init__(self) -> None:
        self._answered: deque[Answered] = deque()
        self._guard = threading.Lock()
        self.requests: Counter[tuple[str, str, str, str]] = Counter()
        self.bytes: Counter[str] = Counter()  # by surface
        self.durations: dict[str, Durations] = {}  # likewise
        self.upstream: Counter[tuple[str, str]] = Counter()
        self.upstream_durations: dict[str, Durations] = {}

    def answered(self, event: Answered) -> None:
        self._answered.append(event)
        if len(self._answered) >= _AT_ONCE:
            self.fold()

    def asked(self, event: Asked) -> None:
        with self._guard:
            self.upstream[event.what, event.outcome] += 1
            self.upstream_durations.setdefault(event.what, Durations()).add(event.seconds)

    def fold(self) -> None:
        """Count what has not been counted yet."""
        with self._guard:
            for _ in range(len(self._answered)):
                event = self._answered.popleft()
                surface = surface_of(event.path, event.method)
                method = event.method if event.method in _METHODS else "other"
                self.requests[surface, method, event.status, event.origin] += 1
                self.bytes[surface] += event.size
                if event.seconds is not None:
                    self.durations.setdefault(surface, Durations()).add(event.seconds)


def surface_of(path: str, method: str) -> str:
    """What kind of thing is at the address; one of a few words."""
    if "/+f/" in path or "/+e/" in path or path.startswith("/packages/"):
        return "file"
    if method == "POST" and path.count("/") <= len(("", "user", "index", "")) - 1:
        return "login" if path == "/+login" else "upload"
    if "/+simple" in path or path.startswith(("/simple", "/ext/pypi")):
        is_list = path.rstrip("/").endswith("simple")
        return "list" if is_list else "page"
    if path.startswith("/+") or path.endswith("/+api"):
        return "server"
    return "doc" if "/+d" in path else "api"
