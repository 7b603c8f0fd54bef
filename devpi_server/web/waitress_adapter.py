"""waitress, taught to wait without a thread, and to send what is hot or arrives without one.

*Parking.*  A request that has to wait for a flight gives its thread back:
``Parked`` unwinds it, and when the flight has landed, or the time is up, the
request is run again from the start, this time finding the outcome.  That is
sound because only GET and HEAD wait so, and those change nothing before they
wait; any other method blocks its thread.

*Hot pages and files* are answered on the I/O thread: handing them to another
one and back costs as much as the answer.

*Sending readers.*  A file that is arriving is handed to the I/O thread, which
sends what is there and sleeps until there is more.  So neither waiting for
upstream nor slow clients take a thread, and hot pages never queue behind them.

*Bodies* are received as ``web.intake`` says.  A request that is turned away there is
answered like any other; then the connection is half closed, and closed when the client
has sent what it had to send, or too much.

Why not a server of our own, or an asynchronous one: waitress was the only one
measured that stayed quick beside idle, half-sent and stalled connections, and
it keeps reason phrases, which are all that pip and twine show.  What is used
of it here beside its API: ``HTTPChannel.service``, ``.writable``, ``.outbufs``,
``.parser_class``, ``WSGITask.get_environment`` and ``.set_close_on_finish``,
``HTTPRequestParser.parse_header`` and ``.body_rcv`` of waitress 3.
"""

from __future__ import annotations

import logging
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from types import FrameType
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.buffers import ReadOnlyFileBasedBuffer
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher, WSGITask

from devpi_server.concurrency import Alarm
from devpi_server.errors import Unreachable, UpstreamError
from devpi_server.web.app import BEGIN, PATIENCE, Application
from devpi_server.web.files import SENDS_READERS, Sending
from devpi_server.web.hot import ONLY_HOT, Environ, NotHot, Readiness
from devpi_server.web.intake import Intake, Request, Rest, Withheld

log = logging.getLogger(__name__)

_CONNECTIONS = 4000
_HIGH_WATERMARK = 256 * 1024  # bytes a connection; waitress' own 16 MB let memory grow
_AT_ONCE = 64 * 1024  # bytes to receive; waitress' own 8 KB doubled the time of an upload
_TOGETHER = 128 * 1024  # bytes of a body that is sent together with its header
_DRAIN = 30.0  # seconds that requests in flight get when the server is told to stop
_GRACE = 1.0  # seconds that a connection gets then to ask for the first time
_FAILS = "a connection fails and is closed"
_STALLED = 120  # seconds without progress until a connection is closed


class Parked(BaseException):
    """Unwinds a request that has to wait. Not an Exception: nobody is to handle it as an error."""

    def __init__(self, flight: Future[Any], seconds: float) -> None:
        super().__init__()
        self.flight = flight
        self.seconds = seconds


class Parking:
    """The patience of one request over its runs."""

    def __init__(self) -> None:
        self._waited_for: dict[Hashable, Future[Any]] = {}
        self.begin = time.monotonic()

    def recall(self, key: Hashable) -> Future[Any] | None:
        return self._waited_for.get(key)

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        if flight.done() or key in self._waited_for:
            # Landed; or this is the run after the time was up.
            self._waited_for[key] = flight
            return
        if seconds > 0:
            self._waited_for[key] = flight
            raise Parked(flight, seconds)


class _ReaderBuffer(ReadOnlyFileBasedBuffer):  # type: ignore[misc]
    """An output buffer over a file that is arriving; lives on the I/O thread."""

    def __init__(self, sending: Sending, wake: Callable[[], None]) -> None:
        self._sending = sending
        self._reader = sending.reader
        self._reader.on_news(wake)
        self.remain = 0

    def prepare(self, size: int | None = None) -> int:
        self.remain = size or self._reader.length or 0
        return self.remain

    def get(self, numbytes: int = -1, skip: bool = False) -> bytes:  # noqa: FBT001, FBT002
        try:
            found = self._reader.peek(self.remain if numbytes < 0 else numbytes)
            if not found and self.remain and self._reader.is_over():
                raise Unreachable("the file is shorter than upstream said first")
            return found
        except UpstreamError as error:
            # What waitress closes a connection for, so the client sees that it broke off.
            raise ConnectionAbortedError(error.message) from error

    def skip(self, numbytes: int, allow_prune: int = 0) -> None:
        self._reader.advance(numbytes)
        self.remain -= numbytes

    def is_ready(self) -> bool:
        return self._reader.ready()

    def close(self) -> None:
        self._sending.close()

    def __len__(self) -> int:
        return self.remain


class _Task(WSGITask):  # type: ignore[misc]
    wrote_header = False

    def get_environment(self) -> Environ:
        environ: Environ = super().get_environment()
        if self.request.command in ("GET", "HEAD"):
            environ[PATIENCE] = patience = _patience_of(self.request)
            environ[BEGIN] = patience.begin
        environ[SENDS_READERS] = True
        environ[ONLY_HOT] = self.channel.server.is_io_thread()
        environ["wsgi.file_wrapper"] = self._wrap
        if self.request.turned_away:
            environ["wsgi.input"] = Withheld(self.request.turned_away)
        return environ

    def build_response_header(self) -> bytes:
        if self.channel.server.is_leaving:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header

    def write(self, data: bytes) -> None:
        # waitress sends the header by itself: for a small body, that is twice the work, for the
        # client, too.
        is_whole = self.content_length == len(data) <= _TOGETHER and self.has_body
        if self.wrote_header or not self.complete or not is_whole:
            super().write(data)
            return
        header = self.build_response_header()
        self.wrote_header = True
        self.content_bytes_written = len(data)
        self.channel.write_soon(header + data)

    def set_close_on_finish(self) -> None:
        # waitress closes after every answer without a length; one that has no body needs none.
        is_over = self.version == "1.1" and not self.has_body
        if not is_over or self.request.headers.get("CONNECTION", "").lower() == "close":
            super().set_close_on_finish()
        if self.request.turned_away:
            self.close_on_finish = False  # but said to be: the channel waits for the rest

    def _wrap(self, file: Any, block_size: int = 32768) -> ReadOnlyFileBasedBuffer:
        if isinstance(file, Sending) and file.reader.length:
            return _ReaderBuffer(file, self.channel.server.pull_trigger)
        return ReadOnlyFileBasedBuffer(file, block_size)


def _patience_of(request: Request) -> Parking:
    """The request's patience, the same in each of its runs."""
    patience: Parking = request.__dict__.setdefault("patience", Parking())
    return patience


class _Channel(HTTPChannel):  # type: ignore[misc]
    task_class = _Task

    has_task = False
    is_used = False  # has had a request
    latest: Request | None = None

    def parser_class(self, adj: Adjustments) -> Request | Rest:
        """What takes in the next bytes; waitress has a class here."""
        if self.latest is not None and self.latest.turned_away:
            return Rest(adj, self.latest.rest)
        self.latest = Request(adj, self.server.intake)
        return self.latest

    def received(self, data: bytes) -> bool:
        taken = bool(super().received(data))
        if self.has_task:
            self.has_task, self.is_used = False, True
            if self._is_at_once():
                self.service()
            else:
                self.server.dispatch(self)
        self._leave_if_turned_away()
        return taken

    def _is_at_once(self) -> bool:
        """Whether the request can be answered here, on the I/O thread."""
        request = self.requests[0]
        pipelined = len(self.requests) > 1  # could wait for its output to be sent, by us
        if pipelined or request.error or request.command != "GET" or request.query:
            return False
        hot: Readiness = self.server.hot
        asked = request.headers
        return hot.is_ready(request.path, asked.get("ACCEPT", ""), asked.get("ACCEPT_ENCODING", ""))

    def service(self) -> None:
        try:
            super().service()
        except Parked as parked:
            self._resume_after(parked)
        except NotHot:
            self.server.dispatch(self)
        else:
            self._leave_if_turned_away()

    def handle_write(self) -> None:
        super().handle_write()
        self._leave_if_turned_away()

    def handle_close(self) -> None:
        super().handle_close()
        if self.request is not None:
            self.request.close()

    def _is_turned_away(self) -> bool:
        """Whether the last answer of this connection was sent, and no request is listened to."""
        if self.latest is None or not self.latest.turned_away:
            return False
        with self.requests_lock:  # it may be parsed, and not be one of the requests yet
            return not self.requests and not self.total_outbufs_len

    def _leave_if_turned_away(self) -> None:
        if self._is_turned_away() and self.connected:
            # Who has seen the end gets a broken pipe if it sends on, and still reads the answer.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
            if isinstance(self.request, Rest) and self.request.is_over:
                self.will_close = True
                self.server.pull_trigger()

    def _resume_after(self, parked: Parked) -> None:
        resumed = False

        def resume(_: object = None) -> None:
            nonlocal resumed
            with self.requests_lock:
                if resumed:
                    return
                resumed = True
            self.server.dispatch(self)  # never here: this may be the I/O thread

        self.server.alarm.after(parked.seconds, resume)
        parked.flight.add_done_callback(resume)

    # These two are asked of each connection in each turn of the loop.

    def readable(self) -> bool:
        try:
            return bool(super().readable())
        except Exception:
            log.exception(_FAILS)
            return self._end()

    def writable(self) -> bool:
        try:
            first = self.outbufs[0]  # looked at once: another thread may be sending
            if type(first) is _ReaderBuffer and not self.will_close:
                return first.is_ready()
            return bool(super().writable())
        except Exception:
            log.exception(_FAILS)
            return self._end()

    def is_busy(self) -> bool:
        """Whether something is asked, answered or begun here."""
        if self._is_turned_away():
            return False
        return bool(self.requests or self.total_outbufs_len or self.request is not None)

    def _end(self) -> bool:
        """Where a question to it fails, this connection ends, not the loop of all others."""
        self.handle_close()
        return False


def _room_for_connections() -> int:
    """How many connections fit, beside open files, once the soft limit of descriptors is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    if soft == resource.RLIM_INFINITY:
        return _CONNECTIONS
    return max(10, min(_CONNECTIONS, soft * 6 // 10))


class _Server(TcpWSGIServer):  # type: ignore[misc]
    channel_class = _Channel
    alarm: Alarm
    hot: Readiness
    intake: Intake
    io_thread = 0
    is_leaving = False  # each answer is the last one of its connection

    def add_task(self, channel: _Channel) -> None:
        if self.is_io_thread():
            channel.has_task = True  # it looks when it has let go of its locks
        else:
            self.dispatch(channel)

    def leave(self) -> None:
        """Take who is waiting at the door, and nobody after that."""
        self.is_leaving = True
        before = -1
        while before < len(self._map):
            before = len(self._map)
            self.handle_accept()
        self.accepting = False
        self.del_channel()
        self.socket.close()

    def dispatch(self, channel: _Channel) -> None:
        """Let a thread of the pool do the channel's task."""
        super().add_task(channel)

    def pull_trigger(self) -> None:
        if not self.is_io_thread():  # which is awake
            self.wake()

    def is_io_thread(self) -> bool:
        """Whether it is the I/O thread that asks."""
        return threading.get_ident() == self.io_thread

    def wake(self) -> None:
        """Let the I/O thread look at its connections; also from a signal handler."""
        super().pull_trigger()


class _FileServer(_Server):
    """Listens at a socket in the file system, whose clients have no address."""

    def getsockname(self) -> tuple[str, str]:
        return ("localhost", "80")

    def fix_addr(self, address: object) -> tuple[str, None]:
        return ("localhost", None)

    def set_socket_options(self, connection: socket.socket) -> None:
        """They are TCP's."""


class WaitressServer:
    """Serves the application on sockets that listen already."""

    def __init__(
        self, app: Application, sockets: list[socket.socket], threads: int, intake: Intake
    ) -> None:
        adjustments = Adjustments(
            threads=threads,
            ident="devpi-server",
            connection_limit=_room_for_connections(),
            outbuf_high_watermark=_HIGH_WATERMARK,
            asyncore_use_poll=hasattr(select, "poll"),
            channel_timeout=_STALLED,
            recv_bytes=_AT_ONCE,
            max_request_body_size=sys.maxsize,  # web.intake knows better
            clear_untrusted_proxy_headers=False,  # web.outside decides whom to trust
            log_socket_errors=False,
            listen="",
        )
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(threads)
        alarm = Alarm()
        self._servers = []
        for sock in sockets:
            kind = _Server if sock.family in (socket.AF_INET, socket.AF_INET6) else _FileServer
            server = kind(
                app,
                self._map,
                True,  # noqa: FBT003 - waitress' own signature
                sock,
                dispatcher=self._dispatcher,
                adj=adjustments,
                bind_socket=False,
                sockinfo=(sock.family, sock.type, sock.proto, sock.getsockname()),
            )
            server.alarm = alarm
            server.hot = app.hot
            server.intake = intake
            self._servers.append(server)
        self._stopping = 0  # or the signal that says so

    def heed_signals(self) -> None:
        """From now on, SIGTERM and SIGINT stop it; only for the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.stop)

    def run(self, ready: Callable[[], None], leave: Callable[[], None] = lambda: None) -> None:
        """Serve until stopped; then finish the requests in flight.

        :param ready: is called once the thread that serves is this one.
        :param leave: is called when it is stopped, before the sockets are closed.
        """
        for server in self._servers:
            server.io_thread = threading.get_ident()
        ready()
        while not self._stopping:
            self._turn(1.0)
        name = signal.Signals(self._stopping).name
        log.info("told to stop by %s, finishing requests in flight", name)
        leave()
        for server in self._servers:
            server.leave()
        self._drain()
        self._dispatcher.shutdown(cancel_pending=True, timeout=0.1)

    def close(self) -> None:
        """Let go of what is left, for a process that goes on; nobody may stop it any more."""
        wasyncore.close_all(self._map)

    def _drain(self) -> None:
        """Let each connection have the answers that it waits for."""
        begin = time.monotonic()
        self._turn(0)  # what has been asked until now counts
        while channels := [each for each in self._map.values() if isinstance(each, _Channel)]:
            passed = time.monotonic() - begin
            busy = [each for each in channels if each.is_busy()]
            if passed > _DRAIN or (passed > _GRACE and not busy):
                return
            for channel in channels:
                if channel.is_used and not channel.is_busy():
                    channel.will_close = True
            self._turn(0.1)

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=hasattr(select, "poll"), map=self._map, count=1)

    def stop(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        """End ``run``; a handler of signals, and for any thread."""
        # Nothing that could be under way in the code that it interrupts: no log, no lock.
        self._stopping = number
        for server in self._servers:
            server.wake()
