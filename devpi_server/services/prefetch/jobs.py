"""What a prefetch is told, and what it tells."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from devpi_server.names import NormalizedName
from devpi_server.services.prefetch.choice import Chosen, Wishes
from devpi_server.sources.base import Source

Place = tuple[str, str]  # the index that has a file, and its path there


class State(enum.Enum):
    """What became of a line."""

    CACHED = "cached"
    THERE = "already there"
    MISSING = "not there"  # of a dry run
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a line, or of a release that a line needs.

    :param is_unreadable: the line is nothing that can be asked for.
    """

    line: str
    state: State
    reason: str = ""
    files: tuple[str, ...] = ()
    size: int = 0
    is_unreadable: bool = False


@dataclass(slots=True)
class Job:
    """The files of one release.

    :param is_prepared: pip has built it already, with all that this needs.
    """

    line: str
    project: NormalizedName
    version: str
    chosen: list[Chosen]
    hashes: frozenset[str] = frozenset()
    is_prepared: bool = False

    def add(self, other: Job) -> None:
        """Take over what another target needs of the same release."""
        known = {each.link.filename: at for at, each in enumerate(self.chosen)}
        for each in other.chosen:
            at = known.get(each.link.filename)
            if at is None:
                self.chosen.append(each)
            else:
                takers = dict.fromkeys((*self.chosen[at].takers, *each.takers))
                self.chosen[at] = replace(each, takers=tuple(takers))
        self.is_prepared = self.is_prepared or other.is_prepared


def merged(jobs: Iterable[Job]) -> list[Job]:
    """The jobs of all targets; one a line and release."""
    found: dict[tuple[str, NormalizedName, str], Job] = {}
    for job in jobs:
        key = (job.line, job.project, job.version)
        if key in found:
            found[key].add(job)
        else:
            found[key] = job
    return list(found.values())


@dataclass(frozen=True)
class Task:
    """For whom, from where, and within which bounds.

    :param source: the index as who asks may see it.
    :param runs_code: whether pip may build what has no wheel, to learn what it needs.
    :param pip_within: seconds that pip gets at a time.
    :param file_within: seconds that a file gets.
    :param until: of the monotonic clock; nothing is begun after it.
    :param parallel: files that are fetched at a time.
    :param most_files: of more, none is fetched.
    """

    index: str
    source: Source
    wishes: Wishes
    runs_code: bool = False
    pip_within: float = 300.0
    file_within: float = 3600.0
    until: float = math.inf
    parallel: int = 8
    most_files: int | None = None

    @property
    def left(self) -> float:
        """Seconds that are left for all of it."""
        return max(0.0, self.until - time.monotonic())


@dataclass(frozen=True)
class Plan:
    """What is about to be fetched."""

    jobs: Sequence[Job]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None: the index does not tell."""
        total = 0
        for each in (each for job in self.jobs for each in job.chosen):
            if each.link.size is None:
                return None
            total += each.link.size
        return total

    @property
    def files(self) -> int:
        """How many files there are."""
        return sum(len(job.chosen) for job in self.jobs)
