"""Logging as ``pypi-server`` is told to do it."""

from __future__ import annotations

import logging
import logging.config
import os
import sys
from pathlib import Path

from devpi_server.errors import ConfigError
from devpi_server.pypiserver_settings import LogSettings

_FOUND = Path("log.conf")  # where the server is started
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)
_STREAMS = ("stdout", "stderr")


def configure(settings: LogSettings) -> None:
    """Log from now on.

    :raises ConfigError: the file cannot be written to, or a format or configuration is none.
    """
    conf = settings.conf or (_FOUND if _is_ours(_FOUND) else None)
    if conf is not None:
        _read(conf)
        return
    try:
        formatter = logging.Formatter(settings.format)
        handlers = _handlers(settings)
    except ValueError as error:
        raise ConfigError([f"--log-frmt: {error}"]) from error
    except OSError as error:
        raise ConfigError([f"--log-file: cannot write to it: {error.strerror}"]) from error
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    level = _LEVELS[settings.verbosity] if settings.verbosity < len(_LEVELS) else logging.NOTSET
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def _handlers(settings: LogSettings) -> list[logging.Handler]:
    found: list[logging.Handler] = []
    if settings.stream in _STREAMS:
        found.append(logging.StreamHandler(getattr(sys, settings.stream)))
    if settings.file is not None:
        found.append(logging.FileHandler(settings.file))
    return found or [logging.NullHandler()]


def _is_ours(conf: Path) -> bool:
    """Whether the file is there, and nobody else could have put it there: it can name programs."""
    try:
        found = conf.stat()
    except OSError:
        return False
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022


def _read(conf: Path) -> None:
    try:
        logging.config.fileConfig(conf, disable_existing_loggers=False)
    except Exception as error:
        raise ConfigError([f"cannot use {conf} to configure logging: {error}"]) from error
