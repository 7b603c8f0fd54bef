"""An arriving file: one writer, many readers at their own speed, nothing wrong released."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from fakes import FakeAlarm, FakeClock

from devpi_server.errors import Corrupt, DevpiError, Failed, Full, TimedOut, Unreachable
from devpi_server.store.heldfiles import HeldFile
from devpi_server.upstream.arriving import HELD_BACK, Arriving, Reader

LONG = 30.0
SIZE = 5 * HELD_BACK
BODY = os.urandom(SIZE)
HELD = HeldFile("+f/0/1/f", "f", "demo", "https://u.test/f", "0" * 64, SIZE)


class Writer:
    """The writer's side of a download, by hand."""

    def __init__(self, length: int | None = SIZE) -> None:
        self.alarm = FakeAlarm()
        self.arriving = Arriving(length, self.alarm)  # type: ignore[arg-type]
        self._fd = -1
        self.received = 0

    def begin(self, body: bytes = BODY) -> None:
        """An attempt whose bytes are all on disk; ``receive`` says how many count."""
        fd = os.memfd_create("part", os.MFD_CLOEXEC)
        os.write(fd, body)
        self.received = 0
        self.arriving.begin(fd)

    def receive(self, size: int) -> None:
        self.received += size
        self.arriving.advance(self.received)

    def finish(self, size: int = SIZE) -> None:
        self.arriving.release(size)
        self.arriving.finish(HELD)


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    writer.begin()
    return writer


@pytest.fixture
def _standing_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes between two calls, however slow the machine is."""
    monkeypatch.setattr(
        "devpi_server.upstream.arriving.time", SimpleNamespace(monotonic=FakeClock())
    )


def rest(reader: Reader) -> bytes:
    """All that can be read without waiting."""
    got = bytearray()
    while block := reader.peek(10_000):
        got += block
        reader.advance(len(block))
    return bytes(got)


def test_what_has_arrived_can_be_read_before_the_end(writer: Writer) -> None:
    """Bytes are released as they come."""
    reader = writer.arriving.reader()
    assert rest(reader) == b""
    assert not reader.ready()
    writer.receive(1000)
    assert reader.ready()
    assert rest(reader) == BODY[:1000]
    writer.receive(1000)
    assert rest(reader) == BODY[1000:2000]


def test_the_last_block_waits_for_the_digest(writer: Writer) -> None:
    """All bytes are there, and still nobody has the whole file."""
    reader = writer.arriving.reader()
    writer.receive(SIZE)
    assert len(rest(reader)) == SIZE - HELD_BACK
    assert not reader.ready()
    writer.finish()
    assert rest(reader) == BODY[-HELD_BACK:]
    assert reader.ready()


def test_without_a_length_as_much_is_held_back() -> None:
    """Nobody knows which block is the last, so one always waits."""
    writer = Writer(None)
    writer.begin()
    reader = writer.arriving.reader()
    assert reader.length is None
    writer.receive(HELD_BACK + 10)
    assert rest(reader) == BODY[:10]
    writer.receive(SIZE - HELD_BACK - 10)
    assert len(rest(reader)) + 10 == SIZE - HELD_BACK
    writer.finish()
    assert reader.length == SIZE
    assert rest(reader) == BODY[-HELD_BACK:]


def test_a_small_file_is_held_back_as_a_whole() -> None:
    """No byte of it is known to be right before all are."""
    writer = Writer(100)
    writer.begin(BODY[:100])
    reader = writer.arriving.reader()
    writer.receive(100)
    assert not reader.ready()
    writer.finish(100)
    assert rest(reader) == BODY[:100]


def test_an_empty_file_ends_at_once() -> None:
    """Its readers get nothing, and know that this is all."""
    writer = Writer(0)
    writer.begin(b"")
    reader = writer.arriving.reader()
    assert not reader.ready()
    writer.finish(0)
    assert reader.ready()
    assert list(reader.blocks(LONG)) == []


def test_readers_go_at_their_own_speed(writer: Writer) -> None:
    """A slow one holds up nobody, one that leaves stops nothing, a late one gets all."""
    quick, slow, leaving = (writer.arriving.reader() for _ in range(3))
    writer.receive(SIZE)
    assert len(rest(quick)) == SIZE - HELD_BACK
    assert slow.peek(10) == BODY[:10]
    slow.advance(10)
    leaving.close()
    leaving.close()
    writer.finish()
    late = writer.arriving.reader()
    assert rest(slow) == BODY[10:]
    assert rest(late) == BODY
    assert rest(quick) == BODY[-HELD_BACK:]


def test_peeking_takes_nothing(writer: Writer) -> None:
    """Only ``advance`` goes on."""
    reader = writer.arriving.reader()
    writer.receive(100)
    assert reader.peek(10) == reader.peek(10) == BODY[:10]


def test_many_threads_read_the_same_bytes(writer: Writer) -> None:
    """Waiting readers get every byte once, in order."""
    readers = [writer.arriving.reader() for _ in range(20)]
    with ThreadPoolExecutor(len(readers)) as pool:
        bodies = [pool.submit(lambda r=each: b"".join(r.blocks(LONG))) for each in readers]
        for _ in range(SIZE // 1000):
            writer.receive(1000)
        writer.receive(SIZE % 1000)
        writer.finish()
        assert {body.result(LONG) for body in bodies} == {BODY}


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, SIZE), (100, 200), (SIZE - 1, SIZE), (HELD_BACK, None), (SIZE - 5, None)],
)
def test_a_part_of_the_file_is_just_that(writer: Writer, start: int, stop: int | None) -> None:
    """A reader of a range gets its bytes and no others."""
    reader = writer.arriving.reader(start, stop)
    expected = BODY[start:stop]
    assert reader.length == len(expected)
    writer.receive(SIZE)
    writer.finish()
    assert b"".join(reader.blocks(LONG)) == expected
    assert reader.ready()


def test_a_range_waits_for_its_own_bytes_only(writer: Writer) -> None:
    """What lies before the last block is complete before the file is."""
    reader = writer.arriving.reader(100, 200)
    writer.receive(150)
    assert rest(reader) == BODY[100:150]
    writer.receive(100)
    assert b"".join(reader.blocks(LONG)) == BODY[150:200]
    assert not writer.arriving.finished.done()


def test_a_failure_reaches_every_reader(writer: Writer) -> None:
    """Waiting or not, with bytes or without: the connection breaks off, nobody has the whole."""
    with_bytes, without = writer.arriving.reader(), writer.arriving.reader()
    writer.receive(SIZE)
    assert rest(with_bytes)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(writer.arriving.reader(SIZE - 1).blocks(LONG)))
        writer.arriving.fail(Corrupt("the sha256 is wrong"))
        assert isinstance(waiting.exception(LONG), Unreachable)
    for reader in (with_bytes, without, writer.arriving.reader()):
        assert reader.ready()
        with pytest.raises(Unreachable, match="sha256"):
            reader.peek(1)


@pytest.mark.parametrize("error", [Failed("502"), Full("no space left"), Corrupt("wrong")])
def test_both_futures_tell_the_failure(writer: Writer, error: DevpiError) -> None:
    """Who waits for the outcome gets the reason itself."""
    writer.arriving.fail(error)
    assert writer.arriving.started.exception(0) is error
    assert writer.arriving.finished.exception(0) is error


def test_a_verified_file_is_read_to_its_end_whatever_happens(writer: Writer) -> None:
    """That it cannot be kept is no reason to break off what is right."""
    reader = writer.arriving.reader()
    writer.receive(SIZE)
    writer.arriving.release(SIZE)
    writer.arriving.fail(Full("no space left"))
    assert rest(reader) == BODY
    assert reader.ready()
    assert writer.arriving.started.exception(0) is None
    assert isinstance(writer.arriving.finished.exception(0), Full)


def test_another_attempt_serves_those_without_a_byte(writer: Writer) -> None:
    """Who has bytes of the first attempt cannot go on with those of the second."""
    with_bytes, without = writer.arriving.reader(), writer.arriving.reader()
    writer.receive(1000)
    assert rest(with_bytes)
    second = bytes(reversed(BODY))
    writer.begin(second)
    assert with_bytes.ready()
    with pytest.raises(Unreachable):
        with_bytes.peek(1)
    assert not without.ready()
    writer.receive(SIZE)
    writer.finish()
    assert rest(without) == second


def test_only_who_has_no_byte_yet_profits_from_another_attempt(writer: Writer) -> None:
    """Nor has who waits for the file to start; without them nobody wants a second try."""
    assert writer.arriving.is_awaited()
    one, other = writer.arriving.reader(), writer.arriving.reader()
    assert writer.arriving.is_awaited()
    writer.receive(1000)
    assert one.peek(1)
    assert writer.arriving.is_awaited()
    other.close()
    assert not writer.arriving.is_awaited()


def test_a_download_that_stands_still_is_given_up(writer: Writer) -> None:
    """No reader waits longer than its gap for the next bytes."""
    reader = writer.arriving.reader()
    writer.receive(1000)
    blocks = reader.blocks(0.01)
    assert next(blocks) == BODY[:1000]
    with pytest.raises(TimedOut):
        next(blocks)


def test_news_reach_those_who_asked_for_them(writer: Writer) -> None:
    """Servers that do not block are woken: for bytes, for the end, for a failure."""
    calls: list[str] = []
    reader = writer.arriving.reader()
    reader.on_news(lambda: calls.append("news"))
    writer.receive(SIZE)
    assert len(calls) == 1
    writer.arriving.release(SIZE)
    assert len(calls) == 2
    other = Writer()
    other.arriving.reader().on_news(lambda: calls.append("failure"))
    other.arriving.fail(Failed("502"))
    assert calls[2:] == ["failure"]


@pytest.mark.usefixtures("_standing_time")
def test_what_came_since_the_last_step_is_not_forgotten(writer: Writer) -> None:
    """When upstream falls silent between two steps, an alarm wakes the readers, once."""
    calls: list[str] = []
    writer.arriving.reader().on_news(lambda: calls.append("news"))
    writer.receive(1000)
    assert calls == ["news"]
    writer.receive(10)
    writer.receive(10)
    assert calls == ["news"]
    assert len(writer.alarm) == 1
    writer.alarm.ring()
    assert calls == ["news", "news"]
    assert len(writer.alarm) == 0


@pytest.mark.usefixtures("_standing_time")
def test_an_alarm_without_news_wakes_nobody(writer: Writer) -> None:
    """What another step has told already is no news."""
    calls: list[str] = []
    writer.arriving.reader().on_news(lambda: calls.append("news"))
    writer.receive(1000)
    writer.receive(10)
    writer.finish()
    assert calls == ["news", "news"]
    writer.alarm.ring()
    assert calls == ["news", "news"]


def test_a_download_has_started_with_its_first_byte(writer: Writer) -> None:
    """Before there is anything to send, nobody begins to answer."""
    small = Writer(10)
    small.begin(BODY[:10])
    small.receive(10)
    assert not small.arriving.started.done()
    small.finish(10)
    assert small.arriving.started.done()
    writer.receive(0)
    assert not writer.arriving.started.done()
    writer.receive(1)
    assert writer.arriving.started.done()
    writer.receive(1)
    writer.finish()
    assert writer.arriving.finished.result(0) == HELD


def test_readers_are_woken_in_large_steps() -> None:
    """With hundreds of readers each wake-up costs, so many small pieces make few of them."""
    size = 100 * HELD_BACK
    writer = Writer(size)
    writer.begin(b"")
    calls: list[int] = []
    writer.arriving.reader().on_news(lambda: calls.append(writer.received))
    while writer.received < size:
        writer.receive(1000)
    assert 0 < len(calls) < size / 1000 / 10


def _descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def _succeed(writer: Writer) -> None:
    writer.receive(SIZE)
    writer.finish()


def _fail(writer: Writer) -> None:
    writer.arriving.fail(Failed("502"))


def _try_again(writer: Writer) -> None:
    writer.begin()
    writer.receive(SIZE)
    writer.finish()


@pytest.mark.parametrize("end", [_succeed, _fail, _try_again])
def test_no_end_leaves_a_descriptor(end: Callable[[Writer], None]) -> None:
    """The descriptor lives as long as the last reader, and no longer."""
    before = _descriptors()
    writer = Writer()
    writer.begin()
    reader = writer.arriving.reader()
    writer.receive(1000)
    assert reader.peek(1)
    end(writer)
    reader.close()
    del writer, reader
    assert _descriptors() == before


def test_a_reader_that_reads_while_it_is_closed_reads_good_bytes(writer: Writer) -> None:
    """The descriptor of an attempt is never closed under a reader, nor used for another file."""
    stop = threading.Event()

    def read_on() -> set[bytes]:
        seen: set[bytes] = set()
        while not stop.is_set():
            reader = writer.arriving.reader()
            try:
                seen.add(reader.peek(1))
            except Unreachable:
                pass
            finally:
                reader.close()
        return seen

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(read_on) for _ in range(4)]
        for _ in range(200):
            writer.begin()
            writer.receive(1000)
        stop.set()
        for result in results:
            assert result.result(LONG) <= {b"", BODY[:1]}
