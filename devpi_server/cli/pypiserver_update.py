"""``pypi-server -U``: which packages are outdated, and the commands that bring the newer ones."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devpi_server.cli.command import DONE, FAULTY
from devpi_server.errors import ConfigError
from devpi_server.pypiserver_settings import UpdateSettings
from devpi_server.pypiserver_wiring import outdated
from devpi_server.services.updates import Found

_A_LINE = 40  # projects


def update(settings: UpdateSettings) -> int:
    """Show what is outdated, carry out the commands if that is wanted, return the exit code.

    :raises ConfigError: there is nowhere to download to.
    :raises StoreError: a folder cannot be read.
    """
    target = settings.download_directory
    if target is not None and not target.is_dir():
        raise ConfigError([f"-d: there is no directory {target}"])
    held, updates = outdated(settings)
    print(f"checking {len(held)} packages for newer version", flush=True)
    found: list[Found] = []
    for number, each in enumerate(updates.check(held)):
        found.append(each)
        line_end = "" if number % _A_LINE else "\n"
        print(line_end + ("u" if each.newer else "." if each.is_known else "e"), end="", flush=True)
    print("\n", flush=True)
    unknown = sorted(each.held.name for each in found if not each.is_known)
    if unknown:
        print(f"no releases found on pypi for {', '.join(unknown)}\n")
    codes = [_update(each, settings) for each in found if each.newer]
    return FAULTY if any(codes) else DONE


def _update(found: Found, settings: UpdateSettings) -> int:
    """Show one, or carry it out; return how that has ended."""
    held = found.held
    print(f"# update {held.name} from {held.version} to {found.newer}")
    folder = settings.download_directory or held.folder
    words = _words(folder, f"{held.name}=={found.newer}", settings.index)
    print(shlex.join(("pip", *words)), end="\n\n", flush=True)
    if not settings.execute:
        return 0
    return subprocess.call([*_pip(), *words])  # noqa: S603 - names that were parsed


def _words(folder: Path, requirement: str, index: str) -> Sequence[str]:
    return (
        *("-q", "download", "--no-deps", "-i", index.rstrip("/")),
        *("-d", str(folder), requirement),
    )


def _pip() -> Sequence[str]:
    """The pip of this Python, else the one that a shell would find."""
    if importlib.util.find_spec("pip") is not None:
        return (sys.executable, "-m", "pip")
    return ("pip",)
