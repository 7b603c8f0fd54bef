"""``devpi_server.pypiserver.app``: the words of both generations, and no shared state."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from server import environ_of

from devpi_server.errors import ConfigError
from devpi_server.pypiserver import FolderApplication, app, paste_app_factory

Make = Callable[..., FolderApplication]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    """Makes applications, which are closed in the end."""
    applications: list[FolderApplication] = []

    def make(**words: Any) -> FolderApplication:
        words = {"fallback_url": "http://127.0.0.1:9/simple/", "datadir": tmp_path / "d", **words}
        applications.append(app(**words))
        return applications[-1]

    yield make
    for each in applications:
        each.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _folder(tmp_path / "packages", "foo-1.0.zip")


def _folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"x")
    return path


def ask(application: FolderApplication, path: str, method: str = "GET", **headers: str) -> str:
    """The status of an answer."""
    found: list[str] = []
    environ = environ_of(path, headers, method, b"" if method == "POST" else None)
    environ["wsgi.errors"] = io.StringIO()
    body = application(environ, lambda status, _headers, *_: found.append(status))
    b"".join(body)
    return found[0][:3]


def test_several_in_one_process_know_nothing_of_each_other(
    made: Make, folder: Path, tmp_path: Path
) -> None:
    one = made(root=str(folder), redirect_to_fallback=False)
    other = made(root=[str(_folder(tmp_path / "other", "bar-1.0.zip"))], authenticate=["list"])

    assert (ask(one, "/simple/foo/"), ask(one, "/simple/bar/")) == ("200", "404")
    assert ask(other, "/simple/bar/") == "401"
    assert ask(other, "/packages/bar-1.0.zip") == "200"


@pytest.mark.parametrize(
    "words",
    [
        {"root": "{folder}", "authenticated": [], "passwords": "."},
        {"roots": ["{folder}"], "authenticate": [], "password_file": "."},
        {"root": "{folder}", "auther": lambda user, password: user == password},
    ],
)
def test_old_and_new_words_mean_the_same(made: Make, folder: Path, words: dict[str, Any]) -> None:
    filled = {
        word: str(folder) if value == "{folder}" else [str(folder)] if word == "roots" else value
        for word, value in words.items()
    }
    application = made(**filled)

    assert ask(application, "/simple/foo/") == "200"
    expected = "401" if "auther" in words else "400"
    assert ask(application, "/", "POST") == expected
    assert ask(application, "/", "POST", Authorization="Basic YTph") == "400"


def test_one_thing_has_one_word(made: Make, folder: Path) -> None:
    with pytest.raises(ValueError, match="two words"):
        made(root=str(folder), roots=[folder])


def test_faults_are_told_when_it_is_made(made: Make, folder: Path) -> None:
    with pytest.raises(TypeError, match="no such word: colour"):
        made(root=str(folder), colour="red")
    with pytest.raises(RuntimeError, match="overlaps with existing routes"):
        made(root=str(folder), health_endpoint="/simple/")
    with pytest.raises(ConfigError, match="algorithm"):
        made(root=str(folder), hash_algo="yes")


def test_a_folder_may_come_later(made: Make, tmp_path: Path) -> None:
    application = made(root=str(tmp_path / "later"), redirect_to_fallback=False)
    assert ask(application, "/simple/foo/") == "503"
    _folder(tmp_path / "later", "foo-1.0.zip")
    assert ask(application, "/simple/foo/") == "200"


def test_what_cannot_start_says_so_and_tries_again(
    made: Make, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").touch()
    application = made(root=str(folder), datadir=tmp_path / "data")
    assert ask(application, "/simple/foo/") == "503"
    assert "cannot use the data directory" in capsys.readouterr().err
    (tmp_path / "data").unlink()
    assert ask(application, "/simple/foo/") == "200"


def test_digests_are_turned_off_by_none(made: Make, folder: Path) -> None:
    assert made(root=str(folder), hash_algo=None).settings.algorithm is None


def test_paste_brings_texts(folder: Path, tmp_path: Path) -> None:
    second = _folder(tmp_path / "second")
    application = paste_app_factory(
        {},
        root=f"\n    {folder}\n    {second}",
        authenticate="download list",
        redirect_to_fallback="off",
        overwrite="yes",
        cache_control="60",
        password_file=str(folder / "foo-1.0.zip"),
    )

    settings = application.settings
    assert settings.roots == (folder, second)
    assert settings.authenticate == {"download", "list"}
    assert (settings.fallback, settings.overwrite, settings.cache_control) == ("none", True, 60)


def test_paste_brings_no_other_texts(folder: Path) -> None:
    with pytest.raises(ValueError, match="neither yes nor no"):
        paste_app_factory({}, root=str(folder), overwrite="perhaps")
