"""What the README says is what the program does."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from devpi_server.cli import audit, prefetch, pypicache, token
from devpi_server.cli.command import Command
from devpi_server.mirror_settings import WORDS as MIRROR_WORDS
from devpi_server.mirror_settings import Word
from devpi_server.pypiserver_options import ROOT as ROOT_OF_OLD
from devpi_server.pypiserver_options import WORDS as PYPI_SERVER
from devpi_server.pypiserver_options import Word as PypiServerWord
from devpi_server.services import index_words
from devpi_server.settings import OPTIONS, Option

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text()
WORDS = " ".join(README.split())
PROJECT = (ROOT / "pyproject.toml").read_text()
SCRIPTS = dict(re.findall(r'^([a-z-]+) = "(devpi_server\..*)"$', PROJECT, re.MULTILINE))


def commands() -> Iterator[Command]:
    """All commands but the server itself."""
    for entry in SCRIPTS.values():
        module, _, name = entry.partition(":")
        found = getattr(import_module(module), name)
        if isinstance(found, Command):
            yield found
    yield audit.main
    yield prefetch.main
    yield from token.COMMANDS.values()


def own_words(command: Command) -> Iterator[argparse.Action]:
    """What the others and the server do not have."""
    parser = command.parser()
    of_all = {"--help", "--json", "--version"}
    server = next(
        group for group in parser._action_groups if group.title and "server" in group.title
    )
    for action in parser._actions:
        if action not in server._group_actions and not of_all & {*action.option_strings}:
            yield action


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_readme_has_every_option_with_its_default(option: Option) -> None:
    flags = ", ".join(f"{flag} {option.metavar}".strip() for flag in option.flags)

    assert f"{flags} {option.description}" in WORDS


@pytest.mark.parametrize("word", MIRROR_WORDS, ids=lambda word: word.name)
def test_the_readme_has_every_word_of_a_mirror_with_its_default(word: Word) -> None:
    assert f"``{word.name}`` {word.description}" in WORDS


def test_the_readme_has_no_word_of_a_mirror_that_is_not_there() -> None:
    words = {word.name for word in MIRROR_WORDS} | set(index_words.words("stage"))

    assert set(re.findall(r"\bmirror_\w+", README)) <= words


@pytest.mark.parametrize("word", index_words.words("stage"))
def test_the_readme_has_every_option_of_an_index(word: str) -> None:
    assert f"``{word}``" in README


def test_the_readme_has_no_acl_that_is_not_there() -> None:
    assert set(re.findall(r"\bacl_\w+", README)) <= set(index_words.words("stage"))


def test_the_readme_has_no_option_that_is_not_there() -> None:
    flags = {flag for option in OPTIONS for flag in option.flags}
    listed = re.findall(r"^(--?[a-z]\S*)(?: [A-Z]+, (-\S+))?", README, re.MULTILINE)

    assert {flag for row in listed for flag in row if flag} <= flags | {"--version", "--help"}


def test_the_readme_has_every_command() -> None:
    assert SCRIPTS
    for command in SCRIPTS:
        assert f"/{command}" in README or f"``{command}``" in README


@pytest.mark.parametrize("command", list(commands()), ids=lambda command: command.name)
def test_the_readme_has_every_word_of_a_command(command: Command) -> None:
    found = re.search(rf"^``{command.name}[^`]*``\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    assert found is not None
    section = " ".join(found[1].split())

    for action in own_words(command):
        words = " ".join([*action.option_strings, str(action.metavar or "")]).strip()
        assert f"{words} {action.help}" in section


@pytest.mark.parametrize("word", [*PYPI_SERVER, ROOT_OF_OLD], ids=lambda word: word.flags[-1])
def test_the_readme_has_every_option_of_pypi_server(word: PypiServerWord) -> None:
    flags = ", ".join(f"{flag} {word.metavar}".strip() for flag in word.flags)

    assert f"{flags} {word.description}" in WORDS


def test_the_readme_has_every_word_of_pypicache() -> None:
    section = re.search(
        r"^``python -m devpi_server.pypicache``\n((?:    .*\n|\n)+)", README, re.MULTILINE
    )
    assert section is not None
    listed = " ".join(section[1].split())

    for action in pypicache.parser()._actions:
        if not {"--help", "--version"} & {*action.option_strings}:
            flags = ", ".join(action.option_strings)
            told = (action.help or "").replace("%(default)s", str(action.default))
            assert " ".join(filter(None, (flags, action.metavar, told))) in listed


def test_ci_calls_the_command_of_the_readme() -> None:
    commands = re.findall(r"^    (python3 -m venv .*tox)$", README, re.MULTILINE)
    called = re.findall(r"^\((.*)\) 2>&1", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert len(commands) == 1
    assert called == commands
