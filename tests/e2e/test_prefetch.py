"""A lock of an application is prefetched, the network goes, and real installers do not notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from server import ServerProcess, clean_environment, mirror_of
from upstream import Upstream

from .clients import NOWHERE, UV, Clients, Desk, NewDesk, index_of, installed

_COUNT = 12
_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["demo0", "windows; sys_platform == 'win32'"]
"""


@pytest.fixture
def up(up: Upstream) -> Upstream:
    """It has projects that need each other."""
    for number in range(_COUNT):
        requires = [f"demo{number + 1}>=1,<2"] if number + 1 < _COUNT else []
        up.release(f"demo{number}", "1.5", requires=requires)
        up.release(f"demo{number}", "2.0", requires=["nothing"])
    up.release("windows", "1.5")
    up.yank("demo0", "2.0")
    return up


def prefetch(*words: str | Path) -> dict[str, str]:
    """Line → what became of it."""
    done = subprocess.run(
        [sys.executable, "-m", "devpi_server", "prefetch", "--json", *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {each["line"]: each["result"] for each in json.loads(done.stdout)["results"]}


def test_a_lock_installs_without_a_network(
    up: Upstream, mirror: ServerProcess, clients: Clients, new_desk: NewDesk, tmp_path: Path
) -> None:
    desk = new_desk()
    desk.write("pyproject.toml", _PROJECT)
    desk(UV, "lock", "--default-index", index_of(mirror))
    desk(UV, "export", "--quiet", "--frozen", "--no-emit-project", "-o", "requirements.txt")
    desk(UV, "export", "--quiet", "--frozen", "--format=pylock.toml", "-o", "pylock.toml")
    held = mirror_of(up, tmp_path / "held")
    pip = clients.pip()
    mirror.stop()

    found = prefetch(desk.folder / "uv.lock", *held)
    assert sorted(found.values()) == ["cached"] * _COUNT + ["skipped"]
    for name in ("requirements.txt", "pylock.toml"):
        found = prefetch(desk.folder / name, *held)
        assert sorted(found.values()) == ["already there"] * _COUNT + ["skipped"]
    up.close()

    with ServerProcess(
        *("--host", "localhost", "--datadir", str(tmp_path / "held")),
        *("--offline-mode", "--mirror-url", f"{NOWHERE}simple/"),
        log=tmp_path / "offline.log",
    ) as offline:
        for desk_of_client, install in (
            (new_desk(), (UV, "pip", "sync", "--quiet", "--python", "venv")),
            (new_desk(), (UV, "pip", "install", "--quiet", "--python", "venv", "-r")),
            (new_desk(), (pip, "--python", "venv", "install", "--quiet", "-r")),
        ):
            _install(desk, desk_of_client, install, offline)
        lock = (desk.folder / "uv.lock").read_text()
        own = new_desk()
        own.write("pyproject.toml", _PROJECT)
        own.write("uv.lock", lock.replace(mirror.url, offline.url))
        own(UV, "sync", "--quiet", "--frozen", "--no-install-project")
        assert len(installed(own, own.folder / ".venv")) == _COUNT


def _install(
    locked: Desk, desk: Desk, install: tuple[str | Path, ...], offline: ServerProcess
) -> None:
    desk.write("requirements.txt", (locked.folder / "requirements.txt").read_text())
    desk(UV, "venv", "--quiet", "venv")
    desk(*install, "requirements.txt", "--index-url", index_of(offline))
    assert len(installed(desk, desk.folder / "venv")) == _COUNT
