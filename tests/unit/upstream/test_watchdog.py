"""No socket is used beyond its deadline."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from fakes import FakeAlarm, FakeClock

from devpi_server.concurrency import Alarm
from devpi_server.upstream.watchdog import Watchdog, Wire

Pair = tuple[socket.socket, socket.socket]
Late = Callable[..., None]
LONG = 30.0  # seconds that no test takes unless it fails


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Ours, and upstream's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def alarm() -> FakeAlarm:
    return FakeAlarm()


@pytest.fixture
def dog(alarm: FakeAlarm, clock: FakeClock) -> Watchdog:
    return Watchdog(alarm, 1.0, clock)


@pytest.fixture
def late(alarm: FakeAlarm, clock: FakeClock) -> Late:
    """Let so many seconds pass, and the watchdog look; then do what is left to do."""

    def late(seconds: float = 10, then: Callable[[], object] = lambda: None) -> None:
        clock.advance(seconds)
        alarm.ring()
        then()

    return late


def closed(connection: socket.socket) -> socket.socket:
    connection.close()
    return connection


def half_a_line() -> None:
    raise ValueError("half a line")


def test_what_ends_in_time_is_left_alone(dog: Watchdog, late: Late, pair: Pair) -> None:
    """The socket can be used again, whatever time passes after that."""
    ours, theirs = pair
    with dog.over(ours, 10):
        late(9)
    late(100)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_what_is_past_its_deadline_ends(dog: Watchdog, late: Late, pair: Pair) -> None:
    """The other side sees it, and the user of the socket does, also if it reads no error."""
    ours, theirs = pair
    with pytest.raises(TimeoutError), dog.over(ours, 10):
        late()
    assert theirs.recv(1) == b""
    assert ours.recv(1) == b""


def test_an_error_past_the_deadline_is_told_as_what_it_is(
    dog: Watchdog, late: Late, pair: Pair
) -> None:
    """What the HTTP library makes of a connection that ends is not the reason."""
    with pytest.raises(TimeoutError), dog.over(pair[0], 10):
        late(then=half_a_line)
    with pytest.raises(ValueError, match="half a line"), dog.over(pair[0], 10):
        half_a_line()


def test_a_deadline_can_be_moved(dog: Watchdog, late: Late, pair: Pair) -> None:
    """By who sees progress."""
    with dog.over(pair[0], 10) as watch:
        for _ in range(5):
            watch.extend(10)
            late(9)
        assert not watch.is_past


def test_only_what_is_late_ends(dog: Watchdog, late: Late, pair: Pair) -> None:
    """Many sockets, each with its own deadline."""
    other, far = socket.socketpair()
    with other, far, dog.over(other, 20):
        with pytest.raises(TimeoutError), dog.over(pair[0], 10):
            late()
        far.send(b"x")
        assert other.recv(1) == b"x"


def test_the_alarm_is_set_once_and_only_while_something_is_watched(
    dog: Watchdog, alarm: FakeAlarm, pair: Pair
) -> None:
    """A thousand requests a second leave no thousand alarms."""
    for _ in range(100):
        with dog.over(pair[0], 10):
            pass
    assert len(alarm) == 1
    with dog.over(pair[0], 10):
        alarm.ring()
        assert len(alarm) == 1
    alarm.ring()
    assert len(alarm) == 0
    with dog.over(pair[0], 10):
        assert len(alarm) == 1


def test_a_socket_that_is_closed_already_is_no_fault(
    dog: Watchdog, alarm: FakeAlarm, late: Late, pair: Pair
) -> None:
    """Whoever was quicker; the watchdog goes on."""
    with pytest.raises(TimeoutError), dog.over(closed(pair[0]), 10):
        late()
    assert len(alarm) == 1


def test_a_thread_that_waits_is_woken(pair: Pair) -> None:
    """Its read ends, although nothing comes and nobody closes."""
    ended = threading.Event()

    def read() -> None:
        with pytest.raises(TimeoutError), Wire(pair[0], Watchdog(Alarm(), 0.01)).within(0.01):
            pair[0].recv(1)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert ended.wait(LONG)
