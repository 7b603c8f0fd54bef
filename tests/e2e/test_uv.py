"""uv, through a server in front of the real PyPI and again with nothing behind it."""

from __future__ import annotations

import json

from server import ServerProcess

from .clients import UV, Desk, NewDesk, addresses, index_of, installed, readme

Both = tuple[ServerProcess, ServerProcess]
_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["httpx[http2]", "sqlalchemy"]
"""


def test_compile(both: Both, new_desk: NewDesk) -> None:
    """``uv pip compile`` writes hashes, and ``uv pip sync`` installs by them, also offline."""
    live, _ = both
    compiled = new_desk()
    compiled.write("requirements.in", "httpx[http2]\nmarkupsafe\n")
    words = (UV, "pip", "compile", "--quiet", "--generate-hashes", "--output-file")
    index = ("--default-index", index_of(live))
    compiled(*words, "requirements.txt", *index, "requirements.in")
    requirements = (compiled.folder / "requirements.txt").read_text()
    assert "--hash=sha256:" in requirements

    for server in both:
        desk = new_desk()
        venv = desk.venv()
        desk.write("requirements.txt", requirements)
        desk(
            *(UV, "pip", "sync", "--python", venv / "python", "--require-hashes"),
            *("--default-index", index_of(server), "requirements.txt"),
        )
        assert {"httpx", "h2", "markupsafe"} <= set(installed(desk, venv / "python"))


def test_lock_and_sync(both: Both, new_desk: NewDesk) -> None:
    """uv resolves, locks and syncs, cold, hot and offline, set up as the README says."""
    live, offline = both
    found = []
    for server in (live, live, offline):
        desk = _project(new_desk(), server)
        desk(UV, "lock")
        desk(UV, "sync", "--locked")
        desk(".venv/bin/python", "-c", "import h2, httpx, sqlalchemy")
        found.append(installed(desk, desk.folder / ".venv/bin/python"))

        urls = addresses(desk.folder / "uv.lock")
        assert urls
        assert all(url.startswith(f"{server.url}root/pypi/+f/") for url in urls)

    assert found[0] == found[1] == found[2]


def test_lock_serves_offline(both: Both, new_desk: NewDesk) -> None:
    """A lock that was made online, with all files of all platforms, is enough offline."""
    live, offline = both
    first = _project(new_desk(), live, configured=False)
    first(UV, "sync")
    second = _project(new_desk(), offline, configured=False)
    lock = (first.folder / "uv.lock").read_text()
    second.write("uv.lock", lock.replace(live.url, offline.url))

    second(UV, "sync", "--frozen")

    assert installed(second, ".venv") == installed(first, ".venv")


def test_variable_as_in_the_readme(both: Both, new_desk: NewDesk) -> None:
    """``UV_DEFAULT_INDEX`` is enough for ``uv run --with``."""
    for server in both:
        url = index_of(server)
        said = new_desk()(
            *(UV, "run", "--no-project", "--with", "packaging", "python", "-c"),
            "import packaging.version, json; print(json.dumps(packaging.__name__))",
            UV_DEFAULT_INDEX=url,
        )
        assert json.loads(said) == "packaging"


def _project(desk: Desk, server: ServerProcess, *, configured: bool = True) -> Desk:
    """With the index in the user's own configuration, or else in the project."""
    index = readme("[[index]]", server)
    if configured:
        desk.write("~/.config/uv/uv.toml", index)
        desk.write("pyproject.toml", _PROJECT)
    else:
        desk.write("pyproject.toml", _PROJECT + index.replace("[[index]]", "[[tool.uv.index]]"))
    return desk
