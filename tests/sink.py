"""Another index that takes uploads: it keeps what it is sent, and says what it is told to say."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

from multipart import MultipartParser

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes = field(repr=False)

    def form(self) -> tuple[dict[str, list[str]], dict[str, tuple[str, bytes]]]:
        """The fields and the files."""
        boundary = self.headers["content-type"].partition("boundary=")[2]
        fields: dict[str, list[str]] = {}
        files = {}
        size = len(self.body)
        stream = io.BytesIO(self.body)
        limits = {"spool_limit": size, "memory_limit": size}
        for part in MultipartParser(stream, boundary, size, **limits):
            if part.filename is None:
                fields.setdefault(part.name, []).append(part.value)
            else:
                files[part.name] = (part.filename, part.raw)
        return fields, files


@dataclass
class Say:
    """An answer."""

    status: int = 200
    reason: str = "OK"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    first: Callable[[], object] | None = None  # done before it is given
    unheard: bool = False  # the form is not even read


class Sink:
    """A server on a free port of 127.0.0.1, within ``with``.

    :param answers: the first to the first request and so on, then all is well.
    """

    def __init__(self, *answers: Say) -> None:
        self.answers = list(answers)
        self.received: list[Received] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                say = sink.answers.pop(0) if sink.answers else Say()
                if not say.unheard:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    sink.received.append(Received(self.path, headers, body))
                if say.first is not None:
                    say.first()
                self.send_response(say.status, say.reason)
                for name, value in {"Content-Length": str(len(say.body)), **say.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(say.body)
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/legacy/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
