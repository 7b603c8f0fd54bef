"""The README of pypiserver 1.2.0, walked through: every command, in its order.

The clients are today's, but for the oldest setuptools that Python 3.11 still runs,
and an old pip, which still searches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from foldering import hrefs
from server import Http, until
from upstream import Upstream, artefacts

from devpi_server import __version__

from .clients import TOOLS, UV, Clients, Desk, Shell, free_port, is_served

_OLD_SETUPTOOLS = ("setuptools==41.1.0", "wheel==0.37.*")
_SETUP = """\
from setuptools import setup

setup(
    name="foo",
    version="1",
    author="Alice",
    author_email="email@domain.tld",
    url="http://foo.example",
    py_modules=["foo"],
)
"""
# What is taken for PyPI is at this address.
_DIRECT = "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1;"
_PYPIRC = """\
[distutils]
index-servers =
  pypi
  local

[pypi]
username:nobody
password:nothing

[local]
repository: http://localhost:{port}
username: someone
password: secret
"""

_PASTE = """\
[composite:main]
use = egg:Paste#urlmap
/unstable/ = unstable
/ = stable

[app:stable]
use = egg:devpi-server#pypiserver
root = ~/stable-packages
redirect_to_fallback = off

[app:unstable]
use = egg:devpi-server#pypiserver
root = ~/stable-packages
   ~/unstable-packages
redirect_to_fallback = off
"""
_ASK = """\
import os
from wsgiref.util import setup_testing_defaults
from paste.deploy import loadapp

app = loadapp("config:paste.ini", relative_to=os.getcwd())
for path in ("", "/unstable"):
    for name in ("stable", "unstable"):
        environ = {"SCRIPT_NAME": "", "PATH_INFO": f"{path}/simple/{name}/"}
        setup_testing_defaults(environ)
        said = []
        b"".join(app(environ, lambda status, headers, *rest: said.append(status)))
        print(f"{path}/simple/{name}/", said[0][:3])
"""


@pytest.fixture(scope="module")
def pypi() -> Iterator[Upstream]:
    """What the server takes for PyPI."""
    with Upstream() as up:
        up.release("theirs", "1.0")
        up.release("mirrored", "1.1")
        yield up


@contextmanager
def running(shell: Shell, line: str, port: int) -> Iterator[Http]:
    """A server in the background of a shell, until it is ended."""
    pid = shell(f"{line} > server.log 2>&1 & echo $!").strip()
    try:
        until(lambda: is_served(port))
        yield Http(f"http://localhost:{port}/")
    finally:
        shell(f"kill {pid}")
        until(lambda: not is_served(port))


def test_the_readme_of_pypiserver(
    pypi: Upstream,
    program: Path,
    clients: Clients,
    new_desk: Callable[[], Desk],
    python: Callable[[str], str],
    need: Callable[[str], str],
) -> None:
    need("htpasswd")
    index = pypi.simple_url
    machine, client = new_desk(), new_desk()
    shell = Shell(machine, program.parent)
    packages = machine.home / "packages"
    port = free_port()

    # Quickstart
    assert shell("pypi-server --version").strip() == __version__
    shell("mkdir ~/packages")
    wheel = artefacts.wheel("copied", "1.0")
    with running(shell, f"pypi-server -p {port} --fallback-url {index} ~/packages", port) as server:
        (packages / wheel.filename).write_bytes(wheel.data)  # as scp does
        _install(Shell(client, clients.pip().parent), port, index)
        old_pip = (python("3.8"), clients.old_pip("20.3.4"))
        found = client(*old_pip, "search", "--index", f"http://localhost:{port}/simple/", "copied")
        assert re.match(r"copied \(1\.0\)", found)
        assert server("/simple/copied/").status == 200

    # Uploading packages from sources, remotely
    shell("htpasswd -sbc htpasswd.txt someone secret")
    line = f"pypi-server -p {port} -P htpasswd.txt --fallback-url {index} ~/packages"
    with running(shell, line, port) as server:
        client.write("~/.pypirc", _PYPIRC.format(port=port))
        _upload(Shell(client, clients(*_OLD_SETUPTOOLS, python=python("3.11"))))
        assert (packages / "foo-1.zip").is_file()
        _publish(Shell(client, clients(*TOOLS)), server)
        # User/password pairs can later be added or updated on the fly.
        for options in ("-m", "-B", "-2", "-5", "-d", "-s", "-p"):
            shell(f"htpasswd -b {options} htpasswd.txt user{options} pass{options}")
            pypirc = _PYPIRC.format(port=port).replace("someone", f"user{options}")
            client.write("~/.pypirc", pypirc.replace("secret", f"pass{options}"))
            said = Shell(client, clients(*TOOLS)).refused("twine upload -r local foo-1.zip")
            assert "400 Bad Request" in said  # it is there: somebody known has asked
        client.write("~/.pypirc", _PYPIRC.format(port=port).replace("secret", "wrong"))
        assert "401" in Shell(client, clients(*TOOLS)).refused("twine upload -r local foo-1.zip")

    _password_protect(shell, packages, port, index)
    _manage_the_directory(shell, packages, index)


def _install(shell: Shell, port: int, index: str) -> None:
    """Client-side configurations: the command line, the environment, the files."""
    at = f"http://localhost:{port}/simple/"
    command = f"pip install --no-cache-dir --index-url {index}"
    shell(f"{_DIRECT} {command} --extra-index-url {at} --target one copied theirs")
    shell(f"{_DIRECT} export PIP_EXTRA_INDEX_URL={at}; {command} --target two copied theirs")
    shell.desk.write("pip.conf", f"[global]\nextra-index-url = {at}\n")
    shell(f"{_DIRECT} PIP_CONFIG_FILE=pip.conf {command} --target three copied")
    # What the server does not have, it sends clients elsewhere for; also without "simple".
    shell(f"{_DIRECT} pip install --index-url {at} --target four copied theirs")
    shell(f"pip install --index-url http://localhost:{port}/ --target five copied")
    shell(f"{UV} pip install --no-config --index-url {at} --target six copied")
    for target in ("one", "two", "three", "four", "five", "six"):
        assert list((shell.desk.folder / target).glob("copied*")), target


def _upload(shell: Shell) -> None:
    """``setup.py upload``, alone and after ``register``."""
    shell.desk.write("setup.py", _SETUP)
    shell.desk.write("foo.py", "answer = 42\n")
    said = shell("python setup.py sdist upload -r local")
    assert "Server response (200): OK" in said
    said = shell("python setup.py register -r local bdist_wheel upload -r local")
    assert said.count("Server response (200): OK") == 2
    said = shell.refused("python setup.py sdist upload -r local")
    assert "Upload failed (409): Conflict" in said
    shell("python setup.py sdist --formats=zip upload -r local && cp dist/foo-1.zip .")


def _publish(shell: Shell, server: Http) -> None:
    """twine, with a signature."""
    wheel = artefacts.wheel("bar", "1.0")
    (shell.desk.folder / wheel.filename).write_bytes(wheel.data)
    shell.desk.write(f"{wheel.filename}.asc", "-----BEGIN PGP SIGNATURE-----\n")
    shell(f"twine upload -r local {wheel.filename} {wheel.filename}.asc")
    assert server(f"/packages/{wheel.filename}.asc").body == b"-----BEGIN PGP SIGNATURE-----\n"
    assert len(hrefs(server("/simple/bar/").body)) == 1
    said = shell.refused(f"twine upload --verbose -r local {wheel.filename}")
    assert "400 Bad Request" in said
    assert "already exists" in said


def _password_protect(shell: Shell, packages: Path, port: int, index: str) -> None:
    """Detailed usage, and the lines for systemd and supervisor, with its slip of the pen."""
    common = f"-p {port} --fallback-url {index}"
    line = f"pypi-server {common} -a update,download --log-file my.log --P htpasswd.txt {packages}"
    with running(shell, line, port) as server:
        assert server("/simple/").status == 200
        assert server("/packages/foo-1.zip").status == 401
        assert (shell.desk.folder / "my.log").exists()
    with running(shell, f"pypi-server {common} -P . -a . -o -r {packages}", port) as server:
        assert server("/packages/foo-1.zip").status == 200


def _manage_the_directory(shell: Shell, packages: Path, index: str) -> None:
    """``-U`` and ``-Ux``."""
    (packages / "mirrored-1.0.tar.gz").write_bytes(b"x")
    said = shell(f"{_DIRECT} pypi-server -U --fallback-url {index}")
    assert re.search(r"\Achecking \d packages for newer version\n\n[.ue]+\n\n", said)
    assert "# update mirrored from 1.0 to 1.1\npip -q " in said
    shell(f"{_DIRECT} pypi-server -Ux --fallback-url {index}")
    assert list(packages.glob("mirrored-1.1*"))


def test_the_applications_of_the_readme(
    program: Path, new_desk: Callable[[], Desk], clients: Clients
) -> None:
    """gunicorn with four processes, each with the folders of its own command line."""
    desk = new_desk()
    port = free_port()
    for name in ("packages", "experimental"):
        wheel = artefacts.wheel(name, "1.0")
        (desk.home / name).mkdir()
        (desk.home / name / wheel.filename).write_bytes(wheel.data)
    gunicorn = clients("gunicorn==23.*") / "gunicorn"
    site = next((program.parent.parent / "lib").glob("python*/site-packages"))
    roots = f'["{desk.home}/packages", "{desk.home}/experimental"]'
    shell = Shell(desk)
    line = (
        f"PYTHONPATH={site} {gunicorn} -w4 -b localhost:{port} "
        f"""'devpi_server.pypiserver:app(root={roots}, redirect_to_fallback=False)'"""
    )
    with running(shell, line, port) as server:
        for _ in range(12):
            assert hrefs(server("/simple/").body) == ["experimental/", "packages/"]
        assert server("/simple/missing/").status == 404


def test_the_paste_file_of_the_readme(
    program: Path, new_desk: Callable[[], Desk], clients: Clients
) -> None:
    """Stable and unstable packages on different paths, of one process."""
    desk = new_desk()
    for name in ("stable", "unstable"):
        wheel = artefacts.wheel(name, "1.0")
        (desk.home / f"{name}-packages").mkdir()
        (desk.home / f"{name}-packages" / wheel.filename).write_bytes(wheel.data)
    desk.write("paste.ini", _PASTE)
    desk.write("ask.py", _ASK)
    site = next((program.parent.parent / "lib").glob("python*/site-packages"))
    python = clients("PasteDeploy", "Paste", "setuptools<81") / "python"

    assert desk(python, "-W", "ignore", "ask.py", PYTHONPATH=str(site)).splitlines() == [
        "/simple/stable/ 200",
        "/simple/unstable/ 404",
        "/unstable/simple/stable/ 200",
        "/unstable/simple/unstable/ 200",
    ]
