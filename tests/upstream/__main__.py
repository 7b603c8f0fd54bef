"""Serve synthetic projects, for benchmarks and for people: ``python -m tests.upstream --help``."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Sequence
from datetime import datetime, timezone

from . import artefacts
from .answers import Bytes
from .content import Catalog, File
from .pages import Mode
from .server import Upstream

_UPLOADED = datetime(2026, 1, 1, tzinfo=timezone.utc)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--projects", type=int, default=10, help="named p000, p001 ...")
    parser.add_argument("--files", type=int, default=5, help="wheels a project")
    parser.add_argument("--size", type=int, help="bytes a wheel; as small as can be if not given")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--poor", action="store_true", help="HTML only, no ETag, no serial")
    parser.add_argument("--deps", action="store_true", help="a project app 1.0 that requires all")
    options = parser.parse_args(arguments)

    mode = Mode.POOR if options.poor else Mode.WAREHOUSE
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    up = Upstream(options.port, mode=mode)
    up.latency = options.latency
    up.logging = False
    fill(up, options.projects, options.files, size=options.size, dependent=options.deps)
    with up:  # who finds that it answers finds all of it
        print(f"serving at {up.simple_url}", flush=True)
        done.wait()


def fill(
    catalog: Catalog,
    projects: int,
    files: int,
    *,
    size: int | None = None,
    dependent: bool = False,
) -> None:
    """Publish projects p000, p001 … with versions 1.0, 1.1 …, and an app that requires all."""
    names = [f"p{number:03d}" for number in range(projects)]
    for name in names:
        catalog.add_project(
            name, [_wheel(name, f"1.{number}", size=size) for number in range(files)]
        )
    if dependent:
        catalog.add_project("app", [_wheel("app", "1.0", requires=names)])


def _wheel(
    name: str, version: str, *, requires: Sequence[str] = (), size: int | None = None
) -> File:
    made = artefacts.wheel(name, version, requires=requires, size=size)
    return File(made.filename, version, Bytes(made.data), _UPLOADED, metadata=made.metadata)


if __name__ == "__main__":
    main()
