"""The commands, and how they end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from devpi_server.errors import (
    ConfigError,
    DevpiError,
    NotFound,
    Overloaded,
    Refused,
    StoreError,
    UpstreamError,
)

INTERRUPTED = 130  # as a shell has it
# A class counts for the classes below it, too.
EXIT_CODES: Mapping[type[DevpiError], int] = MappingProxyType(
    {
        ConfigError: 2,  # as argparse does
        NotFound: 1,
        Refused: 1,
        UpstreamError: 1,
        Overloaded: 1,
        StoreError: 1,
    }
)


def hush() -> None:
    """Say no more: who read stdout has had enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(error: DevpiError, program: str = "devpi-server") -> int:
    """Tell the user, a line a fault, and return the exit code."""
    faults = error.faults if isinstance(error, ConfigError) else (error.message,)
    for fault in faults:
        print(f"{program}: error: {fault}", file=sys.stderr)
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
