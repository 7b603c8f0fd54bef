"""What was uploaded is deleted, or taken back without deleting it: yanked (PEP 592).

On an index that is not volatile, only by force.  On a mirror, deleting lets go of
what is cached: the page shows it as before, and who asks for it causes a fetch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from devpi_server import names
from devpi_server.errors import (
    BadRequest,
    Forbidden,
    NoSuchFile,
    NoSuchIndex,
    NoSuchProject,
    NoSuchVersion,
)
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link
from devpi_server.services.access import Principal
from devpi_server.services.index_options import DIRECTORY
from devpi_server.services.indexes import Index, Indexes
from devpi_server.sources.mirror import Mirror
from devpi_server.store.blobs import BlobStore
from devpi_server.store.meta import Actor, FileKind, MetaStore, Release, StoredFile, Tables

_LONGEST_REASON = 500  # characters


@dataclass(frozen=True, slots=True)
class By:
    """Who does it, and how."""

    principal: Principal
    address: str  # where the request comes from
    is_forced: bool = False  # also where the index is not volatile

    @property
    def actor(self) -> Actor:
        """For the audit trail."""
        return Actor(self.principal.name, self.address)


class Releases:
    """What becomes of releases after their upload."""

    def __init__(self, meta: MetaStore, blobs: BlobStore, indexes: Indexes) -> None:
        self._meta = meta
        self._blobs = blobs
        self._indexes = indexes

    def delete_project(self, by: By, index: str, project: NormalizedName) -> None:
        """Delete all releases of the project.

        :raises Forbidden: the index is not volatile.
        :raises NoSuchProject: it does not have the project.
        """
        target = self._changeable(index)
        _expect_volatile(by, target, f"project {project!r} is on non-volatile index {index}")
        if target.mirrored is not None:
            self._uncache(by, target.mirrored.mirror, index, project)
            target.mirrored.mirror.pages.drop(project)
            return
        with self._changing(by, target) as tables:
            releases = tables.releases.of(target.row.id, project)
            if not releases:
                raise NoSuchProject("project not found")
            for release in releases:
                tables.releases.remove(target.row.id, release)
            detail = {"versions": [release.version for release in releases]}
            tables.note("remove", f"{index}/{project}", detail)

    def delete_version(self, by: By, index: str, project: NormalizedName, version: str) -> None:
        """Delete one release; the last one takes the project with it.

        :raises Forbidden: the index is not volatile.
        :raises NotFound: it does not have the project, or the version.
        """
        target = self._changeable(index)
        _expect_volatile(by, target, "cannot delete version on non-volatile index")
        if target.mirrored is not None:
            self._uncache(by, target.mirrored.mirror, index, project, version)
            return
        with self._changing(by, target) as tables:
            release = _release(tables, target, project, version)
            tables.releases.remove(target.row.id, release)
            tables.note("remove", f"{index}/{project}/{release.version}")

    def delete_file(self, by: By, index: str, path: str) -> None:
        """Delete one file with its test results; the last one takes the release with it.

        :raises Forbidden: the index is not volatile.
        :raises Gone: it was deleted before.
        :raises NoSuchFile: it was never there.
        """
        target = self._changeable(index)
        _expect_volatile(by, target, "cannot delete version on non-volatile index")
        if target.mirrored is not None:
            if not self._let_go(by, target.mirrored.mirror, index, [path]):
                raise NoSuchFile(f"package {index + '/' + path!r} doesn't exist")
            return
        with self._changing(by, target) as tables:
            file = _stored(target, path)
            files = _of_release(tables, target, file.project, file.version)
            for each in files:
                if each.filename == file.filename or each.for_file == file.filename:
                    tables.files.remove(target.row.id, each.filename)
            if not _of_release(tables, target, file.project, file.version):
                release = _release(tables, target, file.project, file.version)
                tables.releases.remove(target.row.id, release)
            detail = {"sha256": file.sha256}
            tables.note("remove", f"{index}/{file.filename}", detail)

    def yank(self, by: By, index: str, project: NormalizedName, version: str, reason: str) -> None:
        """Have installers pass over the release, unless somebody pins it.

        :param reason: may be empty.
        :raises NotFound: the index does not have it.
        :raises BadRequest: there is nothing to yank, or the reason cannot be one.
        """
        self._set_yanked(by, index, _version(project, version), _checked(reason))

    def unyank(self, by: By, index: str, project: NormalizedName, version: str) -> None:
        """Undo ``yank``; raises as it does."""
        self._set_yanked(by, index, _version(project, version), None)

    def yank_file(self, by: By, index: str, path: str, reason: str) -> None:
        """The same as ``yank`` for one file of a release."""
        self._set_yanked(by, index, _file(path), _checked(reason))

    def unyank_file(self, by: By, index: str, path: str) -> None:
        """Undo ``yank_file``."""
        self._set_yanked(by, index, _file(path), None)

    def _set_yanked(self, by: By, index: str, find: _Find, reason: str | None) -> None:
        target = self._changeable(index)
        if target.stage is None:
            raise BadRequest(f"{index} is a mirror: what is yanked there, upstream decides")
        with self._changing(by, target) as tables:
            files = [each for each in find(tables, target) if each.kind is FileKind.RELEASE]
            if not files:
                raise BadRequest("there is no file that could be yanked")
            for file in files:
                if file.yanked != reason:
                    tables.files.put(target.row.id, replace(file, yanked=reason))
                    action = "unyank" if reason is None else "yank"
                    detail = {} if reason is None else {"reason": reason}
                    tables.note(action, f"{index}/{file.filename}", detail)

    def _changeable(self, index: str) -> Index:
        """The index; raises Forbidden if it is a directory."""
        target = self._indexes.find(index)
        if target.options.type == DIRECTORY:
            raise Forbidden(f"{index} is a folder of the server: files are removed there")
        return target

    @contextmanager
    def _changing(self, by: By, target: Index) -> Iterator[Tables]:
        """A transaction on an index that is still there."""
        with self._meta.writing(by.actor) as tables:
            row = tables.indexes.get(target.name)
            if row is None or row.id != target.row.id:
                raise NoSuchIndex(f"The stage {target.name} could not be found.")
            yield tables

    # Mirrors

    def _uncache(
        self,
        by: By,
        mirror: Mirror,
        index: str,
        project: NormalizedName,
        version: str | None = None,
    ) -> None:
        """Let go of the files of a project, or of one version of it."""
        try:
            page = mirror.view(project, Freshness.ANY).load()
        except NoSuchProject:
            raise NoSuchProject("project not found") from None
        links = [
            link for link in page.links if version is None or _is_version(link, project, version)
        ]
        if not links:
            raise NoSuchVersion(
                f"version {version!r} of project {project!r} not found on {index!r}"
            )
        paths = [names.file_path(link.filename, link.url, link.digests) for link in links]
        self._let_go(by, mirror, index, paths)

    def _let_go(self, by: By, mirror: Mirror, index: str, paths: Sequence[str]) -> bool:
        """Forget what is cached of the files; tells whether anything was.

        The bytes go, too, unless an upload needs them.  Another mirror that holds them fetches
        them again.
        """
        dropped = {path: sha256 for path in paths if (sha256 := mirror.files.drop(path))}
        if not dropped:
            return False
        with self._meta.writing(by.actor) as tables:
            for path, sha256 in dropped.items():
                if not tables.files.names_blob(sha256):
                    self._blobs.remove(sha256)
                tables.note("uncache", f"{index}/{path.rpartition('/')[2]}", {"sha256": sha256})
        return True


_Find = Callable[[Tables, Index], Sequence[StoredFile]]


def _version(project: NormalizedName, version: str) -> _Find:
    def find(tables: Tables, target: Index) -> Sequence[StoredFile]:
        release = _release(tables, target, project, version)
        return _of_release(tables, target, project, release.version)

    return find


def _file(path: str) -> _Find:
    return lambda _, target: [_stored(target, path)]


def _stored(target: Index, path: str) -> StoredFile:
    if target.stage is None:
        raise NoSuchFile("no such file")
    return target.stage.stored(path)


def _of_release(
    tables: Tables, target: Index, project: NormalizedName, version: str
) -> list[StoredFile]:
    files = tables.files.of(target.row.id, project)
    return [file for file in files if names.same_version(file.version, version)]


def _release(tables: Tables, target: Index, project: NormalizedName, version: str) -> Release:
    release = tables.releases.get(target.row.id, project, version)
    if release is not None:
        return release
    if tables.releases.project_serial(target.row.id, project) is None:
        raise NoSuchProject(f"project {project!r} not found on stage {target.name!r}")
    raise NoSuchVersion(
        f"version {version[:100]!r} of project {project!r} not found on stage {target.name!r}"
    )


def _is_version(link: Link, project: NormalizedName, version: str) -> bool:
    found = names.version_of(link.filename, project)
    return found is not None and names.same_version(found, version)


def _expect_volatile(by: By, target: Index, message: str) -> None:
    if not target.options.volatile and not by.is_forced:
        raise Forbidden(message)


def _checked(reason: str) -> str:
    reason = reason.strip()
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise BadRequest(f"a reason is a line of at most {_LONGEST_REASON} characters")
    return reason
