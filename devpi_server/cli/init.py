"""``devpi-init``: make a data directory, for those who do not let the first start do it."""

from __future__ import annotations

import argparse

from devpi_server.cli import newserver
from devpi_server.cli.command import DONE, Command, Report
from devpi_server.errors import Refused
from devpi_server.services import founding
from devpi_server.settings import Settings
from devpi_server.store.incoming import translated
from devpi_server.wiring import tools

# What may be there before: beginnings of ours, and what file systems have by themselves.
_OURS = {"secret", "incoming", "files", "locks", "logs", "mirror", "lost+found"}
_ROLES = ("standalone", "auto", "primary", "master")
_DATABASE = "devpi.sqlite"
_OF_ANOTHER = ".nodeinfo"


def _words(parser: argparse.ArgumentParser) -> None:
    newserver.words(parser)
    parser.add_argument(
        "--role",
        metavar="ROLE",
        choices=_ROLES,
        help="taken for the sake of old scripts: standalone, auto, primary or master, which are "
        "all the same",
    )


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    _expect_new(settings)
    with tools(settings, new=True) as made:
        founded = founding.found(
            made.meta,
            made.clock,
            with_pypi=not chosen.no_root_pypi,
            pwhash=newserver.root_hash(chosen, made.passwords) or "",
            origin="devpi-init",
        )
        if not founded:
            raise Refused(f"{settings.datadir} is initialised already")
        _ = made.accounts  # which have the secret made
    report.say(f"initialised {settings.datadir}")
    report.result({"datadir": str(settings.datadir), "root_pypi": not chosen.no_root_pypi})
    return DONE


def _expect_new(settings: Settings) -> None:
    folder, secretfile = settings.datadir, settings.secretfile
    ours = {*_OURS, secretfile.name} if secretfile and secretfile.parent == folder else _OURS
    with translated(f"make {folder}"):
        there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if _OF_ANOTHER in there:
        raise Refused(
            f"{folder} has the data of another devpi-server; "
            "take its devpi-export, and devpi-import here with a new directory"
        )
    others = sorted(name for name in there - ours if not name.startswith(_DATABASE))
    if others:
        raise Refused(f"{folder} is not empty, there is {others[0]}; give another directory")


main = Command(
    "devpi-init",
    "Make the data directory of a devpi-server: root without a password, and the index "
    "root/pypi. devpi-server itself makes it at its first start, too.",
    _run,
    _words,
)
