"""One transaction: what all tables share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, Executable, Table, select
from sqlalchemy.engine import CursorResult

from devpi_server.concurrency import Clock
from devpi_server.store import schema
from devpi_server.store.meta import Actor

SERIAL = "serial"
CONFIG = "config"  # key of the serial of the last change of users, indexes, tokens


class Transaction:
    """A connection within a transaction.

    :param actor: who writes; None: it only reads.
    """

    def __init__(self, connection: Connection, clock: Clock, actor: Actor | None) -> None:
        self._connection = connection
        self._clock = clock
        self._serial: int | None = None
        self.actor = actor
        # What readers see otherwise after it: projects; None: it may be anything.
        self.changed: set[str] | None = set()

    def run(self, statement: Executable) -> CursorResult[Any]:
        """Execute the statement."""
        return self._connection.execute(statement)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def fact(self, key: str) -> str | None:
        """A fact about the whole store."""
        return self.run(select(schema.state.c.value).where(schema.state.c.key == key)).scalar()

    def set_fact(self, key: str, value: str) -> None:
        """State a fact about the whole store."""
        table = schema.state
        changed = self.run(table.update().where(table.c.key == key).values(value=value))
        if not changed.rowcount:
            self.run(table.insert().values(key=key, value=value))

    @property
    def serial(self) -> int:
        """The serial of this transaction, or the last one's for a reader."""
        if self._serial is None:
            self._serial = int(self.fact(SERIAL) or 0)
            if self.actor is not None:
                self._serial += 1
                self.set_fact(SERIAL, str(self._serial))
        return self._serial

    def config_changed(self) -> None:
        """Note that users, indexes or tokens are others now."""
        self.set_fact(CONFIG, str(self.serial))

    def anything_changed(self) -> None:
        """Note that the pages of any project may be others now."""
        self.changed = None

    def project_changed(self, project: str) -> None:
        """Note that pages or files of the project are others now."""
        if self.changed is not None:
            self.changed.add(project)

    def config_serial(self) -> int:
        """The last transaction that changed users, indexes or tokens."""
        return int(self.fact(CONFIG) or 0)

    def note(self, action: str, target: str, detail: Mapping[str, object]) -> None:
        """Add a row to the audit trail."""
        actor = self.actor or Actor("", "")
        self.run(
            schema.audit.insert().values(
                serial=self.serial,
                at=self.now(),
                who=actor.who,
                origin=actor.origin,
                action=action,
                target=target,
                detail=dumped(dict(detail)),
            )
        )

    def user_id(self, name: str) -> int | None:
        """The id of the user of this name."""
        table = schema.users
        return self.run(select(table.c.id).where(table.c.name == name)).scalar()

    def touch(self, table: Table, row_id: int) -> None:
        """Give the row the serial of this transaction."""
        self.run(table.update().where(table.c.id == row_id).values(serial=self.serial))


def dumped(value: object) -> str:
    """JSON as text."""
    return orjson.dumps(value).decode()


def loaded(text: str) -> Any:
    """What ``dumped`` was given."""
    return orjson.loads(text)
