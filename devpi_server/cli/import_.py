"""``devpi-import``: users, indexes and files of a dump, ours or that of another devpi-server."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from devpi_server.cli import newserver
from devpi_server.cli.command import DONE, FAULTY, Command, Report
from devpi_server.cli.progress import Meter, in_words
from devpi_server.services import founding
from devpi_server.services.dump.read import Dump, open_dump
from devpi_server.services.transfer.importing import Imported, Importer
from devpi_server.services.transfer.plan import Plan, Planner
from devpi_server.services.transfer.renaming import Renaming
from devpi_server.settings import Settings
from devpi_server.wiring import Tools, tools
from devpi_server.wiring.stored import has_data


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", type=Path, help="the dump")
    parser.add_argument(
        "--dry-run", action="store_true", help="look at everything, and change nothing"
    )
    parser.add_argument(
        "--skip-import-type",
        metavar="TYPE",
        action="append",
        default=[],
        help="leave out the indexes of this type; may be given again",
    )
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action="append",
        default=[],
        type=_pair,
        help="call a user, or an index as user/index, by another name; may be given again",
    )
    parser.add_argument(
        "--hard-links", action="store_true", help="link files instead of copying them"
    )
    parser.add_argument(
        "--no-events", action="store_true", help="taken for the sake of old scripts"
    )
    newserver.words(parser)


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new) or old.count("/") != new.count("/") or old.count("/") > 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not OLD=NEW, of users or of indexes')
    return old, new


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    with _opened(settings, dry=chosen.dry_run) as opened:
        root_hash = newserver.root_hash(chosen, opened.passwords)
        known = [row.full_name for row in opened.indexes.rows()]
        dump = open_dump(chosen.folder, known, chosen.skip_import_type)
        planner = Planner(opened.meta, opened.passwords, opened.indexes.declared(), opened.clock)
        plan = planner.plan(dump, Renaming(dict(chosen.rename)), root_hash)
        _tell(report, dump, plan)
        for fault in plan.faults:
            report.error(fault)
        if plan.faults:
            return FAULTY
        if chosen.dry_run:
            return DONE
        with_pypi = not chosen.no_root_pypi
        founding.found(opened.meta, opened.clock, with_pypi=with_pypi, origin="devpi-import")
        _ = opened.accounts  # which have the secret made
        return _import(opened, dump, plan, report, hard_links=chosen.hard_links)


@contextmanager
def _opened(settings: Settings, *, dry: bool) -> Iterator[Tools]:
    """The data directory; for a dry run without one, another that does not last."""
    with TemporaryDirectory() as folder:
        if dry and not has_data(settings.datadir):
            settings = replace(settings, datadir=Path(folder))
        with tools(settings, new=True) as opened:
            yield opened


def _tell(report: Report, dump: Dump, plan: Plan) -> None:
    for warning in plan.warnings:
        report.warn(warning)
    report.say(
        f"a dump of devpi-server {dump.written_by}: {len(plan.users)} users, "
        f"{len(plan.new_indexes)} indexes and {plan.files} files ({in_words(plan.size)}) to import"
    )
    report.result(
        {
            "written_by": dump.written_by,
            "plan": {
                "users": [user.name for user in plan.users],
                "indexes": [target.row.full_name for target in plan.new_indexes],
                "files": plan.files,
                "size": plan.size,
                "files_there": plan.files_there,
            },
        }
    )


def _import(opened: Tools, dump: Dump, plan: Plan, report: Report, *, hard_links: bool) -> int:
    if not hard_links and plan.size > shutil.disk_usage(opened.settings.datadir).free:
        report.warn("there is not enough room for all files; make some, and run it again")
    with Meter(report, plan.size) as meter:
        importer = Importer(
            opened.meta, opened.blobs, opened.shelf, hard_links=hard_links, saw=meter.count
        )
        done = importer.run(dump, plan)
    _tell_end(report, done)
    return FAULTY if done.faults else DONE


def _tell_end(report: Report, done: Imported) -> None:
    for warning in done.warnings:
        report.warn(warning)
    for fault in done.faults:
        report.error(fault)
    report.say(
        f"imported {done.users} users, {done.indexes} indexes, {done.releases} releases and "
        f"{done.files} files ({in_words(done.size)}); {done.files_there} files were there"
    )
    told = asdict(done)
    for lists in ("warnings", "faults"):
        del told[lists]
    report.result({"imported": told})


main = Command(
    "devpi-import",
    "Bring what is in a dump: users with their passwords, indexes, releases, files, "
    "documentation, test results and what happened to them. What is here already stays as it "
    "is. What cannot be is told before anything is changed; what was interrupted goes on when it "
    "is called again.",
    _run,
    _words,
)
