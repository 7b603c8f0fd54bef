"""What the README promises to somebody who has nothing but the README."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import clean_environment

from .clients import NOWHERE, ROOT, Desk, NewDesk, installed, readme

_APPLICATION = ("httpx[http2]", "numpy", "sqlalchemy", "uvicorn[standard]")
_IMPORTS = "import h2, httptools, httpx, numpy, sqlalchemy, uvicorn, uvloop, yaml"
_NOT_IN_A_RELEASE = (".git", ".venv", ".tox", "build", "*.egg-info", "__pycache__", ".*_cache")


class Started:
    """A command of the README that serves; its lines of stdout tell where."""

    def __init__(self, command: list[str], checkout: Path, datadir: Path) -> None:
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        self._process = subprocess.Popen(
            command,
            cwd=checkout,
            env=clean_environment()
            | pip
            | {"DEVPISERVER_PORT": "0", "DEVPISERVER_DATADIR": str(datadir)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.said: list[str] = []
        for line in self._process.stdout:
            self.said.append(line.strip())
            if line.startswith("index url: "):
                break
        else:
            raise AssertionError(f"it ended with {self._process.wait()} and said {self.said}")
        self.index = self.said[-1].partition(": ")[2]

    def stop(self) -> int:
        """Press Ctrl-C."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
        self._process.communicate(timeout=30)
        return self._process.returncode


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the checkout, and nothing that was made in it."""
    folder = tmp_path_factory.mktemp("fresh") / "checkout"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_NOT_IN_A_RELEASE))
    return folder


@pytest.fixture(scope="module")
def first_command(checkout: Path) -> Iterator[Started]:
    """The README's first command, served until the module's tests are done."""
    started = Started(
        ["bash", "-c", readme("python3 -m venv .venv && .venv/bin/pip install .")],
        checkout,
        checkout.with_name("serverdata"),
    )
    yield started
    started.stop()


def test_first_command_says_where_it_serves(first_command: Started) -> None:
    """The first command installs the server and starts it, and the last two lines say where."""
    port = first_command.index.split("/")[2].partition(":")[2]

    assert "\n".join(first_command.said[-2:]) + "\n" == readme("serving at url").replace(
        "3141", port
    )


def test_application_installs_again_without_a_network(
    first_command: Started, checkout: Path, new_desk: NewDesk
) -> None:
    """What pip installed once, wheels with compiled code included, it installs again offline."""
    first = _install(new_desk(), first_command.index)
    assert len(first) >= 20
    first_command.stop()

    command = [str(checkout / ".venv/bin/devpi-server"), "--offline-mode", "--mirror-url", NOWHERE]
    again = Started(command, checkout, checkout.with_name("serverdata"))
    second = _install(new_desk(), again.index)

    assert first == second
    assert again.stop() == 0


def _install(desk: Desk, index: str) -> dict[str, str]:
    """As the README says, into a fresh environment; what is in it then."""
    command = readme("pip install -i").split()[:-1]
    command[command.index("-i") + 1] = index
    venv = desk.venv()
    desk(venv / command[0], *command[1:], *_APPLICATION)
    desk(venv / "python", "-c", _IMPORTS)
    return installed(desk, venv / "python")
