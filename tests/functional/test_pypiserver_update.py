"""``pypi-server -U``: what is outdated, and the commands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from upstream import Upstream

from devpi_server.cli import pypiserver_update
from devpi_server.cli.pypiserver import main

pytestmark = pytest.mark.straight("a command, not a server")

Update = Callable[..., tuple[int, str]]


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.release("old", "1.0")
        upstream.release("old", "2.0")
        upstream.release("old", "3.0rc1")
        upstream.release("same", "1.0")
        yield upstream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("old-1.0.tar.gz", "old-0.9.tar.gz", "sub/Same-1.0.zip", "Ours_Own-1.0.zip"):
        place = tmp_path / "packages" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"x")
    return tmp_path / "packages"


@pytest.fixture
def update(up: Upstream, folder: Path, capsys: pytest.CaptureFixture[str]) -> Update:
    """Call it with words of its own; its exit code, and what it has printed."""

    def call(*words: str) -> tuple[int, str]:
        code = main([*words, "--fallback-url", up.simple_url, str(folder)])
        return code, capsys.readouterr().out

    return call


@pytest.mark.parametrize("words", [("-U",), ("update",), ("-U", "-p", "8080")])
def test_what_is_outdated_is_shown_with_its_command(
    update: Update, words: tuple[str, ...], up: Upstream, folder: Path
) -> None:
    code, told = update(*words)

    assert code == 0
    assert told.splitlines() == [
        "checking 3 packages for newer version",
        "",
        "ue.",
        "",
        "no releases found on pypi for Ours_Own",
        "",
        "# update old from 1.0 to 2.0",
        f"pip -q download --no-deps -i {up.simple_url.rstrip('/')} -d {folder} old==2.0",
        "",
    ]


def test_unstable_versions_are_shown_where_they_are_wanted(update: Update) -> None:
    assert "# update old from 1.0 to 3.0rc1\n" in update("-U", "-u")[1]


def test_what_is_on_the_list_is_left_alone(update: Update, tmp_path: Path) -> None:
    (tmp_path / "ignored").write_text("ours-own # not a comment\nOURS.own\nold\n")
    told = update("update", "--ignorelist-file", str(tmp_path / "ignored"))[1]

    assert told.startswith("checking 1 packages for newer version\n\n.\n\n")


def test_an_index_out_of_reach_has_no_releases(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["-U", "--fallback-url", "http://127.0.0.1:9/simple", str(folder)])

    assert "no releases found on pypi for Ours_Own, Same, old\n" in capsys.readouterr().out


def test_commands_are_carried_out_where_that_is_wanted(
    update: Update, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code tells of one that fails."""
    done = []

    def call(words: list[str]) -> int:
        done.append(words[-3:])
        return 3

    monkeypatch.setattr(pypiserver_update.subprocess, "call", call)
    (tmp_path / "elsewhere").mkdir()

    assert update("-Ux", "-d", str(tmp_path / "elsewhere"))[0] == 1
    assert done == [["-d", str(tmp_path / "elsewhere"), "old==2.0"]]


def test_there_is_a_place_for_what_is_downloaded(update: Update) -> None:
    assert update("-Ux", "-d", "/nowhere/at/all")[0] == 2


def test_forty_make_a_line(update: Update, folder: Path) -> None:
    for number in range(39):
        (folder / f"z{number:02}-1.0.zip").write_bytes(b"x")

    lines = update("-U")[1].splitlines()
    assert lines[0] == "checking 42 packages for newer version"
    assert [len(line) for line in lines[2:4]] == [40, 2]
