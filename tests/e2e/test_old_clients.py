"""Installers of another age: they know HTML only, and are still around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from server import ServerProcess

from .clients import Clients, Desk, NewDesk, index_of, readme

Both = tuple[ServerProcess, ServerProcess]
Python = Callable[[str], str]


@pytest.mark.parametrize(
    ("version", "pip"), [("2.7", "9.0.3"), ("2.7", "20.3.4"), ("3.8", "20.3.4"), ("3.8", "23.0.1")]
)
def test_old_pip(
    version: str, pip: str, both: Both, clients: Clients, new_desk: NewDesk, python: Python
) -> None:
    """An old pip installs what fits its old Python, compiled code included, also offline."""
    found = []
    for server in both:
        desk = new_desk()
        words = (python(version), clients.old_pip(pip), "install", "-i", index_of(server))
        desk(*words, "--target", "target", "requests<2.28", "markupsafe<2")
        desk(
            *(python(version), "-c", "import requests, markupsafe._speedups"),
            PYTHONPATH=str(desk.folder / "target"),
        )
        found.append(_names(desk.folder / "target", "*-info"))

    assert found[0] == found[1]


def test_old_pip_downloads(both: Both, clients: Clients, new_desk: NewDesk, python: Python) -> None:
    """``pip download`` of pip 20.3 gets a source distribution, and the same one offline."""
    found = []
    for server in both:
        desk = new_desk()
        words = (python("3.8"), clients.old_pip("20.3.4"), "download", "-i", index_of(server))
        desk(*words, "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "six==1.16.0")
        found.append(_names(desk.folder, "*"))

    assert found == [{"six-1.16.0.tar.gz"}] * 2


def test_easy_install(both: Both, clients: Clients, new_desk: NewDesk, python: Python) -> None:
    """easy_install, set up as the README says, finds projects in any spelling, also offline."""
    command = clients("setuptools==51.*", "wheel", python=python("3.8")) / "easy_install"
    found = []
    for server in both:
        desk = new_desk()
        desk.write("~/.pydistutils.cfg", readme("[easy_install]", server))
        said = _easy_install(desk, [command, "-N"], "Flask_Login==0.6.0", "MarkupSafe<2")
        assert server.url in said
        found.append(_names(desk.folder / "eggs", "*.egg"))

    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_easy_install_as_a_command_of_setup(
    both: Both, clients: Clients, new_desk: NewDesk, python: Python
) -> None:
    """setuptools that lost the script still has ``setup.py easy_install -i URL``."""
    interpreter = clients("setuptools==58.*", "wheel", python=python("3.8")) / "python"
    for server in both:
        desk = new_desk()
        desk.write("setup.py", "from setuptools import setup\nsetup()\n")
        words = [interpreter, "setup.py", "easy_install", "-i", index_of(server)]
        _easy_install(desk, words, "zope.interface<6", "six")

        assert len(_names(desk.folder / "eggs", "*.egg")) == 2


def test_easy_install_is_told_no(
    live: ServerProcess, clients: Clients, desk: Desk, python: Python
) -> None:
    """A project that upstream does not have ends in easy_install's own words for that."""
    command = clients("setuptools==51.*", "wheel", python=python("3.8")) / "easy_install"
    desk.write("~/.pydistutils.cfg", readme("[easy_install]", live))
    failed = desk.attempt(command, "no-such-project-here-at-all")

    assert failed.returncode == 1
    assert "Could not find suitable distribution" in failed.stderr


def test_buildout(both: Both, clients: Clients, new_desk: NewDesk) -> None:
    """zc.buildout, set up as the README says, builds an interpreter with eggs, also offline."""
    command = clients("zc.buildout") / "buildout"
    found = []
    for server in both:
        desk = new_desk()
        desk.write("~/.buildout/default.cfg", readme("[buildout]", server))
        desk.write(
            "buildout.cfg",
            "[buildout]\nparts = app\n\n"
            "[app]\nrecipe = zc.recipe.egg\neggs =\n    MarkupSafe\n    idna\n"
            "interpreter = py\n",
        )
        desk(command)
        desk(desk.folder / "bin" / "py", "-c", "import idna, markupsafe._speedups")
        found.append(_names(desk.folder / "eggs", "**/*.egg"))

    assert found[0] == found[1]
    assert len(found[0]) >= 3


def _easy_install(desk: Desk, command: list[str | Path], *requirements: str) -> str:
    eggs = desk.folder / "eggs"
    eggs.mkdir()
    return desk(*command, "-d", eggs, *requirements, PYTHONPATH=str(eggs))


def _names(folder: Path, pattern: str) -> set[str]:
    return {path.name for path in folder.glob(pattern)}
