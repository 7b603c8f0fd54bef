"""``pypi-server`` under test: its application in this process, over folders of the test's own."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from wsgiref.validate import validator

from fakes import FakeClock
from server import Answer, Client, _AppAnswer, environ_of
from upstream.artefacts import Artefact

from devpi_server.pypiserver_settings import RunSettings, read
from devpi_server.pypiserver_wiring import build

NOWHERE = "http://127.0.0.1:9/simple/"
OPEN = ("-P", ".", "-a", ".")


class PypiServer(Client):
    """The application.

    :param options: of the command line.
    """

    protocol = "HTTP/1.1"

    def __init__(self, datadir: Path, *options: str, add_fallback: bool = True) -> None:
        fallback = ("--fallback-url", NOWHERE) if add_fallback else ()
        settings = read([*options, "--datadir", str(datadir), *fallback])
        assert isinstance(settings, RunSettings)
        # All that is written in a test is old, so nothing has to rest before it is read.
        clock = FakeClock(time.time() + 7200)
        self.services = build(settings, clock=clock)
        self.app = validator(self.services.app)

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        environ = environ_of(path, headers or {}, method, body)
        environ["SERVER_PROTOCOL"] = self.protocol
        return _AppAnswer(self.app, environ)

    def read(self) -> None:
        """Let what lies in the folders be read."""
        for worker in self.services.workers:
            if worker.name.startswith(("watch ", "digests ")):
                worker.tick()


def hrefs(body: bytes) -> list[str]:
    """Where the links of a page lead."""
    return re.findall(r'<a href="([^"]*)"', body.decode())


def put(folder: Path, *artefacts: Artefact) -> None:
    """Copy the files there, as scp would."""
    folder.mkdir(parents=True, exist_ok=True)
    for artefact in artefacts:
        (folder / artefact.filename).write_bytes(artefact.data)
