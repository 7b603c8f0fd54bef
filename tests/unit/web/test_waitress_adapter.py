"""The I/O thread answers what is hot and nothing else, and loses no request."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from waitress import wasyncore

from devpi_server.concurrency import Alarm
from devpi_server.upstream.arriving import Arriving
from devpi_server.web.app import Application
from devpi_server.web.files import Sending
from devpi_server.web.hot import ONLY_HOT, Environ, NotHot, StartResponse
from devpi_server.web.waitress_adapter import Parked, WaitressServer, _ReaderBuffer

WITHIN = 10.0
App = Callable[[Environ, StartResponse], Iterable[bytes]]


def answer_of(app: App) -> bytes:
    """What a client gets for a request that is taken for a hot one."""
    listening = socket.create_server(("127.0.0.1", 0))
    hot = SimpleNamespace(is_ready=lambda *_: True)
    server = WaitressServer(Application(app, hot), [listening], 2)  # type: ignore[arg-type]
    client = socket.create_connection(listening.getsockname(), WITHIN)
    answers: list[bytes] = []

    def ask() -> None:
        with client, server_stops_after(server):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answers.append(client.recv(12))

    asking = threading.Thread(target=ask)
    asking.start()
    server.run(lambda: None)
    asking.join(WITHIN)
    wasyncore.close_all(server._map)
    return b"".join(answers)


class server_stops_after:  # noqa: N801 - reads as a sentence
    def __init__(self, server: WaitressServer) -> None:
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> bool:
        self._server._stopping = True
        for each in self._server._servers:
            each.wake()
        return True


@pytest.fixture(autouse=True)
def _no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


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
