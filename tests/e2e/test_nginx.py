"""The generated nginx configuration in front of a server: https, sub-path, IPv6, large, slow."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trustme
from server import JSON, Http, ServerProcess, mirror_of, until
from upstream import Upstream

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

from .clients import Desk

MB = 1_000_000
GB = 1_000_000_000
_PATIENCE = 30.0


@pytest.fixture
def server(up: Upstream, tmp_path: Path) -> Iterator[ServerProcess]:
    """As --gendeploy starts it: the proxy on the same machine is believed."""
    options = mirror_of(
        up, tmp_path / "data", "--trusted-proxy=127.0.0.1", "--threads=4", "--publish"
    )
    with ServerProcess(*options, log=tmp_path / "log") as server:
        yield server


def site(server: ServerProcess, *options: str) -> str:
    """What --gen-config writes for it."""
    words = ["--gen-config", "--host=127.0.0.1", f"--port={server.port}", *options]
    return render.nginx(Plan(read(words, {}), given(words, {})), server.log.parent / "data")


def test_pip_installs_by_https_from_a_sub_path(
    up: Upstream, server: ServerProcess, desk: Desk, nginx: Callable[..., int], tmp_path: Path
) -> None:
    """Both come from --outside-url, the links on the pages lead there, and redirects too."""
    up.release("demo", "1.0")
    authority = trustme.CA()
    certificate, key, trusted = (tmp_path / f"{name}.pem" for name in ("cert", "key", "ca"))
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    config = site(server, "--outside-url=https://localhost/tools/pypi")
    port = nginx(config, (certificate, key))

    desk(
        *(desk.venv() / "pip", "install", "--no-cache-dir", "--cert", trusted),
        *("-i", f"https://localhost:{port}/tools/pypi/ext/pypi/simple/", "--target", "t", "Demo"),
    )

    assert (desk.folder / "t" / "demo-1.0.dist-info").is_dir()
    context = ssl.create_default_context(cafile=str(trusted))
    with closing(http.client.HTTPSConnection("localhost", port, context=context)) as connection:
        connection.request("GET", "/tools/pypi")
        answer = connection.getresponse()
        assert answer.headers["Location"].endswith("/tools/pypi/")
        answer.read()

        def is_from_nginx() -> bool:
            connection.request("GET", "/tools/pypi/ext/pypi/simple/demo/", headers={"Accept": JSON})
            answer = connection.getresponse()
            assert b"demo-1.0" in answer.read()
            return "X-Devpi-Serial" not in answer.headers

        until(is_from_nginx)


def test_clients_come_by_ipv6_too(
    up: Upstream, server: ServerProcess, nginx: Callable[..., int]
) -> None:
    """And are known by their address."""
    up.release("demo", "1.0")

    assert Http(f"http://[::1]:{nginx(site(server))}/").links("demo")

    until(lambda: '::1 "GET' in server.log.read_text())


def test_an_upload_reaches_the_server_while_it_comes(
    server: ServerProcess, nginx: Callable[..., int]
) -> None:
    """It answers after the first bytes: nginx neither gathers 50 GB nor refuses them."""
    with socket.create_connection(("127.0.0.1", nginx(site(server))), _PATIENCE) as client:
        head = f"POST /simple/ HTTP/1.1\r\nHost: x\r\nContent-Length: {50 * GB}\r\n\r\n"
        client.sendall(head.encode() + bytes(100_000))
        with closing(http.client.HTTPResponse(client)) as answer:
            answer.begin()

            assert 400 <= answer.status < 500
            assert b"<center>nginx" not in answer.read()


def test_slow_clients_hold_up_nobody(
    up: Upstream, server: ServerProcess, nginx: Callable[..., int]
) -> None:
    """More of them than the server has threads, and each gets its bytes."""
    file = up.release("demo", "1.0", size=8 * MB)
    proxy = Http(f"http://127.0.0.1:{nginx(site(server))}/")
    path = proxy.address("demo", file.filename)
    proxy(path)
    until(lambda: proxy(path, method="HEAD").origin == "hit")
    with ExitStack() as stack:
        stalled = [stack.enter_context(closing(proxy.open(path))) for _ in range(20)]

        assert proxy("/simple/demo/").status == 200
        assert all(answer.read() == file.data for answer in stalled)
