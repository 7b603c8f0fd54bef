"""``devpi-export``: everything that could not be fetched again, as files in a folder."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from devpi_server.cli.command import DONE, Command, Report
from devpi_server.cli.progress import Meter, in_words
from devpi_server.services.transfer.exporting import Exporter
from devpi_server.settings import Settings
from devpi_server.wiring import tools


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="new or empty folder")
    parser.add_argument(
        "--include-mirrored-files", action="store_true", help="the files that mirrors hold, too"
    )
    parser.add_argument(
        "--hard-links", action="store_true", help="link files instead of copying them"
    )


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    with tools(settings) as opened, Meter(report) as meter:
        exporter = Exporter(
            opened.meta, opened.blobs, opened.passwords, opened.indexes.adjusted, opened.held
        )
        found = exporter.export(
            chosen.folder,
            with_mirrored=chosen.include_mirrored_files,
            hard_links=chosen.hard_links,
            saw=lambda file: meter.count(file.size),
            warn=report.warn,
        )
    report.say(
        f"exported {found.users} users, {found.indexes} indexes and {found.files} files "
        f"({in_words(found.size)}) to {chosen.folder}"
    )
    report.result({"folder": str(chosen.folder), **asdict(found)})
    return DONE


main = Command(
    "devpi-export",
    "Write a dump: users with the hashes of their passwords, indexes, releases, files, "
    "documentation, test results and what happened to them, as of one moment, also while the "
    "server runs. devpi-import takes it, and so does that of other devpi-servers. One that was "
    "interrupted goes on. API tokens and the audit trail are not in it.",
    _run,
    _words,
)
