"""The files of releases, and what becomes of the blobs that they name."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, or_, select
from sqlalchemy.dialects.sqlite import insert

from devpi_server import names
from devpi_server.errors import NoSuchVersion
from devpi_server.names import NormalizedName
from devpi_server.store import schema
from devpi_server.store.meta import FileKind, LogEntry, StoredFile
from devpi_server.store.tables.base import Transaction, dumped, loaded

_files = schema.files
_projects = schema.projects
_releases = schema.releases
_removed = schema.removed
_orphans = schema.orphans
_BLOBS = (
    _files.c.sha256,
    _files.c.metadata_sha256,
    _files.c.signature_sha256,
    _files.c.provenance_sha256,
)


@dataclass(frozen=True, slots=True)
class Files:
    """``FilesTable``."""

    transaction: Transaction

    def find(self, index_id: int, filename: str) -> StoredFile | None:
        found = _SELECT.where(_files.c.index_id == index_id, _files.c.filename == filename)
        row = self.transaction.run(found).first()
        return _file(row) if row is not None else None

    def of(self, index_id: int, project: NormalizedName) -> list[StoredFile]:
        found = _SELECT.where(_projects.c.index_id == index_id, _projects.c.name == project)
        return [_file(row) for row in self.transaction.run(found.order_by(_files.c.id))]

    def all(self, index_id: int) -> Iterator[StoredFile]:
        found = _SELECT.where(_projects.c.index_id == index_id)
        for row in self.transaction.run(found.order_by(_projects.c.name, _files.c.id)):
            yield _file(row)

    def put(self, index_id: int, file: StoredFile) -> StoredFile:
        key = names.version_key(file.version)
        release = self.transaction.run(
            select(_releases.c.id, _projects.c.id.label("project_id"))
            .join(_projects, _projects.c.id == _releases.c.project_id)
            .where(
                _projects.c.index_id == index_id,
                _projects.c.name == file.project,
                _releases.c.key == key,
            )
        ).first()
        if release is None:
            raise NoSuchVersion(f"there is no version {file.version} of {file.project}")
        same = (_files.c.index_id == index_id, _files.c.filename == file.filename)
        values = _values(file) | {"release_id": release.id}
        if self.transaction.run(select(_files.c.id).where(*same)).first() is None:
            self.transaction.run(_files.insert().values(index_id=index_id, **values))
        else:
            let_go(self.transaction, *same, kept=[values[column.name] for column in _BLOBS])
            self.transaction.run(_files.update().where(*same).values(**values))
        self.transaction.touch(_projects, release.project_id)
        self.transaction.project_changed(file.project)
        put = self.find(index_id, file.filename)
        assert put is not None  # noqa: S101 - it was put there a few lines above
        return put

    def remove(self, index_id: int, filename: str) -> None:
        same = (_files.c.index_id == index_id, _files.c.filename == filename)
        owner = (
            select(_projects.c.id, _projects.c.name)
            .join(_releases, _releases.c.project_id == _projects.c.id)
            .join(_files, _files.c.release_id == _releases.c.id)
            .where(*same)
        )
        project = self.transaction.run(owner).first()
        if project is not None:
            let_go(self.transaction, *same)
            self.transaction.run(_files.delete().where(*same))
            self.transaction.touch(_projects, project.id)
            self.transaction.project_changed(project.name)

    def was_removed(self, index_id: int, filename: str, sha256_start: str) -> bool:
        found = select(_removed.c.at).where(
            _removed.c.index_id == index_id,
            _removed.c.filename == filename,
            _removed.c.sha256.startswith(sha256_start, autoescape=True),
        )
        return self.transaction.run(found.limit(1)).first() is not None

    def names_blob(self, sha256: str) -> bool:
        found = select(_files.c.id).where(or_(*(column == sha256 for column in _BLOBS)))
        return self.transaction.run(found.limit(1)).first() is not None


@dataclass(frozen=True, slots=True)
class Orphans:
    """``OrphansTable``."""

    transaction: Transaction

    def since(self, before: float) -> list[str]:
        found = select(_orphans.c.sha256).where(_orphans.c.at < before)
        return list(self.transaction.run(found.order_by(_orphans.c.at)).scalars())

    def forget(self, sha256: str) -> None:
        self.transaction.run(_orphans.delete().where(_orphans.c.sha256 == sha256))


def let_go(
    transaction: Transaction, *which: ColumnElement[bool], kept: Collection[object] = ()
) -> None:
    """Note of files that are about to be removed or replaced what they were, and their blobs.

    :param kept: the blobs that what replaces a file names.
    """
    now = transaction.now()
    for row in transaction.run(select(_files).where(*which)).all():
        if row.sha256 not in kept:
            transaction.run(
                insert(_removed)
                .values(index_id=row.index_id, filename=row.filename, sha256=row.sha256, at=now)
                .on_conflict_do_nothing()
            )
        for column in _BLOBS:
            sha256 = row._mapping[column]
            if sha256 is not None and sha256 not in kept:
                noted = insert(_orphans).values(sha256=sha256, at=now)
                transaction.run(
                    noted.on_conflict_do_update(index_elements=["sha256"], set_={"at": now})
                )


_SELECT: Select[Any] = (
    select(_files, _projects.c.name.label("project"), _releases.c.version)
    .join(_releases, _releases.c.id == _files.c.release_id)
    .join(_projects, _projects.c.id == _releases.c.project_id)
)


def _values(file: StoredFile) -> dict[str, object]:
    return {
        "kind": file.kind.value,
        "filename": file.filename,
        "sha256": file.sha256,
        "size": file.size,
        "digests": dumped(dict(file.digests)),
        "uploaded": file.uploaded,
        "requires_python": file.requires_python,
        "metadata_sha256": file.metadata,
        "signature_sha256": file.signature,
        "provenance_sha256": file.provenance,
        "yanked": file.yanked,
        "for_file": file.for_file,
        "log": dumped([asdict(entry) for entry in file.log]),
    }


def _file(row: Row[Any]) -> StoredFile:
    return StoredFile(
        project=row.project,
        version=row.version,
        kind=FileKind(row.kind),
        filename=row.filename,
        sha256=row.sha256,
        size=row.size,
        uploaded=row.uploaded,
        digests=loaded(row.digests),
        requires_python=row.requires_python,
        metadata=row.metadata_sha256,
        signature=row.signature_sha256,
        provenance=row.provenance_sha256,
        yanked=row.yanked,
        for_file=row.for_file,
        log=tuple(LogEntry(**entry) for entry in loaded(row.log)),
        id=row.id,
    )
