"""``python -m devpi_server.pypicache``: the server as its users know it, with one folder for all.

``DIR/packages`` has the packages, as it always did; the data of this server lies beside it.
There are no accounts: whoever reaches the server may add files, as ever.  Upstream's releases
are shown beside those that are there, also under their names: the folder of an old one is full
of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devpi_server import __version__
from devpi_server.cli import INTERRUPTED, fail, logs
from devpi_server.cli.server import announce
from devpi_server.errors import DevpiError
from devpi_server.services.index_options import ANONYMOUS
from devpi_server.settings import Parser, Settings, read
from devpi_server.store.incoming import translated
from devpi_server.web.serve import SERVERS, serve
from devpi_server.wiring import Services, build

_PROGRAM = "pypicache"
_PACKAGES = "packages"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - as it always did


def main(
    argv: Sequence[str] | None = None,
    *,
    build: Callable[[Settings], Services] = build,
    serve: Callable[[Services, Settings, Callable[[str], None]], int] = serve,
) -> int:
    """Run the server until it is told to stop, and return the exit code."""
    try:
        settings = _settings(sys.argv[1:] if argv is None else argv)
        logs.configure(debug=settings.debug)
        return serve(build(settings), settings, lambda url: announce(settings.outside_url or url))
    except DevpiError as error:
        return fail(error, _PROGRAM)
    except KeyboardInterrupt:
        return INTERRUPTED


def _settings(argv: Sequence[str]) -> Settings:
    """What this run is to do.

    :raises ConfigError: the command line or another source of settings is wrong.
    """
    chosen, rest = parser().parse_known_args(argv)
    folder = Path(chosen.prefix)
    with translated(f"make {folder}"):
        (folder / _PACKAGES).mkdir(parents=True, exist_ok=True)
    words = [f"--datadir={folder}", f"--packages={folder / _PACKAGES}", "--merge-upstream"]
    words += [f"--host={chosen.address}", f"--port={chosen.port}"]
    if chosen.debug:
        words.append("--debug")
    upstream = chosen.upstream.rstrip("/")
    if upstream:
        words.append(f"--mirror-url={upstream}/simple/")
    settings = read([*words, *rest], servers=SERVERS)
    return replace(settings, packages_uploaders=(ANONYMOUS,))


def parser() -> argparse.ArgumentParser:
    """What reads its command line, but for the options of the server."""
    parser = Parser(
        prog="python -m devpi_server.pypicache",
        allow_abbrev=False,
        description="A proxying PyPI cache, and a place for packages of your own.",
        epilog="The options of devpi-server are taken, too, as --mirror-url and --offline-mode.",
    )
    takes: dict[str, Any] = {"help": "taken for the sake of old scripts"}
    parser.add_argument("prefix", metavar="DIR", help="the folder of everything")
    parser.add_argument(
        "--address", "--host", default=_EVERYWHERE, help="address to listen on [%(default)s]"
    )
    parser.add_argument("--port", default="8080", help="port to listen on [%(default)s]")
    parser.add_argument("--debug", action="store_true", help="log everything")
    parser.add_argument(
        "--upstream", metavar="URL", default="", help="the server with simple/ that is mirrored"
    )
    parser.add_argument("--reload", action="store_true", **takes)
    parser.add_argument("--processes", metavar="N", **takes)
    parser.add_argument("--version", action="version", version=__version__)
    return parser
