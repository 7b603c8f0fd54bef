"""``devpi-server --gendeploy`` and ``--gen-config``: what to do instead of serving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from devpi_server.cli import hush
from devpi_server.deploy import genconfig, gendeploy
from devpi_server.deploy.plan import Plan, flags
from devpi_server.settings import Settings, given, read


def run(settings: Settings, argv: Sequence[str] | None) -> int:
    """Do what is asked for, tell, and return the exit code."""
    words = given(argv)
    if settings.gen_config:
        genconfig.write(Plan(settings, words), Path("gen-config"), _say)
    if settings.gendeploy is not None:
        root = gendeploy.resolved(settings.gendeploy)
        earlier = gendeploy.remembered(root, words)
        if earlier:
            words = (*earlier, *words)
            settings = read([f"--gendeploy={root}", *flags(words)], environ={})
            _say(f"as before: {' '.join(flags(earlier))}")
        gendeploy.deploy(root, Plan(settings, words), _say)
    return 0


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the work goes on
        hush()
