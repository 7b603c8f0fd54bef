"""``devpi-server``: which command is meant. Without one, it serves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from devpi_server.cli import audit, doctor, prefetch, server, token

COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = MappingProxyType(
    {
        "audit": audit.main,
        "doctor": doctor.main,
        "prefetch": prefetch.main,
        "token": token.main,
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the first word says, and return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[1:])
    return server.main(words)
