"""``devpi-server audit``: who has changed what, when, and from where."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import datetime, timezone

from devpi_server.cli.command import DONE, Command, Report
from devpi_server.settings import Settings
from devpi_server.store.meta import AuditRow
from devpi_server.wiring import tools

_MOST = 1_000_000


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last", metavar="N", type=_count, default=100, help="so many, the newest [100]"
    )


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to {_MOST}')
    return int(text)


def _audit(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    with tools(settings) as opened, opened.meta.reading() as tables:
        rows = list(reversed(tables.audit.last(chosen.last)))
    for row in rows:
        detail = f"  {json.dumps(dict(row.detail), ensure_ascii=False)}" if row.detail else ""
        report.say(f"{_time(row)}  {row.who}  {row.origin}  {row.action}  {row.target}{detail}")
    report.result({"audit": [_shown(row) for row in rows]})
    return DONE


def _shown(row: AuditRow) -> Mapping[str, object]:
    return {
        "serial": row.serial,
        "when": _time(row),
        "who": row.who,
        "from": row.origin,
        "action": row.action,
        "target": row.target,
        "detail": dict(row.detail),
    }


def _time(row: AuditRow) -> str:
    return f"{datetime.fromtimestamp(row.at, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


main = Command(
    "devpi-server audit",
    "Show who has changed what, when and from where, the oldest first.",
    _audit,
    _words,
)
