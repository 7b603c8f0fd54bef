"""Parts: no reader ever sees half a file, and no dead writer leaves one for long."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devpi_server.errors import Full, StoreError
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.incoming import Incoming, Part, translated

CONTENT = b"content" * 1000
ROOT = Path(__file__).parents[3]

WRITER = """
import sys
from pathlib import Path
from devpi_server.store.incoming import Incoming
part = Incoming(Path(sys.argv[1])).part("theirs.")
part.write(b"half")
print("written", flush=True)
sys.stdin.readline()
"""

LIMITED = """
import resource, sys
from pathlib import Path
from devpi_server.errors import StoreError
from devpi_server.store.incoming import Incoming
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
folder = Path(sys.argv[1])
incoming = Incoming(folder / "incoming")
try:
    incoming.write(folder / "target", b"x" * 10000, durable=False)
except StoreError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def incoming(tmp_path: Path) -> Incoming:
    return Incoming(tmp_path / "incoming")


@contextmanager
def other_writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a part as long as the context lasts, or until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_nothing_is_at_the_target_before_the_commit(incoming: Incoming, tmp_path: Path) -> None:
    """The target appears whole, and the part disappears with that."""
    target = tmp_path / "target"
    part = incoming.part()
    part.write(CONTENT)
    assert not target.exists()
    part.commit(target, durable=True)
    assert target.read_bytes() == CONTENT
    assert list(incoming.folder.iterdir()) == []


def test_a_commit_replaces_what_was_there(incoming: Incoming, tmp_path: Path) -> None:
    """A reader of the old content keeps it, the next one gets the new."""
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with target.open("rb") as reader:
        incoming.write(target, b"new", durable=False)
        assert (reader.read(), target.read_bytes()) == (b"old", b"new")


def test_a_commit_makes_the_folders_it_needs(incoming: Incoming, tmp_path: Path) -> None:
    """Folders are made when there is something to put into them."""
    target = tmp_path / "a" / "b" / "target"
    incoming.write(target, CONTENT, durable=True)
    assert target.read_bytes() == CONTENT


def test_a_commit_dates_the_file(incoming: Incoming, tmp_path: Path) -> None:
    """The file has its date from the moment it appears."""
    target = tmp_path / "target"
    incoming.write(target, CONTENT, durable=False, mtime_ns=1_234_567_000)
    assert target.stat().st_mtime_ns == 1_234_567_000


@pytest.mark.parametrize("end", ["commit", "abandon"])
def test_no_end_of_a_part_leaves_a_descriptor(incoming: Incoming, tmp_path: Path, end: str) -> None:
    """Thousands of files later there are as many descriptors as before."""
    before = open_files()
    for number in range(10):
        part = incoming.part()
        part.write(CONTENT)
        if end == "commit":
            part.commit(tmp_path / str(number), durable=False)
        part.abandon()
        part.abandon()
    assert open_files() == before


def test_an_abandoned_part_is_gone(incoming: Incoming) -> None:
    """Also if it was deleted by others in the meantime."""
    part, lost = incoming.part(), incoming.part()
    lost.path.unlink()
    part.abandon()
    lost.abandon()
    assert list(incoming.folder.iterdir()) == []


def test_a_commit_that_fails_leaves_everything_as_it_was(
    incoming: Incoming, tmp_path: Path
) -> None:
    """The old file stays, the part is still there to be abandoned."""
    target = tmp_path / "target"
    (target / "in the way").mkdir(parents=True)
    part = incoming.part()
    with pytest.raises(StoreError):
        part.commit(target, durable=False)
    assert target.is_dir()
    part.abandon()
    assert list(incoming.folder.iterdir()) == []


def test_a_write_that_fails_leaves_no_part(incoming: Incoming, tmp_path: Path) -> None:
    """``Incoming.write`` cleans up behind itself."""
    blocker = tmp_path / "file"
    blocker.write_bytes(b"")
    with pytest.raises(StoreError):
        incoming.write(blocker / "below a file", CONTENT, durable=False)
    assert list(incoming.folder.iterdir()) == []


def test_a_sweep_leaves_an_adopted_file_alone(incoming: Incoming, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"content")
    part = incoming.adopted(lambda path: os.link(theirs, path))

    assert Incoming(incoming.folder).sweep() == 0
    part.commit(tmp_path / "target", durable=True)
    assert (tmp_path / "target").read_bytes() == b"content"


def test_a_file_that_was_swept_while_it_was_adopted_is_linked_again(
    incoming: Incoming, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"content")
    links = []

    def link(path: Path) -> None:
        os.link(theirs, path)
        links.append(path)
        if len(links) == 1:
            assert Incoming(incoming.folder).sweep() == 1

    part = incoming.adopted(link)
    assert len(links) == 2
    part.abandon()


def test_a_part_is_found_by_its_prefix_only(incoming: Incoming) -> None:
    """The prefix is where another process looks."""
    part = incoming.part("key.")
    assert incoming.find("key.") == part.path
    assert incoming.find("other.") is None
    part.abandon()
    assert incoming.find("key.") is None


def test_the_part_of_a_dead_writer_is_not_found(incoming: Incoming) -> None:
    """However many it has left, the one that is being written is found."""
    for _ in range(3):
        with other_writer(incoming.folder):
            assert incoming.find("theirs.") is not None
    assert incoming.find("theirs.") is None
    part = incoming.part("theirs.")
    assert incoming.find("theirs.") == part.path
    part.abandon()


def test_a_living_writer_is_never_swept(incoming: Incoming) -> None:
    """Neither one of this process nor one of another."""
    mine = incoming.part("mine.")
    with other_writer(incoming.folder):
        assert incoming.sweep() == 0
        assert incoming.find("theirs.") is not None
    assert incoming.find("mine.") is not None
    mine.abandon()


def test_a_dead_writer_is_swept(incoming: Incoming) -> None:
    """A killed process leaves a part, and the next sweep takes it away."""
    with other_writer(incoming.folder) as process:
        process.kill()
        process.wait()
        assert incoming.sweep() == 1
    assert list(incoming.folder.iterdir()) == []
    assert incoming.sweep() == 0


def test_a_committed_file_is_no_part_any_more(incoming: Incoming, tmp_path: Path) -> None:
    """What was kept is out of the sweep's reach."""
    incoming.write(tmp_path / "target", CONTENT, durable=False)
    assert incoming.sweep() == 0
    assert (tmp_path / "target").exists()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """No space left is ``Full``, which operators can act on (C07)."""
    part = Part(tmp_path / "none", os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(Full):
        part.write(CONTENT)
    part.abandon()


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    """A write that the system breaks off in the middle keeps no half file (C07)."""
    told = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "StoreError\n"
    assert [path.name for path in tmp_path.rglob("*")] == ["incoming"]


def test_a_full_disk_does_not_count_what_was_not_written(tmp_path: Path) -> None:
    """Size and digest are of what is there."""
    part = Part(tmp_path / "none", os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(Full):
        part.write(CONTENT)
    assert part.size == 0
    part.abandon()


def test_a_folder_that_cannot_be_is_a_store_error(tmp_path: Path) -> None:
    """Making, filling, searching and sweeping it say so in one line."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        Incoming(tmp_path / "file" / "incoming")
    incoming = Incoming(tmp_path / "incoming")
    incoming.folder.rmdir()
    for act in (incoming.part, lambda: incoming.find("x"), incoming.sweep):
        with pytest.raises(StoreError) as raised:
            act()
        assert "\n" not in raised.value.message


def test_errors_of_the_system_are_translated_once() -> None:
    """``translated`` leaves our own errors and those that are none of the disk alone."""
    with pytest.raises(Full), translated("x"):
        raise Full("already told")
    with pytest.raises(ValueError, match="mine"), translated("x"):
        raise ValueError("mine")


def test_the_local_store_names_a_sick_disk(tmp_path: Path) -> None:
    """Where a folder should be is a file: every question is answered with StoreError."""
    files = tmp_path / "files"
    blobs = LocalBlobs(files, Incoming(tmp_path / "incoming"))
    files.write_bytes(b"")
    digest = "0" * 64
    for ask in (
        lambda: blobs.find(digest),
        lambda: blobs.remove(digest),
        lambda: list(blobs.digests()),
    ):
        with pytest.raises(StoreError):
            ask()


def test_a_folder_in_the_place_of_a_blob_is_no_blob(tmp_path: Path) -> None:
    """Only a file is content."""
    blobs = LocalBlobs(tmp_path, Incoming(tmp_path / "incoming"))
    (tmp_path / "00" / ("0" * 64)).mkdir(parents=True)
    assert blobs.find("0" * 64) is None


def test_what_is_no_blob_is_not_listed(tmp_path: Path) -> None:
    """Files that others left in the folder are none of ours."""
    blobs = LocalBlobs(tmp_path / "files", Incoming(tmp_path / "incoming"))
    part = blobs.incoming()
    digest = part.commit().sha256
    (tmp_path / "files" / "README").write_text("from the admin")
    (tmp_path / "files" / digest[:2] / "note").write_text("from the admin")
    assert list(blobs.digests()) == [digest]
