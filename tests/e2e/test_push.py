"""``devpi push`` of the real client: to indexes here, to other servers of three kinds."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from server import JSON, Http, ServerProcess, mirror_of, until
from upstream import Upstream
from upstream.artefacts import sdist, wheel

from .clients import Clients, CommandFailed, Desk, free_port, is_served
from .realdevpi import Person, RealDevpi

PAGE = "<h1>demo</h1>"
WHEEL, SDIST = wheel("demo", "1.0"), sdist("demo", "1.0")
DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture
def start(up: Upstream, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server with a user, under this name."""
    running: list[ServerProcess] = []

    def run(name: str, *options: str) -> ServerProcess:
        words = [*mirror_of(up, tmp_path / name), *options]
        server = ServerProcess(*words, log=tmp_path / f"{name}.log")
        running.append(server)
        assert server.request("PUT", "/alice", {"password": "pw"}).status == 201
        return server

    yield run
    for server in running:
        server.kill()


@pytest.fixture
def server(start: Callable[..., ServerProcess]) -> ServerProcess:
    return start("first", "--push-networks", "127.0.0.0/8")


@pytest.fixture
def alice(server: ServerProcess, clients: Clients, desk: Desk) -> Person:
    """She has two indexes, and a release with documentation in the first."""
    alice = Person("alice", "pw", server, clients, desk)
    alice("index", "-c", "dev", "bases=root/pypi")
    alice("index", "-c", "prod", "volatile=False")
    alice("use", "alice/dev")
    alice("upload", *_written(desk.folder / "dist", WHEEL, SDIST))
    docs = desk.folder / "demo-1.0.doc.zip"
    with zipfile.ZipFile(docs, "w") as archive:
        archive.writestr("index.html", PAGE)
    alice("upload", docs)
    return alice


def _written(folder: Path, *artefacts: Any) -> list[Path]:
    folder.mkdir()
    for each in artefacts:
        (folder / each.filename).write_bytes(each.data)
    return [folder / each.filename for each in artefacts]


def files(server: Http, index: str) -> dict[str, bytes]:
    """Name → bytes."""
    if server(f"/{index}/+simple/demo/", {"Accept": JSON}).status == 404:
        return {}
    links = server.links("demo", f"/{index}/+simple/")
    return {name: server(link["url"]).body for name, link in links.items()}


BOTH = {each.filename: each.data for each in (WHEEL, SDIST)}


def test_a_release_is_pushed_to_another_index(server: ServerProcess, alice: Person) -> None:
    said = alice("push", "demo==1.0", "alice/prod")

    assert "200 register demo 1.0 -> alice/prod" in said
    assert said.count("200 store_releasefile alice/prod/+f/") == 2
    assert "200 store_doczip demo 1.0 -> alice/prod" in said
    assert files(server, "alice/prod") == BOTH
    assert server("/alice/prod/demo/1.0/+doc/index.html").body == PAGE.encode()
    assert alice("push", "demo==1.0", "alice/prod") == said


def test_documentation_is_pushed_alone_or_not_at_all(server: ServerProcess, alice: Person) -> None:
    assert "doczip" not in alice("push", "--no-docs", "demo==1.0", "alice/prod")
    assert server("/alice/prod/demo/1.0/+doc/index.html").status == 404
    assert "releasefile" not in alice("push", "--only-docs", "demo==1.0", "alice/prod")
    assert server("/alice/prod/demo/1.0/+doc/index.html").status == 200


def test_a_release_of_a_mirror_is_pushed(
    server: ServerProcess, alice: Person, up: Upstream
) -> None:
    public = up.release("public", "2.0", sdist=True)
    alice("push", "--index", "root/pypi", "public==2.0", "alice/prod")

    links = server.links("public", "/alice/prod/+simple/")
    assert len(links) == 2
    assert server(links[public.filename]["url"]).body == public.data


def test_a_push_that_is_refused_says_why(server: ServerProcess, alice: Person, desk: Desk) -> None:
    alice("push", "demo==1.0", "alice/prod")
    other = wheel("demo", "1.0", requires=["x"])
    alice("upload", *_written(desk.folder / "other", other))

    for words, reason in (
        (("demo==1.0", "alice/prod"), "already exists"),
        (("demo==1.0", "alice/nothing"), "The stage alice/nothing could not be found."),
        (("demo==9", "alice/prod"), "there are no files for demo 9 on stage alice/dev"),
        (("demo==1.0", "root/pypi"), "cannot upload to"),
    ):
        with pytest.raises(CommandFailed, match=reason):
            alice("push", *words)
    assert files(server, "alice/prod") == BOTH


def pypirc(desk: Desk, url: str, user: str = "alice", password: str = "pw") -> None:
    desk.write(
        "~/.pypirc",
        "[distutils]\nindex-servers = there\n\n"
        f"[there]\nrepository = {url}\nusername = {user}\npassword = {password}\n",
    )


def test_a_release_is_pushed_to_another_server_of_ours(
    server: ServerProcess, alice: Person, desk: Desk, start: Callable[..., ServerProcess]
) -> None:
    """Twice, as after a failure; and no more with a wrong password."""
    there = start("second")
    there.request("PUT", "/alice/in", {}, {"Authorization": "Basic YWxpY2U6cHc="})
    pypirc(desk, f"{there.url}alice/in/")

    for _ in range(2):
        said = alice("push", "demo==1.0", "pypi:there")
        assert said.count("200 upload alice/dev/+f/") == 2
        assert "200 docfile demo" in said
        assert files(there, "alice/in") == BOTH
        assert there("/alice/in/demo/1.0/+doc/index.html").body == PAGE.encode()
    pypirc(desk, f"{there.url}alice/in/", password="wrong")
    with pytest.raises(CommandFailed, match="401 upload alice/dev") as failed:
        alice("push", "demo==1.0", "pypi:there")
    assert "424 upload alice/dev" in str(failed.value)


def test_a_release_is_pushed_to_the_other_devpi_server(
    server: ServerProcess, alice: Person, clients: Clients, desk: Desk, tmp_path: Path
) -> None:
    """With the registration first, and the documentation."""
    real = RealDevpi(tmp_path / "real", clients, desk)
    real.init("secret")
    with real:
        root = Person("root", "secret", real, clients, desk)
        root("index", "-c", "in")
        pypirc(desk, f"{real.url}root/in/", "root", "secret")
        said = alice("push", "--register-project", "demo==1.0", "pypi:there")

        assert "200 register demo 1.0" in said
        assert files(real, "root/in") == BOTH
        assert real("/root/in/demo/1.0/+d/index.html").status == 200


@contextmanager
def pypiserver(program: Path, folder: Path, port: int) -> Iterator[str]:
    folder.mkdir()
    words = [program, "run", "-i", "127.0.0.1", "-p", str(port), "-P", ".", "-a", ".", folder]
    with (folder.parent / "pypiserver.log").open("wb") as log:
        process = subprocess.Popen(list(map(str, words)), stdout=log, stderr=log)
    try:
        until(lambda: is_served(port))
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.wait()


def test_a_release_is_pushed_to_pypiserver(
    alice: Person, clients: Clients, desk: Desk, tmp_path: Path
) -> None:
    """It refuses what it has (409), and that is told."""
    program = clients("pypiserver", "setuptools<81") / "pypi-server"
    folder = tmp_path / "packages"
    with pypiserver(program, folder, free_port()) as url:
        pypirc(desk, url)
        alice("push", "demo==1.0", "pypi:there")
        found = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert found.items() >= BOTH.items()
        with pytest.raises(CommandFailed, match="409 upload alice/dev"):
            alice("push", "demo==1.0", "pypi:there")


@pytest.mark.parametrize("pip", ["9.0.3", "20.3.4"])
def test_an_old_pip_searches(
    pip: str,
    server: ServerProcess,
    alice: Person,
    clients: Clients,
    desk: Desk,
    up: Upstream,
    python: Callable[[str], str],
) -> None:
    up.release("demo-public", "1.0")
    server.page("demo-public")
    program = (python("3.8"), clients.old_pip(pip), "search")

    for index in (f"{server.url}alice/dev", f"{server.url}alice/dev/"):
        said = desk(*program, "-i", index, "demo", **DIRECT)
        assert "demo (1.0)" in said
        assert "[alice/dev]" in said
        assert "demo-public ()" in said
    found = desk.attempt(*program, "-i", f"{server.url}alice/dev", "nothing", **DIRECT)
    assert found.returncode == 23, found
