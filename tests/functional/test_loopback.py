"""The index that a pip of ours sees: one, complete, and for nobody else."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from people import root_of
from server import JSON, App, Http
from upstream import Upstream, artefacts

from devpi_server.services.downloads import Downloads
from devpi_server.services.prefetch.choice import Wishes
from devpi_server.services.prefetch.jobs import Place, Task
from devpi_server.web.loopback import serving

pytestmark = pytest.mark.straight("what our own pip asks is not behind nginx")

OWN = artefacts.wheel("own", "1.0")


@pytest.fixture
def fetched() -> set[Place]:
    return set()


@pytest.fixture
def url(up: Upstream, app: Callable[..., App], fetched: set[Place]) -> Iterator[str]:
    """Of an index that only root may read, with a base."""
    server = app()
    server.add_index("root/dev", bases=["root/pypi"], acl_read=["root"])
    root_of(server).upload("root/dev", OWN)
    up.release("demo", "1.0")
    indexes = server.services.indexes
    task = Task("root/dev", indexes.find("root/dev").source, Wishes(()))
    with serving(Downloads(indexes))(task, fetched) as url:
        yield url


def test_pages_lead_to_files_and_their_metadata(
    url: str, up: Upstream, fetched: set[Place]
) -> None:
    server, path = Http(url), urlsplit(url).path
    for project, data in (("own", OWN.data), ("demo", up.file("demo-1.0-py3-none-any.whl").data)):
        (file,) = server(f"{path}{project}/", {"Accept": JSON}).json["files"]
        href = urljoin(f"{path}{project}/", file["url"])
        assert server(href).body == data
        assert server(f"{href}.metadata").status == 200

    # The metadata of a wheel that is held is in it.
    assert {index for index, _ in fetched} == {"root/pypi"}


def test_who_does_not_know_the_address_sees_nothing(url: str) -> None:
    server = Http(url)

    for path in ("/", "/simple/demo/", "/root/dev/+simple/demo/", "/x/simple/demo/"):
        assert server(path).status == 404


def test_what_is_not_there_is_not_found(url: str) -> None:
    server, path = Http(url), urlsplit(url).path

    for missing in ("nothing/", "demo/+f/abc/def/demo-2.0.tar.gz", "", "demo/x", "../", "%00/"):
        assert server(path + missing).status == 404


def test_a_pip_that_is_ended_is_no_fault(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    parts = urlsplit(url)
    for _ in range(5):
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as broken:
            broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            broken.sendall(f"GET {parts.path}demo/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert Http(url)(f"{parts.path}demo/").status == 200

    assert "Traceback" not in capfd.readouterr().err
