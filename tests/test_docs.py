"""What the README says is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devpi_server.mirror_settings import WORDS as MIRROR_WORDS
from devpi_server.mirror_settings import Word
from devpi_server.settings import OPTIONS, Option

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text()
WORDS = " ".join(README.split())


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_readme_has_every_option_with_its_default(option: Option) -> None:
    flags = ", ".join(f"{flag} {option.metavar}".strip() for flag in option.flags)

    assert f"{flags} {option.description}" in WORDS


@pytest.mark.parametrize("word", MIRROR_WORDS, ids=lambda word: word.name)
def test_the_readme_has_every_word_of_a_mirror_with_its_default(word: Word) -> None:
    assert f"``{word.name}`` {word.description}" in WORDS


def test_the_readme_has_no_word_of_a_mirror_that_is_not_there() -> None:
    assert set(re.findall(r"\bmirror_\w+", README)) <= {word.name for word in MIRROR_WORDS}


def test_the_readme_has_no_option_that_is_not_there() -> None:
    flags = {flag for option in OPTIONS for flag in option.flags}
    listed = re.findall(r"^(--?[a-z]\S*)(?: [A-Z]+, (-\S+))?", README, re.MULTILINE)

    assert {flag for row in listed for flag in row if flag} <= flags | {"--version", "--help"}


def test_the_readme_has_every_command() -> None:
    section = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1].split("\n[")[0]
    commands = [line.split("=")[0].strip() for line in section.splitlines() if "=" in line]

    assert commands
    for command in commands:
        assert f"/{command}" in README or f"``{command}``" in README


def test_ci_calls_the_command_of_the_readme() -> None:
    commands = re.findall(r"^    (python3 -m venv .*tox)$", README, re.MULTILINE)
    called = re.findall(r"^\((.*)\) 2>&1", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)

    assert len(commands) == 1
    assert called == commands
