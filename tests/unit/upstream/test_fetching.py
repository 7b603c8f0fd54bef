"""Fetching files with an upstream by hand: one fetch a file, one retry, other processes."""

from __future__ import annotations

import gc
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fakes import FakeClient, MemoryBlobs, Resource
from server import until
from upstream.artefacts import wheel

from devpi_server.errors import (
    Corrupt,
    DevpiError,
    Failed,
    Full,
    NoSuchFile,
    StoreError,
    TimedOut,
    Unreachable,
    UpstreamError,
)
from devpi_server.names import METADATA, file_path, project
from devpi_server.records import Link
from devpi_server.store.blobs import Blob, BlobStore, IncomingBlob
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.heldfiles import Facts, HeldFile, HeldFiles
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Lock, Locks
from devpi_server.upstream import files
from devpi_server.upstream.arriving import HELD_BACK, Arriving
from devpi_server.upstream.base import Absent
from devpi_server.upstream.files import FileFetcher, Wanted
from devpi_server.upstream.shelf import Shelf
from devpi_server.upstream.wheels import WheelMetadata

LONG = 30.0
DEMO = project("demo")
BODY = os.urandom(3 * HELD_BACK)
SHA256 = hashlib.sha256(BODY).hexdigest()
URL = "https://files.test/demo-1.0.tar.gz"
LINK = Link("demo-1.0.tar.gz", URL, {"sha256": SHA256}, size=len(BODY))
BARE = Link("demo-1.0.tar.gz", URL)


def wanted(link: Link = LINK) -> Wanted:
    return Wanted(file_path(link.filename, link.url, link.digests), DEMO, link)


@dataclass
class World:
    """A mirror's store and upstream, with any number of fetchers: each plays a process."""

    folder: Path
    client: FakeClient = field(default_factory=FakeClient)
    blobs: BlobStore = field(default_factory=MemoryBlobs)

    def __post_init__(self) -> None:
        self.held = HeldFiles(self.folder / "held", Incoming(self.folder / "incoming"))
        self.facts = Facts(self.folder / "facts")
        self.locks = Locks(self.folder / "locks")
        self.client.resources[URL] = Resource(BODY)

    def fetcher(self, *, offline: bool = False, timeout: float = LONG) -> FileFetcher:
        shelf = Shelf(self.blobs, self.held, self.facts)
        return FileFetcher(
            scope="root/pypi",
            client=self.client,
            shelf=shelf,
            wheels=WheelMetadata(self.client, shelf),
            locks=self.locks,
            timeout=timeout,
            offline=offline,
        )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.locks.close()


def fetched(fetcher: FileFetcher, link: Link = LINK) -> HeldFile:
    """The file, once it is held."""
    joined = fetcher.join(wanted(link))
    return joined.finished.result(LONG) if isinstance(joined, Arriving) else joined


def whole(arriving: Arriving | HeldFile) -> bytes:
    assert isinstance(arriving, Arriving)
    return b"".join(arriving.reader().blocks(LONG))


# One process


def test_a_file_is_fetched_verified_and_held(world: World) -> None:
    """Bytes, record and blob agree, and upstream was asked once."""
    fetcher = world.fetcher()
    assert fetcher.find(wanted().path) is None
    held = fetched(fetcher)
    assert (held.sha256, held.size, held.url) == (SHA256, len(BODY), URL)
    found = fetcher.find(wanted().path)
    assert found is not None
    assert found[1].path.read_bytes() == BODY
    assert fetched(fetcher) == held
    assert len(world.client.asked) == 1


def test_a_file_that_is_held_needs_no_upstream(world: World) -> None:
    """Neither in this process nor in the next."""
    fetched(world.fetcher())
    world.client.resources.clear()
    assert fetched(world.fetcher()).sha256 == SHA256


def test_a_record_without_its_blob_is_forgotten(world: World) -> None:
    """ARCHITECTURE 1.7: what was deleted costs a fetch."""
    fetched(world.fetcher())
    world.blobs.remove(SHA256)
    assert world.fetcher().find(wanted().path) is None
    assert fetched(world.fetcher()).sha256 == SHA256


@pytest.mark.parametrize(
    "resource",
    [
        Resource(BODY[:-1]),
        Resource(BODY + b"x"),
        Resource(bytes(len(BODY))),
        Resource(BODY, breaks_after=len(BODY) - 1),
        Resource(BODY[:-1], tells_length=False),
        Resource(BODY + b"x", tells_length=False),
        Resource(bytes(len(BODY)), tells_length=False),
        Resource(b"", tells_length=False),
    ],
)
@pytest.mark.parametrize("link", [LINK, Link(LINK.filename, URL, {"md5": "0" * 32}, len(BODY))])
def test_wrong_bytes_are_never_held(world: World, resource: Resource, link: Link) -> None:
    """U05, U06: length and digest are right, or nothing is kept, and no record leads anywhere."""
    world.client.resources[URL] = resource
    with pytest.raises(UpstreamError):
        fetched(world.fetcher(), link)
    assert list(world.blobs.digests()) == []
    assert world.held.find(wanted(link).path) is None
    assert world.blobs.under_way("") is None


@pytest.mark.parametrize(
    "resource",
    [
        Resource(BODY, encoded=True),
        Resource(b"<html>log in</html>", "text/html; charset=utf-8"),
        Resource(BODY, length=len(BODY) + 1),
    ],
)
def test_a_file_that_nothing_vouches_for_must_look_like_one(
    world: World, resource: Resource
) -> None:
    """U06, C05: without a digest, encodings and web pages are refused at the door."""
    world.client.resources[URL] = resource
    with pytest.raises(UpstreamError):
        fetched(world.fetcher(), BARE)
    assert list(world.blobs.digests()) == []


def test_what_a_bare_link_does_not_say_is_learned(world: World) -> None:
    """Digest and size become facts, and the file is found under its new path, too."""
    held = fetched(world.fetcher(), BARE)
    assert held.path == wanted(BARE).path
    fact = world.facts.read(DEMO)[BARE.filename]
    assert (fact.sha256, fact.size, fact.url) == (SHA256, len(BODY), URL)
    assert world.fetcher().find(wanted().path) is not None


@pytest.mark.parametrize(
    ("resource", "kind"), [(Failed("500"), Failed), (None, NoSuchFile), (TimedOut("x"), TimedOut)]
)
def test_upstreams_answer_is_known_before_a_byte(
    world: World, resource: UpstreamError | None, kind: type[Exception]
) -> None:
    """A refusal is raised by ``join`` itself, and the next request asks again."""
    world.client.resources.pop(URL)
    if resource is not None:
        world.client.resources[URL] = resource
    fetcher = world.fetcher()
    with pytest.raises(kind):
        fetcher.join(wanted())
    world.client.resources[URL] = Resource(BODY)
    assert fetched(fetcher).sha256 == SHA256


def test_offline_asks_nobody(world: World) -> None:
    """What is not held is not there."""
    fetcher = world.fetcher(offline=True)
    with pytest.raises(NoSuchFile):
        fetcher.join(wanted())
    with pytest.raises(NoSuchFile):
        fetcher.size(wanted(BARE))
    assert world.client.asked == []


def test_the_size_is_the_pages_else_upstreams(world: World) -> None:
    """A HEAD costs upstream at most a HEAD."""
    fetcher = world.fetcher()
    assert fetcher.size(wanted()) == len(BODY)
    assert world.client.asked == []
    assert fetcher.size(wanted(BARE)) == len(BODY)
    world.client.resources[URL] = Resource(BODY, tells_length=False)
    assert fetcher.size(wanted(BARE)) is None
    world.client.resources.clear()
    with pytest.raises(NoSuchFile):
        fetcher.size(wanted(BARE))


class Sick(MemoryBlobs):
    """A store whose disk is full when something is to be kept."""

    def incoming(self, prefix: str = "") -> IncomingBlob:
        incoming = super().incoming(prefix)

        def commit() -> Blob:
            raise Full("no space left to keep a file")

        incoming.commit = commit  # type: ignore[method-assign]
        return incoming


def test_a_full_disk_is_told_and_the_verified_bytes_are_served(world: World) -> None:
    """C07: who is reading gets the file, nobody gets a record of what is not there."""
    world.blobs = Sick()
    arriving = world.fetcher().join(wanted())
    assert whole(arriving) == BODY
    assert isinstance(arriving, Arriving)
    assert isinstance(arriving.finished.exception(LONG), Full)
    assert world.held.find(wanted().path) is None
    assert world.locks.try_hold(_key(world, wanted())) is not None


# Metadata from afar


class Silent(FakeClient):
    """Does not tell the size of a file for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def size(self, url: str) -> int | Absent | None:
        assert self.goes_on.wait(LONG)
        return super().size(url)


def test_reading_from_afar_does_not_keep_files_waiting(world: World) -> None:
    """However many wheels are read from an upstream that does not answer just then."""
    upstream = world.client = Silent()
    upstream.resources[URL] = Resource(BODY)
    fetcher = world.fetcher(timeout=2.0)

    def read(number: int) -> None:
        with suppress(TimedOut):
            fetcher.read_metadata(Wanted(f"+e/{number}/x-1.0.whl", DEMO, BARE))

    readers = [threading.Thread(target=read, args=(number,)) for number in range(40)]
    for reader in readers:
        reader.start()
    until(lambda: len(fetcher._readings._flights) == len(readers))
    assert fetched(fetcher).sha256 == SHA256
    upstream.goes_on.set()
    for reader in readers:
        reader.join()


# The end


class Slow(MemoryBlobs):
    """A store whose disk takes its time to keep something."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def incoming(self, prefix: str = "") -> IncomingBlob:
        incoming = super().incoming(prefix)
        keep = incoming.commit

        def commit() -> Blob:
            assert self.goes_on.wait(LONG)
            return keep()

        incoming.commit = commit  # type: ignore[method-assign]
        return incoming


def test_the_end_waits_until_what_was_received_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has all bytes already; to end now would be to have fetched them in vain."""
    disk = world.blobs = Slow()
    fetcher = world.fetcher()
    assert whole(fetcher.join(wanted())) == BODY

    def wait(flight: Future[HeldFile], seconds: float) -> None:
        disk.goes_on.set()
        flight.result(LONG)

    monkeypatch.setattr(files, "land", wait)
    fetcher.settle(LONG)
    assert fetcher.find(wanted().path) is not None


def test_the_end_does_not_wait_for_what_is_still_to_come(world: World) -> None:
    """Whoever wanted it has gone: it is fetched again when somebody asks."""
    goes_on = threading.Event()
    world.client.resources[URL] = Resource(BODY, before_its_end=lambda: goes_on.wait(LONG))
    fetcher = world.fetcher()
    arriving = fetcher.join(wanted())
    fetcher.settle(LONG)
    assert isinstance(arriving, Arriving)
    assert not arriving.finished.done()
    goes_on.set()
    arriving.finished.result(LONG)


# Metadata out of wheels

WHEEL = wheel("demo", "1.0")
WHEEL_URL = f"https://files.test/{WHEEL.filename}"


@pytest.mark.parametrize("offered", [None, {}, {"sha256": "0" * 64}])
def test_a_held_wheel_offers_its_own_metadata(world: World, offered: dict[str, str] | None) -> None:
    """PEP 658: made from the wheel, where upstream does not offer it."""
    world.client.resources[WHEEL_URL] = Resource(WHEEL.data)
    digest = hashlib.sha256(WHEEL.data).hexdigest()
    link = Link(WHEEL.filename, WHEEL_URL, {"sha256": digest}, core_metadata=offered)
    held = fetched(world.fetcher(), link)
    if offered is None:
        world.fetcher().metadata_of(held)
    found = world.held.find(held.path + METADATA)
    assert (found is not None) is (offered is None)
    if found is not None:
        blob = world.blobs.find(found.sha256)
        assert blob is not None
        assert blob.path.read_bytes() == WHEEL.metadata
        assert world.facts.read(DEMO)[WHEEL.filename].metadata == found.sha256


def test_a_wheel_that_is_gone_or_broken_makes_no_metadata(world: World) -> None:
    """And is no error."""
    held = HeldFile("+f/a/b/x.whl", "x.whl", "demo", "u", "0" * 64, 1)
    world.fetcher().metadata_of(held)
    incoming = world.blobs.incoming()
    incoming.write(b"no wheel")
    blob = incoming.commit()
    world.fetcher().metadata_of(HeldFile(held.path, "x.whl", "demo", "u", blob.sha256, 8))
    assert world.held.find(held.path + METADATA) is None
    assert list(world.blobs.digests()) == [blob.sha256]


# Other processes


def _key(world: World, file: Wanted) -> str:
    return world.fetcher()._key(file)


class OtherProcess:
    """What another process does that downloads the file."""

    def __init__(self, world: World) -> None:
        self._world = world
        lock = world.locks.try_hold(_key(world, wanted()))
        assert lock is not None
        self._lock: Lock = lock
        self._incoming: IncomingBlob | None = None

    def receive(self, data: bytes) -> None:
        if self._incoming is None:
            prefix = f"{_key(self._world, wanted())}.{len(BODY)}."
            self._incoming = self._world.blobs.incoming(prefix)
        self._incoming.write(data)

    def begin_anew(self) -> None:
        assert self._incoming is not None
        self._incoming.abandon()
        self._incoming = None

    def finish(self) -> None:
        assert self._incoming is not None
        blob = self._incoming.commit()
        file = HeldFile(wanted().path, LINK.filename, DEMO, URL, blob.sha256, blob.size)
        self._world.held.put(file)
        self._lock.release()

    def give_up(self) -> None:
        if self._incoming is not None:
            self._incoming.abandon()
        self._lock.release()


def test_what_another_process_downloads_is_read_along(world: World) -> None:
    """One fetch a file between processes: upstream is asked by the first only."""
    other = OtherProcess(world)
    other.receive(BODY[: 2 * HELD_BACK])
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    assert arriving.length == len(BODY)
    blocks = arriving.reader().blocks(LONG)
    first = next(blocks)
    assert BODY.startswith(first)
    other.receive(BODY[2 * HELD_BACK :])
    other.finish()
    assert first + b"".join(blocks) == BODY
    assert arriving.finished.result(LONG).sha256 == SHA256
    assert world.client.asked == []


def test_a_dead_processs_download_is_taken_over(world: World) -> None:
    """Who has no byte of it yet gets the file all the same."""
    other = OtherProcess(world)
    other.receive(b"")
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    reader = arriving.reader()
    other.give_up()
    assert b"".join(reader.blocks(LONG)) == BODY
    assert arriving.finished.result(LONG).sha256 == SHA256
    assert len(world.client.asked) == 1


def test_who_has_bytes_of_a_dead_process_is_cut_off(world: World) -> None:
    """Nobody gets the beginning of one download and the end of another."""
    other = OtherProcess(world)
    other.receive(BODY[: 2 * HELD_BACK])
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    blocks = arriving.reader().blocks(LONG)
    assert next(blocks)
    other.give_up()
    assert isinstance(arriving.finished.exception(LONG), UpstreamError)
    with pytest.raises(Unreachable):
        list(blocks)
    assert world.client.asked == []


def test_a_take_over_that_fails_is_told(world: World) -> None:
    """Upstream's answer to us is the answer."""
    world.client.resources[URL] = Corrupt("no good")
    other = OtherProcess(world)
    other.receive(b"")
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    reader = arriving.reader()
    other.give_up()
    with pytest.raises(Unreachable, match="no good"):
        list(reader.blocks(LONG))
    assert world.locks.try_hold(_key(world, wanted())) is not None


def test_a_process_that_gives_up_unanswered_leaves_the_file_to_the_next(world: World) -> None:
    """Waiting for another process's first byte ends when it has the file, or lets go."""
    other = OtherProcess(world)
    fetcher = world.fetcher()
    flight = fetcher._flights.join(wanted().path, lambda: fetcher._open(wanted()))
    other.give_up()
    joined = flight.result(LONG)
    assert isinstance(joined, Arriving)
    assert joined.finished.result(LONG).sha256 == SHA256


def test_a_process_that_never_gets_an_answer_is_not_waited_for_for_ever(world: World) -> None:
    """Past the deadline the client is told."""
    OtherProcess(world)
    with pytest.raises(TimedOut):
        world.fetcher(timeout=0.02).join(wanted())


def test_a_part_that_cannot_be_watched_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails under a shadow ends it with an error, not in silence."""
    other = OtherProcess(world)
    other.receive(BODY[:10])
    under_way: Callable[[str], tuple[str, int] | None] = world.blobs.under_way
    calls = iter([under_way])

    def fails_later(prefix: str) -> tuple[str, int] | None:
        for call in calls:
            return call(prefix)
        raise StoreError("cannot look for a file under way: Input/output error")

    monkeypatch.setattr(world.blobs, "under_way", fails_later)
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    assert isinstance(arriving.finished.exception(LONG), StoreError)
    other.give_up()


# Sick disks


def test_a_disk_that_was_sick_for_a_moment_leaves_no_lock(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files, say: the next client gets the file without a restart."""
    fetcher = world.fetcher()
    with monkeypatch.context() as sick:

        def refuse(path: str) -> None:
            raise StoreError(f"cannot read the record of {path}")

        sick.setattr(world.held, "find", refuse)
        with pytest.raises(StoreError):
            fetcher.join(wanted())
    assert fetched(fetcher).sha256 == SHA256


def test_nobody_joins_what_has_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks as soon as a download has broken off gets another one."""
    world.client.resources[URL] = Resource(os.urandom(len(BODY)))
    fetcher = world.fetcher()
    fail = Arriving.fail
    joinable: list[bool] = []

    def fails(arriving: Arriving, error: DevpiError) -> None:
        joinable.append(wanted().path in fetcher._under_way)
        fail(arriving, error)

    monkeypatch.setattr(Arriving, "fail", fails)
    joined = fetcher.join(wanted())
    assert isinstance(joined, Arriving)
    assert isinstance(joined.finished.exception(LONG), Corrupt)
    assert joinable == [False]


def test_downloads_that_fail_leave_no_descriptors(world: World) -> None:
    """Nor does it take the collector to close them."""
    world.blobs = LocalBlobs(world.folder / "files", Incoming(world.folder / "incoming"))
    world.client.resources[URL] = Resource(os.urandom(len(BODY)))
    fetcher = world.fetcher()
    gc.disable()
    try:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            joined = fetcher.join(wanted())
            assert isinstance(joined, Arriving)
            assert isinstance(joined.finished.exception(LONG), Corrupt)
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # of the last one
    finally:
        gc.enable()


def test_a_second_try_between_two_looks_is_never_mixed_with_the_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process's failed try left in its part is not released as the held file."""
    other = OtherProcess(world)
    other.receive(bytes(3 * HELD_BACK))
    under_way = world.blobs.under_way
    looks = iter([True])

    def seen_once(prefix: str) -> tuple[str, int] | None:
        return under_way(prefix) if next(looks, False) else None

    monkeypatch.setattr(world.blobs, "under_way", seen_once)
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    reader = arriving.reader()
    other.begin_anew()
    other.receive(BODY)
    other.finish()
    assert arriving.finished.result(LONG).sha256 == SHA256
    try:
        got = b"".join(reader.blocks(LONG))
    except UpstreamError:
        return  # it had bytes of the first try already: it breaks off
    assert got == BODY


def test_the_part_of_a_dead_process_is_never_taken_for_the_file(world: World) -> None:
    """A part that was left behind may be found first; the end comes from the held file."""
    dead = world.blobs.incoming(f"{_key(world, wanted())}.{len(BODY)}.")
    dead.write(BODY[:100])
    other = OtherProcess(world)
    other.receive(BODY[: 2 * HELD_BACK])
    arriving = world.fetcher().join(wanted())
    assert isinstance(arriving, Arriving)
    reader = arriving.reader()
    other.receive(BODY[2 * HELD_BACK :])
    other.finish()
    arriving.finished.result(LONG)
    assert b"".join(reader.blocks(LONG)) == BODY
