"""The JSON that devpi-client reads: ``type`` and ``result``, or ``message``, or all three.

Why the content type has no charset: the client compares it as a whole, and takes
any other answer for none of ours (devpi.md 1.0).
"""

from __future__ import annotations

from http import HTTPStatus

import bottle
import orjson

from devpi_server.web.plugins import reason

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


def message(text: str, status: int = HTTPStatus.OK) -> bottle.HTTPResponse:
    """An answer that says in one line what was done; it is the reason phrase, too."""
    return _response({"message": text}, reason(text), status)


def _response(content: dict[str, object], phrase: str, status: int) -> bottle.HTTPResponse:
    body = orjson.dumps(content, option=_LAYOUT)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return bottle.HTTPResponse(body, f"{int(status)} {phrase}", headers)
