"""A virtual environment with this very devpi-server in it; no network is needed."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devpi_server.deploy import ctl, installed, wheels
from devpi_server.errors import StoreError


class Builder(venv.EnvBuilder):
    """Leads to the Python of the system also from within another environment, which may go.

    Python 3.10 leads to that environment.
    """

    def ensure_directories(self, env_dir: Any) -> SimpleNamespace:
        context = super().ensure_directories(env_dir)
        base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
        in_environment = Path(context.executable).is_relative_to(sys.prefix)
        if sys.prefix != sys.base_prefix and in_environment and base.exists():
            context.executable = str(base)
            context.python_dir = str(base.parent)
        return context


def build(folder: Path, place: Path, extra_roots: Iterable[str]) -> None:
    """Make the environment in ``folder``, for use in ``place``.

    Its scripts find their Python beside them, so the move costs nothing.

    :param extra_roots: distributions to take along beside what devpi-server needs.
    :raises Refused: this installation is not whole.
    :raises StoreError: it did not work out.
    """
    bundles = installed.closure(extra_roots)
    Builder(symlinks=True, with_pip=False).create(folder)
    store = folder / "wheels"
    store.mkdir()
    packed = {bundle.name: wheels.write(bundle, store) for bundle in bundles}
    python = str(folder / "bin" / "python")
    # The pip of the wheel itself: neither the new environment nor a Debian needs to have one.
    # --isolated, and by path: no configuration of pip's may bring in other files.
    _run([python, "-I", str(packed["pip"] / "pip"), "--isolated", "install", "--no-index",
          "--find-links", str(store), "--disable-pip-version-check", "--no-warn-script-location",
          "--quiet", *map(str, packed.values())])  # fmt: skip
    ctl.unfasten(folder, place)
    for path in (folder / "pyvenv.cfg", *(folder / "bin").glob("[aA]ctiv*")):
        ctl.replace(path, [(str(folder), str(place))])
    for module in ("devpi_server", "supervisor.supervisorctl"):
        _run([python, "-I", "-c", f"import {module}"])


def _run(command: list[str]) -> None:
    answer = subprocess.run(  # noqa: S603 - our own words
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if answer.returncode:
        said = (answer.stderr.strip() or answer.stdout.strip() or "nothing").splitlines()
        raise StoreError(f"the new environment cannot be made: {said[-1]}")
