"""What the application needs in a server of another make: gunicorn, uWSGI, granian.

A body that nobody reads, of a request that is refused, is read and thrown away: most
servers close the connection on who is still sending, who then never gets to see why.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from devpi_server.web.hot import Environ, StartResponse, WSGIApp

_BLOCK = 256 * 1024  # bytes at a time
_REST = 60.0  # seconds that a client gets to send what nobody reads


def adapted(app: WSGIApp) -> WSGIApp:
    """The application, for a server that is not ours."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if "uwsgi.version" in environ:
            # It ends a body of unknown length by closing the connection, as in HTTP/1.0.
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        rest = _Rest(environ)
        body = app(environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            rest.read_out()
        return body

    return answer


class _Rest:
    """What is still to be read of a request's body, in whatever way its end is known."""

    def __init__(self, environ: Environ) -> None:
        self._input = environ["wsgi.input"]
        self._left = float("inf")
        if not environ.get("wsgi.input_terminated"):
            length = environ.get("CONTENT_LENGTH") or "0"
            self._left = int(length) if length.isdecimal() else 0
            environ["wsgi.input"] = self

    def read(self, size: int = -1) -> bytes:
        """As ``wsgi.input`` has it; ends with the body."""
        wanted = self._left if size < 0 else min(size, self._left)
        data: bytes = self._input.read(int(wanted)) if wanted else b""
        self._left = self._left - len(data) if data else 0
        return data

    def read_out(self) -> None:
        """Read all of it, unless it takes too long."""
        deadline = time.monotonic() + _REST
        with suppress(OSError):  # the client has left
            while time.monotonic() < deadline and self.read(_BLOCK):
                pass
