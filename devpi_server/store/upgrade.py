"""Bringing the database to the schema of this version, at start.

All steps are one transaction.  Before it, a copy of the old database is put
beside it; nobody else can write in between, because the copy is made while
the write lock is held.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect

from devpi_server.errors import StoreError

log = logging.getLogger(__name__)

HEAD = "0001"  # the newest step in ``migrations/versions``
STEPS = Path(__file__).parent / "migrations"
_VERSION = "alembic_version"


def upgrade(engine: Engine, path: Path, *, steps: Path = STEPS, head: str = HEAD) -> None:
    """Make the tables, or change them to what they are in this version.

    :param engine: one whose transactions begin with the write lock.
    :param steps: Alembic's folder of them.
    :param head: the last step to make.
    :raises StoreError: a newer version has written it.
    """
    with engine.connect() as connection:
        if _version(connection) == head:
            return
    with engine.begin() as connection:
        found = _version(connection)
        if found == head:  # another process was quicker
            return
        if found is not None:
            if found > head:
                raise StoreError(
                    f"a newer devpi-server has written {path}; this one knows version {head}"
                )
            _copy(path, path.with_name(f"{path.name}.before-{head}"))
        _run_steps(connection, steps, head)


def make(path: Path) -> None:
    """An empty database, unless there is one; others may not read the hashes of passwords."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _version(connection: Connection) -> str | None:
    """The step that the database is at; None: it is empty."""
    if not inspect(connection).has_table(_VERSION):
        return None
    return connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION}").scalar()  # noqa: S608


def _copy(path: Path, copy: Path) -> None:
    make(copy)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    log.info("kept the database as it was in %s", copy)


def _run_steps(connection: Connection, steps: Path, head: str) -> None:
    # A tenth of a second, which only a first start and an upgrade are worth.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(steps).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, head)
