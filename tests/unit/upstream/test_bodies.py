"""Bodies are decoded within bounds."""

from __future__ import annotations

import gzip
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import FakeAlarm, FakeClock

from devpi_server.errors import Corrupt, TimedOut
from devpi_server.upstream.bodies import Body
from devpi_server.upstream.watchdog import Watchdog, Wire

MANY = 400
HOUR = 3600


@pytest.fixture
def alarm() -> FakeAlarm:
    return FakeAlarm()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end of a connection, and upstream's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


@pytest.fixture
def wire(alarm: FakeAlarm, clock: FakeClock, pair: tuple[socket.socket, socket.socket]) -> Wire:
    return Wire(pair[0], Watchdog(alarm, 1.0, clock))


@dataclass
class _Endless:
    """A whole gzip member, and megabytes behind it."""

    wire: Wire
    url: str = "https://index.test/simple/demo/"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Encoding": "gzip"})
    read: int = 0

    @property
    def raw(self) -> Any:
        return self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        self.read += 1
        if self.read == 1:
            return gzip.compress(b"{}")
        return bytes(size) if self.read < MANY else b""


def test_what_comes_behind_a_gzip_body_is_not_gathered(wire: Wire) -> None:
    """The limit counts decoded bytes, and these are never decoded."""
    response = _Endless(wire)
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="behind it"):
            list(_decoded(response))
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert response.read < MANY


def _decoded(response: _Endless) -> Iterator[bytes]:
    return Body(response).decoded(1024)


@dataclass
class _Slow:
    """A file that comes in pieces of this size, one every ten seconds, for an hour."""

    size: int
    wire: Wire
    clock: FakeClock
    alarm: FakeAlarm
    theirs: socket.socket
    url: str = "https://index.test/demo-1.0.tar.gz"
    headers: dict[str, str] = field(default_factory=dict)
    read: int = 0

    @property
    def raw(self) -> Any:
        return self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        self.clock.advance(10)
        self.alarm.ring()
        self.read += 1
        try:
            return self.theirs.recv(1)  # ours is shut down
        except BlockingIOError:
            return bytes(self.size) if self.read < HOUR / 10 else b""


@pytest.fixture
def slow(
    wire: Wire, clock: FakeClock, alarm: FakeAlarm, pair: tuple[socket.socket, socket.socket]
) -> Callable[[int], Any]:
    return lambda size: _Slow(size, wire, clock, alarm, pair[1])


def test_a_file_may_come_slowly(slow: Callable[[int], Any]) -> None:
    """On a train, for an hour and longer: 3 GB are not given up."""
    assert sum(len(chunk) for chunk in Body(slow(205)).chunks()) == 205 * (HOUR / 10 - 1)


def test_a_file_that_only_pretends_to_come_is_given_up(slow: Callable[[int], Any]) -> None:
    """Less than 1 KiB in a minute holds no thread."""
    response = slow(150)
    with pytest.raises(TimedOut):
        list(Body(response).chunks())
    assert response.read == 6


def test_a_body_with_a_deadline_is_due_then(
    slow: Callable[[int], Any], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast it comes."""
    monkeypatch.setattr("time.monotonic", clock)
    response = slow(100_000)
    with pytest.raises(TimedOut):
        list(Body(response, clock.now + 30).chunks())
    assert response.read == 3
