"""An old database is brought up to date whole, or stays as it was; a copy of it is kept."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fakes import FakeClock
from sqlalchemy import Engine, create_engine, event

from devpi_server.errors import StoreError
from devpi_server.store import upgrade
from devpi_server.store.database import Database
from devpi_server.store.meta import Actor, User

_STEP = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("users", sa.Column("colour", sa.String()))
    op.execute("UPDATE users SET colour = 'blue'")
    {rest}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of this version, with a user in it."""
    found = tmp_path / "devpi.sqlite"
    store = Database(found, FakeClock())
    with store.writing(Actor("root", "test")) as tables:
        tables.users.add(User("alice", 1.0))
    store.close()
    return found


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{path}")
    event.listen(made, "connect", lambda found, _: setattr(found, "isolation_level", None))
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    yield made
    made.dispose()


def steps(folder: Path, rest: str = "") -> Path:
    """Our steps and one more."""
    shutil.copytree(upgrade.STEPS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0002_colours.py").write_text(_STEP.format(rest=rest))
    return folder


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def test_a_step_is_made_and_the_old_database_is_kept(
    path: Path, engine: Engine, tmp_path: Path
) -> None:
    upgrade.upgrade(engine, path, steps=steps(tmp_path / "100% new"), head="0002")

    assert rows(path, "SELECT name, colour FROM users") == [("alice", "blue")]
    assert rows(path, "SELECT version_num FROM alembic_version") == [("0002",)]
    copy = path.with_name("devpi.sqlite.before-0002")
    assert rows(copy, "SELECT name FROM users") == [("alice",)]
    assert rows(copy, "SELECT version_num FROM alembic_version") == [("0001",)]


def test_only_its_owner_may_read_a_database_and_what_is_kept_of_it(
    path: Path, engine: Engine, tmp_path: Path
) -> None:
    """The hashes of passwords are in it, and nginx has to be let into its folder."""
    upgrade.upgrade(engine, path, steps=steps(tmp_path / "steps"), head="0002")

    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT name FROM users")
        open_to_others = {each.name for each in tmp_path.iterdir() if each.stat().st_mode & 0o077}

    assert path.with_name("devpi.sqlite.before-0002").exists()
    assert open_to_others == {"devpi.sqlite.lock", "steps"}


def test_a_step_that_fails_has_changed_nothing(path: Path, engine: Engine, tmp_path: Path) -> None:
    failing = steps(tmp_path / "steps", "raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        upgrade.upgrade(engine, path, steps=failing, head="0002")

    columns = {row[1] for row in rows(path, "PRAGMA table_info(users)")}
    assert "colour" not in columns
    assert rows(path, "SELECT version_num FROM alembic_version") == [("0001",)]
    Database(path, FakeClock()).close()


def test_the_version_of_yesterday_refuses_it(path: Path, engine: Engine, tmp_path: Path) -> None:
    upgrade.upgrade(engine, path, steps=steps(tmp_path / "steps"), head="0002")

    with pytest.raises(StoreError, match="a newer devpi-server has written"):
        Database(path, FakeClock())


def test_the_newest_step_is_the_one_that_is_made() -> None:
    found = sorted(path.name[:4] for path in (upgrade.STEPS / "versions").glob("[0-9]*.py"))

    assert found[-1] == upgrade.HEAD
