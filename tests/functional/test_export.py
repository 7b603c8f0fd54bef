"""``devpi-export``: what is in the dump of a server."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from commanding import Shell
from people import join
from server import App, mirror_of
from uploading import basic, post, upload
from upstream import Upstream
from upstream.artefacts import sdist, wheel

from devpi_server.cli import export
from devpi_server.names import project
from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.dump.records import DumpedFile
from devpi_server.services.passwords import Passwords
from devpi_server.services.transfer.exporting import Exporter
from devpi_server.store.heldfiles import HeldFiles
from devpi_server.store.incoming import Incoming
from devpi_server.store.meta import Actor, FileKind, LogEntry, Release, StoredFile
from devpi_server.wiring import tools

WHEEL, SDIST = wheel("demo", "1.0", requires_python=">=3.8"), sdist("demo", "1.0")
ATTESTATION = {"version": 1, "verification_material": {}, "envelope": {}}


@pytest.fixture
def app(shell: Shell, up: Upstream) -> Iterator[App]:
    """A server with alice and her index; her password is "password of alice"."""
    server = App(*mirror_of(up, shell.datadir))
    join(server, "alice")
    server.add_index("alice/dev", bases=["root/pypi"], acl_read=["alice"], volatile=True)
    yield server
    server.services.close()


MINE = basic("alice", "password of alice")


def fill(server: App) -> None:
    """One of everything that an index can have."""
    attestations = json.dumps([ATTESTATION])
    sent = upload(server, "alice/dev", WHEEL, MINE, signature=b"signed", attestations=attestations)
    assert sent.status == 200, sent.reason
    assert upload(server, "alice/dev", SDIST, MINE, summary="größer").status == 200
    docs = {":action": "doc_upload", "name": "demo", "version": "1.0"}
    zipped = {"content": ("demo.zip", _docs())}
    assert post(server, "alice/dev", docs, zipped, MINE).status == 200
    with server.services.meta.writing(Actor("alice", "test")) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        stored = tables.files.find(row.id, WHEEL.filename)
        assert stored is not None
        result = StoredFile(
            project=stored.project,
            version=stored.version,
            kind=FileKind.TOX_RESULT,
            filename=f"{WHEEL.filename}.toxresult-20260101000000-0",
            sha256=stored.sha256,
            size=stored.size,
            uploaded=1_700_000_000.25,
            for_file=WHEEL.filename,
            yanked="broken",
            log=(LogEntry("overwrite", None, 1_700_000_000.75, count=2),),
        )
        tables.files.put(row.id, result)


def _docs() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.html", "<h1>Demo</h1>")
    return buffer.getvalue()


def files_of(dump: Dump, index: str = "alice/dev") -> dict[str, DumpedFile]:
    """Name → file, each with sound bytes."""
    found = {file.filename: file for file in dump.files(index)}
    for file in found.values():
        assert sum(len(block) for block in dump.blocks(file)) == file.size
    return found


def dataindex(folder: Path) -> Any:
    return json.loads((folder / "dataindex.json").read_text())


def test_a_dump_has_everything_that_was_uploaded(shell: Shell, app: App, tmp_path: Path) -> None:
    fill(app)
    told = shell(export.main, tmp_path / "dump", "--json")
    dump = open_dump(tmp_path / "dump")
    files = files_of(dump)

    assert told.json == {
        "folder": str(tmp_path / "dump"),
        "users": 2,
        "indexes": 2,
        "files": 4,
        "size": sum(file.size for file in files.values()),
        "warnings": [],
        "errors": [],
    }
    assert dump.survey().faults == ()
    assert [release.metadata["summary"] for release in dump.releases("alice/dev")] == ["größer"]
    assert set(files) == {
        WHEEL.filename,
        SDIST.filename,
        "demo-1.0.doc.zip",
        f"{WHEEL.filename}.toxresult-20260101000000-0",
    }
    signature, attestations = files[WHEEL.filename].signature, files[WHEEL.filename].attestations
    assert signature is not None
    assert attestations is not None
    assert dump.companion(signature) == b"signed"
    assert json.loads(dump.companion(attestations))["attestation_bundles"][0]["attestations"] == [
        ATTESTATION
    ]
    assert [(event.what, event.who) for event in files[SDIST.filename].log] == [("upload", "alice")]


def test_a_result_of_tox_knows_what_was_tested(shell: Shell, app: App, tmp_path: Path) -> None:
    fill(app)
    shell(export.main, tmp_path / "dump")
    files = files_of(open_dump(tmp_path / "dump"))
    result = files[f"{WHEEL.filename}.toxresult-20260101000000-0"]

    assert result.tested is not None
    assert result.tested.filename == WHEEL.filename
    assert result.tested.digests == {"sha256": files[WHEEL.filename].digests["sha256"]}
    assert result.uploaded == datetime(2023, 11, 14, 22, 13, 20, 250000, timezone.utc)
    assert (result.yanked, result.log[0].who, result.log[0].count) == ("broken", None, 2)


def test_users_keep_passwords_and_indexes_their_settings(
    shell: Shell, app: App, tmp_path: Path
) -> None:
    shell(export.main, tmp_path / "dump")
    dump = open_dump(tmp_path / "dump")
    hashes = {user.name: user.pwhash for user in dump.users}
    passwords = Passwords()

    assert passwords.verify(hashes["alice"], "password of alice").ok
    # The empty password that a new root has is written as what others can check.
    assert passwords.verify(hashes["root"] or "none", "").ok
    assert dataindex(tmp_path / "dump")["indexes"]["alice/dev"]["indexconfig"] == {
        "type": "stage",
        "bases": ["root/pypi"],
        "acl_read": ["alice"],
        "volatile": True,
    }
    config = dataindex(tmp_path / "dump")["indexes"]["root/pypi"]["indexconfig"]
    assert (config["type"], config["volatile"], config["title"]) == ("mirror", False, "PyPI")
    assert config["mirror_url"]


def test_a_dump_is_of_one_moment(app: App, tmp_path: Path) -> None:
    """What comes while it is written is not in it."""
    fill(app)
    later = [sdist("demo", "2.0")]

    def upload_more(_: DumpedFile) -> None:
        if later:
            assert upload(app, "alice/dev", later.pop(), MINE).status == 200

    with tools(app.services.settings) as opened:
        exporter = Exporter(
            opened.meta, opened.blobs, opened.passwords, opened.indexes.adjusted, opened.held
        )
        exported = exporter.export(tmp_path / "dump", saw=upload_more)

    assert later == []
    assert exported.files == 4
    assert "2.0" not in dataindex(tmp_path / "dump")["indexes"]["alice/dev"]["projects"]["demo"]


def test_mirrored_files_are_in_it_if_they_are_asked_for(
    shell: Shell, app: App, up: Upstream, tmp_path: Path
) -> None:
    file = up.release("upstairs", "1.0")
    links = app.links("upstairs")
    assert app(links[file.filename]["url"]).body == file.data
    assert app(f"{links[file.filename]['url']}.metadata").status == 200
    shell(export.main, tmp_path / "without")
    shell(export.main, tmp_path / "with", "--include-mirrored-files")
    dump = open_dump(tmp_path / "with")
    (dumped,) = files_of(dump, "root/pypi").values()

    assert list(open_dump(tmp_path / "without").files("root/pypi")) == []
    assert (dumped.filename, dumped.version) == (file.filename, "1.0")
    assert dumped.url is not None
    assert dumped.url.endswith(file.path)
    assert [release.version for release in dump.releases("root/pypi")] == ["1.0"]


def test_a_file_with_two_addresses_is_there_once(
    shell: Shell, app: App, up: Upstream, tmp_path: Path
) -> None:
    file = up.release("upstairs", "1.0", hashed=False)
    for _ in range(2):  # its digest, and with it its address, is known the second time
        assert app(app.links("upstairs")[file.filename]["url"]).body == file.data
    shell(export.main, tmp_path / "dump", "--include-mirrored-files")

    assert len(list(open_dump(tmp_path / "dump").files("root/pypi"))) == 1


def test_files_can_be_linked(shell: Shell, app: App, tmp_path: Path) -> None:
    fill(app)
    shell(export.main, tmp_path / "dump", "--hard-links")
    file = files_of(open_dump(tmp_path / "dump"))[SDIST.filename]

    assert file.path.stat().st_nlink == 2


def test_a_folder_with_something_else_is_refused(shell: Shell, app: App, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    told = shell(export.main, tmp_path)

    assert (told.code, told.err.count("\n")) == (1, 1)


def test_lost_bytes_stop_it_with_the_name_of_the_file(
    shell: Shell, app: App, tmp_path: Path
) -> None:
    fill(app)
    for path in (shell.datadir / "files").rglob("*"):
        if path.is_file() and path.read_bytes() == SDIST.data:
            path.unlink()
    told = shell(export.main, tmp_path / "dump")

    assert told.code == 1
    assert told.err == (
        f"devpi-export: error: alice/dev has lost the bytes of {SDIST.filename}; see devpi-fsck\n"
    )
    assert not (tmp_path / "dump" / "dataindex.json").exists()


def test_mirrors_of_the_configuration_are_in_it_if_their_user_is(
    shell: Shell, app: App, up: Upstream, tmp_path: Path
) -> None:
    config = tmp_path / "devpi.yml"
    words = f"{{mirror_url: '{up.simple_url}'}}"
    config.write_text(f"mirrors:\n  root/other: {words}\n  nobody/other: {words}\n")
    told = shell(export.main, "--configfile", config, tmp_path / "dump", "--json")
    indexes = dataindex(tmp_path / "dump")["indexes"]

    assert indexes["root/other"]["indexconfig"] == {"type": "mirror", "mirror_url": up.simple_url}
    assert "nobody/other" not in indexes
    assert told.json["warnings"] == [
        "the mirror nobody/other is of the configuration only, and was left out"
    ]


def test_a_release_without_metadata_has_its_name_and_version(
    shell: Shell, app: App, tmp_path: Path
) -> None:
    with app.services.meta.writing(Actor("alice", "test")) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        tables.releases.put(row.id, Release(project("bare"), "0.1", {}))
    shell(export.main, tmp_path / "dump")

    assert dataindex(tmp_path / "dump")["indexes"]["alice/dev"]["projects"] == {
        "bare": {"0.1": {"name": "bare", "version": "0.1"}}
    }


def test_what_is_no_distribution_file_of_a_mirror_is_left_out(tmp_path: Path) -> None:
    """A record that a power failure has torn, too."""
    held = HeldFiles(tmp_path / "held", Incoming(tmp_path / "incoming"))
    (tmp_path / "held" / "aa").mkdir(parents=True)
    (tmp_path / "held" / "aa" / "torn").write_text('{"path": "+f/')

    assert list(held.all()) == []
