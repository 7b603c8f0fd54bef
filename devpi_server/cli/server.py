"""``devpi-server``: read the settings, wire the services, serve."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devpi_server.cli import INTERRUPTED, deploy, fail, logs, passwd
from devpi_server.cli.command import Report
from devpi_server.errors import DevpiError
from devpi_server.settings import PROGRAM, Settings, read
from devpi_server.web.serve import SERVERS, serve
from devpi_server.wiring import Services, build

_INDEX = "ext/pypi/simple/"


def main(
    argv: Sequence[str] | None = None,
    *,
    build: Callable[[Settings], Services] = build,
    serve: Callable[[Services, Settings, Callable[[str], None]], int] = serve,
) -> int:
    """Run the server until it is told to stop, and return the exit code."""
    try:
        settings = read(argv, servers=SERVERS)
        if settings.gendeploy or settings.gen_config:
            return deploy.run(settings, argv)
        if settings.passwd is not None:
            return passwd.set_password(settings.passwd, settings, Report(PROGRAM, as_json=False))
        logs.configure(debug=settings.debug)
        return serve(build(settings), settings, lambda url: announce(settings.outside_url or url))
    except DevpiError as error:
        return fail(error)
    except KeyboardInterrupt:  # before it serves: from there on, Ctrl-C ends it well
        return INTERRUPTED


def announce(url: str) -> None:
    """Say that it listens; test tools wait for the first line."""
    root = url.rstrip("/") + "/"
    print(f"serving at url: {root}\nindex url: {root}{_INDEX}", flush=True)
