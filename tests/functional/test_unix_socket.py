"""The server at a socket in the file system, in place of a port."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from server import JSON, Http, ServerProcess, clean_environment, mirror_of, until
from upstream import Upstream

MB = 1_000_000
Spawn = Callable[..., ServerProcess]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "devpi.sock"


@pytest.fixture(params=["waitress", "granian"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "granian":
        pytest.importorskip("granian")
    return str(request.param)


def started(spawn: Spawn, path: Path, kind: str = "waitress", *options: str) -> ServerProcess:
    server = spawn("--unix-socket", str(path), "--bottleserver", kind, *options)
    until(lambda: is_answered(path))  # granian says so before it listens
    return server


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def is_revalidated(server: ServerProcess) -> bool:
    tag = server("/simple/demo/", {"Accept": JSON}).headers["ETag"]
    return server("/simple/demo/", {"Accept": JSON, "If-None-Match": tag}).status == 304


def attempt(up: Upstream, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devpi_server", *mirror_of(up, folder / "other"), *options],
        capture_output=True,
        env=clean_environment(),
        text=True,
    )


def test_it_serves_the_same(up: Upstream, spawn: Spawn, path: Path, kind: str) -> None:
    """Pages, cold and hot files, ranges, HEAD, 304 and errors."""
    file = up.release("demo", "1.0", size=MB)
    server = started(spawn, path, kind)
    address = server.address("demo", file.filename)

    assert server.url == f"http+unix://{quote(str(path), safe='')}/"
    assert server(address).body == file.data
    until(lambda: server(address, method="HEAD").origin == "hit")
    assert server(address).body == file.data
    assert server(address, {"Range": "bytes=-10"}).body == file.data[-10:]
    until(lambda: is_revalidated(server))  # what nginx sends in its place has another ETag
    assert server("/simple/none/").status == 404


def test_the_socket_is_there_as_long_as_the_server(
    up: Upstream, spawn: Spawn, path: Path, kind: str
) -> None:
    """With the permissions that were asked for."""
    server = started(spawn, path, kind, "--unix-socket-perms", "660")
    assert stat.S_IMODE(path.stat().st_mode) == 0o660

    assert server.stop() == 0

    assert not path.exists()


def test_what_a_killed_server_left_is_replaced(
    up: Upstream, spawn: Spawn, path: Path, kind: str
) -> None:
    """Nobody has to clean up by hand."""
    started(spawn, path, kind).kill()
    assert path.exists()

    assert started(spawn, path, kind)("/+status").status == 200


def test_a_socket_in_use_is_one_sentence_and_exit_code_2(
    up: Upstream, spawn: Spawn, path: Path, tmp_path: Path, kind: str
) -> None:
    """The server that is there goes on."""
    server = started(spawn, path)

    ended = attempt(up, tmp_path, "--unix-socket", str(path), "--bottleserver", kind)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"devpi-server: error: the socket {path} is in use\n"
    assert server("/+status").status == 200


def test_another_kind_of_server_says_that_it_cannot(
    up: Upstream, path: Path, tmp_path: Path
) -> None:
    ended = attempt(up, tmp_path, "--unix-socket", str(path), "--bottleserver", "wsgiref")

    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "devpi-server: error: --unix-socket: --bottleserver wsgiref cannot serve at one\n"
    )
    assert os.listdir(path.parent).count(path.name) == 0


def test_a_stop_answers_who_is_at_the_door(up: Upstream, spawn: Spawn, path: Path) -> None:
    """Who has connected when the socket disappears has its answer, and the last one it is."""
    up.release("demo", "1.0")
    server = started(spawn, path)
    server("/simple/demo/")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        server.terminate()
        until(lambda: not path.exists())
        client.sendall(b"GET /simple/demo/ HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nConnection: close\r\n" in answer
    assert server.wait() == 0


@pytest.mark.straight("nginx itself says who its clients are")
def test_the_peer_may_speak_for_clients_if_it_is_told_to(
    up: Upstream, spawn: Spawn, path: Path, kind: str
) -> None:
    """It has no address to be trusted by: * means who may open the socket."""
    up.release("demo", "1.0")
    server = started(spawn, path, kind, "--trusted-proxy", "*")

    assert server("/simple/demo/", {"X-Real-IP": "192.0.2.7"}).status == 200
    until(lambda: '192.0.2.7 "GET /simple/demo/"' in server.log.read_text())


@pytest.mark.straight("nginx is told to speak for its clients")
def test_without_that_the_log_has_no_address(up: Upstream, spawn: Spawn, path: Path) -> None:
    server = started(spawn, path)

    assert Http(server.url)("/simple/", {"X-Real-IP": "192.0.2.7"}).status == 200
    until(lambda: 'localhost "GET /simple/"' in server.log.read_text())
