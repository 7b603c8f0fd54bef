"""A client over a real socket, and the waitress of ours that it talks to, both in this process."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import TypeVar

from devpi_server.web.app import Application
from devpi_server.web.hot import Environ, StartResponse
from devpi_server.web.intake import Intake
from devpi_server.web.waitress_adapter import WaitressServer

WITHIN = 10.0
INTAKE = Intake(tempfile.SpooledTemporaryFile, 10_000_000)

App = Callable[[Environ, StartResponse], Iterable[bytes]]
Address = tuple[str, int]
T = TypeVar("T")


def talk(
    app: App, client: Callable[[Address], T], intake: Intake = INTAKE, *, hot: bool = True
) -> T:
    """What the client says that it got from a server of the application.

    :param hot: whether every GET is taken for one that the I/O thread can answer.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    knows = SimpleNamespace(is_ready=lambda *_: hot)
    application = Application(app, knows, ())  # type: ignore[arg-type]
    server = WaitressServer(application, [listening], 2, intake)
    address = listening.getsockname()
    answers: list[T] = []

    def run() -> None:
        try:
            answers.append(client(address))
        finally:
            server.stop()

    talking = threading.Thread(target=run)
    talking.start()
    server.run(lambda: None)
    talking.join(WITHIN)
    server.close()
    return answers[0]
