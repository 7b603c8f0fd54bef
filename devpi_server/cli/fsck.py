"""``devpi-fsck``: is everything there that the server speaks of?"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from devpi_server.cli.command import DONE, FAULTY, Command, Report
from devpi_server.cli.progress import Meter
from devpi_server.services.fsck import Fault, Fsck
from devpi_server.settings import Settings
from devpi_server.wiring import tools


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-checksum", action="store_true", help="look at sizes only, and read no file"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="let mirrors fetch again what is broken, make the metadata of wheels anew, and delete "
        "what nothing names",
    )


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    faults: list[Fault] = []
    with tools(settings) as opened, Meter(report) as meter:
        fsck = Fsck(
            opened.meta,
            opened.blobs,
            opened.indexes.adjusted,
            opened.held,
            opened.clock,
            checksums=not chosen.no_checksum,
            repair=chosen.repair,
            saw=meter.count,
        )
        for fault in fsck.faults():
            faults.append(fault)
            if fault.is_error and not fault.is_repaired:
                report.error(fault.sentence)
            else:
                report.warn(fault.sentence)
        if chosen.repair:
            opened.withdraw()  # the file of a published link may be another one now
    errors = sum(fault.is_error and not fault.is_repaired for fault in faults)
    report.say(f"looked at {meter.files} files: {errors} errors, {len(faults) - errors} warnings")
    report.result({"files": meter.files, "faults": [asdict(fault) for fault in faults]})
    return FAULTY if errors else DONE


main = Command(
    "devpi-fsck",
    "Look whether all files are there with the bytes that they had, and whether the database is "
    "sound. What was uploaded and is lost is an error; what a mirror holds is fetched again. Also "
    "while the server runs.",
    _run,
    _words,
)
