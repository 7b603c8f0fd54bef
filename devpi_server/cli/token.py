"""``devpi-server token``: API tokens, made and revoked where the data is."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType

from devpi_server.cli import fail
from devpi_server.cli.command import DONE, Command, Report
from devpi_server.errors import ConfigError
from devpi_server.option_values import meant
from devpi_server.services import scopes
from devpi_server.services.access import ROOT, Principal
from devpi_server.services.accounts import Origin
from devpi_server.settings import Settings
from devpi_server.store.meta import TokenRow
from devpi_server.wiring import tools

_NAME = "devpi-server token"
_WHO = Principal(ROOT)
_WHERE = Origin(_NAME, is_local=True)
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LONGEST = 100 * 365 * 86400.0  # seconds
_LONGEST_NOTE = 200


def _user(parser: argparse.ArgumentParser, what: str = "whose token") -> None:
    parser.add_argument("user", metavar="USER", help=what)


def _words_of_list(parser: argparse.ArgumentParser) -> None:
    _user(parser, "whose tokens")


def _words_of_create(parser: argparse.ArgumentParser) -> None:
    _user(parser)
    parser.add_argument(
        "--allow",
        metavar="WORDS",
        default="read",
        help="read, upload, or both with a comma between [read]",
    )
    parser.add_argument(
        "--index", metavar="NAMES", default=scopes.EVERY, help="as user/index [all that USER may]"
    )
    parser.add_argument("--project", metavar="NAMES", help="names with commas between [all]")
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=_lifetime,
        default=_lifetime("365d"),
        help="as 90d, 12h, 30m or 2w from now on, or never [365d]",
    )
    parser.add_argument("--note", metavar="TEXT", default="", type=_line, help="what it is for")


def _lifetime(text: str) -> float | None:
    if text == "never":
        return None
    found = re.fullmatch(r"([0-9]{1,9})([mhdw])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time as 90d, 12h, 30m or 2w')
    return seconds


def _line(text: str) -> str:
    if len(text) > _LONGEST_NOTE or not text.isprintable():
        raise argparse.ArgumentTypeError(f"this is no line of at most {_LONGEST_NOTE} characters")
    return text


def _create(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    scope = scopes.scope(chosen.allow, chosen.index, chosen.project or ())
    with tools(settings) as opened:
        opened.accounts.get(chosen.user)
        row, text = opened.accounts.create_token(
            _WHO, _WHERE, chosen.user, scope, chosen.expires, chosen.note
        )
    report.say(text)
    report.result({"token": text, **_shown(row)})
    return DONE


def _list(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    with tools(settings) as opened:
        rows = opened.accounts.tokens(chosen.user)
    for row in rows:
        words = scopes.from_json(row.scope).to_json()
        allowed, *where = ("+".join(words[key]) for key in ("actions", "indexes", "projects"))
        until = "never ends" if row.expires is None else f"until {_time(row.expires)}"
        report.say("  ".join(each for each in (row.id, allowed, *where, until, row.note) if each))
    report.result({"tokens": [_shown(row) for row in rows]})
    return DONE


def _revoke(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    with tools(settings) as opened:
        opened.accounts.revoke_token(_WHO, _WHERE, chosen.user, chosen.id)
    report.say(f"revoked {chosen.id}")
    report.result({"id": chosen.id})
    return DONE


def _words_of_revoke(parser: argparse.ArgumentParser) -> None:
    _user(parser)
    parser.add_argument("id", metavar="ID", help="as token list shows it")


def _shown(row: TokenRow) -> Mapping[str, object]:
    """What may be known of a token, as HTTP shows it."""
    return {
        "id": row.id,
        "user": row.user,
        **row.scope,
        "created": _time(row.created),
        "expires": None if row.expires is None else _time(row.expires),
        "note": row.note,
    }


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "create": Command(
            f"{_NAME} create",
            "Make an API token for a machine, and print it: it is not shown again.",
            _create,
            _words_of_create,
        ),
        "list": Command(f"{_NAME} list", "Show the API tokens of a user.", _list, _words_of_list),
        "revoke": Command(
            f"{_NAME} revoke",
            "Let a token open nothing from now on.",
            _revoke,
            _words_of_revoke,
        ),
    }
)


def main(argv: Sequence[str]) -> int:
    """Do what the first word says, and return the exit code."""
    word = argv[0] if argv else ""
    if word in ("-h", "--help"):
        for command in COMMANDS.values():
            print(f"{command.parser().format_usage().strip()}\n  {command.about}\n")
        return DONE
    if word in COMMANDS:
        return COMMANDS[word](argv[1:])
    known = ", ".join(COMMANDS)
    fault = f'"{word}" is no command{meant(word, COMMANDS)}' if word else f"say one of {known}"
    return fail(ConfigError([fault]), _NAME)
