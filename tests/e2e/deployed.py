"""Several server processes on one data directory, and nginx in front, as --gen-config has it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from server import Http, ServerProcess, mirror_of
from upstream import Upstream
from webserver import Nginx

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

PORT = 3141  # is in the names of the sockets only


class Deployed:
    """Starts them; they end with the stack.

    :param nginx: the path of the program.
    :param folder: of the data, the logs and whatever nginx writes.
    """

    def __init__(
        self, nginx: str, folder: Path, up: Upstream, stack: ExitStack, processes: int = 2
    ) -> None:
        self._stack = stack
        self._folder = folder
        # The path of a socket may not be long.
        self._sockets = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._options = mirror_of(up, folder / "data", "--trusted-proxy=*", "--publish")
        self.servers = [self.start(number) for number in range(processes)]
        words = [
            *(f"--unix-socket={self._sockets}/devpi.sock", f"--port={PORT}"),
            *(f"--processes={processes}", *self._options, "--gen-config"),
        ]
        site = render.nginx(Plan(read(words, {}), given(words, {})), folder / "data")
        self.nginx = stack.enter_context(Nginx(nginx, folder / "nginx", site, workers=2))
        self.client = Http(f"http://127.0.0.1:{self.nginx.port}/")

    def start(self, number: int) -> ServerProcess:
        """One of the processes, also in place of one that has died."""
        path = self._sockets / f"devpi-{PORT + number}.sock"
        server = ServerProcess(
            *self._options, f"--unix-socket={path}", log=self._folder / f"{number}.log"
        )
        return self._stack.enter_context(server)

    def workers(self) -> Sequence[int]:
        """The numbers of nginx's workers."""
        task = Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children")
        return [int(pid) for pid in task.read_text().split() if os.path.exists(f"/proc/{pid}")]
