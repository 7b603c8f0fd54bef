"""Servers under test behind a real nginx, with the configuration that ``--gen-config`` writes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from server import CLIENT, Answer, App, Client, Embedded, Http, ServerProcess
from webserver import Nginx

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import Settings, given, read
from devpi_server.store.published import LEASE, Published

# nginx believes the tests, and devpi-server believes nginx.
_AROUND = f"set_real_ip_from 127.0.0.1; real_ip_header {CLIENT};"


class ThroughNginx:
    """Starts an nginx for each server that is asked.

    :param program: nginx.
    :param folder: for what they write.
    """

    words = ("--trusted-proxy=*", "--publish")

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folders = (folder / str(number) for number in itertools.count(1))

    def of_app(self, app: App, stack: ExitStack) -> Client:
        server = stack.enter_context(Embedded(app))
        settings = replace(app.services.settings, host="127.0.0.1", port=server.port)
        return _InItsTime(self._before(settings, app.options, stack), app)

    def of_process(self, server: ServerProcess, stack: ExitStack) -> Client:
        where = [f"--port={server.port}"] if server.port else []  # else a socket of its options
        settings = read(["--host=127.0.0.1", *server.options, *where], {})
        return self._before(settings, server.options, stack)

    def _before(self, settings: Settings, options: Sequence[str], stack: ExitStack) -> Http:
        site = render.nginx(Plan(settings, given(options, {})), settings.datadir)
        nginx = Nginx(self._program, next(self._folders), site, around=_AROUND, checks=False)
        stack.enter_context(nginx)
        return Http(f"http://127.0.0.1:{nginx.port}/")


class _InItsTime(Client):
    """The worker whose clock is the test's, of an application without workers: before each request,
    what is due by that clock is withdrawn, and nginx, whose clock is another, finds the rest.
    """

    def __init__(self, nginx: Http, app: App) -> None:
        self._nginx = nginx
        folder, services = app.datadir, app.services
        changes = folder / "locks" / "changes"
        self._published = Published(folder / "published", changes, services.incoming)
        services.closers.append(self._published.close)  # type: ignore[attr-defined]
        self._clock: Callable[[], float] = app.clock
        self._last = 0.0

    def open(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        before, self._last = self._last, self._clock()
        if self._last < before:  # as the worker does
            self._published.begin()
        self._published.extend(self._last)
        now = int(time.time()) // LEASE
        for lease in (now, now + 1):
            with suppress(FileExistsError):
                (self._published.folder / "leases" / str(lease)).symlink_to("..")
        return self._nginx.open(path, headers, method=method, body=body)
