"""The JSON that devpi-client reads: ``type`` and ``result``, or ``message``, or all three.

Why the content type has no charset: the client compares it as a whole, and takes
any other answer for none of ours (devpi.md 1.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import islice
from typing import BinaryIO

import bottle
import orjson

from devpi_server.web.plugins import reason

_A_CHUNK = 2000  # values at a time
_LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def answer(
    kind: str, result: object, status: int = HTTPStatus.OK, message: str | None = None
) -> bottle.HTTPResponse:
    """An answer with a result.

    :param kind: what the result is, as ``indexconfig``.
    :param result: of the types that JSON has.
    """
    content: dict[str, object] = {"type": kind, "result": result}
    if message is not None:
        content["message"] = message
    return _response(content, HTTPStatus(status).phrase, status)


def long_answer(
    kind: str,
    result: dict[str, object],
    key: str,
    values: Iterable[str],
    spool: Callable[[Iterable[bytes]], BinaryIO],
) -> bottle.HTTPResponse:
    """The same, of a result with a list of texts that would fill the memory.

    :param key: at which the values are to stand in the result.
    :param spool: makes a file of the body.
    """
    around = orjson.dumps({"type": kind, "result": {**result, key: []}}, option=_LAYOUT)
    before, _, after = around.rpartition(b"[]")

    def body() -> Iterator[bytes]:
        yield before + b"["
        comma = b"\n      "
        remaining = iter(values)
        while batch := list(islice(remaining, _A_CHUNK)):
            yield comma + b",\n      ".join(map(orjson.dumps, batch))
            comma = b",\n      "
        yield b"\n    ]" + after

    file = spool(body())
    size = file.seek(0, 2)
    file.seek(0)
    return bottle.HTTPResponse(file, "200 OK", _headers(size))


def message(text: str, status: int = HTTPStatus.OK) -> bottle.HTTPResponse:
    """An answer that says in one line what was done; it is the reason phrase, too."""
    return _response({"message": text}, reason(text), status)


def _response(content: dict[str, object], phrase: str, status: int) -> bottle.HTTPResponse:
    body = orjson.dumps(content, option=_LAYOUT)
    return bottle.HTTPResponse(body, f"{int(status)} {phrase}", _headers(len(body)))


def _headers(size: int) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Content-Length": str(size),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
