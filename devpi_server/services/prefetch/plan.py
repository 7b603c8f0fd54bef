"""From what is asked for to the files that are to be held: pages are read, pip resolves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from devpi_server import names
from devpi_server.concurrency import Crew
from devpi_server.errors import BadRequest, DevpiError, InvalidArtefact, NoSuchProject, TimedOut
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Page
from devpi_server.services.owners.base import Ready
from devpi_server.services.prefetch import builds, choice
from devpi_server.services.prefetch.files import Asked, Line, Pin, exact_version, requirement
from devpi_server.services.prefetch.jobs import Job, Result, State, Task, merged
from devpi_server.services.prefetch.pip import Found, Order, Pip
from devpi_server.services.prefetch.resolve import Problem, is_needed, resolve
from devpi_server.services.prefetch.targets import Target

TOGETHER = "the lines together"
_TOO_LATE = "there was no time left for it"


class Planner:
    """Plans one run; for one thread. What cannot be had is among ``results``."""

    def __init__(self, task: Task, pip: Pip, crew: Crew) -> None:
        self.notes: dict[str, None] = {}
        self.results: list[Result] = []
        self._task = task
        self._pip = pip
        self._crew = crew
        self._pages: dict[NormalizedName, Future[Page]] = {}

    def jobs(self, asked: Iterable[Asked]) -> list[Job]:
        """What files ask for."""
        return merged(job for each in asked for job in self._of_file(each))

    def build_jobs(self, jobs: Sequence[Job], find: Callable[[Link], Ready | None]) -> list[Job]:
        """What building needs, of those files that have to be built.

        :param find: a file that is held.
        """
        wanted: dict[tuple[Target, tuple[str, ...]], str] = {}
        for job in jobs:
            for each in job.chosen:
                ready = find(each.link) if each.is_built else None
                if ready is None:
                    continue
                if self._pip.runs_code and not job.is_prepared and Target() in each.takers:
                    self._prepare(job)
                requires = tuple(self._stated(ready))
                for target in each.takers:
                    wanted.setdefault((target, requires), f" (to build {job.project})")
        return merged(
            job
            for (target, requires), reason in wanted.items()
            for job in self._of_build(requires, target, reason)
        )

    def _of_file(self, asked: Asked) -> Iterator[Job]:
        self.notes.update(dict.fromkeys(asked.notes))
        for each in asked.faults:
            self._tell(each.text, State.FAILED, each.reason, is_unreadable=each.is_unreadable)
        lines = [*asked.lines, *self._of_folders(asked.folders)]
        for project in (*(pin.project for pin in asked.pins), *map(_project, lines)):
            self._page(project)
        for pin in asked.pins:
            yield from self._of_pin(pin, self._task.wishes.targets)
        lines = [line for line in lines if self._is_needed(line) and self._is_to_be_had(line)]
        for target in self._task.wishes.targets:
            problem = Problem([], asked.constraints, asked.options, target)
            wanted = [line for line in lines if is_needed(line, target)]
            yield from self._of_lines(wanted, problem)

    def _of_pin(self, pin: Pin, targets: Sequence[Target]) -> Iterator[Job]:
        targets = [target for target in targets if any(map(target.needs, pin.markers or (None,)))]
        if not targets:
            self._tell(pin.text, State.SKIPPED, "its marker does not hold")
            return
        try:
            page = self._page(pin.project).result()
            wishes = replace(self._task.wishes, targets=targets)
            chosen = choice.of_pin(page, pin, wishes)
        except DevpiError as error:
            self._tell(pin.text, State.FAILED, error.message)
            return
        if chosen:
            yield Job(pin.text, pin.project, pin.version, chosen, pin.hashes)
            return
        # A lock has releases for all platforms, and some are for one only.
        state = State.SKIPPED if pin.files else State.FAILED
        whom = " or ".join(target.name for target in targets)
        self._tell(pin.text, state, f"it has no file for {whom}")

    def _of_folders(self, folders: Sequence[str]) -> Iterator[Line]:
        """What projects require, and what their builds do: pip builds their metadata."""
        for folder in folders:
            path, _, extras = folder.removesuffix("]").partition("[")
            try:
                found = self._pip(Order([path], alone=True))
            except BadRequest as error:
                self._tell(folder, State.FAILED, error.message)
                continue
            of_project = frozenset(filter(None, map(str.strip, extras.split(","))))
            for text in (text for each in found for text in each.requires):
                try:
                    yield Line(text, requirement(text), extras=of_project)
                except ValueError as error:
                    self._tell(text, State.FAILED, str(error))

    def _is_needed(self, line: Line) -> bool:
        if any(is_needed(line, target) for target in self._task.wishes.targets):
            return True
        if "extra" not in str(line.requirement.marker):  # of an extra that nobody wants
            self._tell(line.text, State.SKIPPED, "its marker does not hold")
        return False

    def _is_to_be_had(self, line: Line) -> bool:
        """Whether pip is worth asking; it would end at the first line that is not."""
        try:
            page = self._page(_project(line)).result()
            if choice.fulfils(page, line.requirement):
                return True
            reason = f"{self._task.index} has no such release of {page.name}"
        except DevpiError as error:
            reason = error.message
        self._tell(line.text, State.FAILED, reason)
        return False

    def _of_lines(self, lines: Sequence[Line], problem: Problem) -> Iterator[Job]:
        """The files that the lines come down to; together if they can be, else each for itself."""
        together = self._attempt(lines, problem)
        if isinstance(together, list):
            yield from self._of_found(lines, together, problem.target)
            return
        sound: list[Line] = []
        alone: dict[str, list[Found]] = {}
        for line in lines:
            # An exact one needs no resolving, and a frozen environment has hundreds.
            if exact_version(line.requirement) is None or len(lines) == 1:
                found = self._attempt([line], problem) if len(lines) > 1 else together
                if isinstance(found, str):
                    yield from self._without_pip(line, found, problem.target)
                    continue
                alone[line.text] = found
            sound.append(line)
        if len(sound) < len(lines):
            together = self._attempt(sound, problem)
            if isinstance(together, list):
                yield from self._of_found(sound, together, problem.target)
                return
        if len(lines) > 1:
            self._tell(TOGETHER, State.FAILED, f"{together} ({problem.target.name})")
        for line in sound:
            if line.text in alone:
                yield from self._of_found([line], alone[line.text], problem.target)
            else:
                version = exact_version(line.requirement) or ""
                yield from self._of_pin(_pinned(line, version), [problem.target])

    def _attempt(self, lines: Sequence[Line], problem: Problem) -> list[Found] | str:
        """What the lines come down to, or why they do not."""
        if not self._task.left:
            return _TOO_LATE
        try:
            return resolve(self._pip, replace(problem, wanted=lines))
        except BadRequest as error:
            return error.message

    def _without_pip(self, line: Line, reason: str, target: Target) -> Iterator[Job]:
        """A line that pip may be unable to resolve only because it would have to be built."""
        version = exact_version(line.requirement)
        if version is None:
            with suppress(DevpiError):  # it has been told before
                page = self._page(_project(line)).result()
                version = choice.newest(page, line.requirement, target)
        if self._pip.runs_code or version is None:
            self._tell(line.text, State.FAILED, reason)
            return
        self.notes[f"{line.text}: only building it would tell what it requires: {reason}"] = None
        yield from self._of_pin(_pinned(line, version), [target])

    def _of_found(
        self, lines: Sequence[Line], found: Sequence[Found], target: Target, reason: str = ""
    ) -> Iterator[Job]:
        by_project = {_project(line): line for line in lines}
        for each in found:
            self._page(each.project)
        for each in found:
            line = by_project.get(each.project)
            text = f"{each.project} {each.version}{reason}" if line is None else line.text
            try:
                page = self._page(each.project).result()
                chosen = choice.of_file(
                    page, each.version, each.filename, target, self._task.wishes
                )
            except DevpiError as error:
                self._tell(text, State.FAILED, error.message)
                continue
            hashes = line.hashes if line is not None else frozenset()
            is_prepared = target.is_here and self._pip.runs_code
            yield Job(text, each.project, each.version, chosen, hashes, is_prepared)

    def _of_build(self, requires: Sequence[str], target: Target, reason: str) -> Iterator[Job]:
        lines: list[Line] = []
        for text in requires:
            try:
                lines.append(Line(f"{text}{reason}", requirement(text)))
            except ValueError as error:
                self._tell(f"{text}{reason}", State.FAILED, str(error))
        lines = [line for line in lines if is_needed(line, target) and self._is_to_be_had(line)]
        found = self._attempt(lines, Problem([], (), (), target))
        if isinstance(found, str):
            self._tell(f"{', '.join(requires)}{reason}", State.FAILED, found)
            return
        yield from self._of_found((), found, target, reason)

    def _prepare(self, job: Job) -> None:
        """Let pip do the first step of the build: what it needs passes through this server."""
        exactly = f"{job.project}=={job.version}"
        try:
            self._pip(Order([exactly], options=[f"--no-binary={job.project}"], alone=True))
        except BadRequest as error:
            self.notes[f"what building {exactly} needs may not be complete: {error.message}"] = None

    def _stated(self, sdist: Ready) -> Sequence[str]:
        try:
            return builds.needs(sdist)
        except InvalidArtefact as error:
            self.notes[f"what building {sdist.filename} needs is not known: {error.message}"] = None
            return builds.UNSTATED

    def _page(self, project: NormalizedName) -> Future[Page]:
        if project not in self._pages:
            self._pages[project] = self._crew.submit(lambda: self._load(project))
        return self._pages[project]

    def _load(self, project: NormalizedName) -> Page:
        if not self._task.left:
            raise TimedOut(_TOO_LATE)
        try:
            return self._task.source.view(project).load()
        except NoSuchProject as error:
            raise NoSuchProject(f"{self._task.index} has no project {project}") from error

    def _tell(self, line: str, state: State, reason: str, *, is_unreadable: bool = False) -> None:
        self.results.append(Result(line, state, reason, is_unreadable=is_unreadable))


def _project(line: Line) -> NormalizedName:
    return names.project(line.requirement.name)


def _pinned(line: Line, version: str) -> Pin:
    return Pin(line.text, _project(line), version, hashes=line.hashes)
