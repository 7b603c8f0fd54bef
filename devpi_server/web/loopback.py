"""An index, as somebody may see it, for a pip of ours: on this machine, for as long as it runs.

Why not the server's own address: it may be a socket file, behind another server, or not there
at all, and what somebody may see is decided by then.  The port is of the kernel's choice, and
the address has a secret in it, so nobody else on this machine gets to see the index.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from devpi_server import names
from devpi_server.errors import DevpiError, NotFound
from devpi_server.services.downloads import Downloads
from devpi_server.services.owners.base import Ready, listed
from devpi_server.services.prefetch.holding import obtained
from devpi_server.services.prefetch.jobs import Place, Task
from devpi_server.services.prefetch.prefetching import Serving
from devpi_server.simple import render
from devpi_server.simple.negotiate import Form
from devpi_server.web.plugins import status_of

log = logging.getLogger(__name__)

_WITHIN = 300.0  # seconds for a file to arrive, as long as pip waits


def serving(downloads: Downloads) -> Serving:
    """What serves an index so."""

    @contextmanager
    def served(task: Task, fetched: set[Place]) -> Iterator[str]:
        root = f"/{secrets.token_urlsafe(16)}/"

        class Handler(_Handler):
            asked = _Index(downloads, task, fetched, root)

        server = _Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, name="loopback", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{root}simple/"
        finally:
            server.shutdown()
            server.server_close()

    return served


class _Index:
    """Answers for one index."""

    def __init__(self, downloads: Downloads, task: Task, fetched: set[Place], root: str) -> None:
        self._downloads = downloads
        self._index = task.index
        self._source = task.source
        self._fetched = fetched
        self._root = root

    def find(self, path: str) -> bytes | Ready:
        """The page, or the file.

        :raises DevpiError: there is none, or it cannot be had.
        """
        if not path.startswith(self._root):
            raise NotFound("there is nothing at this address")
        project, _, file = path[len(self._root) :].removeprefix("simple/").partition("/")
        name = names.project(project)
        if not file:
            page = self._source.view(name).load()
            here = replace(page, links=tuple(replace(link, index="") for link in page.links))
            return render.json_page(here, f"{self._root}simple/{name}/")
        return self._file(unquote(file))

    def _file(self, path: str) -> Ready:
        """The file at a path of the index, or of one of its bases."""
        base, ending = names.split_companion(path)
        _, link = listed(self._source, base)
        place = (link.index or self._index, base + ending)
        ready, was_there = obtained(self._downloads, place, _WITHIN)
        if not was_there:
            self._fetched.add(place)
        return ready


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError):  # pip was ended
            log.error("an answer to pip failed", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    asked: _Index
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            found = self.asked.find(self.path)
        except DevpiError as error:
            self._begin(status_of(error), "text/plain", len(error.message.encode()))
            self.wfile.write(error.message.encode())
            return
        if isinstance(found, bytes):
            self._begin(200, Form.JSON.content_type, len(found))
            self.wfile.write(found)
            return
        with found.path.open("rb") as file:
            self._begin(200, "application/octet-stream", found.size)
            shutil.copyfileobj(file, self.wfile)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called there
        pass

    def _begin(self, status: int, content_type: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()
