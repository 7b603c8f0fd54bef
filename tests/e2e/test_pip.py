"""The newest pip, through a server in front of the real PyPI and again with nothing behind it."""

from __future__ import annotations

import json
import re

from server import ServerProcess

from .clients import Clients, Desk, NewDesk, addresses, index_of, installed, readme

Both = tuple[ServerProcess, ServerProcess]


def test_configured_as_in_the_readme(both: Both, clients: Clients, new_desk: NewDesk) -> None:
    """``pip config`` as the README has it is all that pip needs."""
    found = []
    for server in both:
        desk = new_desk()
        pip = clients.pip()
        venv = desk.venv()
        words = readme("pip config set", server).split()
        config = str(desk.home / "pip.conf")
        desk.write("~/pip.conf", "")
        desk(pip, *words[1:], PIP_CONFIG_FILE=config)
        desk(
            *(pip, "--python", venv / "python", "install", "requests", "markupsafe"),
            PIP_CONFIG_FILE=config,
        )
        desk(venv / "python", "-c", "import requests, markupsafe._speedups")
        found.append(installed(desk, venv / "python"))

    assert found[0] == found[1]


def test_download(both: Both, clients: Clients, new_desk: NewDesk) -> None:
    """``pip download`` gets wheels and source distributions, and the same ones offline."""
    found = []
    for server in both:
        desk = new_desk()
        pip = clients("pip", "setuptools") / "pip"
        download = (pip, "download", "--no-deps", "-i", index_of(server), "--dest", "files")
        desk(*download, "packaging", "markupsafe")
        desk(*download, "--no-binary", ":all:", "--no-build-isolation", "six")
        found.append({path.name: path.read_bytes() for path in (desk.folder / "files").iterdir()})

    assert found[0] == found[1]
    assert {name.rpartition(".")[2] for name in found[0]} == {"whl", "gz"}


def test_versions(both: Both, clients: Clients, desk: Desk) -> None:
    """``pip index versions`` lists what upstream has, and offline what is held."""
    live, offline = both
    desk(
        *(clients.pip(), "download", "--no-deps", "-i", index_of(live), "--dest", "files"),
        "iniconfig==2.0.0",
    )

    def versions(server: ServerProcess) -> list[str]:
        words = (clients.pip(), "index", "versions", "--json", "-i", index_of(server))
        listed: list[str] = json.loads(desk(*words, "iniconfig"))["versions"]
        return listed

    assert {"2.0.0", "1.1.1"} <= set(versions(live))
    # Other tests may have fetched others through the same server; nobody asks for that one.
    held = versions(offline)
    assert "2.0.0" in held
    assert "1.1.1" not in held


def test_hashes(both: Both, clients: Clients, new_desk: NewDesk) -> None:
    """pip accepts what is served where it is told the hashes, and they are upstream's."""
    requirements = ""
    for server in both:
        desk = new_desk()
        venv = desk.venv()
        install = (clients.pip(), "--python", venv / "python", "install", "-i", index_of(server))
        if not requirements:
            report = json.loads(
                desk(*install, "--quiet", "--dry-run", "--report", "-", "jinja2", "markupsafe")
            )
            requirements = "".join(
                f"{each['metadata']['name']}=={each['metadata']['version']} "
                f"--hash=sha256:{each['download_info']['archive_info']['hashes']['sha256']}\n"
                for each in report["install"]
            )
        desk.write("requirements.txt", requirements)
        desk(*install, "--require-hashes", "-r", "requirements.txt")

        assert {"jinja2", "markupsafe"} <= set(installed(desk, venv / "python"))


def test_lock(both: Both, clients: Clients, new_desk: NewDesk) -> None:
    """``pip lock`` names the server's files, and pip installs from the lock, also offline."""
    live, _ = both
    locker = new_desk()
    locker(clients.pip(), "lock", "-i", index_of(live), "jinja2")
    lock = locker.folder / "pylock.toml"
    assert addresses(lock)
    assert all(url.startswith(f"{live.url}root/pypi/+f/") for url in addresses(lock))

    for server in both:
        desk = new_desk()
        venv = desk.venv()
        desk.write("pylock.toml", lock.read_text().replace(live.url, server.url))
        install = (clients.pip(), "--python", venv / "python", "install")
        desk(*install, "-r", "pylock.toml")

        assert {"jinja2", "markupsafe"} <= set(installed(desk, venv / "python"))


def test_offline_says_no(offline: ServerProcess, clients: Clients, desk: Desk) -> None:
    """What is not held is not to be had offline, and pip says so within a second or two."""
    failed = desk.attempt(
        *(clients.pip(), "download", "-i", index_of(offline), "never-asked-for-before")
    )

    assert failed.returncode == 1
    assert re.search("No matching distribution found for never-asked-for-before", failed.stderr)
