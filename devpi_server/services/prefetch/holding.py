"""The files of a prefetch: fetched several at once, each once, and told a release at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import suppress

from devpi_server import names
from devpi_server.concurrency import Crew
from devpi_server.errors import DevpiError, NoSuchFile
from devpi_server.records import Link
from devpi_server.services.downloads import Downloads
from devpi_server.services.owners.base import Ready
from devpi_server.services.prefetch.jobs import Job, Place, Result, State, Task

Counted = Callable[[int], object]  # is told of each file, with its bytes


class Holding:
    """Has files held.

    :param fetched: what has been fetched for this very run in some other way.
    """

    def __init__(
        self, downloads: Downloads, task: Task, crew: Crew, fetched: Collection[Place]
    ) -> None:
        self._downloads = downloads
        self._task = task
        self._crew = crew
        self._fetched = fetched
        self._held: dict[Place, Future[tuple[Ready, bool]]] = {}

    def results(self, jobs: Sequence[Job], counted: Counted, *, dry: bool) -> Iterator[Result]:
        """What becomes of each job, as soon as all of its files are there.

        :param dry: no file is fetched.
        """
        waiting: dict[Future[tuple[Ready, bool]], list[Job]] = {}
        left: dict[int, int] = {}
        for job in jobs:
            left[id(job)] = len(job.chosen)
            for each in job.chosen:
                waiting.setdefault(self._have(each.link, dry=dry), []).append(job)
        for future in as_completed(waiting):
            counted(future.result()[0].size if future.exception() is None else 0)
            for job in waiting[future]:
                left[id(job)] -= 1
                if not left[id(job)]:
                    yield self._result(job, dry=dry)

    def find(self, link: Link) -> Ready | None:
        """The file, if it has been asked for before and is held."""
        future = self._held.get(self._place(link))
        return future.result()[0] if future is not None and future.exception() is None else None

    def _place(self, link: Link) -> Place:
        path = names.file_path(link.filename, link.url, link.digests)
        return link.index or self._task.index, path

    def _result(self, job: Job, *, dry: bool) -> Result:
        files = tuple(each.link.filename for each in job.chosen)
        size, are_there = 0, True
        for each in job.chosen:
            future = self._held[self._place(each.link)]
            error = future.exception()
            if dry and isinstance(error, NoSuchFile):
                are_there = False
                size += each.link.size or 0
                continue
            if isinstance(error, DevpiError):
                return Result(job.line, State.FAILED, error.message, files)
            ready, was_there = future.result()
            if _is_another(ready, job.hashes):
                reason = f"{ready.filename} has another sha256 than it states"
                return Result(job.line, State.FAILED, reason, files)
            size += ready.size
            are_there = are_there and was_there
        missing = State.MISSING if dry else State.CACHED
        return Result(job.line, State.THERE if are_there else missing, "", files, size)

    def _have(self, link: Link, *, dry: bool) -> Future[tuple[Ready, bool]]:
        place = self._place(link)
        if place not in self._held:
            work = self._look if dry else self._get
            self._held[place] = self._crew.submit(lambda: work(place, link))
        return self._held[place]

    def _look(self, place: Place, link: Link) -> tuple[Ready, bool]:
        held = self._downloads.held(*place)
        if held is None:
            raise NoSuchFile(f"{link.filename} is not in the cache")
        return held, True

    def _get(self, place: Place, link: Link) -> tuple[Ready, bool]:
        within = min(self._task.file_within, self._task.left)
        ready, was_there = obtained(self._downloads, place, within)
        if link.core_metadata is not None:
            metadata = (place[0], place[1] + names.METADATA)
            with suppress(NoSuchFile):  # as upstream answers whoever asks for it
                obtained(self._downloads, metadata, within)
        return ready, was_there and place not in self._fetched


def obtained(downloads: Downloads, place: Place, within: float) -> tuple[Ready, bool]:
    """The file, and whether it was held before.

    :param within: seconds.
    """
    held = downloads.held(*place)
    if held is not None:
        return held, True
    blob = downloads.fetch(*place, within)
    filename = place[1].rpartition("/")[2]
    return Ready(filename, blob.sha256, blob.size, blob.path), False


def _is_another(ready: Ready, hashes: frozenset[str]) -> bool:
    """Whether a file is none of those whose sha256 are stated."""
    stated = {each for each in hashes if each.startswith("sha256:")}
    if not stated or len(stated) < len(hashes) or ready.sha256 is None:
        return False
    return f"sha256:{ready.sha256}" not in stated
