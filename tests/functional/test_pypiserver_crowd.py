"""``pypi-server`` in a process of its own: many uploads at once, and one that is killed."""

from __future__ import annotations

import hashlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from foldering import NOWHERE, OPEN, hrefs
from server import ServerProcess, until
from uploading import encoded

pytestmark = pytest.mark.straight("our configuration of nginx is for devpi-server")

_SIZE = 3_000_000
_PROGRAM = ("-m", "devpi_server.pypiserver")
Start = Callable[..., ServerProcess]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "packages"
    made.mkdir()
    return made


@pytest.fixture
def start(tmp_path: Path, folder: Path) -> Iterator[Start]:
    servers: list[ServerProcess] = []

    def begin(*options: str) -> ServerProcess:
        words = ("--datadir", str(tmp_path / "data"), "--fallback-url", NOWHERE, str(folder))
        servers.append(
            ServerProcess(*OPEN, *options, *words, log=tmp_path / "log", program=_PROGRAM)
        )
        return servers[-1]

    yield begin
    for server in servers:
        with server:
            pass


def upload(server: ServerProcess, content: bytes) -> int:
    content_type, body = encoded(
        {":action": "file_upload"}, {"content": ("demo-1.0.tar.gz", content)}
    )
    return server("/", {"Content-Type": content_type}, method="POST", body=body).status


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_of_twenty_uploads_of_one_name_one_wins(start: Start, folder: Path) -> None:
    """In two processes on one folder, as behind a balancer; the others are told 409."""
    servers = [start(), start()]
    contents = [bytes([number]) * _SIZE for number in range(20)]
    with ThreadPoolExecutor(20) as crowd:
        statuses = list(
            crowd.map(lambda number: upload(servers[number % 2], contents[number]), range(20))
        )

    assert Counter(statuses) == {200: 1, 409: 19}
    assert everything(folder) == ["demo-1.0.tar.gz"]
    assert (folder / "demo-1.0.tar.gz").read_bytes() == contents[statuses.index(200)]
    for server in servers:
        (href,) = hrefs(server("/simple/demo/").body)
        digest = hashlib.sha256(contents[statuses.index(200)]).hexdigest()
        assert href == f"/packages/demo-1.0.tar.gz#sha256={digest}"


def test_an_upload_that_is_killed_leaves_nothing(start: Start, folder: Path) -> None:
    server = start()
    content_type, body = encoded(
        {":action": "file_upload"}, {"content": ("demo-1.0.tar.gz", b"x" * _SIZE)}
    )
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: "
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(f"{head}{len(body)}\r\n\r\n".encode() + body[: _SIZE // 2])
        datadir = folder.parent / "data" / "incoming"
        until(lambda: server("/health").status == 200 and datadir.exists())
        server.kill()

    assert everything(folder) == []
    assert upload(start(), b"y" * _SIZE) == 200
    assert everything(folder) == ["demo-1.0.tar.gz"]
