"""From requirements to releases, for one target.

For the Python of this machine, pip resolves.  For another one, pip is asked what it would take
of each project, again and again until all that is needed there is among it: pip itself compares
markers with the machine that it runs on, whatever platform it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from devpi_server import names
from devpi_server.errors import BadRequest
from devpi_server.names import NormalizedName
from devpi_server.services.prefetch.files import Line, requirement
from devpi_server.services.prefetch.pip import Found, Order
from devpi_server.services.prefetch.targets import Target

_MOST_ROUNDS = 30

Run = Callable[[Order], list[Found]]  # raises BadRequest


@dataclass(frozen=True)
class Problem:
    """What is to be resolved.

    :param wanted: with markers; those that do not hold are left out here.
    """

    wanted: Sequence[Line]
    constraints: Sequence[Requirement]
    options: Sequence[str]
    target: Target


def resolve(run: Run, problem: Problem) -> list[Found]:
    """The files that fulfil all of it together.

    :raises BadRequest: there are none.
    """
    target = problem.target
    wanted = [line.requirement for line in problem.wanted if is_needed(line, target)]
    constraints = [each for each in problem.constraints if target.needs(each.marker)]
    if not wanted:
        return []
    if target.is_here:
        return run(Order([*map(bare, wanted)], [*map(bare, constraints)], problem.options, target))
    known: dict[str, Found] = {}  # by line: without dependencies, each is for itself
    needs = _Needs(wanted)
    for _ in range(_MOST_ROUNDS):
        lines = needs.lines(constraints)
        new = {project: line for project, line in lines.items() if line not in known}
        if new:
            found = run(Order([*new.values()], (), problem.options, target))
            known |= {new[each.project]: each for each in found if each.project in new}
        by_project = {name: known[line] for name, line in lines.items() if line in known}
        following = _Needs(wanted)
        following.follow(by_project, target)
        if following.lines(constraints) == lines:
            return [*by_project.values()]
        needs = following
    raise BadRequest(f"what is needed for {target.name} does not come to an end")


def is_needed(line: Line, target: Target) -> bool:
    """Whether the line counts there."""
    return target.needs(line.requirement.marker, line.extras)


def bare(each: Requirement) -> str:
    """The requirement without its marker."""
    extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
    return f"{each.name}{extras}{each.specifier}"


class _Needs:
    """What is needed of each project."""

    def __init__(self, wanted: Iterable[Requirement]) -> None:
        self._specifiers: dict[NormalizedName, SpecifierSet] = {}
        self._extras: dict[NormalizedName, frozenset[str]] = {}
        for each in wanted:
            self._add(each)

    def follow(self, found: Mapping[NormalizedName, Found], target: Target) -> None:
        """Add what those need that have been found, and what that needs."""
        done: dict[NormalizedName, frozenset[str]] = {}
        while open_ := [name for name in self._extras if done.get(name) != self._extras[name]]:
            for name in open_:
                extras = done[name] = self._extras[name]
                for text in found[name].requires if name in found else ():
                    needed = _requirement(text)
                    if needed is not None and target.needs(needed.marker, extras):
                        self._add(needed)

    def lines(self, constraints: Iterable[Requirement]) -> dict[NormalizedName, str]:
        """All of it, a line a project, as pip takes it."""
        limits: dict[NormalizedName, SpecifierSet] = {}
        for each in constraints:
            name = names.project(each.name)
            limits[name] = limits.get(name, SpecifierSet()) & each.specifier
        lines = {}
        for name, specifier in sorted(self._specifiers.items()):
            extras = ",".join(sorted(self._extras[name]))
            limited = specifier & limits.get(name, SpecifierSet())
            lines[name] = f"{name}{f'[{extras}]' if extras else ''}{limited}"
        return lines

    def _add(self, each: Requirement) -> None:
        name = names.project(each.name)
        self._specifiers[name] = self._specifiers.get(name, SpecifierSet()) & each.specifier
        self._extras[name] = self._extras.get(name, frozenset()) | each.extras


def _requirement(text: str) -> Requirement | None:
    """A requirement of a release; None where pip would not install it from an index."""
    try:
        return requirement(text)
    except ValueError:
        return None
