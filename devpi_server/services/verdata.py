"""Projects and versions as devpi shows them: *verdata* (devpi.md 1.6).

A version that several indexes of the chain have is shown as the first of them has
it; what the others have stands below, at ``+shadowing``.  A mirror knows less of a
version than an index that it was uploaded to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from devpi_server import names
from devpi_server.errors import NoSuchProject, NoSuchVersion
from devpi_server.names import NormalizedName
from devpi_server.records import Digests, Link
from devpi_server.services.indexes import Index, MayRead
from devpi_server.services.metadata_fields import LISTS, SCALARS
from devpi_server.sources.directory import Directory
from devpi_server.sources.directory import version_of as folder_version
from devpi_server.sources.stage import Stage
from devpi_server.store.meta import FileKind, LogEntry, Release, StoredFile

Verdata = dict[str, Any]
Place = Callable[[str, str], str]  # index and path of a file → its URL
VersionOf = Callable[[str, NormalizedName], str | None]  # that the name of a file states

# What devpi always has, given or not; it knows nothing of these.
_NEWER = frozenset({"import_names", "import_namespaces"})
_BLANK: Mapping[str, object] = {
    **dict.fromkeys(SCALARS, ""),
    **{name: [] for name in LISTS if name not in _NEWER},
}


def of_project(
    index: Index,
    project: NormalizedName,
    may_read: MayRead,
    place: Place,
    *,
    ignore_bases: bool = False,
) -> dict[str, Verdata]:
    """Version → verdata, of all versions that the index has.

    :param place: makes the URL of a file.
    :param ignore_bases: only what the index has itself.
    :raises NoSuchProject: it does not have the project.
    :raises UpstreamError: cannot tell.
    """
    try:
        found = index.views(project, may_read)
    except NoSuchProject:
        raise NoSuchProject(f"no project {project!r}") from None
    if ignore_bases:
        found = [(member, view) for member, view in found if member.name == index.name]
    shown: dict[str, Verdata] = {}  # by the version's key
    for member, view in found:
        if isinstance(member.source, Stage):
            versions = _of_stage(member.source, project, place)
        else:
            states = folder_version if isinstance(member.source, Directory) else names.version_of
            versions = _of_page(member.name, project, view.load().links, place, states)
        for verdata in versions:
            key = names.version_key(verdata["version"])
            if key in shown:
                shown[key].setdefault("+shadowing", []).append(verdata)
            else:
                shown[key] = verdata
    if not shown:
        raise NoSuchProject(f"no project {project!r}")
    return {verdata["version"]: verdata for verdata in shown.values()}


def of_version(
    index: Index, project: NormalizedName, version: str, may_read: MayRead, place: Place
) -> Verdata:
    """Verdata of one version, however it is spelled; takes and raises what ``of_project`` does.

    :raises NoSuchVersion: the index does not have the version.
    """
    for known, verdata in of_project(index, project, may_read, place).items():
        if names.same_version(known, version):
            return verdata
    raise NoSuchVersion(f"The version {version[:100]} of project {project} does not exist.")


# Of a stage


def _of_stage(stage: Stage, project: NormalizedName, place: Place) -> Iterator[Verdata]:
    releases, files = stage.contents(project)
    for release in releases:
        key = names.version_key(release.version)
        own = [file for file in files if names.version_key(file.version) == key]
        yield _released(release, own, lambda path: place(stage.name, path))


def _released(
    release: Release, files: Sequence[StoredFile], place: Callable[[str], str]
) -> Verdata:
    hrefs = {file.filename: place(_path(file)) for file in files}
    yanked = {file.yanked for file in files if file.kind is FileKind.RELEASE}
    verdata: Verdata = {**_BLANK, "name": release.project, **release.fields}
    verdata["version"] = release.version
    if yanked and None not in yanked:
        verdata["yanked"] = next(iter(yanked)) or True
    verdata["+links"] = [_stored_link(file, hrefs) for file in files]
    return verdata


def _path(file: StoredFile) -> str:
    return names.file_path(file.filename, "", {"sha256": file.sha256})


def _stored_link(file: StoredFile, hrefs: Mapping[str, str]) -> Verdata:
    link: Verdata = {
        "rel": file.kind.value,
        "href": hrefs[file.filename],
        **hashes({"sha256": file.sha256, **file.digests}),
        "log": [_logged(entry) for entry in file.log],
    }
    if file.yanked is not None:
        link["yanked"] = file.yanked or True
    if file.for_file is not None and file.for_file in hrefs:
        link["for_href"] = hrefs[file.for_file]
    return link


def _logged(entry: LogEntry) -> Verdata:
    when = datetime.fromtimestamp(entry.when, timezone.utc)
    shown: Verdata = {"what": entry.what, "who": entry.who, "when": list(when.timetuple()[:6])}
    more = {"dst": entry.dst, "src": entry.src, "count": entry.count}
    return shown | {key: value for key, value in more.items() if value is not None}


# Of a mirror or a folder


def _of_page(
    name: str, project: NormalizedName, links: Iterable[Link], place: Place, states: VersionOf
) -> Iterator[Verdata]:
    versions: dict[str, Verdata] = {}
    for link in links:
        version = states(link.filename, project)
        if version is None:
            continue
        blank: Verdata = {"name": project, "version": version, "+links": []}
        verdata = versions.setdefault(names.version_key(version), blank)
        if link.requires_python is not None:
            verdata["requires_python"] = link.requires_python
        if link.yanked is not False:
            verdata["yanked"] = link.yanked
        path = names.file_path(link.filename, link.url, link.digests)
        href = place(name, path)
        verdata["+links"].append(
            {"rel": FileKind.RELEASE.value, "href": href, **hashes(link.digests)}
        )
    yield from versions.values()


def hashes(digests: Digests) -> Verdata:
    """All digests of a file, and the one that devpi-client looks at."""
    best = next((name for name in ("sha256", *digests) if name in digests), "")
    return {"hash_spec": f"{best}={digests[best]}" if best else "", "hashes": dict(digests)}
