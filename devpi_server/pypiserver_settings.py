"""What a run of ``pypi-server``, or an application of ``devpi_server.pypiserver``, is to do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devpi_server import __version__, option_values, pypiserver_options
from devpi_server.errors import ConfigError
from devpi_server.pypiserver_options import (
    EVERYBODY,
    NONE,
    PROGRAM,
    PROXY,
    ROOT,
    RUN,
    UPDATE,
    Word,
    words_of,
)
from devpi_server.settings import Parser, default_mirror_url

Auther = Callable[[str, str], bool]  # whether this is the password of the user

_DATADIR = "~/.devpi/pypi-server"
_ROOT = "~/packages"
_TAKEN = frozenset({"/", "/simple", "/simple/", "/packages", "/packages/", "/rpc2", "/favicon.ico"})
_ABOUT = {
    RUN: "Serve the packages in directories, to installers and to whoever uploads.",
    UPDATE: "Show how to update the packages in directories.",
}


@dataclass(frozen=True)
class LogSettings:
    """What is logged, and where."""

    verbosity: int
    file: Path | None
    stream: str
    format: str
    conf: Path | None


@dataclass(frozen=True)
class RunSettings:
    """What a server is to do, checked."""

    roots: tuple[Path, ...]  # uploads go to the first
    datadir: Path
    datadir_is_given: bool
    host: str
    port: int
    server: str
    authenticate: frozenset[str]
    passwords: Path | None  # None: nobody can log in
    auther: Auther | None  # who knows the passwords instead
    fallback: str
    fallback_url: str  # ends in a slash; empty: no fallback
    algorithm: str | None
    overwrite: bool
    welcome: str | None
    health_endpoint: str
    cache_control: int | None
    base_url: str
    log_request: str
    log_response: str
    log_error: str
    log: LogSettings


@dataclass(frozen=True)
class UpdateSettings:
    """What an update is to do, checked."""

    roots: tuple[Path, ...]
    index: str  # the URL of the simple index to ask; ends in a slash
    execute: bool
    download_directory: Path | None
    allow_unstable: bool
    ignored: tuple[str, ...]
    log: LogSettings


class OverlappingEndpoint(ConfigError):
    """The health endpoint is an address that is served otherwise."""


def read(argv: Sequence[str] | None = None) -> RunSettings | UpdateSettings:
    """What a command line of either generation means.

    :raises ConfigError: with all that is wrong.
    :raises SystemExit: after ``--help`` and ``--version``.
    """
    command, rest = pypiserver_options.modern(sys.argv[1:] if argv is None else argv)
    chosen = parser(command).parse_args(rest)
    faults: list[str] = []
    values: dict[str, Any] = {}
    for word in words_of(command):
        texts = [(flag, text) for of, flag, text in chosen.given if of is word]
        if word.counts:
            values[word.field] = len(texts)
        elif not word.metavar:
            values[word.field] = bool(texts)
        elif word is not ROOT:
            values[word.field] = _value(word, texts, faults)
    texts = [text for of, _, text in chosen.given if of is ROOT] + chosen.roots
    values["roots"] = _folders(texts or [_ROOT], faults)
    if faults:
        raise ConfigError(faults)
    return run(**values) if command == RUN else _update(**values)


def run(
    *,
    roots: Sequence[Path],
    datadir: Path | None,
    fallback: str,
    fallback_url: str | None,
    disable_fallback: bool,
    verbosity: int,
    log_file: Path | None,
    log_stream: str,
    log_format: str,
    log_conf: Path | None,
    auther: Auther | None = None,
    backend: str = "",  # noqa: ARG001 - of no effect
    **values: Any,
) -> RunSettings:
    """The settings for values that are sound one by one.

    :raises ConfigError: they are not sound together.
    """
    faults: list[str] = []
    if values["health_endpoint"].lower() in _TAKEN:
        raise OverlappingEndpoint(
            [f"the health endpoint {values['health_endpoint']} overlaps with existing routes"]
        )
    if auther is None and (not values["authenticate"]) != (values["passwords"] == EVERYBODY):
        faults.append("to ask nobody for a password, give both -a . and -P .")
    if disable_fallback:
        if fallback == PROXY:
            faults.append("--disable-fallback and --fallback proxy contradict each other")
        fallback = NONE
    if fallback == NONE:
        url = ""
    else:
        url = fallback_url or _default_index(faults)
    if faults:
        raise ConfigError(faults)
    return RunSettings(
        roots=tuple(dict.fromkeys(roots)),
        datadir=datadir or option_values.path(_DATADIR),
        datadir_is_given=datadir is not None,
        fallback=fallback,
        fallback_url=f"{url.rstrip('/')}/" if url else "",
        auther=auther,
        log=LogSettings(verbosity, log_file, log_stream, log_format, log_conf),
        **values,
    )


def defaults() -> dict[str, Any]:
    """The values of a server that nothing is told."""
    found = {word.field: word.default for word in words_of(RUN) if word is not ROOT}
    return {**found, "roots": None}


def parser(command: str) -> argparse.ArgumentParser:
    """What reads the command line of a command; all texts go into ``given``."""
    made = Parser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [{RUN}] [OPTIONS] [DIR ...]\n"
        f"       {PROGRAM} {{{UPDATE} | -U}} [OPTIONS] [DIR ...]",
        description=_ABOUT[command],
        epilog=f"{PROGRAM} {_other(command)} --help shows the options of the other command.",
    )
    made.add_argument("--version", action="version", version=__version__, help="show the version")
    own = list(words_of(command))
    # With -U of old stand the words of the server, too.
    for word in words_of(RUN) if command == UPDATE else ():
        if word not in own:
            _add(made, word, word.flags, argparse.SUPPRESS)
    for word in own:
        _add(made, word, word.flags, word.description.replace("%", "%%"))
        if word.hidden:
            _add(made, word, word.hidden, argparse.SUPPRESS)
    made.add_argument(
        "roots",
        metavar="DIR",
        nargs="*",
        help=f"directory with packages, at any depth; uploads go to the first [{_ROOT}]",
    )
    made.set_defaults(given=[])
    return made


def _add(made: argparse.ArgumentParser, word: Word, flags: Sequence[str], text: str) -> None:
    takes: dict[str, Any] = {"metavar": word.metavar} if word.metavar else {"nargs": 0}
    made.add_argument(*flags, action=_Collect, word=word, help=text, **takes)


class _Collect(argparse.Action):
    """Keep the text that a flag is given."""

    def __init__(self, *, word: Word, **options: Any) -> None:
        super().__init__(**{**options, "dest": "given", "default": argparse.SUPPRESS})
        self._word = word

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.given = [*namespace.given, (self._word, option_string, values)]


def _other(command: str) -> str:
    return UPDATE if command == RUN else RUN


def _value(word: Word, texts: Sequence[tuple[str, str]], faults: list[str]) -> object:
    """The last one counts."""
    value = word.default
    for flag, text in texts:
        try:
            value = word.parse(text.strip())
        except ValueError as fault:
            faults.append(f"{flag}: {fault}")
    return value


def _folders(texts: Sequence[str], faults: list[str]) -> tuple[Path, ...]:
    found = []
    for text in texts:
        try:
            found.append(pypiserver_options.folder(text))
        except ValueError as fault:
            faults.append(str(fault))
    return tuple(found)


def _update(
    *,
    roots: tuple[Path, ...],
    verbosity: int,
    log_file: Path | None,
    log_stream: str,
    log_format: str,
    log_conf: Path | None,
    fallback_url: str | None,
    algorithm: str | None,  # noqa: ARG001 - these two are of no effect
    backend: str,  # noqa: ARG001
    **values: Any,
) -> UpdateSettings:
    faults: list[str] = []
    index = fallback_url or _default_index(faults)
    if faults:
        raise ConfigError(faults)
    log = LogSettings(verbosity, log_file, log_stream, log_format, log_conf)
    return UpdateSettings(roots=roots, index=f"{index.rstrip('/')}/", log=log, **values)


def _default_index(faults: list[str]) -> str:
    try:
        return default_mirror_url()
    except ValueError as fault:
        faults.append(f"--fallback-url: {fault}")
        return ""
