"""Projects and their releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import JSON, Row, Select, select, type_coerce

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.store import schema
from devpi_server.store.meta import Release, ReleaseLine
from devpi_server.store.tables.base import Transaction, dumped, loaded
from devpi_server.store.tables.files import let_go

_projects = schema.projects
_releases = schema.releases


@dataclass(frozen=True, slots=True)
class Releases:
    """``ReleasesTable``."""

    transaction: Transaction

    def projects(self, index_id: int) -> list[NormalizedName]:
        found = select(_projects.c.name).where(_projects.c.index_id == index_id)
        rows = self.transaction.run(found.order_by(_projects.c.name)).scalars()
        return cast(list[NormalizedName], list(rows))

    def project_serial(self, index_id: int, project: NormalizedName) -> int | None:
        return self.transaction.run(_project(index_id, project, _projects.c.serial)).scalar()

    def of(self, index_id: int, project: NormalizedName) -> list[Release]:
        found = _select(index_id, project).order_by(_releases.c.id)
        return [_release(row) for row in self.transaction.run(found)]

    def lines(self, index_id: int) -> list[ReleaseLine]:
        fields = type_coerce(_releases.c.fields, JSON)
        found = (
            select(
                _projects.c.name.label("project"),
                _releases.c.version,
                fields["name"].as_string().label("name"),
                fields["summary"].as_string().label("summary"),
            )
            .join(_projects, _projects.c.id == _releases.c.project_id)
            .where(_projects.c.index_id == index_id)
            .order_by(_projects.c.name, _releases.c.id)
        )
        return [
            ReleaseLine(row.project, row.version, row.name or row.project, row.summary or "")
            for row in self.transaction.run(found)
        ]

    def get(self, index_id: int, project: NormalizedName, version: str) -> Release | None:
        found = _select(index_id, project).where(_releases.c.key == names.version_key(version))
        row = self.transaction.run(found).first()
        return _release(row) if row is not None else None

    def put(self, index_id: int, release: Release) -> Release:
        project_id = self._touched(index_id, release.project)
        fields = dumped(dict(release.fields))
        key = names.version_key(release.version)
        same = (_releases.c.project_id == project_id, _releases.c.key == key)
        changed = self.transaction.run(_releases.update().where(*same).values(fields=fields))
        if not changed.rowcount:
            self.transaction.run(
                _releases.insert().values(
                    project_id=project_id, key=key, version=release.version, fields=fields
                )
            )
        put = self.get(index_id, release.project, release.version)
        assert put is not None  # noqa: S101 - it was put there a few lines above
        return put

    def remove(self, index_id: int, release: Release) -> None:
        project_id = self._touched(index_id, release.project)
        let_go(self.transaction, schema.files.c.release_id == release.id)
        self.transaction.run(_releases.delete().where(_releases.c.id == release.id))
        left = select(_releases.c.id).where(_releases.c.project_id == project_id).limit(1)
        if self.transaction.run(left).first() is None:
            self.transaction.run(_projects.delete().where(_projects.c.id == project_id))
            self.transaction.touch(schema.indexes, index_id)

    def _touched(self, index_id: int, project: NormalizedName) -> int:
        """The id of the project, which changes in this transaction; made if it is not there."""
        self.transaction.project_changed(project)
        found = self.transaction.run(_project(index_id, project, _projects.c.id)).scalar()
        if found is not None:
            self.transaction.touch(_projects, found)
            return cast(int, found)
        self.transaction.touch(schema.indexes, index_id)
        added = self.transaction.run(
            _projects.insert().values(
                index_id=index_id, name=project, serial=self.transaction.serial
            )
        )
        return cast(int, added.inserted_primary_key[0])  # type: ignore[index]


def _project(index_id: int, project: NormalizedName, column: Any) -> Select[Any]:
    return select(column).where(_projects.c.index_id == index_id, _projects.c.name == project)


def _select(index_id: int, project: NormalizedName) -> Select[Any]:
    return (
        select(_releases, _projects.c.name.label("project"))
        .join(_projects, _projects.c.id == _releases.c.project_id)
        .where(_projects.c.index_id == index_id, _projects.c.name == project)
    )


def _release(row: Row[Any]) -> Release:
    return Release(row.project, row.version, loaded(row.fields), row.id)
