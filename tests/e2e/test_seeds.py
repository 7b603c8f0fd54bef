"""Two documents of users of devpi, walked through: every command, in its order.

The clients are today's, but for the oldest setuptools that Python 3.11 still runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server import Http, ServerProcess, held, mirror_of, until
from upstream import Upstream

from devpi_server import __version__
from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

from .clients import TOOLS, Clients, Desk, Shell, free_port, is_served

# Older ones need modules that Python 3.11 does not have; newer ones do not upload.
_OLD_SETUPTOOLS = ("setuptools==41.1.0", "wheel==0.37.*")
_SETUP = """\
from setuptools import setup

setup(
    name="Acme_Tools",
    version="1.0",
    description="Tools of the company",
    author="Alice",
    author_email="email@domain.tld",
    url="http://acme.example",
    license="MIT",
    py_modules=["acme_tools"],
    install_requires=["demo"],
)
"""


@pytest.fixture(scope="module")
def pypi() -> Iterator[Upstream]:
    """What the servers take for PyPI."""
    with Upstream() as up:
        up.release("demo", "1.0")
        yield up


@pytest.fixture
def people(tmp_path: Path) -> Callable[[str], Desk]:
    """Makes the machine of somebody, whose pip is configured by its files."""
    return lambda name: Desk(tmp_path / name, pip_is_configured=True)


def test_the_article_of_2016(
    pypi: Upstream,
    program: Path,
    clients: Clients,
    nginx: Callable[..., int],
    people: Callable[[str], Desk],
    need: Callable[[str], str],
) -> None:
    """“Setting up a DevPi server”: supervisor, nginx, root, a user, ``pip install Django``."""
    need("curl")
    django = pypi.release("Django", "1.8.3").data
    machine = people("machine")
    www, etc = machine.folder / "srv", machine.folder.parents[1] / "etc"  # a short path
    port = free_port()
    shell = Shell(machine, clients(*TOOLS), program.parent)

    shell(f"mkdir -p {www}/devpi/ && mkdir {www}/devpi/data/")
    machine.folder = www / "devpi"
    assert shell("devpi-server --version").splitlines()[-1] == __version__
    shell(f"export DEVPISERVER_MIRROR_URL={pypi.simple_url}; "
          f"devpi-server --port {port} --serverdir ./data/ --gen-config")  # fmt: skip

    (etc / "supervisor/conf.d").mkdir(parents=True)
    (etc / "supervisor/supervisord.conf").write_text(
        (machine.folder / "gen-config/supervisord.conf")
        .read_text()
        .replace("files = supervisor-devpi.conf", "files = conf.d/*.conf")
    )
    config = machine.folder / "gen-config"
    shell(f"ln -s {config}/supervisor-devpi.conf {etc}/supervisor/conf.d/99-devpi.conf")
    shell(f"NO_PROXY=127.0.0.1 no_proxy=127.0.0.1 "
          f"supervisord -c {etc}/supervisor/supervisord.conf")  # fmt: skip
    try:
        until(lambda: is_served(port))
        site = (config / "nginx-devpi.conf").read_text()
        at = f"http://localhost:{nginx(site.replace('devpi.localhost', 'localhost'))}"
        _the_article_goes_on(at, Shell(machine, clients(*TOOLS)))
        assert hashlib.sha256(django).hexdigest() in held(www / "devpi/data")
    finally:
        shell(f"supervisorctl -c {etc}/supervisor/supervisord.conf shutdown")
        until(lambda: not is_served(port))


def _the_article_goes_on(at: str, shell: Shell) -> None:
    """Where the server runs behind nginx."""
    listed = json.loads(shell(f"curl -sS {at}"))
    assert listed["type"] == "list:userconfig"
    root = listed["result"]["root"]
    assert root["username"] == "root"
    assert root["indexes"]["pypi"]["type"] == "mirror"
    assert root["indexes"]["pypi"]["volatile"] is False

    said = shell(f"devpi use {at}")
    assert f"using server: {at}/ (not logged in)" in said
    assert "no current index: type 'devpi use -l' to discover indices" in said
    assert "pip.conf: no config file exists" in said
    assert "always-set-cfg: no" in said
    said = shell("devpi login root --password ''")
    assert "logged in 'root', credentials valid for 10.00 hours" in said
    assert "user modified: root" in shell("devpi user -m root password=verysecurepassword")
    assert "login information deleted" in shell("devpi logoff")
    said = shell("devpi user -c jonathan password=verysecurepassword email=jon@wearefarm.com")
    assert "user created: jonathan" in said

    said = shell("devpi login jonathan", typed="verysecurepassword\n")
    assert "password for user jonathan" in said
    assert "logged in 'jonathan', credentials valid for 10.00 hours" in said
    said = shell("devpi use --set-cfg root/pypi")
    index = f"{at}/root/pypi/+simple/"
    assert f"current devpi index: {at}/root/pypi (logged in as jonathan)" in said
    assert f"pip.conf: {index}" in said

    shell("mkdir devpi-test && cd devpi-test && virtualenv --quiet env")
    said = shell(
        "cd devpi-test && source env/bin/activate && "
        "pip install --trusted-host pypi.frm.io Django==1.8.3"
    )
    assert f"Looking in indexes: {index}" in said
    assert "Successfully installed Django-1.8.3" in said


@pytest.fixture
def lb(
    pypi: Upstream, tmp_path: Path, nginx: Callable[..., int]
) -> Iterator[tuple[str, ServerProcess]]:
    """The load balancer: nginx in front of a server, which has just been started."""
    options = mirror_of(pypi, tmp_path / "devpi_packages", "--trusted-proxy=127.0.0.1")
    with ServerProcess(*options, log=tmp_path / "log") as server:
        words = ["--gen-config", "--host=127.0.0.1", f"--port={server.port}"]
        site = render.nginx(Plan(read(words, {}), given(words, {})), None)
        yield f"http://localhost:{nginx(site)}", server


def test_the_readme_of_docker_compose(
    lb: tuple[str, ServerProcess],
    clients: Clients,
    people: Callable[[str], Desk],
    python: Callable[[str], str],
) -> None:
    """The company's index: root makes it, its users upload with setuptools and install by pip."""
    at, server = lb
    admin = Shell(people("admin"), clients(*TOOLS))
    _configure_root(at, admin)
    _manage_users(at, admin)
    _create_the_index(at, admin)
    _give_permissions(at, admin)
    bob = Shell(people("bob"), clients(*TOOLS))
    _generate_files(at, bob)

    alice = people("alice")
    _write_files(at, alice)
    _download(at, Shell(alice, clients.pip().parent))
    old = clients(*_OLD_SETUPTOOLS, python=python("3.11"))
    _upload(at, server, Shell(alice, old))
    _install_what_was_uploaded(at, Shell(people("carol"), clients(*TOOLS), clients.pip().parent))
    _non_volatile(Shell(alice, old), bob, admin)


def _configure_root(at: str, shell: Shell) -> None:
    assert f"using server: {at}/ (not logged in)" in shell(f"devpi use {at}")
    assert "logged in 'root'" in shell("devpi login root --password ''")
    assert "user modified: root" in shell("devpi user -m root password=123")


def _manage_users(at: str, shell: Shell) -> None:
    for name in ("alice", "bob", "mallory"):
        said = shell(f"devpi user -c {name} email=email@domain.tld password=1234")
        assert f"user created: {name}" in said
    described = json.loads(shell("devpi getjson /alice"))
    assert described["type"] == "userconfig"
    assert described["result"]["username"] == "alice"
    assert described["result"]["email"] == "email@domain.tld"
    assert "pwhash" not in described["result"]
    said = shell("devpi user mallory -y --delete")
    assert f"About to remove: {at}/mallory" in said
    assert "user deleted: mallory" in said
    assert "404" in shell.refused("devpi getjson /mallory")


def _create_the_index(at: str, shell: Shell) -> None:
    said = shell("devpi index -c acme bases=root/pypi volatile=False")
    assert f"{at}/root/acme?no_projects=:" in said
    assert "  type=stage\n  bases=root/pypi\n  volatile=False\n  acl_upload=root\n" in said
    described = json.loads(shell("devpi getjson /root/acme"))["result"]
    assert (described["volatile"], described["bases"]) == (False, ["root/pypi"])
    assert Http(f"{at}/")("/root/acme", {"Accept": "text/html"}).status in (200, 302)


def _give_permissions(at: str, shell: Shell) -> None:
    assert "  acl_upload=root\n" in shell("devpi index root/acme")
    said = shell("devpi index /root/acme acl_upload=alice,bob")
    assert "/root/acme acl_upload=alice,bob" in said
    assert "  acl_upload=alice,bob\n" in said


def _generate_files(at: str, shell: Shell) -> None:
    """With devpi-client: what is then in the files is what the document writes into them."""
    shell(f"devpi use {at}")
    shell("devpi login bob", typed="1234\n")
    said = shell("devpi use root/acme --set-cfg")
    assert f"current devpi index: {at}/root/acme (logged in as bob)" in said
    index = f"{at}/root/acme/+simple/"
    for path in (".pydistutils.cfg", ".config/pip/pip.conf", ".buildout/default.cfg"):
        assert index in (shell.desk.home / path).read_text(), path
    assert f'index-url = "{index}"' in (shell.desk.home / ".config/uv/uv.toml").read_text()


def _write_files(at: str, desk: Desk) -> None:
    """Without it, as the document has them."""
    index = f"{at}/root/acme/"
    desk.write("~/.pydistutils.cfg", f"[easy_install]\nindex_url = {index}+simple/\n")
    desk.write(
        "~/.pip/pip.conf", f"[global]\nindex_url = {index}+simple/\n[search]\nindex = {index}\n"
    )
    desk.write(
        "~/.pypirc",
        "[distutils]\nindex-servers =\n    pypi\n    devpi\n\n"
        "[pypi]\nusername = nobody\npassword = none\nrepository = http://127.0.0.1:9/pypi\n\n"
        f"[devpi]\nusername = alice\npassword = 1234\n# Keep the trailing slash!\n"
        f"repository = {index}\n",
    )


def _download(at: str, shell: Shell) -> None:
    said = shell("pip install demo --trusted-host localhost --target target")
    assert f"Looking in indexes: {at}/root/acme/+simple/" in said
    assert "Successfully installed demo-1.0" in said


def _upload(at: str, server: ServerProcess, shell: Shell) -> None:
    """``register`` once, then files of three kinds, each by a command of its own."""
    shell.desk.write("setup.py", _SETUP)
    shell.desk.write("acme_tools.py", "answer = 42\n")
    said = shell("python setup.py register -r devpi")
    assert f"Registering Acme_Tools to {at}/root/acme/" in said
    assert "Server response (200): OK" in said

    for command in ("sdist", "bdist_egg", "bdist_wheel"):
        said = shell(f"python setup.py {command} upload -r devpi")
        assert f"to {at}/root/acme/" in said
        assert "Server response (200): OK" in said
    assert {"Acme_Tools-1.0.tar.gz", "Acme_Tools-1.0-py3.11.egg"} <= set(
        server.links("acme-tools", "/root/acme/+simple/")
    )
    assert "Acme_Tools-1.0-py3-none-any.whl" in server.links("acme-tools", "/root/acme/+simple/")


def _install_what_was_uploaded(at: str, shell: Shell) -> None:
    """Its files, and what it needs from PyPI, from the one index."""
    shell(f"devpi use {at}/root/acme --set-cfg")
    shell("pip install acme-tools --target target")
    found = {path.name.lower() for path in (shell.desk.folder / "target").glob("*-info")}
    assert found == {"acme_tools-1.0.dist-info", "demo-1.0.dist-info"}


def _non_volatile(alice: Shell, bob: Shell, admin: Shell) -> None:
    """“Your index can not be deleted”, nor can what was uploaded be removed or overridden."""
    alice.desk.write("acme_tools.py", "answer = 43\n")
    said = alice.refused("python setup.py sdist upload -r devpi")
    assert "Upload failed (409): File already exists" in said
    for what in ("acme-tools", "acme-tools==1.0"):
        said = bob.refused(f"devpi remove -y {what}")
        assert "403" in said
        assert "non-volatile" in said
    said = admin.refused("devpi index -y --delete root/acme")
    assert "403 index root/acme non-volatile, cannot delete" in said
