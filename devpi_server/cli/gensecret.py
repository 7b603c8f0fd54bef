"""``devpi-gen-secret``: make the file that login tokens are signed with."""

from __future__ import annotations

import argparse

from devpi_server.cli.command import DONE, Command, Report
from devpi_server.errors import ConfigError
from devpi_server.settings import Settings
from devpi_server.store import secret
from devpi_server.store.incoming import translated


def _run(_: argparse.Namespace, settings: Settings, report: Report) -> int:
    path = settings.secretfile or secret.path_in(settings.datadir)
    if settings.secretfile is None:
        with translated(f"make {settings.datadir}"):
            settings.datadir.mkdir(parents=True, exist_ok=True)
    secret.write_new_secret(path)
    if settings.secretfile is not None:
        try:
            secret.of_file(path)
        except ConfigError as error:  # the server would refuse it
            for fault in error.faults:
                report.warn(fault)
    report.say(f"wrote {path}")
    report.result({"secretfile": str(path)})
    return DONE


main = Command(
    "devpi-gen-secret",
    "Make the secret that login tokens are signed with: in the data directory, where the server "
    "makes it by itself, or in a file. What is there already is not replaced.",
    _run,
    heeds=("secretfile",),
)
