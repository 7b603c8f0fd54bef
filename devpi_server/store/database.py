"""The ``MetaStore`` on SQLite, through SQLAlchemy Core.

WAL with ``synchronous=FULL``: readers never wait for the writer, several
processes share the file, and what was committed survives a power failure.
Writers queue at ``BEGIN IMMEDIATE``, so none of them fails half-way because
another was first.  Those of one process queue before it, at a lock: SQLite lets its
waiters sleep and try again, so that of twenty some would never be lucky.  It is held
over the disk, as SQLite's own is; readers know neither.

Why two engines: a reader's connection cannot write, whatever is executed on it.
Why one more connection for ``generation``: SQLite's ``data_version`` tells of
commits by *other* connections only, and its numbers mean something to one
connection only; 1.3 microseconds a question.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from devpi_server.concurrency import Clock
from devpi_server.errors import Busy, Full, StoreError
from devpi_server.records import NOTHING
from devpi_server.store import upgrade
from devpi_server.store.meta import Actor
from devpi_server.store.published import NOTHING_PUBLISHED, Changing
from devpi_server.store.tables.audit import Audit
from devpi_server.store.tables.base import Transaction
from devpi_server.store.tables.files import Files, Orphans
from devpi_server.store.tables.indexes import Indexes
from devpi_server.store.tables.releases import Releases
from devpi_server.store.tables.users import Tokens, Users

log = logging.getLogger(__name__)

_PATIENCE = 30.0  # seconds that a writer waits for the others
_CONNECTIONS, _MORE = 5, 200  # kept open; and at most beyond, one a thread that reads


class _Tables:
    """``Tables`` over one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.users = Users(transaction)
        self.indexes = Indexes(transaction)
        self.releases = Releases(transaction)
        self.files = Files(transaction)
        self.tokens = Tokens(transaction)
        self.audit = Audit(transaction)
        self.orphans = Orphans(transaction)

    @property
    def serial(self) -> int:
        return self._transaction.serial

    def config_serial(self) -> int:
        return self._transaction.config_serial()

    def fact(self, key: str) -> str | None:
        return self._transaction.fact(key)

    def set_fact(self, key: str, value: str) -> None:
        self._transaction.set_fact(key, value)

    def note(self, action: str, target: str, detail: Any = NOTHING) -> None:
        self._transaction.note(action, target, detail)


class Database:
    """The database in a file.

    :param path: the file; made if it is not there, brought up to date if it is old.
    :param patience: seconds that a writer waits for others.
    :param published: is told what a transaction changes, before it is committed.
    :raises StoreError: it cannot be used, or a newer version has written it.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        patience: float = _PATIENCE,
        published: Changing = NOTHING_PUBLISHED,
    ) -> None:
        self._clock = clock
        self._published = published
        self._patience = patience
        self._writing = threading.Lock()
        with _translated("open the database"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = _engine(path, patience, "BEGIN IMMEDIATE")
            with _alone(path):
                upgrade.make(path)
                upgrade.upgrade(self._writer, path)
            self._reader = _engine(path, patience, "BEGIN", "PRAGMA query_only = ON")
            self._watch = _Watch(path, patience)
        self._finalizer = weakref.finalize(self, _close, self._writer, self._reader, self._watch)

    @contextmanager
    def reading(self) -> Iterator[_Tables]:
        """What there is now."""
        with _translated("read the database"), self._reader.begin() as connection:
            yield _Tables(Transaction(connection, self._clock, None))

    @contextmanager
    def writing(self, actor: Actor) -> Iterator[_Tables]:
        """A transaction: all of it, or nothing."""
        turn, border = self._turn(), _translated("write to the database")
        with turn, border, self._writer.connect() as connection, connection.begin() as changes:
            transaction = Transaction(connection, self._clock, actor)
            yield _Tables(transaction)
            with self._changing(transaction.changed):
                changes.commit()

    def _changing(self, projects: Collection[str] | None) -> AbstractContextManager[None]:
        if projects is None:
            return self._published.changing_all()
        return self._published.changing(projects)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._writing.acquire(timeout=self._patience):
            raise Busy("cannot write to the database: too many others do, try again")
        try:
            yield
        finally:
            self._writing.release()

    def generation(self) -> int:
        """Changes when any process has written."""
        return self._watch.generation()

    def faults(self) -> list[str]:
        """What is wrong with the file."""
        with _translated("read the database"), self._reader.begin() as connection:
            found = list(connection.exec_driver_sql("PRAGMA integrity_check").scalars())
            foreign = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        broken = [f"a row of {row[0]} belongs to one of {row[2]} that is gone" for row in foreign]
        return ([] if found == ["ok"] else found) + broken

    def close(self) -> None:
        """Let go of the file."""
        self._finalizer()


def _close(writer: Engine, reader: Engine, watch: _Watch) -> None:
    watch.close()
    reader.dispose()
    writer.dispose()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: SQLite waits for nobody while it turns a new file to WAL."""
    fd = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class _Watch:
    """Tells whether anybody has committed."""

    def __init__(self, path: Path, patience: float) -> None:
        # The lock makes one thread at a time use the connection. What it is held over is a
        # look into shared memory, not into the file.
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=patience, check_same_thread=False, isolation_level=None
        )
        self._cursor = self._connection.cursor()

    def generation(self) -> int:
        try:
            with self._lock:
                found: int = self._cursor.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise StoreError(f"cannot read the database: {error}") from error
        return found

    def close(self) -> None:
        with self._lock, suppress(sqlite3.Error):
            self._connection.close()


def _engine(path: Path, patience: float, begin: str, *pragmas: str) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=_CONNECTIONS,
        max_overflow=_MORE,
        pool_timeout=patience,
    )

    def set_up(connection: Any, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy's "begin" below decides, not the driver
        for pragma in (
            f"PRAGMA busy_timeout = {int(patience * 1000)}",
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA foreign_keys = ON",
            *pragmas,
        ):
            connection.execute(pragma)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and SQLite into ours, once, at this border."""
    try:
        yield
    except PoolTimeout as error:
        raise Busy(f"cannot {what}: too many requests at once, try again") from error
    except (DBAPIError, sqlite3.Error) as error:
        reason = str(error.orig if isinstance(error, DBAPIError) else error)
        if "locked" in reason or "busy" in reason:
            raise Busy(f"cannot {what}: it is in use, try again") from error
        if "full" in reason:
            raise Full(f"no space left to {what}") from error
        log.exception("cannot %s", what)
        raise StoreError(f"cannot {what}: {reason}") from error
    except OSError as error:
        raise StoreError(f"cannot {what}: {error.strerror}") from error
