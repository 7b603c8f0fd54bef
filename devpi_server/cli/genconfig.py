"""``devpi-gen-config``: ``devpi-server --gen-config`` by the name that devpi has for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from devpi_server.cli.command import DONE, Command, Report
from devpi_server.deploy import genconfig
from devpi_server.deploy.plan import Plan
from devpi_server.settings import GEN_CONFIG, GENDEPLOY, OPTIONS, PASSWD, Settings, given

_INSTEAD = (PASSWD, GENDEPLOY, GEN_CONFIG)
_IMPLIED = f"--{GEN_CONFIG.name}"


def _run(chosen: argparse.Namespace, settings: Settings, report: Report) -> int:
    plan = Plan(settings, given(chosen.given))
    written = genconfig.write(plan, Path("gen-config"), report.say)
    report.result({"written": [str(path) for path in written]})
    return DONE


main = Command(
    "devpi-gen-config",
    "Write example files for what may run a devpi-server with these options, to the folder "
    "gen-config.",
    _run,
    heeds=tuple(option.name for option in OPTIONS if option not in _INSTEAD),
    implied=(_IMPLIED,),
)
