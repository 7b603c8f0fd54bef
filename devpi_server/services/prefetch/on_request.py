"""Prefetching for somebody over the network: within bounds, and without running anybody's code.

Why a flight: who sends the same again, because a proxy has lost patience, joins what is under
way, or finds all of it there.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from devpi_server.concurrency import Blocking, Crew, SingleFlight, waiting_with
from devpi_server.errors import TimedOut, TooLarge
from devpi_server.services.prefetch import sources
from devpi_server.services.prefetch.choice import Wishes
from devpi_server.services.prefetch.jobs import Result, State, Task
from devpi_server.services.prefetch.plan import TOGETHER
from devpi_server.services.prefetch.prefetching import Prefetching
from devpi_server.sources.base import Source

LARGEST = 8 * 1024 * 1024  # bytes of a file
_MOST_LINES = 2000
_MOST_FILES = 5000
_AT_A_TIME = 2  # requests
_WITHIN = 900.0  # seconds
_PIP_WITHIN = 120.0  # seconds
_PARALLEL = 4  # files


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file that was sent."""

    results: Sequence[Result]
    notes: Sequence[str]

    @property
    def cached(self) -> list[str]:
        """The files that are there now."""
        done = (State.CACHED, State.THERE)
        return sorted({file for each in self.results if each.state in done for file in each.files})

    def lines(self, *, unreadable: bool) -> list[str]:
        """The lines that failed, either because they cannot be read or for another reason."""
        failed = (each for each in self.results if each.state is State.FAILED)
        return [
            each.line
            for each in failed
            if each.is_unreadable is unreadable and each.line != TOGETHER
        ]


class PrefetchRequests:
    """Takes them.

    :param places: where a request waits.
    :param within: seconds for all that a request asks for.
    """

    def __init__(self, prefetching: Prefetching, places: Blocking, within: float = _WITHIN) -> None:
        self._prefetching = prefetching
        self._within = within
        self._places = places
        crew = Crew("requirements", _AT_A_TIME)
        self._flights: SingleFlight[Outcome] = SingleFlight(crew, _AT_A_TIME)

    def __call__(
        self,
        name: str,
        data: bytes,
        index: str,
        source: Source,
        wishes: Wishes,
        seen_by: Hashable,
    ) -> Outcome:
        """Fetch all that the file asks for.

        :param name: of the file, as it was sent.
        :param source: the index as who asks may see it.
        :param wishes: hashable.
        :param seen_by: equal for those who see the same.
        :raises TooLarge: it asks for more than we take.
        :raises TimedOut: it goes on.
        :raises Overloaded: others are at it.
        """
        asked = sources.of_sender(name, data)
        if len(asked.lines) + len(asked.pins) > _MOST_LINES:
            raise TooLarge(f"the file asks for more than {_MOST_LINES} releases")

        def work() -> Outcome:
            task = Task(
                index,
                source,
                wishes,
                pip_within=_PIP_WITHIN,
                until=time.monotonic() + self._within,
                parallel=_PARALLEL,
                most_files=_MOST_FILES,
            )
            results: list[Result] = []
            notes = self._prefetching(task, [asked], results.append)
            return Outcome(results, notes)

        key = (name, data, index, wishes, seen_by)
        try:
            with waiting_with(self._places):
                return self._flights.do(key, work, self._within)
        except TimedOut as error:
            raise TimedOut("it is not done yet, and goes on: send it again later") from error
