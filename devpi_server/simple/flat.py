"""Whose file is it? For pages that list the files of many projects."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Page
from devpi_server.simple import fields


def page(links: Iterable[Link], project: NormalizedName) -> Page:
    """The page of one project, out of the links of all."""
    found = fields.Collector()
    for link in links:
        if owner(link.filename) == project:
            found.add(link)
    return found.page(project, versions=None, status=None, serial=None)


def projects(links: Iterable[Link]) -> list[NormalizedName]:
    """The projects that have files, sorted."""
    return sorted({name for link in links if (name := owner(link.filename)) is not None})


def owner(filename: str) -> NormalizedName | None:
    """The project that a file belongs to, as far as its name tells.

    ``a-1b-2.0.tar.gz`` may be ``2.0`` of ``a-1b`` or ``1b-2.0`` of ``a``: the one
    whose version is a version.
    """
    candidates = list(names.projects_of(filename))
    for project in candidates:
        if _is_version(names.version_of(filename, project)):
            return project
    return candidates[0] if candidates else None


def _is_version(text: str | None) -> bool:
    try:
        Version(text or "")
    except InvalidVersion:
        return False
    return True
