"""The server under test, two ways behind one face: called in process, or a process of its own.

Both are clients of themselves: ``server("/simple/demo/")`` is a whole answer,
``server.open(…)`` one whose body is read as it comes.  A body that ends before
its end raises ``BrokenOff``, whatever the transport makes of it.
"""

from __future__ import annotations

import copy
import http.client
import io
import os
import re
import signal
import socket
import string
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from urllib.parse import quote, unquote, unquote_to_bytes, urljoin, urlsplit
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import orjson
from argon2 import PasswordHasher
from upstream import Headers, Upstream

from devpi_server.concurrency import Clock
from devpi_server.observe import Answered, Asked
from devpi_server.services.passwords import Passwords
from devpi_server.settings import Settings, read
from devpi_server.store.incoming import NOTE
from devpi_server.store.meta import Actor, IndexRow
from devpi_server.web.serve import embedded
from devpi_server.wiring import build

if TYPE_CHECKING:
    from typing_extensions import Self

JSON = "application/vnd.pypi.simple.v1+json"
INDEX = "/root/pypi/+simple/"
_PATIENCE = 60.0  # seconds until a test gives up; none is to come near
# By this header, tests say from which address they come, where something in front believes it.
CLIENT = "X-Test-Client"
_TICK = 0.003  # seconds between two looks


class BrokenOff(Exception):
    """The connection ended before the body did."""


@dataclass(frozen=True)
class Response:
    """A whole answer."""

    status: int
    reason: str
    headers: Headers
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def origin(self) -> str:
        return self.headers["X-Devpi-Cache"]


class Answer(Protocol):
    """An answer whose body is still to be read."""

    status: int
    reason: str
    headers: Headers

    def read(self, size: int = -1) -> bytes:
        """So many bytes, less only at the end. Raises BrokenOff."""

    def close(self) -> None:
        """Leave."""


class Client:
    """What can be asked of a server; the ways to it implement ``open``."""

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """Ask, and return when the head of the answer is there."""
        raise NotImplementedError

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Ask as devpi-client does.

        :param body: bytes, or what is sent as JSON; None: no body.
        """
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            sent.setdefault("Content-Type", "application/json")
            body = orjson.dumps(body)
        return self(path, sent, method=method, body=body)

    def __call__(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Response:
        answer = self.open(path, headers, method=method, body=body)
        try:
            body = answer.read()
        finally:
            answer.close()
        length = answer.headers.get("Content-Length")
        if length is not None and method != "HEAD" and answer.status != 304:
            assert len(body) == int(length)
        return Response(answer.status, answer.reason, answer.headers, body)

    def page(self, project: str, index: str = INDEX) -> Any:
        """The project's page as JSON."""
        answer = self(f"{index}{project}/", {"Accept": JSON})
        assert answer.status == 200, answer
        return answer.json

    def links(self, project: str, index: str = INDEX) -> dict[str, Any]:
        """File name → what the project's page says of it, with an absolute path."""
        found = self.page(project, index)["files"]
        return {
            file["filename"]: {**file, "url": urljoin(f"{index}{project}/", file["url"])}
            for file in found
        }

    def address(self, project: str, filename: str) -> str:
        """The path at which the page says that the file is served."""
        url: str = self.links(project)[filename]["url"]
        return url


class Front(Protocol):
    """What may stand in front of servers while the tests run."""

    words: Sequence[str]  # options that a server needs then

    def of_app(self, app: App, stack: ExitStack) -> Client:
        """A client of what is in front of the application until the stack is closed."""

    def of_process(self, server: ServerProcess, stack: ExitStack) -> Client:
        """A client of what is in front of the server until the stack is closed."""


# In process


class App(Client):
    """The application in this process, called as a WSGI server would call it.

    :param options: of the command line.
    :param adjust: what another command makes of the settings.
    """

    client_address = "127.0.0.1"
    front: ClassVar[Front | None] = None  # whatever is asked goes through it

    def __init__(
        self,
        *options: str,
        clock: Clock = time.time,
        adjust: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        if self.front is not None:
            options = (*self.front.words, *options)
        self.options = options
        self.clock = clock
        self._reached: list[Client] = []
        settings = adjust(read(options, environ={}))
        self.datadir = settings.datadir
        self.events: list[Answered] = []
        cheap = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.services = build(settings, clock=clock, observer=self, passwords=cheap)
        self.app = validator(self.services.app)

    def tick(self, name: str = "follow root/pypi") -> None:
        """Let a background worker do its work once."""
        next(worker for worker in self.services.workers if worker.name == name).tick()

    def answered(self, event: Answered) -> None:
        self.events.append(event)

    def asked(self, event: Asked) -> None:
        """What upstream is asked, tests ask upstream."""

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        if self.front is not None:
            return self._open_through(self.front, path, headers or {}, method, body)
        environ = environ_of(path, headers or {}, method, body)
        environ["REMOTE_ADDR"] = self.client_address
        # The checker of WSGI knows no methods but those of HTTP.
        app = self.services.app if method == "PUSH" else self.app
        return _AppAnswer(app, environ)

    def _open_through(
        self, front: Front, path: str, headers: Mapping[str, str], method: str, body: bytes | None
    ) -> Answer:
        if not self._reached:
            stack = ExitStack()
            self.services.closers.insert(0, stack.close)  # type: ignore[attr-defined]
            self._reached.append(front.of_app(self, stack))
        sent = {"Host": "127.0.0.1", CLIENT: self.client_address, **headers}
        path = quote(path, safe=string.punctuation)  # in process, anything can be in a path
        return self._reached[0].open(path, sent, method=method, body=body)

    def add_index(self, name: str, **options: object) -> None:
        """Add a stage behind the server's back; its user is there."""
        user, _, index = name.partition("/")
        with self.services.meta.writing(Actor("root", "test")) as tables:
            tables.indexes.add(IndexRow(user, index, "stage", options))

    def change_index(self, name: str, **options: object) -> None:
        """Set options of an index behind the server's back."""
        with self.services.meta.writing(Actor("root", "test")) as tables:
            row = tables.indexes.get(name)
            assert row is not None
            tables.indexes.change(replace(row, options={**row.options, **options}))

    def seen_from(self, address: str) -> App:
        """The same application, asked by a client at this address."""
        other = copy.copy(self)
        other.client_address = address
        return other


def environ_of(
    path: str, headers: Mapping[str, str], method: str, body: bytes | None = None
) -> dict[str, Any]:
    """The environ that a WSGI server makes of the request line and the header."""
    path, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    setup_testing_defaults(environ)
    environ["wsgi.errors"] = io.StringIO()
    environ.update(
        {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    )
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    if body is not None:
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return environ


class _AppAnswer:
    def __init__(self, app: Callable[..., Any], environ: dict[str, Any]) -> None:
        self.headers = Headers()
        self._buffer = b""
        self._body = app(environ, self._start)
        self._blocks = iter(self._body)
        try:
            self._buffer = next(self._blocks, b"")  # WSGI: the head is due with the first block
        except ConnectionResetError as error:
            self.close()
            raise BrokenOff(str(error)) from error

    def _start(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        code, _, self.reason = status.partition(" ")
        self.status = int(code)
        assert len({name.lower() for name, _ in headers}) == len(headers)
        self.headers = Headers(dict(headers))
        return lambda _: None

    def read(self, size: int = -1) -> bytes:
        parts = [self._buffer]
        have = len(self._buffer)
        try:
            while size < 0 or have < size:
                block = next(self._blocks, b"")
                if not block:
                    break
                parts.append(block)
                have += len(block)
        except ConnectionResetError as error:
            raise BrokenOff(str(error)) from error
        data = b"".join(parts)
        if size < 0:
            size = len(data)
        self._buffer = data[size:]
        return data[:size]

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            close()


# Over HTTP


class Http(Client):
    """A server somewhere; each request on a connection of its own.

    :param url: ``http+unix://`` is followed by the quoted path of a socket.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", 0
        self.path = unquote(parts.netloc) if parts.scheme == "http+unix" else ""
        if not self.path:
            self.port = parts.port or 80

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        return _HttpAnswer(self._connection(), path, headers or {}, method, body)

    def answers(self) -> bool:
        """Whether somebody takes connections there."""
        with closing(self._connection()) as connection, suppress(OSError):
            connection.connect()
            return True
        return False

    def _connection(self) -> http.client.HTTPConnection:
        if self.path:
            return _FileConnection(self.path)
        return http.client.HTTPConnection(self.host, self.port, timeout=_PATIENCE)


class _FileConnection(http.client.HTTPConnection):
    """To a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


class _HttpAnswer:
    def __init__(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        headers: Mapping[str, str],
        method: str,
        body: bytes | None,
    ) -> None:
        self._connection = connection
        try:
            has_host = "Host" in headers
            connection.putrequest(method, path, skip_host=has_host, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            self._response = connection.getresponse()
        except BaseException as error:
            connection.close()
            if isinstance(error, http.client.HTTPException | OSError):
                raise BrokenOff(repr(error)) from error
            raise
        self.status = self._response.status
        self.reason = self._response.reason
        self.headers = Headers(dict(self._response.getheaders()))

    def read(self, size: int = -1) -> bytes:
        try:
            return self._response.read(None if size < 0 else size)
        except (http.client.HTTPException, OSError) as error:
            raise BrokenOff(repr(error)) from error

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class Embedded(Http):
    """An application of this process behind the HTTP server that comes with it, on a thread."""

    def __init__(self, app: App) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        super().__init__(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        self._server = embedded(app.services, app.services.settings, [listening])
        self._thread = threading.Thread(target=self._server.run, args=(lambda: None,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._thread.join(_PATIENCE)
        self._server.close()


class ServerProcess(Http):
    """A server in a process of its own.

    :param options: of the command line; it listens on a free port of 127.0.0.1.
    :param log: file for its stderr.
    :param program: what Python is to run.
    """

    front: ClassVar[Front | None] = None  # all but what tests send by themselves goes through it

    def __init__(
        self, *options: str, log: Path, program: Sequence[str] = ("-m", "devpi_server")
    ) -> None:
        self.log = log
        if self.front is not None:
            options = (*self.front.words, *options)
        self.options = options
        command = [sys.executable, *program, "--host", "127.0.0.1", "--port", "0"]
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, *options],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=clean_environment(),
                start_new_session=True,  # so that its own children end with it
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = re.fullmatch(r"serving at url: (http(?:\+unix)?://\S+/)\n", line)
        if match is None:
            self.kill()
            raise RuntimeError(f"it said {line!r}; its log:\n{log.read_text()}")
        super().__init__(match[1])
        self._reached: list[Client] = []
        self._ways = ExitStack()

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        if self.front is None:
            return super().open(path, headers, method=method, body=body)
        if not self._reached:
            self._reached.append(self.front.of_process(self, self._ways))
        return self._reached[0].open(path, headers, method=method, body=body)

    @property
    def pid(self) -> int:
        return self._process.pid

    def rss(self, *, peak: bool = False) -> int:
        """Bytes of memory that it and its children take now, or took at most."""
        field = "VmHWM" if peak else "VmRSS"
        return sum(_memory(pid, field) for pid in _family(self.pid))

    def terminate(self) -> None:
        """Tell it to stop, and do not wait."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Tell it to stop; return the exit code."""
        self.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; return the exit code."""
        assert self._process.stdout is not None
        with self._process.stdout:
            return self._process.wait(_PATIENCE)

    def kill(self) -> None:
        """Kill it and its children, now."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self.kill()
        self._ways.close()


def clean_environment() -> dict[str, str]:
    """This process's environment, without anything that would configure the server."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DEVPISERVER_", "PIP_")) and not name.lower().endswith("_proxy")
    }


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def _memory(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


# What tests of both kinds need


def mirror_of(up: Upstream, datadir: Path, *options: str) -> list[str]:
    """The options of a server that mirrors the upstream."""
    return ["--datadir", str(datadir), "--mirror-url", up.simple_url, *options]


def held(datadir: Path) -> dict[str, int]:
    """Name → size of every file that is kept or on its way in, but for the server's own notes."""
    folders = (datadir / "files", datadir / "incoming")
    return {
        path.name: path.stat().st_size
        for folder in folders
        for path in folder.rglob("*")
        if not path.name.startswith(NOTE) and path.is_file()
    }


def until(condition: Callable[[], object]) -> None:
    """Look again and again until the condition holds."""
    deadline = time.monotonic() + _PATIENCE
    tick = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        tick.wait(_TICK)
