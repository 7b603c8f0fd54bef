"""The audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from devpi_server.store import schema
from devpi_server.store.meta import AuditRow
from devpi_server.store.tables.base import Transaction, loaded

_audit = schema.audit


@dataclass(frozen=True, slots=True)
class Audit:
    """``AuditTable``."""

    transaction: Transaction

    def last(self, count: int, *, before: int | None = None) -> Sequence[AuditRow]:
        found = select(_audit).order_by(_audit.c.id.desc()).limit(count)
        if before is not None:
            found = found.where(_audit.c.serial < before)
        return [
            AuditRow(
                row.at, row.who, row.origin, row.action, row.target, loaded(row.detail), row.serial
            )
            for row in self.transaction.run(found)
        ]
