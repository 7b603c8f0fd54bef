"""What every blob store keeps to, whatever it is made of."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fakes import MemoryBlobs

from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.incoming import Incoming

CONTENT = b"the content of a wheel"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ABSENT = "0" * 64


def _local(folder: Path) -> BlobStore:
    return LocalBlobs(folder / "files", Incoming(folder / "incoming"))


def _memory(folder: Path) -> BlobStore:
    return MemoryBlobs()


@pytest.fixture(params=[_local, _memory])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    make: Callable[[Path], BlobStore] = request.param
    return make(tmp_path)


def put(blobs: BlobStore, content: bytes = CONTENT) -> Blob:
    incoming = blobs.incoming()
    incoming.write(content)
    return incoming.commit()


@contextmanager
def opened(fd: int) -> Iterator[int]:
    with closing(os.fdopen(fd, "rb", buffering=0)):
        yield fd


def test_what_was_never_committed_is_not_found(blobs: BlobStore) -> None:
    """No blob is there by itself."""
    assert blobs.find(ABSENT) is None
    assert list(blobs.digests()) == []


@pytest.mark.parametrize(
    "text", ["", "../../../etc/passwd", SHA256.upper(), f"{SHA256}\n", "0" * 63]
)
def test_only_a_sha256_can_be_asked_for(blobs: BlobStore, text: str) -> None:
    """Text that is no lower-case sha256 never becomes a path."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        blobs.find(text)


def test_a_committed_blob_is_found_by_its_digest(blobs: BlobStore) -> None:
    """Digest, size and bytes are those that were written."""
    committed = put(blobs)
    assert committed == blobs.find(SHA256)
    assert (committed.sha256, committed.size) == (SHA256, len(CONTENT))
    assert committed.path.read_bytes() == CONTENT


def test_no_content_is_content(blobs: BlobStore) -> None:
    """A blob may be empty."""
    assert put(blobs, b"").size == 0
    assert blobs.find(hashlib.sha256().hexdigest()) is not None


def test_a_blob_is_not_found_before_it_is_committed(blobs: BlobStore) -> None:
    """Half a file is never taken for a file."""
    incoming = blobs.incoming()
    incoming.write(CONTENT)
    assert blobs.find(SHA256) is None
    incoming.abandon()


def test_an_abandoned_blob_leaves_nothing(blobs: BlobStore) -> None:
    """Abandoning forgets what was written, also when it is done twice."""
    incoming = blobs.incoming("key.")
    incoming.write(CONTENT)
    incoming.abandon()
    incoming.abandon()
    assert blobs.find(SHA256) is None
    assert blobs.under_way("key.") is None


def test_abandoning_after_the_commit_does_nothing(blobs: BlobStore) -> None:
    """``finally: abandon()`` is a safe way to write a blob."""
    incoming = blobs.incoming()
    incoming.write(CONTENT)
    incoming.commit()
    incoming.abandon()
    assert blobs.find(SHA256) is not None


def test_size_and_digest_are_those_of_what_was_written_so_far(blobs: BlobStore) -> None:
    """A writer can compare before it commits."""
    incoming = blobs.incoming()
    incoming.write(CONTENT[:5])
    assert incoming.size == 5
    assert incoming.sha256 == hashlib.sha256(CONTENT[:5]).hexdigest()
    incoming.write(CONTENT[5:])
    assert (incoming.size, incoming.sha256) == (len(CONTENT), SHA256)
    incoming.abandon()


@pytest.mark.parametrize("end", ["commit", "abandon"])
def test_a_reader_sees_what_is_written_and_outlives_the_writer(blobs: BlobStore, end: str) -> None:
    """A descriptor opened while the blob grows stays good after its end."""
    incoming = blobs.incoming()
    with opened(incoming.reader()) as fd:
        incoming.write(CONTENT[:5])
        assert os.pread(fd, 100, 0) == CONTENT[:5]
        incoming.write(CONTENT[5:])
        getattr(incoming, end)()
        assert os.pread(fd, 100, 0) == CONTENT


def test_a_blob_under_way_is_found_by_its_prefix(blobs: BlobStore) -> None:
    """Others can name, and read, what is being written under a prefix."""
    other = blobs.incoming("other.")
    incoming = blobs.incoming("key.22.")
    incoming.write(CONTENT)
    found = blobs.under_way("key.")
    assert found is not None
    name, fd = found
    with opened(fd):
        assert name.startswith("key.22.")
        assert os.pread(fd, 100, 0) == CONTENT
    incoming.abandon()
    other.abandon()


def test_a_blob_under_way_is_called_the_same_each_time(blobs: BlobStore) -> None:
    """One name is one attempt; a new attempt has another name."""

    def name() -> str:
        found = blobs.under_way("key.")
        assert found is not None
        os.close(found[1])
        return found[0]

    incoming = blobs.incoming("key.")
    first = name()
    assert name() == first
    second = blobs.incoming("key.")
    incoming.abandon()
    assert name() != first
    second.abandon()


def test_a_committed_blob_is_not_under_way(blobs: BlobStore) -> None:
    """Nobody waits for a blob that is held."""
    incoming = blobs.incoming("key.")
    incoming.commit()
    assert blobs.under_way("key.") is None


def test_a_removed_blob_is_gone_but_readers_go_on(blobs: BlobStore) -> None:
    """Removing takes the name away, not the bytes from under a reader."""
    with put(blobs).path.open("rb") as file:
        blobs.remove(SHA256)
        assert file.read() == CONTENT
    assert blobs.find(SHA256) is None
    assert list(blobs.digests()) == []


def test_removing_what_is_not_held_is_no_error(blobs: BlobStore) -> None:
    """Two processes may remove the same blob."""
    blobs.remove(ABSENT)


def test_a_file_of_somebody_else_can_be_a_blob(blobs: BlobStore, tmp_path: Path) -> None:
    """It is known by its bytes before it is committed, and stays where it was."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(CONTENT)
    incoming = blobs.adopt(lambda path: os.link(theirs, path))
    assert (incoming.sha256, incoming.size) == (SHA256, len(CONTENT))
    assert blobs.find(SHA256) is None
    assert incoming.commit() == blobs.find(SHA256)
    assert theirs.read_bytes() == CONTENT


def test_a_file_that_is_not_adopted_stays_where_it_was(blobs: BlobStore, tmp_path: Path) -> None:
    """Abandoning takes only the second name away."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(CONTENT)
    blobs.adopt(lambda path: os.link(theirs, path)).abandon()
    assert blobs.find(SHA256) is None
    assert theirs.stat().st_nlink == 1


def test_a_blob_is_as_old_as_its_last_commit(blobs: BlobStore) -> None:
    """Equal bytes that are committed again make it new."""
    assert blobs.kept_at(ABSENT) is None
    before = time.time() - 1  # clocks of file systems are coarse
    path = put(blobs).path
    os.utime(path, (0, 0))
    put(blobs)
    kept_at = blobs.kept_at(SHA256)
    assert kept_at is not None
    assert kept_at >= before


def test_equal_contents_are_one_blob(blobs: BlobStore) -> None:
    """A second writer of the same bytes changes nothing."""
    assert put(blobs).size == put(blobs).size
    assert list(blobs.digests()) == [SHA256]


def test_digests_names_every_blob(blobs: BlobStore) -> None:
    """All that is held can be found by asking what is held."""
    expected = {put(blobs, bytes([number])).sha256 for number in range(5)}
    assert set(blobs.digests()) == expected
