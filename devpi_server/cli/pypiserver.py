"""``pypi-server``: serve folders of packages, or say how to update what is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devpi_server.cli import INTERRUPTED, fail, pypiserver_logs
from devpi_server.cli.pypiserver_update import update
from devpi_server.errors import DevpiError
from devpi_server.pypiserver_options import PROGRAM
from devpi_server.pypiserver_settings import RunSettings, UpdateSettings, read
from devpi_server.pypiserver_wiring import FolderServices, build
from devpi_server.settings import Settings
from devpi_server.web.serve import serve


def main(
    argv: Sequence[str] | None = None,
    *,
    build: Callable[[RunSettings], FolderServices] = build,
    serve: Callable[[FolderServices, Settings, Callable[[str], None]], int] = serve,
) -> int:
    """Do what the command line says, and return the exit code."""
    try:
        settings = read(argv)
        pypiserver_logs.configure(settings.log)
        if isinstance(settings, UpdateSettings):
            return update(settings)
        services = build(settings)
        return serve(services, services.settings, lambda url: _announce(settings, url))
    except DevpiError as error:
        return fail(error, PROGRAM)
    except KeyboardInterrupt:  # before it serves: from there on, Ctrl-C ends it well
        return INTERRUPTED


def _announce(settings: RunSettings, url: str) -> None:
    """Say that it listens; test tools wait for the first line."""
    root = f"{url.rstrip('/')}{settings.base_url}/"
    print(f"serving at url: {root}\nindex url: {root}simple/", flush=True)
