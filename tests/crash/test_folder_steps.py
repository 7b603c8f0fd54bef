"""Killed at each durable step of an upload into a folder of packages: nothing partial is there."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from putting import NAME, main

from .test_steps import Stepping

MOST_STEPS = 40
OLD, NEW = ("old", "old"), ("new", "new")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("disk", ["same", "another"])
@pytest.mark.parametrize(("how", "before"), [("new", None), ("over", OLD)])
def test_an_upload(tmp_path: Path, how: str, before: tuple[str, str] | None, disk: str) -> None:
    """The file is there, whole, or not; a signature is never one of another file."""
    folder, armed = tmp_path / "packages", tmp_path / "armed"
    words = [str(folder), str(tmp_path / "data"), how, disk]
    log = tmp_path / "log"
    folder.mkdir()
    armed.touch()
    seen = []
    with Stepping(armed, log, "putting", *words, "new") as uploads:
        for step in range(1, MOST_STEPS):
            for path in folder.iterdir():
                path.unlink()
            if before is not None:
                (folder / NAME).write_text(before[0])
                (folder / f"{NAME}.asc").write_text(before[1])
            uploads.start(step)
            code = uploads.ended()
            main([*words, ""])
            left = {path.name: path.read_text() for path in folder.iterdir()}
            found = left.pop(NAME, None), left.pop(f"{NAME}.asc", None)
            assert not left
            if code == 0:
                assert found == NEW
                break
            assert code == -signal.SIGKILL, log.read_text()
            assert found[0] in (before and before[0], "new")
            if found[0] is not None:
                assert found[1] in (None, found[0])
            seen.append(found)
        else:
            pytest.fail(f"it takes more than {MOST_STEPS} steps")

    assert {found[0] for found in seen} == {before and before[0], "new"}
