"""The configurations of indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError

from devpi_server.errors import Conflict, NoSuchUser
from devpi_server.store import schema
from devpi_server.store.meta import IndexRow
from devpi_server.store.tables.base import Transaction, dumped, loaded
from devpi_server.store.tables.files import let_go

_indexes = schema.indexes
_users = schema.users


@dataclass(frozen=True, slots=True)
class Indexes:
    """``IndexesTable``."""

    transaction: Transaction

    def get(self, full_name: str) -> IndexRow | None:
        user, _, name = full_name.partition("/")
        found = _SELECT.where(_users.c.name == user, _indexes.c.name == name)
        row = self.transaction.run(found).first()
        return _index(row) if row is not None else None

    def all(self) -> list[IndexRow]:
        found = _SELECT.order_by(_users.c.name, _indexes.c.name)
        return [_index(row) for row in self.transaction.run(found)]

    def add(self, row: IndexRow) -> IndexRow:
        user_id = self.transaction.user_id(row.user)
        if user_id is None:
            raise NoSuchUser(f"there is no user {row.user}")
        try:
            self.transaction.run(
                _indexes.insert().values(
                    user_id=user_id,
                    name=row.name,
                    type=row.type,
                    options=dumped(dict(row.options)),
                    serial=self.transaction.serial,
                )
            )
        except IntegrityError as error:
            raise Conflict(f"index '{row.full_name}' exists") from error
        self._changed()
        added = self.get(row.full_name)
        assert added is not None  # noqa: S101 - it was put there a few lines above
        return added

    def change(self, row: IndexRow) -> None:
        self.transaction.run(
            _indexes.update()
            .where(_indexes.c.id == row.id)
            .values(options=dumped(dict(row.options)), serial=self.transaction.serial)
        )
        self._changed()

    def remove(self, index_id: int) -> None:
        let_go(self.transaction, schema.files.c.index_id == index_id)
        self.transaction.run(_indexes.delete().where(_indexes.c.id == index_id))
        self._changed()

    def _changed(self) -> None:
        self.transaction.config_changed()
        self.transaction.anything_changed()


_SELECT = select(_indexes, _users.c.name.label("user")).join(
    _users, _users.c.id == _indexes.c.user_id
)


def _index(row: Row[Any]) -> IndexRow:
    return IndexRow(row.user, row.name, row.type, loaded(row.options), row.id, row.serial)
