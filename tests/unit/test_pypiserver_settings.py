"""The command line of ``pypi-server``: both generations, and all that is wrong at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devpi_server import __version__
from devpi_server.errors import ConfigError
from devpi_server.pypiserver_options import EVERYBODY
from devpi_server.pypiserver_settings import (
    OverlappingEndpoint,
    RunSettings,
    UpdateSettings,
    read,
)

ANY_INDEX = "--fallback-url=http://127.0.0.1:9/simple"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with packages, where the commands are given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("packages", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "htpasswd.txt").write_text("user:secret\n")
    return tmp_path


def run(*words: str) -> RunSettings:
    found = read([*words, ANY_INDEX])
    assert isinstance(found, RunSettings)
    return found


def update(*words: str) -> UpdateSettings:
    found = read(words)
    assert isinstance(found, UpdateSettings)
    return found


def faults(*words: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read([*words, ANY_INDEX])
    return caught.value.faults


def test_without_words_it_serves_what_it_always_served(home: Path) -> None:
    settings = run()

    assert (settings.host, settings.port) == ("0.0.0.0", 8080)
    assert settings.roots == (home / "packages",)
    assert settings.authenticate == {"update"}
    assert settings.passwords is None
    assert (settings.algorithm, settings.health_endpoint) == ("sha256", "/health")
    assert (settings.fallback, settings.fallback_url) == ("redirect", ANY_INDEX[15:] + "/")


@pytest.mark.parametrize(
    "words",
    [
        ("-p", "8081", "other"),
        ("run", "-p", "8081", "other"),
        ("run", "other", "-p", "8081"),
        ("-v", "run", "--port=8081", "other"),
        ("--log-stream", "none", "run", "--port", "8081", "other"),
        ("-p8081", "-r", "other"),
        ("-a", "update", "-p", "8081", "other"),
        ("run", "-a", "update", "-p", "8081", "other"),
        ("-p", "8081", "--root", "other"),
    ],
)
def test_one_line_means_the_same_in_both_generations(words: tuple[str, ...], home: Path) -> None:
    settings = run(*words)

    assert settings.port == 8081
    assert settings.roots == (home / "other",)


@pytest.mark.parametrize("words", [("-U",), ("update",), ("-v", "-U"), ("-U", "packages")])
def test_updates_are_asked_for_in_two_ways(words: tuple[str, ...], home: Path) -> None:
    settings = update(*words)

    assert settings.roots == (home / "packages",)
    assert not settings.execute
    assert not settings.allow_unstable


@pytest.mark.parametrize("words", [("-Ux", "-u"), ("-Uxu",), ("-U", "-xu"), ("update", "-x", "-u")])
def test_the_letters_of_an_update_may_stand_together(words: tuple[str, ...]) -> None:
    settings = update(*words, "-d", "other")

    assert settings.execute
    assert settings.allow_unstable
    assert settings.download_directory == Path("other").absolute()


def test_names_are_read_from_a_list_of_what_is_left_alone(home: Path) -> None:
    (home / "ignored").write_text("# ours\nacme\n\n  tools  \n")

    assert update("-U", "--blacklist-file", "ignored").ignored == ("acme", "tools")
    assert update("update", "--ignorelist-file", "ignored").ignored == ("acme", "tools")


@pytest.mark.parametrize("empty", [".", ""])
def test_nobody_is_asked_for_a_password_in_both_spellings(empty: str) -> None:
    settings = run("-P", empty, "-a", empty)

    assert settings.authenticate == frozenset()
    assert settings.passwords == EVERYBODY


@pytest.mark.parametrize("words", [("-a", "."), ("-P", "."), ("-a", ".", "-P", "htpasswd.txt")])
def test_half_of_that_is_a_fault(words: tuple[str, ...]) -> None:
    assert faults(*words) == ("to ask nobody for a password, give both -a . and -P .",)


def test_actions_are_a_list_in_any_case(home: Path) -> None:
    settings = run("-a", "UPDATE, download,List", "--P", "htpasswd.txt")

    assert settings.authenticate == {"update", "download", "list"}
    assert run("-a", "upload list,").authenticate == {"update", "list"}
    assert settings.passwords == home / "htpasswd.txt"


@pytest.mark.parametrize("off", ["0", "no", "off", "false", "OFF", "n", "f"])
def test_digests_can_be_turned_off(off: str) -> None:
    assert run("--hash-algo", off).algorithm is None


def test_all_faults_are_told_at_once() -> None:
    found = faults("-p", "x", "-a", "all", "--hash-algo", "yes", "--log-stream", "x", "nowhere")

    assert [fault.partition(":")[0] for fault in found[:4]] == [
        "-p", "-a", "--hash-algo", "--log-stream",
    ]  # fmt: skip
    assert found[4].startswith("cannot read the directory ")


def test_the_health_endpoint_may_not_hide_what_is_served() -> None:
    for taken in ("/simple/", "/packages", "/RPC2"):
        with pytest.raises(OverlappingEndpoint):
            run("--health-endpoint", taken)


def test_a_prefix_is_written_in_one_way() -> None:
    assert run("--server-base-url", "/").base_url == ""
    assert run("--server-base-url", "a/b/").base_url == "/a/b"


def test_a_fallback_is_one_of_three() -> None:
    assert run("--disable-fallback").fallback_url == ""
    assert run("--fallback", "proxy").fallback == "proxy"
    assert "contradict" in faults("--disable-fallback", "--fallback", "proxy")[0]


def test_the_welcome_page_is_read_once(home: Path) -> None:
    (home / "hi.html").write_text("<h1>{{NUMPKGS}}</h1>")

    assert run("--welcome", "hi.html").welcome == "<h1>{{NUMPKGS}}</h1>"


@pytest.mark.parametrize("words", [("--version",), ("run", "--version"), ("-U", "--version")])
def test_the_version_stands_alone(words: tuple[str, ...], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        read(words)

    assert capsys.readouterr().out == f"{__version__}\n"


# What the help of version 1.2.0 lists, and what that of version 2 does.
OLD = """-p -i -a -P --port --interface --authenticate --passwords --disable-fallback
    --fallback-url --server -r --root -o --overwrite --hash-algo --welcome -v --log-conf
    --log-file --log-frmt --log-req-frmt --log-res-frmt --log-err-frmt"""
NEW = """-v --verbose --log-file --log-stream --log-frmt --hash-algo --backend -p --port -i -H
    --interface --host -a --authenticate -P --passwords --disable-fallback --fallback-url
    --health-endpoint --server -o --overwrite --welcome --cache-control --log-req-frmt
    --log-res-frmt --log-err-frmt --server-base-url"""
UPDATE = """-x --execute -d --download-directory -u --allow-unstable --blacklist-file
    --ignorelist-file --log-file --hash-algo --backend"""


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (("--help",), f"{OLD} {NEW}"),
        (("run", "--help"), NEW),
        (("-U", "--help"), "-x -d -u"),
        (("update", "--help"), UPDATE),
    ],
)
def test_the_help_has_every_option_of_both_generations(
    words: tuple[str, ...],
    flags: str,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        read(words)

    assert ended.value.code in (0, None)
    shown = set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", capsys.readouterr().out))
    assert set(flags.split()) <= shown
