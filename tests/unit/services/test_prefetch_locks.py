"""Lock files of five tools, sound and hostile, as pins."""

from __future__ import annotations

import json

import pytest

from devpi_server.services.prefetch import locks
from devpi_server.services.prefetch.files import MOST_LINES, Asked, Pin

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
FILES = {"demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"}

PYLOCK = f"""\
lock-version = "1.0"
created-by = "somebody"
[[packages]]
name = "Demo"
version = "1.0"
marker = "sys_platform == 'win32'"
index = "http://index.example/simple"
sdist = {{ name = "demo-1.0.tar.gz", url = "http://x/1", hashes = {{ sha256 = "{"a" * 64}" }} }}
wheels = [{{ url = "http://x/demo-1.0-py3-none-any.whl#z", hashes = {{ sha256 = "{"B" * 64}" }} }}]
[[packages]]
name = "app"
directory = {{ path = "." }}
[[packages]]
name = "fork"
version = "2.0"
vcs = {{ type = "git", url = "http://git.example/fork", commit-id = "abc" }}
[[packages]]
name = "zipped"
archive = {{ url = "http://x/zipped.zip", hashes = {{ sha256 = "{"a" * 64}" }} }}
"""
UV = f"""\
version = 1
revision = 3
requires-python = ">=3.11"
[[package]]
name = "demo"
version = "1.0"
source = {{ registry = "http://index.example/simple" }}
sdist = {{ url = "http://elsewhere.example/demo-1.0.tar.gz", hash = "{A}", size = 1 }}
wheels = [{{ url = "http://elsewhere.example/a%2Fb/demo-1.0-py3-none-any.whl", hash = "{B}" }}]
[[package]]
name = "app"
source = {{ editable = "." }}
dependencies = [{{ name = "demo", marker = "sys_platform == 'win32'" }}, {{ name = "fork" }}]
[[package]]
name = "fork"
version = "2.0"
source = {{ git = "http://git.example/fork?rev=1#abc" }}
[[package]]
name = "zipped"
version = "1"
source = {{ url = "http://x/zipped.zip" }}
"""
POETRY = f"""\
[[package]]
name = "Demo"
version = "1.0"
optional = false
markers = "sys_platform == 'win32'"
groups = ["main"]
files = [
    {{file = "demo-1.0-py3-none-any.whl", hash = "{A}"}},
    {{file = "demo-1.0.tar.gz", hash = "{B}"}},
]
[package.source]
type = "legacy"
url = "http://index.example/simple"
[[package]]
name = "fork"
version = "2.0"
files = []
[package.source]
type = "git"
url = "http://git.example/fork"
[[package]]
name = "zipped"
version = "1"
[package.source]
type = "url"
url = "http://x/zipped.zip"
[metadata]
lock-version = "2.1"
"""
PDM = f"""\
[metadata]
lock_version = "4.5.0"
[[package]]
name = "demo"
version = "1.0"
marker = "sys_platform == 'win32'"
files = [
    {{file = "demo-1.0-py3-none-any.whl", hash = "{A}"}},
    {{url = "http://x/demo-1.0.tar.gz", hash = "{B}"}},
]
[[package]]
name = "demo"
version = "1.0"
extras = ["test"]
marker = "sys_platform == 'win32'"
files = [
    {{file = "demo-1.0-py3-none-any.whl", hash = "{A}"}},
    {{url = "http://x/demo-1.0.tar.gz", hash = "{B}"}},
]
[[package]]
name = "app"
version = "0"
path = "."
editable = true
[[package]]
name = "fork"
version = "2.0"
git = "http://git.example/fork"
[[package]]
name = "zipped"
version = "1"
url = "http://x/zipped.zip"
"""
PIPFILE = json.dumps(
    {
        "_meta": {"sources": [{"url": "http://index.example"}]},
        "default": {
            "demo": {"version": "==1.0", "hashes": [A, B], "markers": "sys_platform == 'win32'"},
            "app": {"path": ".", "editable": True},
        },
        "develop": {
            "fork": {"git": "http://git.example/fork", "ref": "abc"},
            "zipped": {"file": "http://x/zipped.zip"},
        },
    }
)
LOCKS = {
    "pylock.toml": PYLOCK,
    "uv.lock": UV,
    "poetry.lock": POETRY,
    "pdm.lock": PDM,
    "Pipfile.lock": PIPFILE,
}


def read(name: str, text: str) -> Asked:
    return locks.read(name, text.encode())


@pytest.mark.parametrize("name", LOCKS)
def test_a_release_of_an_index_is_pinned_with_its_files_and_hashes(name: str) -> None:
    (pin,) = read(name, LOCKS[name]).pins

    assert (pin.project, pin.version, pin.hashes) == ("demo", "1.0", {A, B})
    assert pin.files == (set() if name == "Pipfile.lock" else FILES)
    assert [str(marker) for marker in pin.markers] == ['sys_platform == "win32"']


@pytest.mark.parametrize("name", LOCKS)
def test_what_comes_from_elsewhere_is_told_and_what_is_the_users_own_is_not(name: str) -> None:
    fork, zipped = read(name, LOCKS[name]).faults

    assert "repository" in fork.reason
    assert fork.text.startswith("fork")
    assert ("URL" in zipped.reason) or ("file" in zipped.reason)


@pytest.mark.parametrize("name", LOCKS)
def test_one_broken_release_does_not_hide_the_others(name: str) -> None:
    release = '[[package]]\nname = "../x"\nversion = "1"\n'
    broken = {
        "Pipfile.lock": PIPFILE.replace('"develop": {', '"develop": {"../x": {"version": "==1"}, '),
        "pylock.toml": PYLOCK + release.replace("package", "packages"),
        "uv.lock": UV + release + 'source = { registry = "http://i" }\n',
    }.get(name, LOCKS[name].replace("[metadata]", f"{release}[metadata]"))

    asked = read(name, broken)

    assert len(asked.pins) == 1
    assert [fault.reason for fault in asked.faults if fault.is_unreadable] == [
        "not a valid project name"
    ]


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize(
    "text",
    ["", "[", "{", "\0", "a = 1", "[]", "null", '"x"', "package = 3", "[package]\nname = 1",
     "[[package]]", "package = [1, 'x', [2]]", '{"default": [1], "develop": {"x": 3}}',
     "x = " + "[" * 5000, "[" * 5000, "version = " + "9" * 5000],
)  # fmt: skip
def test_nonsense_is_a_fault_or_nothing(name: str, text: str) -> None:
    asked = read(name, text)

    assert not asked.pins
    assert all(len(fault.reason) < 300 for fault in asked.faults)


def test_bytes_that_are_no_text_are_a_fault() -> None:
    (fault,) = locks.read("uv.lock", b"\xff\xfe\x00").faults

    assert fault.reason.startswith("it cannot be read")


def test_a_lock_without_end_is_refused_whole() -> None:
    many = "".join(
        f'[[package]]\nname = "p{number}"\nversion = "1"\n' for number in range(MOST_LINES + 1)
    )
    asked = read("poetry.lock", many)

    assert not asked.pins
    assert len(asked.faults) == 1


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "a\nb.whl", "", ".", "x" * 300, "demo-1.0\x00.whl"]
)
def test_a_file_name_that_is_none_is_no_wish(file: str) -> None:
    text = json.dumps(file)
    asked = read(
        "poetry.lock", f'[[package]]\nname = "a"\nversion = "1"\nfiles = [{{file = {text}}}]'
    )

    assert all(not pin.files for pin in asked.pins)


def test_of_several_that_need_a_release_of_uv_one_that_always_does_is_enough() -> None:
    edges = '{ name = "demo", marker = "sys_platform == \'win32\'" }'
    more = UV.replace(f"[{edges}", f'[{edges}, {{ name = "demo", version = "1.0" }}')

    assert [pin.markers for pin in read("uv.lock", more).pins] == [()]


def test_each_release_is_there_once() -> None:
    assert [type(each) for each in read("pdm.lock", PDM).pins] == [Pin]


@pytest.mark.parametrize("name", ["pylock.toml", "pylock.dev.toml", *LOCKS])
def test_locks_are_known_by_their_names(name: str) -> None:
    assert locks.is_lock(name)


@pytest.mark.parametrize("name", ["requirements.txt", "pylock.a.b.toml", "a.toml", "x.lock"])
def test_others_are_no_locks(name: str) -> None:
    assert not locks.is_lock(name)


def test_what_pipenv_has_not_locked_is_a_line() -> None:
    stated = {"markers": "sys_platform == 'win32'", "version": "*"}
    asked = read("Pipfile.lock", json.dumps({"default": {"colorama": stated, "a b": stated}}))

    assert [str(line.requirement) for line in asked.lines] == ['colorama; sys_platform == "win32"']
    assert len(asked.faults) == 1
    assert not asked.pins
