"""Whatever a file of requirements or a lock has in it: pins, lines and faults, and no error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devpi_server import names
from devpi_server.services.prefetch import locks, requirements
from devpi_server.services.prefetch.files import Asked
from devpi_server.services.prefetch.requirements import Nothing

LOCKS = ("pylock.toml", "uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")
WORDS = (
    *("name", "version", "marker", "markers", "files", "file", "hash", "hashes", "url", "sdist"),
    *("wheels", "source", "type", "registry", "git", "path", "dependencies", "extra"),
)
TEXTS = st.text(max_size=20) | st.sampled_from(
    ("demo", "1.0", "==1", "a-1.tar.gz", "../x", "sha256:" + "a" * 64, "os_name == 'nt'", "legacy")
)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=12,
)
RELEASES = st.lists(
    st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=8) | VALUES, max_size=4
)


def is_sound(asked: Asked) -> bool:
    return (
        all(names.is_normalized(pin.project) and pin.version for pin in asked.pins)
        and all(names.is_file_name(file) for pin in asked.pins for file in pin.files)
        and all(fault.text.isprintable() and fault.reason for fault in asked.faults)
    )


@given(st.sampled_from(LOCKS), st.binary(max_size=300))
def test_any_bytes_are_a_lock_or_told(name: str, data: bytes) -> None:
    assert is_sound(locks.read(name, data))


@given(st.sampled_from(LOCKS), RELEASES)
def test_any_releases_are_pins_or_told(name: str, releases: list[Any]) -> None:
    if name == "Pipfile.lock":
        of_name = {str(number): each for number, each in enumerate(releases)}
        data = json.dumps({"default": of_name, "develop": releases})
    else:
        head = 'lock-version = "1.0"\n' if name == "pylock.toml" else "version = 1\n"
        word = "packages" if name == "pylock.toml" else "package"
        data = f"{head}{word} = {toml(releases)}\n"

    assert is_sound(locks.read(name, data.encode("utf-8", "replace")))


@given(
    st.lists(
        st.text(max_size=60)
        | st.tuples(
            st.sampled_from(("-r", "-c", "-e ", "--hash=", "demo", "demo @ ", "--no-binary ", "")),
            st.text(max_size=30),
        ).map("".join),
        max_size=8,
    )
)
def test_any_lines_are_requirements_or_told(lines: list[str]) -> None:
    data = "\n".join(lines).encode("utf-8", "replace")
    asked = requirements.read("requirements.txt", data, Nothing())

    assert is_sound(asked)
    assert not asked.folders
    for option in asked.options:
        assert option.split("=")[0] in ("--no-binary", "--only-binary", "--pre", "--prefer-binary")
    for line in asked.lines:
        assert line.requirement.url is None


def toml(value: object) -> str:
    """The value in TOML, on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(each)}' for key, each in value.items())}}}"
    return json.dumps("" if value is None else value)
