"""``devpi-fsck``: what is broken is found, and what can be mended is mended."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from commanding import Shell, Told
from people import join
from server import App, mirror_of
from uploading import basic, upload
from upstream import Upstream
from upstream.artefacts import sdist, wheel

from devpi_server.cli import fsck
from devpi_server.services.fsck import Fsck
from devpi_server.store.blobs import keep
from devpi_server.store.meta import Actor, FileKind, IndexRow, StoredFile, User
from devpi_server.wiring import tools

WHEEL, SDIST = wheel("demo", "1.0"), sdist("demo", "1.0")
ALICE = basic("alice", "password of alice")
ME = Actor("alice", "test")


@pytest.fixture
def app(shell: Shell, up: Upstream) -> Iterator[App]:
    """A server with a wheel, with a signature, and an sdist of demo 1.0 in alice/dev."""
    server = App(*mirror_of(up, shell.datadir))
    join(server, "alice")
    server.add_index("alice/dev")
    assert upload(server, "alice/dev", WHEEL, ALICE, signature=b"signed").status == 200
    assert upload(server, "alice/dev", SDIST, ALICE).status == 200
    yield server
    server.services.close()


def blob(app: App, content: bytes) -> Path:
    """Where these bytes are kept."""
    sha256 = hashlib.sha256(content).hexdigest()
    return app.datadir / "files" / sha256[:2] / sha256


def errors(told: Told) -> list[str]:
    """The sentences; no warnings are among them."""
    assert told.json["warnings"] == []
    assert told.code == (1 if told.json["errors"] else 0)
    found: list[str] = told.json["errors"]
    return found


def warnings(told: Told) -> list[str]:
    """The sentences, of a data directory that is not broken."""
    assert (told.code, told.json["errors"]) == (0, [])
    found: list[str] = told.json["warnings"]
    return found


def test_what_is_sound_has_no_faults(shell: Shell, app: App) -> None:
    told = shell(fsck.main)

    assert (told.code, told.out, told.err) == (0, "looked at 2 files: 0 errors, 0 warnings\n", "")


def test_lost_bytes_are_an_error(shell: Shell, app: App) -> None:
    blob(app, SDIST.data).unlink()

    assert errors(shell(fsck.main, "--json")) == [
        f"alice/dev/{SDIST.filename}: its bytes are missing"
    ]
    assert errors(shell(fsck.main, "--json", "--no-checksum"))
    assert errors(shell(fsck.main, "--json", "--repair"))


def test_shorter_bytes_are_an_error_that_needs_no_reading(shell: Shell, app: App) -> None:
    blob(app, SDIST.data).write_bytes(SDIST.data[:-1])

    (sentence,) = errors(shell(fsck.main, "--json", "--no-checksum"))
    assert f": it has {len(SDIST.data) - 1} bytes instead of {len(SDIST.data)}" in sentence


def test_changed_bytes_are_found_by_reading_them(shell: Shell, app: App) -> None:
    blob(app, SDIST.data).write_bytes(SDIST.data[:-1] + b"?")

    assert errors(shell(fsck.main, "--json")) == [
        f"alice/dev/{SDIST.filename}: its bytes are not what they were"
    ]
    assert errors(shell(fsck.main, "--json", "--no-checksum")) == []


def test_bytes_that_cannot_be_read_are_an_error(shell: Shell, app: App) -> None:
    blob(app, SDIST.data).unlink()
    blob(app, SDIST.data).mkdir()

    assert len(errors(shell(fsck.main, "--json"))) == 1


def test_what_came_with_a_file_is_looked_at_too(shell: Shell, app: App) -> None:
    blob(app, b"signed").write_bytes(b"forged")

    assert errors(shell(fsck.main, "--json", "--repair")) == [
        f"alice/dev/{WHEEL.filename}.asc: its bytes are not what they were"
    ]


@pytest.mark.parametrize("broken", [None, b"torn"])
def test_metadata_of_a_wheel_is_made_anew(shell: Shell, app: App, broken: bytes | None) -> None:
    path = blob(app, WHEEL.metadata)
    path.unlink()
    if broken is not None:
        path.write_bytes(broken)
    told = shell(fsck.main, "--json")
    assert len(errors(told)) == 1
    assert errors(told)[0].startswith(f"alice/dev/{WHEEL.filename}.metadata: its bytes are ")

    (sentence,) = warnings(shell(fsck.main, "--json", "--repair"))
    assert sentence.endswith(", repaired")
    assert path.read_bytes() == WHEEL.metadata
    assert errors(shell(fsck.main, "--json")) == []


def test_a_row_gets_the_digest_of_the_metadata_that_was_made(shell: Shell, app: App) -> None:
    with app.services.meta.writing(ME) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        file = tables.files.find(row.id, WHEEL.filename)
        assert file is not None
        sound = file.metadata
        tables.files.put(row.id, replace(file, metadata="a" * 64))
    shell(fsck.main, "--repair")

    with app.services.meta.reading() as tables:
        file = tables.files.find(row.id, WHEEL.filename)
    assert file is not None
    assert file.metadata == sound
    assert warnings(shell(fsck.main, "--json")) == []


def test_metadata_of_a_broken_wheel_cannot_be_made(shell: Shell, app: App) -> None:
    blob(app, WHEEL.data).write_bytes(b"no zip")
    blob(app, WHEEL.metadata).unlink()

    assert len(errors(shell(fsck.main, "--json", "--repair"))) == 2


# Mirrors


def held(app: App, up: Upstream) -> tuple[str, Path, bytes]:
    """A file that the mirror holds: its address, where its bytes are, and the bytes."""
    file = up.release("upstairs", "1.0")
    address = app.links("upstairs")[file.filename]["url"]
    assert app(address).body == file.data
    return address, blob(app, file.data), file.data


@pytest.mark.parametrize("broken", [None, b"torn", b"changed"])
def test_what_a_mirror_holds_is_fetched_again(
    shell: Shell, app: App, up: Upstream, broken: bytes | None
) -> None:
    address, path, data = held(app, up)
    path.unlink()
    if broken == b"torn":
        path.write_bytes(data[:10])
    elif broken is not None:
        path.write_bytes(bytes(len(data)))
    (sentence,) = warnings(shell(fsck.main, "--json"))
    assert sentence.endswith(", it is fetched again")

    assert warnings(shell(fsck.main, "--json", "--repair")) == [f"{sentence}, repaired"]
    assert app(address).body == data
    assert warnings(shell(fsck.main, "--json")) == []


def test_broken_bytes_that_were_uploaded_too_are_mended_by_the_mirror(
    shell: Shell, app: App, up: Upstream
) -> None:
    """They are an error there, until somebody fetches them for it."""
    address, path, data = held(app, up)
    sha256 = hashlib.sha256(data).hexdigest()
    with app.services.meta.writing(ME) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        file = tables.files.find(row.id, SDIST.filename)
        assert file is not None
        mine = StoredFile(file.project, "1.0", FileKind.RELEASE, "mine.zip", sha256, len(data), 1.0)
        tables.files.put(row.id, mine)
    path.write_bytes(bytes(len(data)))
    told = shell(fsck.main, "--json", "--repair")
    assert told.code == 1
    assert not path.exists()

    assert app(address).body == data
    assert errors(shell(fsck.main, "--json")) == []


# What nothing names


def orphan(app: App) -> Path:
    with tools(app.services.settings) as opened:
        return keep(opened.blobs, b"left by a crash").path


def test_bytes_that_nothing_names_are_told_after_a_day_and_deleted(app: App) -> None:
    """Before, an upload may be about to name them."""
    path = orphan(app)
    sentence = f"the bytes {path.name}: nothing names them"

    def found(after: float, *, repair: bool) -> list[str]:
        with tools(app.services.settings) as opened:
            check = Fsck(
                opened.meta,
                opened.blobs,
                opened.indexes.adjusted,
                opened.held,
                lambda: time.time() + after,
                repair=repair,
            )
            return [fault.sentence for fault in check.faults()]

    assert found(0, repair=True) == []
    assert found(90_000, repair=False) == [sentence]
    assert path.exists()
    assert found(90_000, repair=True) == [f"{sentence}, repaired"]
    assert not path.exists()
    assert found(90_000, repair=True) == []


def test_bytes_of_all_kinds_are_named_by_something(shell: Shell, app: App, up: Upstream) -> None:
    held(app, up)
    with tools(app.services.settings) as opened:
        check = Fsck(
            opened.meta,
            opened.blobs,
            opened.indexes.adjusted,
            opened.held,
            lambda: time.time() + 90_000,
        )
        assert list(check.faults()) == []


# Rows


def test_rows_that_cannot_be_are_told(shell: Shell, app: App) -> None:
    with app.services.meta.writing(ME) as tables:
        tables.users.add(User("bob", 1.0, "$1$old"))
        tables.indexes.add(IndexRow("bob", "sad", "mirror", {}))
        tables.indexes.add(IndexRow("bob", "widow", "stage", {"bases": ["bob/gone"]}))
    told = shell(fsck.main, "--json")

    assert told.json["errors"] == ["index bob/sad: the mirror bob/sad has no mirror_url"]
    assert told.json["warnings"] == [
        "user bob: no password can be checked; see devpi-passwd",
        "index bob/widow: its base bob/gone is gone",
    ]


def test_a_result_of_tox_without_its_file_is_told(shell: Shell, app: App) -> None:
    with app.services.meta.writing(ME) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        file = tables.files.find(row.id, SDIST.filename)
        assert file is not None
        tables.files.put(
            row.id,
            StoredFile(
                file.project,
                "1.0",
                FileKind.TOX_RESULT,
                "gone.toxresult",
                file.sha256,
                file.size,
                1.0,
                for_file="gone.zip",
            ),
        )

    assert warnings(shell(fsck.main, "--json")) == [
        "alice/dev/gone.toxresult: gone.zip, which it is about, is gone"
    ]


def test_rows_that_belong_to_nothing_are_told(shell: Shell, app: App) -> None:
    with closing(sqlite3.connect(app.datadir / "devpi.sqlite")) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute("DELETE FROM releases")
        database.commit()
    told = shell(fsck.main, "--json")

    assert told.code == 1
    assert (
        "the database: a row of files belongs to one of releases that is gone"
        in (told.json["errors"])
    )


def test_a_file_that_is_removed_while_it_is_looked_for_is_no_fault(app: App) -> None:
    blob(app, SDIST.data).unlink()
    with tools(app.services.settings) as opened:
        check = Fsck(opened.meta, opened.blobs, opened.indexes.adjusted, opened.held, opened.clock)
        with opened.meta.writing(ME) as tables:
            row = tables.indexes.get("alice/dev")
            assert row is not None
            file = tables.files.find(row.id, SDIST.filename)
            assert file is not None
            tables.files.remove(row.id, SDIST.filename)
        assert list(check._file(row, file)) == []


def test_a_fault_is_told_to_programs_in_parts(shell: Shell, app: App) -> None:
    blob(app, SDIST.data).unlink()
    told = shell(fsck.main, "--json")

    assert told.json["files"] == 2
    assert told.json["faults"] == [
        {
            "where": f"alice/dev/{SDIST.filename}",
            "what": "its bytes are missing",
            "is_error": True,
            "is_repaired": False,
        }
    ]


def test_a_repair_withdraws_what_is_published(app: App, shell: Shell) -> None:
    """A web server in front would go on sending what is broken: it has a link of its own."""
    page = app.datadir / "published" / "projects" / "demo" / "page"
    page.parent.mkdir(parents=True)
    page.touch()

    assert shell(fsck.main, "--repair").code == 0

    assert not page.exists()
