"""The I/O thread answers what is hot and nothing else, and loses no request."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from talking import INTAKE, WITHIN, App, talk
from waitress import wasyncore

from devpi_server.concurrency import Alarm
from devpi_server.upstream.arriving import Arriving
from devpi_server.web.app import PATIENCE, Application
from devpi_server.web.files import Sending
from devpi_server.web.hot import ONLY_HOT, Environ, NotHot, StartResponse
from devpi_server.web.waitress_adapter import Parked, WaitressServer, _ReaderBuffer


def answer_of(app: App) -> bytes:
    """What a client gets for a request that is taken for a hot one."""
    return talk(app, ask)


def ask(address: tuple[str, int], path: str = "/") -> bytes:
    """The beginning of the answer; nothing, where the connection is closed."""
    with socket.create_connection(address, WITHIN) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return client.recv(12)


def test_a_flight_that_lands_while_the_request_is_parked_resumes_it() -> None:
    """Between the look at a flight and the parking, it may land."""
    runs: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        runs.append(threading.current_thread().name)
        if len(runs) == 1:
            landed: Future[None] = Future()
            landed.set_result(None)
            raise Parked(landed, 60.0)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    assert answer_of(app) == b"HTTP/1.1 200"
    assert runs[1].startswith("waitress-")


@pytest.mark.parametrize(("method", "parks"), [("GET", True), ("HEAD", True), ("POST", False)])
def test_what_may_change_something_is_never_run_twice(method: str, *, parks: bool) -> None:
    """It blocks its thread, with the patience that any other server has."""
    found: list[bool] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        found.append(PATIENCE in environ)
        start_response("200 OK", [("Content-Length", "0")])
        return []

    def client(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, WITHIN) as connection:
            connection.sendall(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return connection.recv(12)

    assert talk(app, client) == b"HTTP/1.1 200"
    assert found == [parks]


def test_a_file_that_turns_out_shorter_breaks_off() -> None:
    """Its second try may be; a buffer that is ready for ever would spin."""
    arriving = Arriving(100, Alarm())
    fd = os.memfd_create("file")
    os.write(fd, bytes(80))
    arriving.begin(fd)
    buffer = _ReaderBuffer(Sending(arriving.reader(0, 100), None), lambda: None)
    assert buffer.prepare(100) == 100
    assert (buffer.is_ready(), buffer.get(1000)) == (False, b"")
    arriving.release(80)
    assert len(buffer.get(1000)) == 80
    buffer.skip(80)
    with pytest.raises(ConnectionAbortedError):
        buffer.get(1000)
    buffer.close()


def test_what_is_not_hot_after_all_is_answered_by_another_thread() -> None:
    """A file that was deleted, a page that has changed: the long way is not for this thread."""
    threads: list[str] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        threads.append(threading.current_thread().name)
        if environ[ONLY_HOT]:
            raise NotHot
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    assert answer_of(app) == b"HTTP/1.1 200"
    assert len(threads) == 2
    assert threads[1].startswith("waitress-")


class BrokenReader:
    """Of a file that arrives; fails whenever the I/O thread looks at it."""

    length = 100

    def on_news(self, wake: Callable[[], None]) -> None:
        pass

    def peek(self, size: int) -> bytes:
        return b""

    def is_over(self) -> bool:
        return False

    def ready(self) -> bool:
        raise ValueError("broken")

    def blocks(self, gap: float) -> Iterator[bytes]:
        return iter(())

    def close(self) -> None:
        pass


def test_a_connection_that_fails_does_not_end_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody would serve them: there is one loop."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Length", "100")])
        if environ["PATH_INFO"] != "/broken":
            return [bytes(100)]
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](
            Sending(BrokenReader(), None)  # type: ignore[arg-type]
        )
        return wrapped

    def client(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, WITHIN) as broken:
            broken.sendall(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
            while broken.recv(1000):
                pass
        return ask(address)

    assert talk(app, client) == b"HTTP/1.1 200"
    assert "a connection fails and is closed" in caplog.text


def test_a_signal_that_comes_while_a_line_is_logged_is_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it interrupts may hold the stream's lock, or its buffer."""

    def reenter(*_: object) -> None:
        raise RuntimeError("reentrant call inside a buffer")

    monkeypatch.setattr("devpi_server.web.waitress_adapter.log.info", reenter)
    listening = socket.create_server(("127.0.0.1", 0))
    hot = SimpleNamespace(is_ready=lambda *_: True)
    server = WaitressServer(Application(lambda *_: (), hot, ()), [listening], 1, INTAKE)  # type: ignore[arg-type]
    server.stop(signal.SIGTERM)
    assert server._stopping
    wasyncore.close_all(server._map)


def test_who_was_turned_away_does_not_hold_up_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still sends is not a request that is in flight."""
    monkeypatch.setattr("devpi_server.web.waitress_adapter._DRAIN", float("inf"))
    connections: list[socket.socket] = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("413 too large", [("Content-Length", "0")])
        return []

    def client(address: tuple[str, int]) -> bytes:
        connections.append(socket.create_connection(address, WITHIN))
        connections[0].sendall(b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nbegun")
        return b"".join(iter(lambda: connections[0].recv(1000), b""))

    assert b" 413 " in talk(app, client)
    connections[0].close()
