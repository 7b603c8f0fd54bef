"""What ``devpi-init`` and ``devpi-import`` are told of a new data directory."""

from __future__ import annotations

import argparse

from devpi_server.errors import ConfigError
from devpi_server.services.passwords import Passwords, is_usable


def words(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    parser.add_argument("--no-root-pypi", action="store_true", help="make no mirror root/pypi")
    password = parser.add_mutually_exclusive_group()
    password.add_argument("--root-passwd", metavar="TEXT", help="password of root, else empty")
    password.add_argument("--root-passwd-hash", metavar="HASH", help="argon2 hash of that password")


def root_hash(chosen: argparse.Namespace, passwords: Passwords) -> str | None:
    """The hash of root's password as the words have it; None: they say nothing of it.

    :raises ConfigError: it cannot be used.
    """
    given: str | None = chosen.root_passwd_hash
    if given is not None:
        if not is_usable(given):
            raise ConfigError(["--root-passwd-hash: this is no argon2 hash that can be checked"])
        return given
    password: str | None = chosen.root_passwd
    if password is None:
        return None
    return passwords.hash(password) if password else ""
