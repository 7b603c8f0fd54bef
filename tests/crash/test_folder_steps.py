"""Killed at each durable step of an upload into a folder of packages: nothing partial is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from crashing import MOST_STEPS, doing, run
from putting import NAME, Putting

OLD, NEW = ("old", "old"), ("new", "new")


@pytest.mark.parametrize("disk", ["same", "another"])
@pytest.mark.parametrize(("how", "before"), [("new", None), ("over", OLD)])
def test_an_upload(tmp_path: Path, how: str, before: tuple[str, str] | None, disk: str) -> None:
    """The file is there, whole, or not; a signature is never one of another file."""
    folder = tmp_path / "packages"
    putting = Putting(folder, tmp_path / "data", how == "over", disk == "another")
    folder.mkdir()
    seen = []
    for step in range(1, MOST_STEPS):
        for path in folder.iterdir():
            path.unlink()
        if before is not None:
            (folder / NAME).write_text(before[0])
            (folder / f"{NAME}.asc").write_text(before[1])
        is_killed = run(step, doing(putting.put, "new")) is None
        putting.begin()
        left = {path.name: path.read_text() for path in folder.iterdir()}
        found = left.pop(NAME, None), left.pop(f"{NAME}.asc", None)
        assert not left
        if not is_killed:
            assert found == NEW
            break
        assert found[0] in (before and before[0], "new")
        if found[0] is not None:
            assert found[1] in (None, found[0])
        seen.append(found)
    else:
        pytest.fail(f"it takes more than {MOST_STEPS} steps")

    assert {found[0] for found in seen} == {before and before[0], "new"}
