"""``devpi-passwd`` and ``devpi-server --passwd``: set a password without knowing the old one."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from devpi_server.cli.command import DONE, Command, Report
from devpi_server.errors import ConfigError
from devpi_server.services.access import ROOT, Principal
from devpi_server.services.accounts import Origin
from devpi_server.settings import Settings
from devpi_server.wiring import tools


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", nargs="?", default=ROOT, metavar="USER", help="whose [root]")


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    return set_password(chosen.user, settings, report)


def set_password(user: str, settings: Settings, report: Report) -> int:
    """Ask for it and set it.

    :raises NoSuchUser: there is no such user.
    """
    with tools(settings) as opened:
        opened.accounts.get(user)
        values = {"password": _asked(user)}
        origin = Origin("devpi-passwd", is_local=True)
        opened.accounts.modify(Principal(ROOT), origin, user, values)
    report.say(f"the password of {user} is set")
    report.result({"user": user})
    return DONE


def _asked(user: str) -> str:
    """The new password: asked for twice, or a line of stdin where nobody can be asked."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise ConfigError(["no password: give it as a line on stdin, or use a terminal"])
        return line.rstrip("\r\n")
    password = getpass(f"new password of {user}: ")
    if getpass("again: ") != password:
        raise ConfigError(["the two are not the same, nothing was changed"])
    return password


main = Command(
    "devpi-passwd",
    "Set the password of a user, also while the server runs. It is asked for; where there is no "
    "terminal, it is a line on stdin. Logins of before are over.",
    _run,
    _words,
)
