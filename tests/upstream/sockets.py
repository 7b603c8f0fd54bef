"""HTTP/1.1 over real sockets, a thread a connection: small enough to misbehave on demand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from .answers import Answer, Bytes, Framing, Hang, Headers, Request, small_pieces

BACKLOG = 512
_SMALL = 1 << 16
_LONGEST_HEAD = 1 << 16
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_NO_BODY = {204, 304}
_TICK = 0.01

Respond = Callable[[Request], Answer]
Admit = Callable[[], "int | None"]  # the number of the connection; None: close it at once


class _Ended(Exception):
    """This connection is over."""


class Server:
    """Accepts connections on a bound address from construction until ``stop``."""

    def __init__(
        self,
        address: tuple[str, int],
        respond: Respond,
        admit: Admit,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._respond = respond
        self._admit = admit
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[_Connection, threading.Thread] = {}
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(address)
        self._listener.listen(BACKLOG)
        if tls is not None:  # the handshake is for the thread of the connection
            self._listener = tls.wrap_socket(
                self._listener, server_side=True, do_handshake_on_connect=False
            )
        self._address = address
        self._acceptor = threading.Thread(target=self._accept, name="upstream", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Close the listener and every connection, also those that hang."""
        self._stopping.set()
        # Wakes the acceptor, wherever close() alone would not.
        with contextlib.suppress(OSError):
            socket.create_connection(self._address, timeout=1).close()
        self._acceptor.join()
        self._listener.close()
        with self._lock:
            running = dict(self._connections)
        for connection in running:
            connection.interrupt()
        for thread in running.values():
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # the peer has gone already, or no descriptor is free
                if self._stopping.wait(_TICK):
                    return
                continue
            if self._stopping.is_set():
                sock.close()
                return
            number = self._admit()
            if number is None:
                sock.close()
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(sock, number, self._respond, self._stopping)
            thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"upstream-{number}", daemon=True
            )
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: _Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                del self._connections[connection]


class _Connection:
    """One accepted connection."""

    def __init__(
        self, sock: socket.socket, number: int, respond: Respond, stopping: threading.Event
    ) -> None:
        self._sock = sock
        self._number = number
        self._respond = respond
        self._stopping = stopping
        self._buffer = b""
        self._closing = threading.Lock()

    def run(self) -> None:
        try:
            nth = 0
            while (request := self._read(nth)) is not None:
                answer = self._respond(request)
                if not self._send(request, answer):
                    break
                nth += 1
        except (_Ended, OSError):
            pass  # the client has gone, the server stops, or a fault wants it so
        finally:
            with self._closing:
                self._sock.close()

    def interrupt(self) -> None:
        """Wake the thread that reads from or writes to this connection."""
        with self._closing, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    # Reading

    def _read(self, nth: int) -> Request | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LONGEST_HEAD or not self._fill():
                return None
        head = self._buffer[:end].decode("latin-1")
        self._buffer = self._buffer[end + 4 :]
        line, *rows = head.split("\r\n")
        method, _, rest = line.partition(" ")
        target, _, _ = rest.rpartition(" ")
        split = (row.partition(":") for row in rows)
        headers = Headers({name: value.strip() for name, _, value in split})
        path = target
        if "://" in target.partition("?")[0]:  # asked as a proxy
            path = "/" + target.partition("://")[2].partition("/")[2]
        request = Request(
            method, path, headers, time.time(), target, connection=self._number, nth=nth
        )
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdigit():
            return None
        size = int(length)
        while len(self._buffer) < size:
            if not self._fill():
                return None
        request.body, self._buffer = self._buffer[:size], self._buffer[size:]
        return request

    def _fill(self) -> bool:
        data = self._sock.recv(_LONGEST_HEAD)
        self._buffer += data
        return bool(data)

    # Writing

    def _send(self, request: Request, answer: Answer) -> bool:
        """Send an answer; whether the connection may be used again."""
        how = answer.delivery
        if how.delay and self._stopping.wait(how.delay):
            raise _Ended
        if how.hang is not None and how.hang.after is None:
            self._hang(how.hang, how.released)
        if not how.answered:
            self._end(reset=how.reset)
        bodiless = request.method == "HEAD" or answer.status in _NO_BODY
        keep = (
            not (how.claim or how.framing is Framing.CLOSE)
            and request.headers.get("connection", "").lower() != "close"
        )
        request.status = answer.status
        head = _head(answer, keep=keep)
        if how.head_cut is not None:
            self._sock.sendall(b"".join(head.splitlines(keepends=True)[: how.head_cut]))
            raise _Ended
        if how.head_rate is not None:
            self._trickle(head, how.head_rate)
            head = b""
        if bodiless:
            self._sock.sendall(head)
        elif how.plain and isinstance(answer.body, Bytes) and answer.body.size <= _SMALL:
            self._sock.sendall(head + answer.body.data)
        else:
            self._sock.sendall(head)
            self._send_body(answer)
        return keep

    def _trickle(self, data: bytes, rate: int) -> None:
        for each in data:
            self._sock.sendall(bytes((each,)))
            if self._stopping.wait(1 / rate):
                raise _Ended

    def _send_body(self, answer: Answer) -> None:
        how, body = answer.delivery, answer.body
        hang_at = how.hang.after if how.hang is not None else None
        stops = {at for at in (hang_at, how.cut) if at is not None and at <= body.size}
        start = 0
        for stop in sorted(stops | {body.size}):
            self._send_range(answer, start, stop)
            start = stop
            if stop == hang_at and how.hang is not None:
                self._hang(how.hang, how.released)
            if stop == how.cut:
                self._end(reset=how.reset)
        if how.framing is Framing.CHUNKED:
            self._sock.sendall(b"0\r\n\r\n")

    def _send_range(self, answer: Answer, start: int, stop: int) -> None:
        how = answer.delivery
        longest = {} if how.rate is None else {"longest": max(1, how.rate // 20)}
        for piece in small_pieces(answer.body, start, stop, **longest):
            if not piece:
                continue
            if how.framing is Framing.CHUNKED:
                self._sock.sendall(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            else:
                self._sock.sendall(piece)
            if how.rate is not None and self._stopping.wait(len(piece) / how.rate):
                raise _Ended

    def _hang(self, hang: Hang, released: threading.Event | None) -> None:
        events = [event for event in (hang.until, released) if event is not None]
        end = None if hang.seconds is None else time.monotonic() + hang.seconds
        while not any(event.is_set() for event in events):
            if end is not None and time.monotonic() >= end:
                return
            if self._stopping.wait(_TICK):
                raise _Ended

    def _end(self, *, reset: bool) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise _Ended


def _head(answer: Answer, *, keep: bool) -> bytes:
    reason = answer.reason or _PHRASES.get(answer.status, "Unknown")
    lines = [f"HTTP/1.1 {answer.status} {reason}", f"Date: {_date(int(time.time()))}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    how = answer.delivery
    if how.framing is Framing.CHUNKED:
        lines.append("Transfer-Encoding: chunked")
    elif how.framing is Framing.LENGTH and answer.status not in _NO_BODY:
        lines.append(f"Content-Length: {max(0, answer.body.size + how.claim)}")
    if not keep:
        lines.append("Connection: close")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1", "replace")


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
