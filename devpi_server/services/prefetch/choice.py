"""Which files of a release are to be held, by what its index lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.errors import InvalidArtefact, NoSuchFile
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Page
from devpi_server.services import distnames
from devpi_server.services.distnames import SDIST, WHEEL
from devpi_server.services.prefetch.files import Pin
from devpi_server.services.prefetch.targets import Target

_LONGEST_VERSION = 200


@dataclass(frozen=True)
class Wishes:
    """For whom files are chosen.

    :param all_platforms: all files, but for those of other Pythons where some are named.
    """

    targets: Sequence[Target]
    all_platforms: bool = False
    pythons: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is to be held.

    :param takers: who installs from it; with all platforms, there may be nobody.
    """

    link: Link
    takers: tuple[Target, ...] = ()

    @property
    def is_built(self) -> bool:
        """Whether somebody has to build it before it is installed."""
        return bool(self.takers) and is_sdist(self.link.filename)


def version_of(link: Link, project: NormalizedName) -> str | None:
    """The version of an installable file of the project, None for any other file."""
    try:
        found = distnames.parse(link.filename)
    except InvalidArtefact:
        return None
    if found.filetype not in (WHEEL, SDIST):
        return None
    return next(iter(found.versions(project)), None)


def of_pin(page: Page, pin: Pin, wishes: Wishes) -> list[Chosen]:
    """The files of a release that will do, and that somebody takes; none: nobody does.

    :raises NoSuchFile: there are none that will do; with the reason.
    """
    release = list(_release(page, pin.version))
    if not release:
        raise NoSuchFile(f"there is no release {pin.version} of {pin.project}")
    named = [link for link in release if not pin.files or link.filename in pin.files]
    if not named:
        raise NoSuchFile(f"there is none of the files of {pin.project} {pin.version} that it names")
    sound = [link for link in named if not pin.hashes or _is_one_of(link, pin.hashes)]
    if not sound:
        raise NoSuchFile(f"no file of {pin.project} {pin.version} has one of its hashes")
    return _for_all(sound, wishes)


def of_file(page: Page, version: str, filename: str, taker: Target, wishes: Wishes) -> list[Chosen]:
    """The file that was chosen for a target; with all of its release where that is wished.

    :raises NoSuchFile: it is not there any more.
    """
    release = list(_release(page, version))
    chosen = [Chosen(link, (taker,)) for link in release if link.filename == filename]
    if not chosen:
        raise NoSuchFile(f"there is no file {filename} any more")
    others = [link for link in release if wishes.all_platforms and link.filename != filename]
    return chosen + [Chosen(link) for link in others if _is_for(link, wishes.pythons)]


def newest(page: Page, required: Requirement, target: Target) -> str | None:
    """The newest version that fulfils a requirement, of those that have files for the target."""
    fitting = {
        version
        for link in page.links
        if (version := version_of(link, page.name)) is not None
        and _is_allowed(required, version)
        and not link.yanked
        and _best([link], target)
    }
    return names.newest(fitting) if fitting else None


def fulfils(page: Page, required: Requirement) -> bool:
    """Whether there is any file whose version fulfils a requirement."""
    return any(
        version is not None and _is_allowed(required, version)
        for version in (version_of(link, page.name) for link in page.links)
    )


def is_sdist(filename: str) -> bool:
    """Whether it has to be built before it is installed."""
    return not filename.endswith(".whl")


def _is_allowed(required: Requirement, version: str) -> bool:
    if len(version) > _LONGEST_VERSION:
        return False
    try:
        return required.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return f"=={version}" in {str(each).replace("===", "==") for each in required.specifier}


def _release(page: Page, version: str) -> Iterator[Link]:
    for link in page.links:
        written = version_of(link, page.name)
        if written is not None and distnames.states(written, version):
            yield link


def _is_one_of(link: Link, hashes: frozenset[str]) -> bool:
    stated = {f"{kind}:{text}" for kind, text in link.digests.items()}
    # What the page has no digest for is compared when it is fetched, or by who installs it.
    return bool(stated & hashes) or not stated


def _for_all(links: Sequence[Link], wishes: Wishes) -> list[Chosen]:
    takers: dict[str, tuple[Target, ...]] = {}
    for target in wishes.targets:
        for link in _best(links, target):
            takers[link.filename] = (*takers.get(link.filename, ()), target)
    return [
        Chosen(link, takers.get(link.filename, ()))
        for link in links
        if link.filename in takers or (wishes.all_platforms and _is_for(link, wishes.pythons))
    ]


def _best(links: Sequence[Link], target: Target) -> list[Link]:
    """What an installer there takes: the wheel that suits best, else what it can build."""
    allowed = [link for link in links if target.takes_python(link.requires_python)]
    ranked = [(rank, link) for link in allowed if (rank := target.rank(link.filename)) is not None]
    if ranked:
        return [min(ranked, key=_rank)[1]]
    sdists = [link for link in allowed if is_sdist(link.filename)]
    return sdists[:1]


def _rank(found: tuple[tuple[int, ...], Link]) -> tuple[int, ...]:
    return found[0]


def _is_for(link: Link, pythons: Sequence[tuple[int, int]]) -> bool:
    """Whether some platform's Python of these versions takes the file."""
    if not pythons or is_sdist(link.filename):
        return True
    tags = names.wheel_tags(link.filename)[1]
    return any(_runs(tag.interpreter, tag.abi, python) for tag in tags for python in pythons)


def _runs(interpreter: str, abi: str, python: tuple[int, int]) -> bool:
    kind, digits = interpreter[:2], interpreter[2:]
    major, minor = digits[:1], digits[1:]
    if kind not in ("py", "cp") or major != str(python[0]):
        return False
    if not minor:
        return True
    if not minor.isdecimal():
        return False
    if kind == "py" or abi in ("abi3", "none"):
        return int(minor) <= python[1]
    return int(minor) == python[1]
