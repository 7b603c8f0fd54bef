"""Servers of another make: a refused body is read to its end and no further."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest

from devpi_server.web.foreign import adapted
from devpi_server.web.hot import Environ, StartResponse


class Body(io.BytesIO):
    """A connection: to read beyond the body would wait for ever."""

    def __init__(self, data: bytes, *, ends: bool) -> None:
        super().__init__(data)
        self._ends = ends

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if not self._ends:
            assert size is not None
            assert len(data) == size
        return data


def ask(environ: Environ, take: int = 0) -> bytes:
    """What the application got that reads so many bytes; 0: none."""
    got = []

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        got.append(environ["wsgi.input"].read(take) if take else b"")
        return ()

    adapted(app)(environ, lambda *_: None)
    return b"".join(got)


def post(body: Body, **more: object) -> Environ:
    return {"REQUEST_METHOD": "POST", "wsgi.input": body, **more}


@pytest.mark.parametrize("take", [0, 10, 1000])
def test_what_nobody_read_is_read(take: int) -> None:
    body = Body(b"x" * 1000, ends=False)

    assert len(ask(post(body, CONTENT_LENGTH="1000"), take)) == take

    assert body.tell() == 1000


@pytest.mark.parametrize("take", [0, 10, 5000])
def test_a_body_that_ends_by_itself_needs_no_length(take: int) -> None:
    body = Body(b"x" * 1000, ends=True)

    assert len(ask(post(body, **{"wsgi.input_terminated": True}), take)) == min(take, 1000)

    assert body.tell() == 1000


def test_the_application_cannot_read_beyond_the_body() -> None:
    body = Body(b"x" * 1000, ends=False)

    assert len(ask(post(body, CONTENT_LENGTH="10"), 5000)) == 10


@pytest.mark.parametrize("length", ["", "x", "-1", None])
def test_without_a_length_nothing_is_waited_for(length: str | None) -> None:
    more = {} if length is None else {"CONTENT_LENGTH": length}

    ask(post(Body(b"", ends=False), **more))


def test_the_body_of_a_get_is_not_touched() -> None:
    body = Body(b"x", ends=False)

    ask({"REQUEST_METHOD": "GET", "wsgi.input": body, "CONTENT_LENGTH": "1"})

    assert body.tell() == 0


def test_a_client_that_leaves_meanwhile_is_no_fault() -> None:
    class Gone(Body):
        def read(self, size: int | None = -1) -> bytes:
            raise ConnectionResetError

    ask(post(Gone(b"", ends=False), CONTENT_LENGTH="5"))
