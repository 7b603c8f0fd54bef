"""Killed at a step of an import or an export: what is there is whole, and the next run goes on.

``DEVPI_CRASHES`` says at about how many of the steps.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import dumping
import pytest
from crashing import CHEAP, MINE, NEVER, ROUNDS, Prepare, command, nothing_under_way, run, served
from server import App
from uploading import upload
from upstream.artefacts import sdist, wheel

from devpi_server.cli import export, import_
from devpi_server.services.fsck import Fsck
from devpi_server.services.passwords import Passwords
from devpi_server.settings import read
from devpi_server.wiring import tools

FILES = [wheel("demo", "1.0"), sdist("demo", "1.0"), wheel("demo", "1.1")]


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Two indexes with files of all kinds; some are in both."""
    folder = tmp_path / "dump"
    indexes = {
        name: dumping.index(
            *_entries(name),
            projects={"demo": {each: {"name": "demo", "version": each} for each in ("1.0", "1.1")}},
        )
        for name in ("alice/prod", "alice/dev")
    }
    dumping.write(
        folder, indexes, users={"alice": dumping.user(pwhash=Passwords(CHEAP).hash("pw"))}
    )
    for name in indexes:
        dumping.place_file(folder, f"{name}/demo/1.0/+/signature").write_bytes(b"signed")
        for file in FILES:
            (folder / _relpath(name, file.filename)).write_bytes(file.data)
    return folder


def _relpath(index: str, filename: str) -> str:
    return f"{index}/demo/{filename.removesuffix('.tar.gz').split('-')[1]}/{filename}"


def _entries(index: str) -> list[dict[str, Any]]:
    """Releases, one with a signature; documentation; the result of a test."""
    relpaths = [_relpath(index, file.filename) for file in FILES]
    releases = [
        dumping.release(version=path.split("/")[3], relpath=path, entrymapping={})
        for path in relpaths
    ]
    releases[0]["signature"] = f"{index}/demo/1.0/+/signature"
    tested = f"{index}/demo/sha256={dumping.SHA256}/{FILES[1].filename}.toxresult-1"
    return [
        *releases,
        dumping.release(type="doczip", relpath=f"{index}/demo/1.0/demo-1.0.doc.zip"),
        dumping.tox_result(relpath=tested),
    ]


def importing(datadir: Path, *words: str | Path) -> Prepare:
    return command(import_.main, "--datadir", datadir, *words)


def exporting(datadir: Path, *words: str | Path) -> Prepare:
    return command(export.main, "--datadir", datadir, *words)


def expect_sound(datadir: Path) -> None:
    """No row speaks of bytes that are not there."""
    with tools(read(["--datadir", str(datadir)], {}), new=True) as opened:
        check = Fsck(opened.meta, opened.blobs, opened.indexes.adjusted, opened.held, opened.clock)
        assert list(check.faults()) == []


def exported(datadir: Path, folder: Path) -> Any:
    """All that is there."""
    assert run(NEVER, exporting(datadir, "--hard-links", folder))
    return contents(folder)["dataindex.json"]


def contents(folder: Path) -> dict[str, Any]:
    """Path → bytes of all files that are there, but for what is said of all of them."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    if "dataindex.json" in found:
        found["dataindex.json"] = json.loads(found["dataindex.json"])
        del found["dataindex.json"]["users"]["root"]  # who is made anew each time
    return found


def some_of(steps: int | None, rounds: int) -> list[int]:
    """So many of the steps, by chance."""
    assert steps is not None
    seed = random.randrange(10**9)
    print(f"{steps} steps, seed {seed}")
    return random.Random(seed).sample(range(1, steps + 1), min(rounds, steps))


@pytest.mark.timeout(60 + ROUNDS * 10)
@pytest.mark.parametrize(
    ("options", "rounds"),
    [((), ROUNDS // 2), (("--hard-links",), ROUNDS // 6)],
    ids=["copied", "linked"],
)
def test_an_import_that_is_killed_goes_on(
    dump: Path, tmp_path: Path, options: tuple[str, ...], rounds: int
) -> None:
    """In the end, it has brought what one run would have."""
    datadir = tmp_path / "data"
    change = importing(datadir, *options, dump)
    steps = run(NEVER, change)
    whole = exported(datadir, tmp_path / "whole")
    assert len(whole["indexes"]["alice/dev"]["files"]) == 5
    for step in some_of(steps, rounds):
        shutil.rmtree(datadir)
        assert run(step, change) is None, f"at step {step}"
        expect_sound(datadir)
        assert run(NEVER, change), f"after a kill at step {step}"
        expect_sound(datadir)
        assert nothing_under_way(datadir)
        assert exported(datadir, tmp_path / f"again{step}") == whole


def test_an_import_that_is_killed_again_and_again_gets_there_in_the_end(
    dump: Path, tmp_path: Path
) -> None:
    """Each time a little later than the time before; it is of what was exported."""
    datadir, other = tmp_path / "data", tmp_path / "other"
    assert run(NEVER, importing(other, dump))
    whole = exported(other, tmp_path / "whole")

    killed = 0
    while run(5 * killed + 5, importing(datadir, tmp_path / "whole")) is None:
        killed += 1

    assert killed > 5
    expect_sound(datadir)
    assert exported(datadir, tmp_path / "again") == whole
    server = App("--datadir", str(datadir), "--offline-mode")
    assert served(server) == {file.filename: file.data for file in FILES}
    assert upload(server, "alice/dev", wheel("demo", "1.2"), MINE).status == 200
    server.services.close()


@pytest.mark.timeout(60 + ROUNDS * 10)
def test_an_export_that_is_killed_goes_on(dump: Path, tmp_path: Path) -> None:
    """No dump is taken for whole before it is."""
    datadir, out = tmp_path / "data", tmp_path / "out"
    assert run(NEVER, importing(datadir, dump))
    steps = run(NEVER, exporting(datadir, out))
    whole = contents(out)
    for step in some_of(steps, ROUNDS // 3):
        shutil.rmtree(out)
        assert run(step, exporting(datadir, out)) is None
        left = contents(out)
        is_done = "dataindex.json" in left
        if is_done:
            assert left.items() >= whole.items()
        if not is_done or (out / ".incoming").exists():
            assert run(NEVER, exporting(datadir, out))
        assert contents(out) == whole
