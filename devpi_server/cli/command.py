"""What the commands have in common: the server's options, JSON, and how they end.

A command has words of its own, and takes all options, variables and the file of the
server beside them, so that the line that starts the server finds the same data for
each command.  Exit codes: 0 it is done, 1 it was refused or has found faults, 2 the
command line or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devpi_server import __version__
from devpi_server.cli import INTERRUPTED, fail, hush, logs
from devpi_server.errors import ConfigError, DevpiError
from devpi_server.option_values import meant
from devpi_server.settings import OPTIONS, Parser, Settings, read

DONE, FAULTY = 0, 1
SERVER_OPTIONS = "options of devpi-server"  # in the help
_OF_ALL = ("datadir", "configfile", "debug")


class Report:
    """What a command tells: lines to people, or one JSON object to programs.

    :param name: of the command.
    """

    def __init__(self, name: str, *, as_json: bool) -> None:
        self._name = name
        self.as_json = as_json
        self._found: dict[str, object] = {}
        self._warnings: list[str] = []
        self._errors: list[str] = []

    def say(self, line: str) -> None:
        """A line for people."""
        if not self.as_json:
            print(line, flush=True)

    def warn(self, sentence: str) -> None:
        """Something that is not as it should be, and does not keep the command from its work."""
        self._warnings.append(sentence)
        if not self.as_json:
            print(f"{self._name}: warning: {sentence}", file=sys.stderr, flush=True)

    def error(self, sentence: str) -> None:
        """A fault that does not end the command, and that its exit code is to tell of."""
        self._errors.append(sentence)
        print(f"{self._name}: error: {sentence}", file=sys.stderr, flush=True)

    def result(self, found: Mapping[str, object]) -> None:
        """What programs are told."""
        self._found.update(found)

    def fault(self, error: DevpiError) -> int:
        """Why it ends here. Returns the exit code."""
        self._errors.extend(error.faults if isinstance(error, ConfigError) else (error.message,))
        return fail(error, self._name)

    def close(self) -> None:
        """There is no more to tell."""
        if self.as_json:
            told = {**self._found, "warnings": self._warnings, "errors": self._errors}
            print(json.dumps(told, indent=2, ensure_ascii=False), flush=True)


@dataclass(frozen=True)
class Command:
    """A command; call it with its words.

    :param run: does it, and returns the exit code; raises DevpiError.
    :param words: adds the words that only this command knows.
    :param heeds: options of the server that its help shows; it takes the others, too, but
        for those that say what to do instead of serving.
    :param implied: words of the server's command line that are as if they were given.
    """

    name: str
    about: str
    run: Callable[[argparse.Namespace, Settings, Report], int]
    words: Callable[[argparse.ArgumentParser], object] = lambda _: None
    heeds: tuple[str, ...] = ()
    implied: tuple[str, ...] = ()

    def __call__(self, argv: Sequence[str] | None = None) -> int:
        given = sys.argv[1:] if argv is None else argv
        report = Report(self.name, as_json="--json" in given)
        try:
            code = self._run(given, report)
            report.close()
        except BrokenPipeError:
            hush()
            return FAULTY
        return code

    def _run(self, argv: Sequence[str], report: Report) -> int:
        try:
            chosen, settings = self._read(argv)
            logs.configure(debug=settings.debug, quietly=True)
            return self.run(chosen, settings, report)
        except DevpiError as error:
            return report.fault(error)
        except KeyboardInterrupt:
            return INTERRUPTED

    def _read(self, argv: Sequence[str]) -> tuple[argparse.Namespace, Settings]:
        faults: list[str] = []
        chosen = argparse.Namespace(given=[*self.implied])
        try:
            _, unknown = self.parser().parse_known_args(argv, chosen)
            faults += [_unknown(word, self.parser()) for word in unknown]
        except ConfigError as error:
            faults += error.faults
        try:
            settings = read(chosen.given)
        except ConfigError as error:
            faults += error.faults
        if faults:
            raise ConfigError(faults)
        return chosen, settings

    def parser(self) -> argparse.ArgumentParser:
        """What reads its command line."""
        parser = Parser(
            prog=self.name,
            description=self.about,
            allow_abbrev=False,
            epilog="The other options, the variables and the file of devpi-server are taken, too.",
        )
        self.words(parser)
        parser.add_argument("--json", action="store_true", help="tell the result as JSON")
        parser.add_argument(
            "--version", action="version", version=__version__, help="show the version and exit"
        )
        server = parser.add_argument_group(SERVER_OPTIONS)
        own = parser._option_string_actions
        for option in OPTIONS:
            shown = option.name in (*_OF_ALL, *self.heeds)
            flags = [flag for flag in option.flags if flag not in own]
            if (option.deed and not shown) or not flags:
                continue
            takes: dict[str, Any] = {"metavar": option.metavar} if option.metavar else {"nargs": 0}
            server.add_argument(
                *flags,
                action=_Forward,
                default=argparse.SUPPRESS,
                help=option.description if shown else argparse.SUPPRESS,
                **takes,
            )
        return parser


class _Forward(argparse.Action):
    """Keep the flag with its text, for ``settings.read``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        flag = option_string or ""
        if self.nargs == 0:
            namespace.given.append(flag)
        elif flag.startswith("--"):
            namespace.given.append(f"{flag}={values}")
        else:
            namespace.given += [flag, values]


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    flag = word.partition("=")[0]
    if flag.startswith("-"):
        return f"unknown option {flag}{meant(flag, parser._option_string_actions)}"
    return f'unexpected argument "{word}"'
