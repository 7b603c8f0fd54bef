"""What was read out of a file belongs to just that file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from fakes import FakeClock

from devpi_server.errors import NoSuchFile, StoreError
from devpi_server.names import project
from devpi_server.store.folderdigest import Said, examine, open_file
from devpi_server.store.folderfacts import Fact, FolderFacts
from devpi_server.store.folderfiles import File
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming

FOO = project("foo")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def facts(tmp_path: Path) -> FolderFacts:
    return FolderFacts(tmp_path / "data" / "folders", Incoming(tmp_path / "data" / "incoming"))


def put(root: Path, name: str, content: bytes) -> File:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(content)
    return Folders([root], clock=FakeClock()).locate_at(name)


def fact_of(file: File, digest: str = "0" * 64) -> Fact:
    return Fact(file.path, file.size, file.modified, file.inode, {"sha256": digest})


def nothing(opened: BinaryIO, file: File) -> Said:
    return Said()


def known(facts: FolderFacts, *files: File) -> list[Fact | None]:
    return list(facts.of(files))


def test_a_fact_is_of_a_file_that_is_as_it_was(root: Path, facts: FolderFacts) -> None:
    """Of no other size, time or inode; of no other place."""
    file = put(root, "foo-1.0.zip", b"x")
    assert known(facts, file) == [None]
    facts.add(FOO, fact_of(file))
    assert known(facts, file) == [fact_of(file)]
    for other in (
        replace(file, size=2), replace(file, modified=1), replace(file, inode=1),
        replace(file, path="/elsewhere/foo-1.0.zip"),
    ):  # fmt: skip
        assert known(facts, other) == [None]


def test_the_newest_fact_counts_and_is_seen_by_other_processes(
    root: Path, facts: FolderFacts, tmp_path: Path
) -> None:
    """The stamp says that there is one."""
    file = put(root, "foo-1.0.zip", b"x")
    other = FolderFacts(tmp_path / "data" / "folders", Incoming(tmp_path / "data" / "incoming"))
    stamp = other.stamp(FOO)
    facts.add(FOO, fact_of(file, "1" * 64))
    between = other.stamp(FOO)
    facts.add(FOO, fact_of(file, "2" * 64))
    assert len({stamp, between, other.stamp(FOO)}) == 3
    assert known(other, file) == [fact_of(file, "2" * 64)]
    assert list(other.of([file], between)) == [fact_of(file, "1" * 64)]


def test_a_torn_line_costs_one_fact(root: Path, facts: FolderFacts, tmp_path: Path) -> None:
    """A crash in the middle of an append."""
    first = put(root, "foo-1.0.zip", b"x")
    second = put(root, "foo-2.0.zip", b"x")
    facts.add(FOO, fact_of(first))
    with (tmp_path / "data" / "folders" / "foo").open("ab") as file:
        file.write(b'{"path": "/x", "si')
    facts.add(FOO, fact_of(second))
    assert known(facts, first, second) == [fact_of(first), fact_of(second)]


def test_paths_that_are_no_text_have_facts(root: Path, facts: FolderFacts) -> None:
    """A directory may have any name."""
    file = put(root, os.fsdecode(b"d\xff/foo-1.0.zip"), b"x")
    found = examine(file, ["sha256"], nothing)
    assert found is not None
    facts.add(FOO, found[0])
    assert known(facts, file) == [found[0]]


def test_facts_that_do_not_count_are_dropped_once_they_are_many(
    root: Path, facts: FolderFacts, tmp_path: Path
) -> None:
    """A nightly build that replaces itself must not fill the disk."""
    file = put(root, "foo-1.0.zip", b"x")
    gone = put(root, "foo-2.0.zip", b"x")
    (root / "foo-2.0.zip").unlink()
    place = tmp_path / "data" / "folders" / "foo"
    for number in range(100):
        facts.add(FOO, fact_of(file, f"{number:064}"))
        facts.add(FOO, fact_of(gone))
        facts.tidy(FOO)
    assert place.stat().st_size < 10_000
    assert known(facts, file, gone) == [fact_of(file, f"{99:064}"), None]
    facts.tidy(project("none"))


def test_metadata_is_held_by_its_digest(facts: FolderFacts, tmp_path: Path) -> None:
    """And what a power failure has torn is not held."""
    assert facts.metadata("0" * 64) is None
    sha256 = facts.put_metadata(b"Name: foo")
    assert facts.put_metadata(b"Name: foo") == sha256
    place = facts.metadata(sha256)
    assert place is not None
    assert place.read_bytes() == b"Name: foo"
    place.write_bytes(b"")
    assert facts.metadata(sha256) is None
    facts.put_metadata(b"Name: foo")
    assert facts.metadata(sha256) == place


def test_a_sick_disk_is_told(facts: FolderFacts, root: Path, tmp_path: Path) -> None:
    """Not taken for nothing known."""
    file = put(root, "foo-1.0.zip", b"x")
    (tmp_path / "data" / "folders").write_bytes(b"")
    with pytest.raises(StoreError):
        facts.add(FOO, fact_of(file))
    with pytest.raises(StoreError):
        known(facts, file)


def test_reading_a_file_gives_its_digests_and_what_it_says(root: Path) -> None:
    """All in one go."""

    def ask(opened: BinaryIO, file: File) -> Said:
        return Said(opened.read(3), f"=={file.version}")

    found = examine(put(root, "foo-1.0.zip", b"content"), ["sha256", "md5"], ask)
    assert found is not None
    assert found.metadata == b"con"
    assert found.fact.requires_python == "==1.0"
    assert found.fact.digests == {
        "sha256": hashlib.sha256(b"content").hexdigest(),
        "md5": hashlib.md5(b"content").hexdigest(),
    }


def test_a_file_that_changes_while_it_is_read_teaches_nothing(root: Path) -> None:
    """Its digest would be of something that never was."""
    path = root / "foo-1.0-py3-none-any.whl"

    def write_over() -> None:
        path.write_bytes(b"y" * 11)

    def replace_it() -> None:
        path.with_name("new").write_bytes(b"x" * 10)
        path.with_name("new").replace(path)

    for change in (write_over, replace_it, path.unlink):
        file = put(root, path.name, b"x" * 10)
        assert examine(file, ["sha256"], lambda *_: change() or Said()) is None  # noqa: B023


def test_a_file_that_has_changed_before_it_is_read_teaches_nothing(root: Path) -> None:
    """The fact would be of another one."""
    file = put(root, "foo-1.0.zip", b"x" * 10)
    assert examine(replace(file, size=3), ["sha256"], nothing) is None


def odd(root: Path) -> Iterator[Path]:
    os.mkfifo(root / "pipe")
    yield root / "pipe"
    yield root
    yield root / "none"
    yield root / "pipe" / "none"


def test_what_is_no_file_any_more_is_not_waited_for(root: Path) -> None:
    """A pipe would wait for its writer."""
    file = put(root, "foo-1.0.zip", b"x")
    for path in odd(root):
        with pytest.raises(NoSuchFile):
            open_file(replace(file, path=str(path)))
    with pytest.raises(StoreError):
        open_file(replace(file, path="/" + "x" * 5000))
