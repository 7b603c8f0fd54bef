"""The real devpi-server, and the real devpi-client that talks to it.

Both come from PyPI, each into an environment of its own.  What they are to hold
is told in ``realdata``.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from server import Http, clean_environment, until

from .clients import Clients, Desk

if TYPE_CHECKING:
    from typing_extensions import Self

_SERVER = ("devpi-server==6.20.*", "devpi-web==5.*")
_CLIENT = "devpi-client==7.*"
# With its own figures a start costs 17 seconds and half a gigabyte.
_CHEAP = (
    *("--argon2-memory-cost", "8"),
    *("--argon2-parallelism", "1"),
    *("--argon2-time-cost", "1"),
)
_SERVING = re.compile(r"Serving on (http://127\.0\.0\.1:[0-9]+)")
_PATIENCE = 60.0  # seconds until it is given up
_DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


class RealDevpi(Http):
    """A devpi-server 6.20 with devpi-web; it runs inside ``with``.

    :param folder: for its data; nothing is there yet.
    """

    def __init__(self, folder: Path, clients: Clients, desk: Desk) -> None:
        self._folder = folder
        self._clients = clients
        self._desk = desk
        self._process: subprocess.Popen[bytes] | None = None

    def init(self, password: str) -> None:
        """Make an empty one, which has only root, with this password."""
        self._prepare()
        self._run("devpi-init", "--no-root-pypi", "--root-passwd", password)

    def load(self, dump: Path) -> None:
        """Make one of a dump."""
        self._prepare()
        self._run("devpi-import", "--no-events", dump)

    def export(self, dump: Path, *options: str) -> None:
        """Dump what it has."""
        self._run("devpi-export", *options, dump)

    def __enter__(self) -> Self:
        log = self._folder / "log"
        with log.open("wb") as stdout:
            self._process = process = subprocess.Popen(
                [
                    # Where these tests run in the background, the shell has it ignored.
                    *("env", "--default-signal=INT"),
                    *(self._program("devpi-server"), "--serverdir", self._folder / "server"),
                    *("--secretfile", self._folder / "secret", *_CHEAP),
                    *("--host", "127.0.0.1", "--port", "0", "--threads", "8"),
                ],
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env=clean_environment(),
            )
        try:
            until(lambda: process.poll() is not None or _SERVING.search(log.read_text()))
            match = _SERVING.search(log.read_text())
            assert match is not None, log.read_text()
        except BaseException:
            self._stop(signal.SIGKILL)
            raise
        super().__init__(f"{match[1]}/")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop(signal.SIGINT)

    def _stop(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        try:
            process.wait(_PATIENCE)
        finally:
            process.kill()
            process.wait()

    def _prepare(self) -> None:
        self._folder.mkdir(parents=True)
        secret = self._folder / "secret"
        secret.write_text(secrets.token_hex(32))
        secret.chmod(0o600)

    def _program(self, name: str) -> Path:
        return self._clients(*_SERVER) / name

    def _run(self, command: str, *words: str | Path) -> None:
        self._desk(self._program(command), "--serverdir", self._folder / "server", *words)


class Person:
    """A user who has logged in; call it with the words that follow ``devpi``."""

    def __init__(
        self, name: str, password: str, server: Http, clients: Clients, desk: Desk
    ) -> None:
        self.name = name
        self._server = server
        self._devpi = clients(_CLIENT) / "devpi"
        self._desk = desk
        self._state = desk.home / "devpi" / name
        self._auth = base64.b64encode(f"{name}:{password}".encode()).decode()
        self("use", server.url)
        self("login", name, "--password", password)

    def __call__(self, command: str, *words: str | Path) -> str:
        return self._desk(self._devpi, command, "--clientdir", self._state, *words, **_DIRECT)

    def tested(self, path: str, result: object) -> None:
        """Hand in the result of a run of tox, as ``devpi test`` does."""
        self._post(path, "application/json", json.dumps(result))

    def registered(self, index: str, **metadata: str) -> None:
        """Hand in metadata without a file, as ``setup.py register`` did."""
        fields = {":action": "submit", **metadata}
        self._post(f"/{index}/", "application/x-www-form-urlencoded", urlencode(fields))

    def _post(self, path: str, content_type: str, body: str) -> None:
        request = Request(
            f"{self._server.url}{path.lstrip('/')}",
            body.encode(),
            {"Content-Type": content_type, "X-Devpi-Auth": self._auth},
            method="POST",
        )
        urlopen(request, timeout=_PATIENCE).close()
