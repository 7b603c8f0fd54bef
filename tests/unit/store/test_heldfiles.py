"""Records of held files, and what holding them has taught."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from devpi_server.errors import StoreError
from devpi_server.names import project
from devpi_server.store.heldfiles import Fact, Facts, HeldFile, HeldFiles
from devpi_server.store.incoming import Incoming

DEMO = project("demo")
PATH = "+f/012/3456789abcdef/demo-1.0.whl"
SHA256 = "0123456789abcdef" * 4
HELD = HeldFile(PATH, "demo-1.0.whl", "demo", "https://u.test/demo-1.0.whl", SHA256, 5)
FACT = Fact("demo-1.0.whl", "https://u.test/demo-1.0.whl", SHA256, 5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "held"


def held_files(folder: Path) -> HeldFiles:
    return HeldFiles(folder, Incoming(folder.parent / "incoming"))


def only_file(folder: Path) -> Path:
    (file,) = [path for path in folder.rglob("*") if path.is_file()]
    return file


def test_a_record_is_found_by_its_path(folder: Path) -> None:
    """In this process and the next."""
    held = held_files(folder)
    assert held.find(PATH) is None
    held.put(HELD)
    assert held.find(PATH) == HELD
    assert held_files(folder).find(PATH) == HELD


def test_a_record_that_another_process_made_is_found(folder: Path) -> None:
    """That there was none is not remembered."""
    mine, theirs = held_files(folder), held_files(folder)
    assert mine.find(PATH) is None
    theirs.put(HELD)
    assert mine.find(PATH) == HELD


def test_a_known_record_costs_no_disk(folder: Path) -> None:
    """It is answered from memory, until it is forgotten."""
    held = held_files(folder)
    held.put(HELD)
    only_file(folder).unlink()
    assert held.find(PATH) == HELD
    held.forget(PATH)
    assert held.find(PATH) is None


def test_a_forgotten_record_is_gone(folder: Path) -> None:
    """From memory and from disk; forgetting it twice is no fault."""
    held = held_files(folder)
    held.put(HELD)
    held.forget(PATH)
    held.forget(PATH)
    assert held.find(PATH) is None
    assert held_files(folder).find(PATH) is None


@pytest.mark.parametrize(
    "path", ["+e/x/../../../etc/passwd", "+f/a/b/\ud800", "+e/" + "x" * 10_000, "", "\0"]
)
def test_no_text_of_a_url_becomes_a_path(folder: Path, path: str) -> None:
    """S01: a record lies where a digest says, two levels deep."""
    held = held_files(folder)
    assert held.find(path) is None
    held.forget(path)
    if "\ud800" not in path:
        held.put(HeldFile(path, "f", "demo", "u", SHA256, 1))
        assert len(only_file(folder).relative_to(folder).parts) == 2


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{", b"[]", b"null", b"{}", b'{"path": 1}'])
def test_a_torn_record_is_none(folder: Path, content: bytes) -> None:
    """A fetch mends what a power failure has torn."""
    held_files(folder).put(HELD)
    only_file(folder).write_bytes(content)
    assert held_files(folder).find(PATH) is None


def test_a_record_is_for_its_own_path_only(folder: Path) -> None:
    """A file in the wrong place leads nobody to other bytes."""
    held = held_files(folder)
    held.put(HELD)
    only_file(folder).write_bytes(orjson.dumps(HELD).replace(b"+f/012", b"+f/999"))
    assert held_files(folder).find(PATH) is None


def test_a_sick_disk_is_told_by_records(folder: Path) -> None:
    """A file where the folder should be is not "nothing held"."""
    held = held_files(folder)
    folder.write_bytes(b"")
    for act in (lambda: held.find(PATH), lambda: held.put(HELD), lambda: held.forget(PATH)):
        with pytest.raises(StoreError):
            act()


# Facts


def test_a_project_without_facts_has_none(folder: Path) -> None:
    """And that is no fault."""
    assert Facts(folder).read(DEMO) == {}
    assert Facts(folder).stamp(DEMO) == 0


def test_facts_are_read_by_file(folder: Path) -> None:
    """The newest about a file counts."""
    facts = Facts(folder)
    newer = Fact(FACT.filename, FACT.url, SHA256, 5, metadata="f" * 64)
    other = Fact("demo-2.0.whl", "https://u.test/2", SHA256, 6)
    for fact in (FACT, other, newer):
        facts.add(DEMO, fact)
    assert facts.read(DEMO) == {"demo-1.0.whl": newer, "demo-2.0.whl": other}
    assert facts.read(project("other")) == {}


def test_each_fact_changes_the_stamp(folder: Path) -> None:
    """Pages that are made of facts are made anew."""
    facts = Facts(folder)
    stamps = [facts.stamp(DEMO)]
    for _ in range(3):
        facts.add(DEMO, FACT)
        stamps.append(facts.stamp(DEMO))
    assert len(set(stamps)) == 4


@pytest.mark.parametrize("torn", range(0, 200, 13))
def test_a_torn_line_takes_no_other_with_it(folder: Path, torn: int) -> None:
    """A crash in the middle of a line costs this line, not the ones before and after."""
    facts = Facts(folder)
    facts.add(DEMO, FACT)
    other = Fact("demo-2.0.whl", "https://u.test/2", SHA256, 6)
    facts.add(DEMO, other)
    file = folder / DEMO
    whole = file.read_bytes()
    first = len(whole) - len(b"\n" + orjson.dumps(other) + b"\n")
    file.write_bytes(whole[: first + torn])
    third = Fact("demo-3.0.whl", "https://u.test/3", SHA256, 7)
    facts.add(DEMO, third)
    found = dict(facts.read(DEMO))
    found.pop(other.filename, None)
    assert found == {FACT.filename: FACT, third.filename: third}


@pytest.mark.parametrize(
    "line", [b"null", b"5", b"[]", b"{}", b"\xff", b'"x"', b'{"filename": "f"}', b"\0\0\0"]
)
def test_a_line_of_nonsense_is_passed_over(folder: Path, line: bytes) -> None:
    """Damage costs the facts that are damaged."""
    facts = Facts(folder)
    facts.add(DEMO, FACT)
    with (folder / DEMO).open("ab") as file:
        file.write(line)
    facts.add(DEMO, Fact("g", "u", SHA256, 1))
    assert set(facts.read(DEMO)) == {FACT.filename, "g"}


def test_a_sick_disk_is_told_by_facts(folder: Path) -> None:
    """A file where the folder should be is not "no facts"."""
    facts = Facts(folder)
    folder.write_bytes(b"")
    for act in (
        lambda: facts.read(DEMO),
        lambda: facts.stamp(DEMO),
        lambda: facts.add(DEMO, FACT),
    ):
        with pytest.raises(StoreError):
            act()
