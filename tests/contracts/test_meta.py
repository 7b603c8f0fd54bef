"""What every ``MetaStore`` does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fakes import FakeClock
from sqlalchemy import create_engine

from devpi_server.errors import Conflict, NoSuchUser, NoSuchVersion, StoreError
from devpi_server.names import project
from devpi_server.store import schema
from devpi_server.store.database import Database
from devpi_server.store.meta import (
    Actor,
    FileKind,
    IndexRow,
    LogEntry,
    MetaStore,
    Release,
    ReleaseLine,
    StoredFile,
    TokenRow,
    User,
)

DEMO = project("demo")
ME = Actor("alice", "127.0.0.1")
SHA, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meta(tmp_path: Path, clock: FakeClock) -> Iterator[MetaStore]:
    store = Database(tmp_path / "devpi.sqlite", clock, patience=0.05)
    yield store
    store.close()


@pytest.fixture
def another(tmp_path: Path, meta: MetaStore, clock: FakeClock) -> Iterator[MetaStore]:
    """The same store, as another process has it."""
    store = Database(tmp_path / "devpi.sqlite", clock, patience=0.05)
    yield store
    store.close()


@pytest.fixture
def index(meta: MetaStore) -> int:
    with meta.writing(ME) as tables:
        tables.users.add(User("alice", 1.0))
        return tables.indexes.add(IndexRow("alice", "dev", "stage", {})).id


def uploaded(filename: str = "demo-1.0.tar.gz", sha256: str = SHA) -> StoredFile:
    return StoredFile(DEMO, "1.0", FileKind.RELEASE, filename, sha256, 3, 1700000000.25)


def upload(meta: MetaStore, index: int, file: StoredFile) -> StoredFile:
    with meta.writing(ME) as tables:
        tables.releases.put(index, Release(DEMO, file.version, {}))
        return tables.files.put(index, file)


# Transactions


def test_what_a_transaction_writes_is_there_when_it_has_ended(
    meta: MetaStore, another: MetaStore
) -> None:
    with meta.writing(ME) as tables:
        tables.users.add(User("bob", 1.0))
        with another.reading() as others:
            assert others.users.get("bob") is None

    with another.reading() as others:
        assert others.users.get("bob") is not None


def test_a_transaction_that_fails_has_changed_nothing(meta: MetaStore) -> None:
    before = meta.generation()

    def write_and_fail() -> None:
        with meta.writing(ME) as tables:
            tables.users.add(User("bob", 1.0))
            tables.note("user_create", "bob")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    with meta.reading() as tables:
        assert (tables.users.get("bob"), tables.audit.last(5), tables.serial) == (None, [], 0)
    assert meta.generation() == before


def test_a_reader_sees_one_moment(meta: MetaStore, another: MetaStore) -> None:
    with meta.reading() as tables:
        assert tables.users.all() == []
        with another.writing(ME) as others:
            others.users.add(User("bob", 1.0))

        assert tables.users.all() == []


def test_a_reader_cannot_write(meta: MetaStore) -> None:
    with pytest.raises(StoreError), meta.reading() as tables:
        tables.users.add(User("bob", 1.0))


def test_the_serial_counts_the_transactions_that_write(meta: MetaStore) -> None:
    for expected in (1, 2):
        with meta.writing(ME) as tables:
            tables.set_fact("x", str(expected))
            assert tables.serial == expected

    with meta.reading() as tables:
        assert tables.serial == 2


def test_the_generation_tells_of_writes_of_any_process(meta: MetaStore, another: MetaStore) -> None:
    for writer in (meta, another):
        before = (meta.generation(), another.generation())
        with writer.writing(ME) as tables:
            tables.set_fact("x", str(before))

        after = (meta.generation(), another.generation())
        assert after[0] != before[0]
        assert after[1] != before[1]
        assert after == (meta.generation(), another.generation())


# Users, tokens, indexes


def test_a_user_comes_back_as_it_was_put(meta: MetaStore) -> None:
    with meta.writing(ME) as tables:
        put = tables.users.add(User("bob", 5.5, "$hash", details={"email": "b@ö.example"}))
        tables.users.add(User("alice", 6.0))

    with meta.reading() as tables:
        found = tables.users.get("bob")
        assert found == put
        assert (found.created, found.pwhash, found.details) == (5.5, "$hash", put.details)
        assert [user.name for user in tables.users.all()] == ["alice", "bob"]


def test_no_two_users_have_one_name(meta: MetaStore) -> None:
    with meta.writing(ME) as tables:
        tables.users.add(User("bob", 1.0))

    with pytest.raises(Conflict, match="user already exists"), meta.writing(ME) as tables:
        tables.users.add(User("bob", 2.0))


def test_a_user_goes_with_indexes_files_and_tokens(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())
    with meta.writing(ME) as tables:
        tables.tokens.add(TokenRow("t1", "alice", "h", {"actions": ["read"]}, 1.0, None))
        tables.users.remove("alice")

    with meta.reading() as tables:
        assert tables.users.all() == []
        assert tables.indexes.all() == []
        assert tables.tokens.get("t1") is None
        assert tables.orphans.since(1e12) == [SHA]
        assert not tables.files.names_blob(SHA)


def test_an_id_is_never_given_again(meta: MetaStore, index: int) -> None:
    with meta.writing(ME) as tables:
        tables.indexes.remove(index)
        again = tables.indexes.add(IndexRow("alice", "dev", "stage", {}))

    assert again.id != index


def test_an_index_needs_its_user(meta: MetaStore) -> None:
    with pytest.raises(NoSuchUser), meta.writing(ME) as tables:
        tables.indexes.add(IndexRow("nobody", "dev", "stage", {}))


def test_no_two_indexes_have_one_name(meta: MetaStore, index: int) -> None:
    with pytest.raises(Conflict, match="'alice/dev' exists"), meta.writing(ME) as tables:
        tables.indexes.add(IndexRow("alice", "dev", "stage", {}))


def test_the_configuration_has_a_serial_of_its_own(meta: MetaStore, index: int) -> None:
    with meta.reading() as tables:
        before = tables.config_serial()
    upload(meta, index, uploaded())
    with meta.reading() as tables:
        assert tables.config_serial() == before
        row = tables.indexes.get("alice/dev")
    assert row is not None

    with meta.writing(ME) as tables:
        tables.indexes.change(IndexRow("alice", "dev", "stage", {"bases": []}, row.id))
    with meta.reading() as tables:
        assert tables.config_serial() > before
        assert tables.indexes.get("alice/dev").options == {"bases": []}


# Releases and files


def test_a_release_is_found_by_any_spelling_of_its_version(meta: MetaStore, index: int) -> None:
    with meta.writing(ME) as tables:
        put = tables.releases.put(index, Release(DEMO, "1.0", {"summary": "ä", "platform": ["x"]}))

    with meta.reading() as tables:
        assert tables.releases.get(index, DEMO, "1.0.0") == put
        assert tables.releases.get(index, DEMO, "1.1") is None


def test_putting_a_release_again_replaces_its_fields_only(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())
    with meta.writing(ME) as tables:
        tables.releases.put(index, Release(DEMO, "1.0.0", {"summary": "new"}))

    with meta.reading() as tables:
        assert [each.fields for each in tables.releases.of(index, DEMO)] == [{"summary": "new"}]
        assert [each.version for each in tables.releases.of(index, DEMO)] == ["1.0"]
        assert tables.files.find(index, "demo-1.0.tar.gz") is not None


def test_releases_are_listed_in_a_line_each(meta: MetaStore, index: int) -> None:
    spelled = {"name": "Demo_App", "summary": "what it is", "description": "long " * 10_000}
    with meta.writing(ME) as tables:
        for release in (
            Release(project("demo-app"), "1.0", spelled),
            Release(project("demo-app"), "0.9", {}),
            Release(project("another"), "2", {"summary": 'a "quoted" one'}),
        ):
            tables.releases.put(index, release)

    with meta.reading() as tables:
        assert tables.releases.lines(index) == [
            ReleaseLine(project("another"), "2", "another", 'a "quoted" one'),
            ReleaseLine(project("demo-app"), "1.0", "Demo_App", "what it is"),
            ReleaseLine(project("demo-app"), "0.9", "demo-app", ""),
        ]
        assert tables.releases.lines(index + 1) == []


def test_a_file_comes_back_as_it_was_put(meta: MetaStore, index: int) -> None:
    log = (
        LogEntry("upload", "alice", 5.25, dst="alice/dev"),
        LogEntry("overwrite", "a", 6, count=2),
    )
    file = StoredFile(
        DEMO, "1.0", FileKind.TOX_RESULT, "x", SHA, 9, 1700000000.123456, {"md5": "0"}, ">=3",
        OTHER, "c" * 64, "d" * 64, "broken", "demo-1.0.tar.gz", log,
    )  # fmt: skip
    put = upload(meta, index, file)

    with meta.reading() as tables:
        found = tables.files.find(index, "x")
    assert found == put
    assert found == StoredFile(**{**{f: getattr(file, f) for f in file.__slots__}, "id": put.id})


def test_a_file_needs_its_release(meta: MetaStore, index: int) -> None:
    with pytest.raises(NoSuchVersion), meta.writing(ME) as tables:
        tables.files.put(index, uploaded())


def test_a_file_of_the_same_name_replaces_the_old_one(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())
    upload(meta, index, uploaded(sha256=OTHER))

    with meta.reading() as tables:
        assert [file.sha256 for file in tables.files.of(index, DEMO)] == [OTHER]
        assert tables.orphans.since(1e12) == [SHA]
        assert tables.files.was_removed(index, "demo-1.0.tar.gz", SHA[:16])
        assert not tables.files.was_removed(index, "demo-1.0.tar.gz", OTHER[:16])


def test_a_projects_serial_moves_with_its_files_only(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())
    with meta.reading() as tables:
        before = tables.releases.project_serial(index, DEMO)
    with meta.writing(ME) as tables:
        tables.releases.put(index, Release(project("other"), "1", {}))
    with meta.reading() as tables:
        assert tables.releases.project_serial(index, DEMO) == before
    with meta.writing(ME) as tables:
        tables.files.remove(index, "demo-1.0.tar.gz")
    with meta.reading() as tables:
        assert (tables.releases.project_serial(index, DEMO) or 0) > (before or 0)


def test_the_last_release_takes_the_project_with_it(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())
    with meta.reading() as tables:
        assert tables.releases.projects(index) == [DEMO]
        (release,) = tables.releases.of(index, DEMO)
        before = tables.indexes.get("alice/dev")
    with meta.writing(ME) as tables:
        tables.releases.remove(index, release)

    with meta.reading() as tables:
        assert tables.releases.projects(index) == []
        assert tables.releases.project_serial(index, DEMO) is None
        assert tables.files.find(index, "demo-1.0.tar.gz") is None
        assert tables.files.was_removed(index, "demo-1.0.tar.gz", SHA)
        assert tables.indexes.get("alice/dev").serial > before.serial


@pytest.mark.parametrize("field", ["sha256", "metadata", "signature", "provenance"])
def test_a_blob_is_named_by_any_of_a_files_parts(meta: MetaStore, index: int, field: str) -> None:
    values = {"sha256": SHA, field: OTHER}
    file = StoredFile(
        project=DEMO, version="1.0", kind=FileKind.RELEASE, filename="f", size=1, uploaded=1.0,
        **values,
    )  # fmt: skip
    upload(meta, index, file)

    with meta.reading() as tables:
        assert tables.files.names_blob(OTHER)
        assert not tables.files.names_blob("e" * 64)


def test_an_orphan_is_told_once_it_is_old_enough(
    meta: MetaStore, index: int, clock: FakeClock
) -> None:
    upload(meta, index, uploaded())
    with meta.writing(ME) as tables:
        tables.files.remove(index, "demo-1.0.tar.gz")
        assert tables.orphans.since(clock()) == []
    clock.advance(1)
    with meta.writing(ME) as tables:
        assert tables.orphans.since(clock()) == [SHA]
        tables.orphans.forget(SHA)
        assert tables.orphans.since(clock()) == []


def test_the_audit_trail_tells_who_did_what_from_where(meta: MetaStore) -> None:
    with meta.writing(ME) as tables:
        tables.note("upload", "alice/dev/demo-1.0.tar.gz", {"sha256": SHA})
    with meta.writing(Actor("root", "devpi-passwd")) as tables:
        tables.note("user_modify", "alice")

    with meta.reading() as tables:
        rows = tables.audit.last(5)
        assert [(row.who, row.origin, row.action, row.target) for row in rows] == [
            ("root", "devpi-passwd", "user_modify", "alice"),
            ("alice", "127.0.0.1", "upload", "alice/dev/demo-1.0.tar.gz"),
        ]
        assert rows[1].detail == {"sha256": SHA}
        assert list(tables.audit.last(5, before=2)) == [rows[1]]


# SQLite's own


def test_a_database_of_a_newer_version_is_not_touched(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "devpi.sqlite"
    Database(path, clock).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()

    with pytest.raises(StoreError, match="a newer devpi-server has written"):
        Database(path, clock)


def test_a_file_that_is_no_database_is_told(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "devpi.sqlite").write_bytes(b"not a database, but a long text" * 100)

    with pytest.raises(StoreError, match="cannot open the database: file is not a database"):
        Database(tmp_path / "devpi.sqlite", clock)


def test_the_migrations_lead_to_the_tables_of_the_schema(tmp_path: Path, clock: FakeClock) -> None:
    Database(tmp_path / "devpi.sqlite", clock).close()
    engine = create_engine(f"sqlite:///{tmp_path}/devpi.sqlite")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, schema.metadata) == []
    engine.dispose()


def test_a_sound_store_has_no_faults(meta: MetaStore, index: int) -> None:
    upload(meta, index, uploaded())

    assert meta.faults() == []


def test_what_is_broken_is_told(meta: MetaStore, index: int, tmp_path: Path) -> None:
    upload(meta, index, uploaded())
    with closing(sqlite3.connect(tmp_path / "devpi.sqlite")) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("DELETE FROM releases")
        database.commit()

    assert meta.faults() == ["a row of files belongs to one of releases that is gone"]


_OPEN = """
import pathlib, sys, time
from devpi_server.store.database import Database
Database(pathlib.Path(sys.argv[1]), time.time).close()
"""


def test_processes_that_begin_a_database_at_once_all_get_it(tmp_path: Path) -> None:
    for turn in range(4):
        command = [sys.executable, "-c", _OPEN, str(tmp_path / str(turn) / "devpi.sqlite")]
        begun = [subprocess.Popen(command) for _ in range(4)]

        assert [process.wait() for process in begun] == [0, 0, 0, 0]
