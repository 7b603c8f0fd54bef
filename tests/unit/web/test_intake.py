"""Bodies come in whole, on the right disk, within limits; who is turned away reads why."""

from __future__ import annotations

import errno
import io
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import pytest
from talking import WITHIN, Address, talk

from devpi_server.errors import BadRequest, Busy, DevpiError, Full, TooLarge, Unauthenticated
from devpi_server.store.incoming import Incoming
from devpi_server.web.hot import Environ, StartResponse
from devpi_server.web.intake import SMALL, Intake, TakesLarge, shows_credentials

LIMIT = 8 * SMALL
LARGE = os.urandom(3 * SMALL)


class Seen:
    """An application that notes what reaches it, and always answers 200."""

    def __init__(self, look: Callable[[Environ], None] = lambda _: None) -> None:
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.errors: list[DevpiError] = []
        self._look = look

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self._look(environ)
        self.paths.append(environ["PATH_INFO"])
        try:
            self.bodies.append(environ["wsgi.input"].read())
            assert int(environ.get("CONTENT_LENGTH", 0)) == len(self.bodies[-1])
        except DevpiError as error:
            assert int(environ["CONTENT_LENGTH"]) > 0
            self.errors.append(error)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"read"]


def intake(limit: int = LIMIT, takes_large: TakesLarge = lambda *_: True) -> Intake:
    return Intake(SpooledTemporaryFile, limit, takes_large)


def client(*pieces: bytes) -> Callable[[Address], bytes]:
    """Sends all, as twine does, and reads only then; until the server ends the connection."""
    return lambda address: sent(address, pieces)


def sent(address: Address, pieces: Iterable[bytes]) -> bytes:
    with socket.create_connection(address, WITHIN) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
        except BrokenPipeError:  # urllib3 goes on to read the answer, too
            pass
        return b"".join(iter(lambda: sock.recv(65536), b""))


def head(*headers: str, method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} / HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def with_length(body: bytes, *headers: str) -> bytes:
    return head(f"Content-Length: {len(body)}", *headers) + body


def chunked(body: bytes, *headers: str, size: int = 70_000) -> bytes:
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    coded = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head("Transfer-Encoding: chunked", *headers) + coded + b"0\r\n\r\n"


CLOSE = "Connection: close"
WAYS = pytest.mark.parametrize("way", [with_length, chunked])


@WAYS
@pytest.mark.parametrize("size", [0, 1, 8192, SMALL // 2, SMALL // 2 + 1, len(LARGE)])
def test_a_body_arrives_as_it_was_sent(way: Callable[..., bytes], size: int) -> None:
    app = Seen()
    talk(app, client(way(LARGE[:size], CLOSE)), intake())

    assert app.bodies == [LARGE[:size]]


@WAYS
def test_a_large_body_lies_in_the_data_directory_without_a_name(
    way: Callable[..., bytes], tmp_path: Path
) -> None:
    """A folder for temporary files may be a RAM disk; and a killed process leaves nothing."""
    incoming = Incoming(tmp_path / "incoming")
    places: list[str] = []

    def look(environ: Environ) -> None:
        places.append(os.readlink(f"/proc/self/fd/{environ['wsgi.input'].fileno()}"))
        assert list(incoming.folder.iterdir()) == []

    talk(Seen(look), client(way(LARGE, CLOSE)), Intake(incoming.scratch, LIMIT))

    assert places[0].startswith(f"{incoming.folder}/")
    assert places[0].endswith(" (deleted)")


def test_a_connection_goes_on_after_a_large_body() -> None:
    app = Seen()
    talk(app, client(with_length(LARGE), with_length(b"x", CLOSE)), intake())

    assert app.bodies == [LARGE, b"x"]


class Files:
    """Makes files for bodies, and knows whether they are closed."""

    def __init__(self, file: Callable[[], IO[bytes]] = io.BytesIO) -> None:
        self.made: list[IO[bytes]] = []
        self._file = file

    def __call__(self, size: int) -> IO[bytes]:
        self.made.append(self._file())
        return self.made[-1]


def test_a_body_that_breaks_off_leaves_nothing() -> None:
    """Its file is closed when the client goes, not when the collector comes by."""
    files = Files()

    def leave(address: Address) -> None:
        with socket.create_connection(address, WITHIN) as sock:
            sock.sendall(head("Content-Length: 100") + b"half")
        client(head(CLOSE, method="GET"))(address)

    app = Seen()
    talk(app, leave, Intake(files, LIMIT))

    assert app.bodies == [b""]
    assert [file.closed for file in files.made] == [True]


# Turned away


@WAYS
def test_a_body_beyond_the_limit_is_turned_away_and_the_client_reads_why(
    way: Callable[..., bytes],
) -> None:
    """devpi 597: a connection that is reset while the client sends takes the answer with it."""
    app = Seen()
    answer = talk(app, client(way(LARGE)), intake(len(LARGE) - 1))

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer
    assert app.bodies == []
    assert isinstance(app.errors[0], TooLarge)


@WAYS
def test_a_body_of_the_limit_is_taken(way: Callable[..., bytes]) -> None:
    app = Seen()
    talk(app, client(way(LARGE, CLOSE)), intake(len(LARGE)))

    assert app.bodies == [LARGE]


def test_who_sends_without_end_is_cut_off_and_still_reads_why() -> None:
    """Once as much as the limit was thrown away; a broken pipe it is then, not a reset."""
    sizes: list[int] = []

    def endless() -> Iterator[bytes]:
        yield head(f"Content-Length: {1 << 50}")
        while True:
            sizes.append(SMALL)
            yield bytes(SMALL)

    answer = talk(Seen(), lambda address: sent(address, endless()), intake())

    assert answer.startswith(b"HTTP/1.1 200")
    assert LIMIT < sum(sizes) < 10 * LIMIT


@pytest.mark.parametrize("headers", [(), ("Expect: 100-continue",)], ids=["", "expect"])
def test_the_answer_does_not_wait_for_the_body(headers: tuple[str, ...]) -> None:
    """Who looks before it has sent all need not send it; nobody is told to continue."""
    before = head(f"Content-Length: {LIMIT + 1}", *headers)
    answer = talk(Seen(), client(before), intake())

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"100 Continue" not in answer


def test_what_follows_the_one_who_is_turned_away_is_no_request() -> None:
    """Its body may look like one."""
    app = Seen()
    evil = b"GET /evil HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
    talk(app, client(head(f"Content-Length: {LIMIT + 1}"), evil), intake())

    assert app.paths == ["/"]


def test_the_request_before_is_answered_first() -> None:
    """Also where both come in one piece."""
    app = Seen()
    answer = talk(app, client(with_length(b"x") + with_length(LARGE)), intake(SMALL))

    assert (app.bodies, len(app.errors)) == ([b"x"], 1)
    assert answer.count(b"HTTP/1.1 200") == 2


def test_a_page_is_sent_whatever_body_its_request_has() -> None:
    """A GET whose body is turned away can be answered by the I/O thread."""
    answer = talk(Seen(), client(head(f"Content-Length: {LIMIT + 1}", method="GET")), intake())

    assert answer.startswith(b"HTTP/1.1 200")


@WAYS
def test_who_is_not_known_sends_small_bodies_only(way: Callable[..., bytes]) -> None:
    """Nothing of a larger one is kept; the application can still find another fault first."""
    asked: list[tuple[str, str, bool]] = []

    def takes(method: str, path: str, headers: Mapping[str, str]) -> bool:
        asked.append((method, path, shows_credentials(headers)))
        return False

    app = Seen()
    talk(app, client(way(LARGE[:SMALL], CLOSE)), intake(takes_large=takes))
    answer = talk(app, client(way(LARGE, "X-Devpi-Auth: x")), intake(takes_large=takes))

    assert answer.startswith(b"HTTP/1.1 200")
    assert app.bodies == [LARGE[:SMALL]]
    assert isinstance(app.errors[0], Unauthenticated)
    assert asked == [("POST", "/", True)]


def test_who_cannot_be_asked_about_sends_small_bodies_only() -> None:
    """The loop of all connections goes on."""

    def fail(*_: object) -> bool:
        raise Busy("the database is busy")

    app = Seen()
    talk(app, client(with_length(LARGE)), intake(takes_large=fail))

    assert isinstance(app.errors[0], Unauthenticated)


@pytest.mark.parametrize("header", ["Authorization: Basic x", "X-Devpi-Auth: x"])
def test_who_shows_credentials_sends_large_bodies(header: str) -> None:
    app = Seen()
    takes: TakesLarge = lambda _, __, headers: shows_credentials(headers)  # noqa: E731
    talk(app, client(with_length(LARGE, header, CLOSE)), intake(takes_large=takes))

    assert app.bodies == [LARGE]


def test_who_expects_to_be_told_is_told_to_continue() -> None:
    def wait(address: Address) -> bytes:
        with socket.create_connection(address, WITHIN) as sock:
            sock.sendall(head("Content-Length: 4", CLOSE, "Expect: 100-continue"))
            told = sock.recv(65536)
            sock.sendall(b"body")
            return told

    app = Seen()

    assert talk(app, wait, intake()).startswith(b"HTTP/1.1 100 ")


def test_a_length_beside_chunks_does_not_count() -> None:
    """A body of any size would pass for a small one."""
    lengths: list[str | None] = []

    def takes(method: str, path: str, headers: Mapping[str, str]) -> bool:
        lengths.append(headers.get("CONTENT_LENGTH"))
        return False

    app = Seen()
    talk(app, client(chunked(LARGE, "Content-Length: 5")), intake(takes_large=takes))

    assert (lengths, app.bodies) == ([None], [])


class FullDisk(io.BytesIO):
    """On a disk that is full after so many bytes."""

    room = SMALL

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


class FullAtTheEnd(io.BytesIO):
    """The disk finds out when the last bytes leave the buffer."""

    def seek(self, *_: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@WAYS
@pytest.mark.parametrize("kind", [FullDisk, FullAtTheEnd])
def test_a_full_disk_is_told(kind: type[io.BytesIO], way: Callable[..., bytes]) -> None:
    app = Seen()
    files = Files(kind)
    talk(app, client(way(LARGE)), Intake(files, LIMIT))

    assert isinstance(app.errors[0], Full)
    assert app.bodies == []
    assert files.made[0].closed


@pytest.mark.parametrize(
    "flood", [b"1;" + b"x" * 20_000, b"0\r\n" + b"X: y\r\n" * 20_000], ids=["line", "trailer"]
)
def test_chunks_that_would_fill_the_memory_are_refused(flood: bytes) -> None:
    """waitress gathers such lines without a limit."""
    app = Seen()
    talk(app, client(head("Transfer-Encoding: chunked") + flood), intake())

    assert isinstance(app.errors[0], BadRequest)
