"""A prefetch, from its beginning to its end.

First it is planned, on one thread: what is no lock is resolved by pip, and the pages of the
index say which files there are.  Then files are fetched, several at once; those that have to
be built say what that needs, which is fetched likewise.  A file that is held is not fetched
again, so who breaks off goes on by beginning anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from devpi_server.concurrency import Crew
from devpi_server.names import NormalizedName
from devpi_server.services.downloads import Downloads
from devpi_server.services.prefetch.files import Asked
from devpi_server.services.prefetch.holding import Counted, Holding
from devpi_server.services.prefetch.jobs import Job, Place, Plan, Result, State, Task
from devpi_server.services.prefetch.pip import Pip
from devpi_server.services.prefetch.plan import Planner

_DEEPEST = 4  # builds that need what has to be built

# Serves the index of a task to a pip of ours, at a URL; what it has to fetch for that is added.
Serving = Callable[[Task, set[Place]], AbstractContextManager[str]]
NewPip = Callable[[str, Task], Pip]
Tell = Callable[[Result], object]


class Prefetching:
    """Plans and fetches.

    :param new_pip: a pip for the index at a URL.
    """

    def __init__(self, downloads: Downloads, serving: Serving, new_pip: NewPip) -> None:
        self._downloads = downloads
        self._serving = serving
        self._new_pip = new_pip

    def __call__(
        self,
        task: Task,
        asked: Sequence[Asked],
        tell: Tell,
        *,
        dry: bool = False,
        planned: Callable[[Plan], object] = lambda _: None,
        counted: Counted = lambda _: None,
    ) -> list[str]:
        """Have everything held, and tell what becomes of each line.

        :param dry: tell what is there, and fetch no file but those that pip wants to see.
        :param planned: is told what is about to be fetched; again what builds need.
        :param counted: is told of each file, with its bytes.
        :return: sentences about what was not heeded, or could not be found out.
        :raises StoreError: pip cannot be run.
        """
        fetched: set[Place] = set()
        crew = Crew("prefetch", task.parallel)
        with self._serving(task, fetched) as url:
            planner = Planner(task, self._new_pip(url, task), crew)
            holding = Holding(self._downloads, task, crew, fetched)
            jobs = planner.jobs(asked)
            seen = {(job.project, job.version) for job in jobs}
            for _ in range(_DEEPEST):
                for result in planner.results:
                    tell(result)
                planner.results.clear()
                plan = Plan(jobs)
                if not jobs or _is_too_much(plan, task, tell):
                    break
                planned(plan)
                for result in holding.results(jobs, counted, dry=dry):
                    tell(result)
                if dry:
                    break
                jobs = _new(planner.build_jobs(jobs, holding.find), seen)
        return list(planner.notes)


def _is_too_much(plan: Plan, task: Task, tell: Tell) -> bool:
    if task.most_files is None or plan.files <= task.most_files:
        return False
    for job in plan.jobs:
        reason = f"more than {task.most_files} files are asked for at once"
        tell(Result(job.line, State.FAILED, reason))
    return True


def _new(jobs: Sequence[Job], seen: set[tuple[NormalizedName, str]]) -> list[Job]:
    """Those that there were none of before."""
    new = [job for job in jobs if (job.project, job.version) not in seen]
    seen |= {(job.project, job.version) for job in new}
    return new
