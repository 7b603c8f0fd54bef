"""Which requests are spoilt: rules bind faults to paths.

Of the rules that a request matches the first one counts, with all of its faults, one after
the other; a rule that has had its number of hits is passed over.  So two rules for one page
make a sequence, and two faults in one rule a combination::

    up.fail("/simple/demo/", Status(503), times=2)
    up.fail("/simple/demo/", HugePage(10**9), Chunked())
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace

from .answers import Answer, Request
from .faults import CloseAtAccept, Fault, OldSerial

# A prefix of the path with its query, a compiled expression to search in it, or a test.
Pattern = str | re.Pattern[str] | Callable[[Request], bool]


def matches(pattern: Pattern, request: Request) -> bool:
    if isinstance(pattern, str):
        return request.path.startswith(pattern)
    if isinstance(pattern, re.Pattern):
        return pattern.search(request.path) is not None
    return pattern(request)


class Rule:
    """Faults for the requests that match; made by ``Upstream.fail``."""

    def __init__(
        self,
        pattern: Pattern,
        faults: tuple[Fault, ...],
        times: int | None,
        remove: Callable[[Rule], None],
    ) -> None:
        self.pattern = pattern
        self.faults = faults
        self.times = times
        self.hits = 0
        self.removed = threading.Event()
        self._remove = remove

    def remove(self) -> None:
        """The requests to come are answered well, and those that hang go on."""
        self._remove(self)
        self.removed.set()

    def takes(self, request: Request) -> bool:
        return (
            self.live
            and all(fault.fits(request) for fault in self.faults)
            and matches(self.pattern, request)
        )

    @property
    def live(self) -> bool:
        return self.times is None or self.hits < self.times

    @property
    def closes_at_accept(self) -> bool:
        return self.live and any(isinstance(fault, CloseAtAccept) for fault in self.faults)

    @property
    def serial(self) -> int | None:
        return next((f.serial for f in self.faults if isinstance(f, OldSerial)), None)

    @property
    def needs_body(self) -> bool:
        return any(fault.needs_body for fault in self.faults)

    def apply(self, answer: Answer, request: Request) -> Answer:
        for fault in self.faults:
            answer = fault.apply(answer, request)
        return replace(answer, delivery=replace(answer.delivery, released=self.removed))
