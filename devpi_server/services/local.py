"""What an index has on this very machine: nobody upstream is asked for any of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from devpi_server import names
from devpi_server.errors import InvalidArtefact, NoSuchFile, NoSuchProject
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Page
from devpi_server.services import distnames
from devpi_server.services.indexes import Index, Indexes
from devpi_server.sources.base import Source
from devpi_server.store.heldprojects import HeldProjects
from devpi_server.store.meta import IndexRow

_GUESSES = 3


class Local:
    """The files that are held, of any index.

    :param held: which projects a mirror holds files of.
    """

    def __init__(self, indexes: Indexes, held: Callable[[IndexRow], HeldProjects]) -> None:
        self._indexes = indexes
        self._held = held
        self._of_mirrors: dict[int, HeldProjects] = {}

    def projects(self, index: Index, shown: Collection[str] | None) -> list[str]:
        """The projects of the index and its bases that have files here, sorted.

        :param shown: the members that who asks may see; None: all.
        """
        found: set[str] = set()
        for member in index.members:
            if shown is None or member.name in shown:
                found.update(self._of_member(self._indexes.find(member.name)))
        return sorted(found)

    def page(self, index: Index, source: Source, project: NormalizedName) -> Page:
        """The page of the project, with the files that are here.

        :param source: the index as who asks may see it.
        :raises NoSuchProject: there are none.
        """
        missing = NoSuchProject(f"nothing of {project} is held here")
        try:
            page = source.view(project, Freshness.ANY).load()
        except NoSuchProject:
            raise missing from None
        links = tuple(link for link in page.links if self._is_here(link, index))
        if not links:
            raise missing
        return replace(page, links=links)

    def _is_here(self, link: Link, index: Index) -> bool:
        mirrored = (self._indexes.find(link.index) if link.index else index).mirrored
        if mirrored is None:
            return True
        path = names.file_path(link.filename, link.url, link.digests)
        return mirrored.mirror.files.find(path) is not None

    def _of_member(self, index: Index) -> Collection[str]:
        if index.mirrored is None:
            return set(index.own_source.listing().names())
        row = index.row
        held = self._of_mirrors.get(row.id)
        if held is None:
            held = self._of_mirrors.setdefault(row.id, self._held(row))
        return held.names()


def of_version(page: Page, version: str) -> Page:
    """The page, with the files of one version.

    :raises NoSuchProject: there are none.
    """
    links = tuple(link for link in page.links if _is_of(link.filename, page.name, version))
    if not links:
        raise NoSuchProject(f"there is no release {version[:100]} of {page.name}")
    return replace(page, links=links, versions=(version,))


def _is_of(filename: str, project: NormalizedName, version: str) -> bool:
    try:
        written = distnames.parse(filename).versions(project)
    except InvalidArtefact:
        return False
    return any(distnames.states(each, version) for each in written)


def named(source: Source, filename: str) -> Link:
    """The file of this name; where there is none, one whose name differs in case only.

    :raises NoSuchFile: there is none.
    :raises UpstreamError: cannot tell.
    """
    projects = list(names.projects_of(filename))
    for freshness in (Freshness.ANY, Freshness.CURRENT):
        # A file name with many dashes names many projects; upstream is asked for the likeliest.
        for project in projects if freshness is Freshness.ANY else projects[:_GUESSES]:
            with suppress(NoSuchProject):
                links = source.view(project, freshness).load().links
                for fold in (str, str.lower):
                    for link in links:
                        if fold(link.filename) == fold(filename):
                            return link
    raise NoSuchFile(f"the index has no file {filename[:200]}")
