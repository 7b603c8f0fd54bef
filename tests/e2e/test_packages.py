"""pip and uv, from a folder of packages with an upstream behind it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from server import ServerProcess, mirror_of, until
from upstream import Upstream, artefacts

from .clients import UV, Desk, NewDesk, installed

DEMO = artefacts.wheel("demo", "1.0", requires=["helper"])


def test_what_is_in_the_folder_goes_before_upstream(
    up: Upstream, new_desk: NewDesk, tmp_path: Path
) -> None:
    """Before the file is read, and with its digest afterwards; upstream has what it needs."""
    up.release("demo", "9.0")
    up.release("helper", "1.0")
    folder = tmp_path / "packages"
    folder.mkdir()
    options = mirror_of(up, tmp_path / "data", "--packages", str(folder))
    with ServerProcess("--host", "localhost", *options, log=tmp_path / "log") as server:
        (folder / DEMO.filename).write_bytes(DEMO.data)
        index = f"{server.url}simple/"

        def pip(desk: Desk) -> dict[str, str]:
            python = desk.venv() / "python"
            desk(python, "-m", "pip", "install", "--quiet", "--index-url", index, "demo")
            return installed(desk, python)

        def uv(desk: Desk) -> dict[str, str]:
            desk(UV, "venv", "venv")
            words = (UV, "pip", "compile", "--generate-hashes", "--default-index", index)
            locked = desk(*words, desk.write("requirements.in", "demo\n"))
            assert f"--hash=sha256:{hashlib.sha256(DEMO.data).hexdigest()}" in locked
            sync = (UV, "pip", "sync", "--python", "venv", "--require-hashes")
            desk(*sync, "--default-index", index, desk.write("requirements.txt", locked))
            return installed(desk, "venv")

        first = pip(new_desk())
        until(lambda: server.page("demo", "/simple/")["files"][0]["hashes"])
        for found in (first, uv(new_desk())):
            assert (found["demo"], found["helper"]) == ("1.0", "1.0")
    assert up.count(re.compile("demo"), None) == 0
