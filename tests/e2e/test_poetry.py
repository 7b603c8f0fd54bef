"""Poetry, through a server in front of the real PyPI and again with nothing behind it."""

from __future__ import annotations

from server import ServerProcess

from .clients import Clients, NewDesk, addresses, index_of, installed, readme

_PROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.10,<4"
dependencies = ["httpx[http2]", "markupsafe"]

[tool.poetry]
package-mode = false
"""


def test_lock_and_install(
    live: ServerProcess, offline: ServerProcess, clients: Clients, new_desk: NewDesk
) -> None:
    """Poetry locks and installs, cold, hot and offline, from the source that the README adds."""
    found = []
    for server in (live, live, offline):
        desk = new_desk()
        poetry = str(clients("poetry") / "poetry")
        desk.write("pyproject.toml", _PROJECT)
        desk(poetry, *readme("poetry source add", server).split()[1:])
        desk(poetry, "lock")
        desk(poetry, "install")
        desk(".venv/bin/python", "-c", "import h2, httpx, markupsafe._speedups")
        found.append(installed(desk, ".venv"))

        sources = addresses(desk.folder / "poetry.lock")
        assert len(sources) >= 10
        assert set(sources) == {index_of(server).rstrip("/")}

    assert found[0] == found[1] == found[2]
