"""The body of a request: in blocks, or as JSON; never more of it than is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import bottle
import orjson

from devpi_server.errors import BadRequest, TooLarge
from devpi_server.store.incoming import translated
from devpi_server.web.hot import Environ

_BLOCK = 256 * 1024  # bytes at a time
_LARGEST_JSON = 1024 * 1024  # bytes: a user, an index, a list of settings


def json_body(limit: int = _LARGEST_JSON) -> object:
    """What the current request says in JSON, whatever it calls it: curl calls it a form.

    :param limit: bytes that the body may have.
    :raises BadRequest: there is no JSON, or it is broken, or it ends early.
    :raises TooLarge: it has more bytes.
    """
    body = b"".join(blocks(bottle.request.environ, limit))
    if not body.strip():
        raise BadRequest("the request has no body, send JSON")
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the request's body is not JSON: {error}") from error
    return found


def blocks(environ: Environ, limit: int | None) -> Iterator[bytes]:
    """The body in blocks, of which none is empty.

    :param limit: bytes that it may have; None: what the server lets through.
    :raises BadRequest: it breaks off, or does not say where it ends.
    :raises TooLarge: it has more bytes.
    """
    read = environ["wsgi.input"].read
    length = _length(environ)
    total = 0
    while length is None or total < length:
        block = _block(read, _BLOCK if length is None else min(_BLOCK, length - total))
        if not block:
            break
        total += len(block)
        if limit is not None and max(total, length or 0) > limit:
            raise TooLarge(f"the request has more than {limit} bytes")
        yield block
    if length is not None and total < length:
        raise BadRequest(f"the request broke off after {total} of {length} bytes")


def _length(environ: Environ) -> int | None:
    """Bytes of the body; None: it ends where the stream ends."""
    text = environ.get("CONTENT_LENGTH") or ""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    if not text and environ.get("wsgi.input_terminated"):
        return None
    raise BadRequest("the request does not say its length, send Content-Length")


def _block(read: Callable[[int], bytes], size: int) -> bytes:
    with translated("read a request"):
        try:
            return read(size)
        except (ConnectionError, TimeoutError) as error:
            raise BadRequest("the request broke off") from error
