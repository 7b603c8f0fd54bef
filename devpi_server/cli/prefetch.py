"""``devpi-server prefetch``: have all that an installation asks for before anybody asks."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence

from devpi_server.cli.command import DONE, FAULTY, Command, Report
from devpi_server.cli.progress import Meter, in_words
from devpi_server.errors import Refused
from devpi_server.services import founding
from devpi_server.services.prefetch import sources, targets
from devpi_server.services.prefetch.choice import Wishes
from devpi_server.services.prefetch.jobs import Plan, Result, State, Task
from devpi_server.services.prefetch.targets import HERE, NAMES, Target
from devpi_server.settings import Settings
from devpi_server.wiring import tools
from devpi_server.wiring.stored import has_data

_MOST_JOBS = 64
_PIP_WITHIN = 3600.0  # seconds


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="requirements file, pylock.toml, uv.lock, poetry.lock, pdm.lock, Pipfile.lock, or "
        "the folder of a project; - for a requirements file on stdin",
    )
    parser.add_argument(
        "--index", metavar="USER/NAME", default=founding.PYPI, help="install from there [root/pypi]"
    )
    parser.add_argument(
        "--platform",
        metavar="PLATFORM",
        action="append",
        type=_platform,
        default=[],
        help="for this platform: linux, macos, windows, or a tag such as musllinux_1_2_aarch64; "
        "may be given again [this machine's]",
    )
    parser.add_argument(
        "--python-version",
        metavar="X.Y",
        action="append",
        type=_python,
        default=[],
        help="for this Python; may be given again [the one that runs devpi-server]",
    )
    parser.add_argument(
        "--all-platforms", action="store_true", help="fetch the files of all platforms"
    )
    parser.add_argument(
        "--jobs", metavar="N", type=_jobs, default=8, help="fetch so many files at a time [8]"
    )
    parser.add_argument("--dry-run", action="store_true", help="tell what is there, fetch nothing")


def _platform(text: str) -> str:
    try:
        return targets.platform(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _python(text: str) -> tuple[int, int]:
    try:
        return targets.python(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to {_MOST_JOBS}')
    return int(text)


def _prefetch(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    if settings.offline_mode:
        raise Refused("offline-mode is on, no upstream is asked")
    asked = [sources.of_disk(name) for name in chosen.files]
    results: list[Result] = []
    with (
        tools(settings, new=not has_data(settings.datadir)) as opened,
        Meter(report) as meter,
    ):
        founding.found(opened.meta, opened.clock)
        index = opened.indexes.find(chosen.index)
        task = Task(
            index.name,
            index.source,
            _wishes(chosen),
            runs_code=True,
            pip_within=_PIP_WITHIN,
            parallel=chosen.jobs,
        )

        def tell(result: Result) -> None:
            results.append(result)
            report.say(_line(result))

        def planned(plan: Plan) -> None:
            meter.expect(plan.size)

        notes = opened.prefetching(
            task, asked, tell, dry=chosen.dry_run, planned=planned, counted=meter.count
        )
    for note in notes:
        report.warn(note)
    counts = Counter(result.state for result in results)
    told = [f"{counts[state]} {state.value}" for state in State if counts[state]]
    report.say(", ".join(told) or "nothing is asked for")
    report.result({"results": [_shown(result) for result in results]})
    return FAULTY if counts[State.FAILED] else DONE


def _wishes(chosen: argparse.Namespace) -> Wishes:
    pythons: Sequence[tuple[int, int]] = chosen.python_version or [HERE]
    platforms: Sequence[str] = chosen.platform or [""]
    if chosen.all_platforms:
        platforms = [*dict.fromkeys([*chosen.platform, "", *NAMES.values()])]
    targets = [Target(python, platform) for python in pythons for platform in platforms]
    return Wishes(targets, chosen.all_platforms, tuple(chosen.python_version))


def _line(result: Result) -> str:
    told = f"{result.state.value:<13}  {result.line}"
    if result.reason:
        return f"{told}: {result.reason}"
    count = len(result.files)
    return f"{told}  ({count} file{'s' if count != 1 else ''}, {in_words(result.size)})"


def _shown(result: Result) -> Mapping[str, object]:
    return {
        "line": result.line,
        "result": result.state.value,
        "reason": result.reason or None,
        "files": list(result.files),
        "size": result.size,
    }


main = Command(
    "devpi-server prefetch",
    "Fetch all that installing from a file, or a project, asks for, so that it works with "
    "--offline-mode. Also while the server runs. A file that is no lock is resolved by pip, which "
    "builds what has no wheel. The exit code is 1 if anything failed.",
    _prefetch,
    _words,
    heeds=("mirror-url",),
)
