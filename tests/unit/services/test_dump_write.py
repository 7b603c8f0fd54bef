"""Dumps of ours: what is written can be read again, by us and by the others."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from dumping import CONTENT, PWHASH, SHA256

from devpi_server.errors import BadDump, StoreError
from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.dump.records import (
    DumpedEvent,
    DumpedFile,
    DumpedIndex,
    DumpedRelease,
    DumpedUser,
    Subject,
)
from devpi_server.services.dump.write import Contents, write_dump
from devpi_server.store.meta import FileKind

WHEN = datetime(2026, 11, 21, 7, 4, 46, tzinfo=timezone.utc)
ALICE = DumpedUser("alice", PWHASH, WHEN, WHEN, {"email": "a@b.example", "title": "Größe"})
BOB = DumpedUser("bob")
MIRROR = DumpedIndex("alice", "pypi", "mirror", (), {"mirror_url": "https://pypi.example/simple/"})
DEV = DumpedIndex("alice", "dev", "stage", ("alice/pypi",), {"acl_read": ["alice"]})
DEMO = DumpedRelease("demo", "1.0", {"name": "Demo", "version": "1.0", "summary": "größer"})
LOG = (
    DumpedEvent("overwrite", None, WHEN, count=2),
    DumpedEvent("push", "alice", WHEN, src="bob/x", dst="alice/dev"),
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "store" / SHA256
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dump"


def file_of(source: Path, filename: str = "demo-1.0.tar.gz", **changes: Any) -> DumpedFile:
    defaults = {
        "project": "demo",
        "version": "1.0",
        "kind": FileKind.RELEASE,
        "path": source,
        "size": len(CONTENT),
        "uploaded": WHEN,
        "digests": {"sha256": SHA256},
    }
    return DumpedFile(filename=filename, **{**defaults, **changes})


def written(folder: Path, *contents: Contents, **options: Any) -> Dump:
    write_dump(folder, [ALICE, BOB], contents, written_by="6.21.0", **options)
    return open_dump(folder)


def test_what_is_written_is_read(folder: Path, source: Path) -> None:
    """Users, indexes, releases, files of all kinds with all that is known of them."""
    files = [
        file_of(source, log=LOG, uploaded=WHEN.replace(microsecond=7)),
        file_of(
            source, "demo-1.0-py3-none-any.whl", yanked="", signature=source, attestations=source
        ),
        file_of(source, "demo-1.0.doc.zip", kind=FileKind.DOCS, log=LOG),
        file_of(
            source,
            "demo-1.0.tar.gz.toxresult-20261121070449-0",
            kind=FileKind.TOX_RESULT,
            tested=Subject("demo-1.0.tar.gz", {"sha256": "a" * 64}),
            log=LOG,
        ),
    ]
    mirrored = [file_of(source, url="https://files.example/demo-1.0.tar.gz")]
    dump = written(folder, (MIRROR, [], mirrored), (DEV, [DEMO], files))

    assert dump.users == (ALICE, BOB)
    assert dump.indexes == (MIRROR, DEV)
    assert list(dump.releases("alice/dev")) == [DEMO]
    for index, given in (("alice/pypi", mirrored), ("alice/dev", files)):
        for file, original in zip(dump.files(index), given, strict=True):
            assert b"".join(dump.blocks(file)) == CONTENT
            for companion in filter(None, (file.signature, file.attestations)):
                assert dump.companion(companion) == CONTENT
            assert as_if_from(source, file) == original
    assert dump.written_by == "6.21.0"


def as_if_from(source: Path, file: DumpedFile) -> DumpedFile:
    """The same with the paths of the original."""
    return file_of(
        source,
        file.filename,
        **{
            name: getattr(file, name)
            for name in ("kind", "uploaded", "digests", "log", "tested", "url", "yanked")
        },
        signature=file.signature and source,
        attestations=file.attestations and source,
    )


def test_nothing_is_a_dump_too(folder: Path) -> None:
    """A server without users and indexes has a dump."""
    write_dump(folder, [], [], written_by="6.21.0")
    dump = open_dump(folder)

    assert (dump.users, dump.indexes) == ((), ())


def test_where_files_lie(folder: Path, source: Path) -> None:
    """A path is what people expect; what could lead elsewhere, or clash, is escaped."""
    versions = ("1.0", "1!2+x", "..", "../..", "a/b", "a%2Fb", "a" * 100)
    files = [file_of(source, "demo.zip", version=version) for version in versions]
    names = [
        file.path.relative_to(folder).as_posix()
        for file in written(folder, (DEV, [], files)).files("alice/dev")
    ]

    assert names[:2] == ["alice/dev/demo/1.0/demo.zip", "alice/dev/demo/1!2+x/demo.zip"]
    assert len(set(names)) == len(versions)
    assert all(name.count("/") == 4 for name in names)


def test_the_places_of_devpi(folder: Path, source: Path) -> None:
    """Where others look at a path, it is as they expect it."""
    tested = Subject("demo-1.0.tar.gz", {"sha256": SHA256})
    name = "demo-1.0.tar.gz.toxresult-20261121070449-0"
    result = file_of(source, name, kind=FileKind.TOX_RESULT, tested=tested, log=LOG)
    written(folder, (DEV, [DEMO], [file_of(source), result]))
    dumped = json.loads((folder / "dataindex.json").read_text())

    (release, toxresult) = dumped["indexes"]["alice/dev"]["files"]
    assert release == {
        "type": "releasefile",
        "projectname": "demo",
        "version": "1.0",
        "relpath": "alice/dev/demo/1.0/demo-1.0.tar.gz",
        "entrymapping": {
            "project": "demo",
            "version": "1.0",
            "last_modified": "Sat, 21 Nov 2026 07:04:46 GMT",
            "hash_spec": f"sha256={SHA256}",
            "hashes": {"sha256": SHA256},
        },
        "log": [],
    }
    assert toxresult["relpath"] == f"alice/dev/demo/sha256={SHA256}/{name}"
    assert toxresult["for_entrypath"] == (
        f"alice/dev/+f/{SHA256[:3]}/{SHA256[3:16]}/demo-1.0.tar.gz"
    )
    assert toxresult["log"] == [
        {"what": "overwrite", "who": None, "when": [2026, 11, 21, 7, 4, 46], "count": 2},
        {
            "what": "push",
            "who": "alice",
            "when": [2026, 11, 21, 7, 4, 46],
            "src": "bob/x",
            "dst": "alice/dev",
        },
    ]
    assert dumped["users"]["bob"] == {"username": "bob"}
    assert dumped["indexes"]["alice/dev"]["indexconfig"] == {
        "type": "stage",
        "bases": ["alice/pypi"],
        "acl_read": ["alice"],
    }


def test_a_dump_is_for_its_owner(folder: Path) -> None:
    """The hashes of the passwords are for nobody else."""
    written(folder)

    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "dataindex.json").stat().st_mode & 0o077 == 0


def test_a_dump_goes_nowhere_else(folder: Path, source: Path) -> None:
    """A folder with other things in it, or with a whole dump, stays as it is."""
    written(folder, (DEV, [DEMO], [file_of(source)]))
    before = (folder / "dataindex.json").stat()
    for other in (folder, source.parent):
        with pytest.raises(BadDump, match="is not empty"):
            write_dump(other, [], [], written_by="6.21.0")

    assert (folder / "dataindex.json").stat() == before
    assert os.listdir(source.parent) == [SHA256]


def test_a_dump_that_was_interrupted(folder: Path, source: Path) -> None:
    """It is none until it is finished; then what was copied is not copied again."""
    first, second = file_of(source), file_of(source, "demo-1.0.zip")

    def broken() -> Iterator[DumpedFile]:
        yield first
        raise StoreError("no power")

    with pytest.raises(StoreError):
        written(folder, (DEV, [DEMO], broken()))
    with pytest.raises(BadDump):
        open_dump(folder)
    kept = (folder / "alice/dev/demo/1.0/demo-1.0.tar.gz").stat()
    dump = written(folder, (DEV, [DEMO], [first, second]))

    assert [file.filename for file in dump.files("alice/dev")] == [first.filename, second.filename]
    assert (folder / "alice/dev/demo/1.0/demo-1.0.tar.gz").stat() == kept
    assert sorted(os.listdir(folder)) == ["alice", "dataindex.json"]


def test_what_changed_since_the_interruption(folder: Path, source: Path) -> None:
    """A file of the same name and size with other bytes is copied anew."""
    (folder / ".incoming").mkdir(parents=True)
    old = folder / "alice/dev/demo/1.0/demo-1.0.tar.gz"
    old.parent.mkdir(parents=True)
    old.write_bytes(CONTENT.upper())
    dump = written(folder, (DEV, [DEMO], [file_of(source)]))

    (file,) = dump.files("alice/dev")
    assert b"".join(dump.blocks(file)) == CONTENT


def test_a_sick_store_is_not_dumped(folder: Path, source: Path) -> None:
    """Bytes that are not those of the digest do not reach a dump that looks whole."""
    wrong = hashlib.sha256(b"else").hexdigest()
    with pytest.raises(StoreError, match="not what they were"):
        written(folder, (DEV, [DEMO], [file_of(source, digests={"sha256": wrong})]))
    with pytest.raises(StoreError, match="No such file"):
        written(folder, (DEV, [DEMO], [file_of(source.with_name("gone"))]))
    assert not (folder / "dataindex.json").exists()


def test_hard_links(folder: Path, source: Path) -> None:
    """Linked files take no room; an older copy in the way is replaced."""
    (folder / ".incoming").mkdir(parents=True)
    copy = folder / "alice/dev/demo/1.0/demo-1.0.tar.gz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(CONTENT)
    files = [file_of(source), file_of(source, "demo-1.0.zip")]
    dump = written(folder, (DEV, [DEMO], files), hard_links=True)

    assert all(file.path.samefile(source) for file in dump.files("alice/dev"))
    assert source.stat().st_nlink == 3
