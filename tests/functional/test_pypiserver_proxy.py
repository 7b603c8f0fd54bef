"""``pypi-server --fallback proxy``: what the folders do not have comes out of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from foldering import PypiServer, hrefs, put
from server import until
from uploading import basic
from upstream import Upstream, artefacts

pytestmark = pytest.mark.straight("our configuration of nginx is for devpi-server")

OURS = artefacts.sdist("ours", "1.0")


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.release("theirs", "1.0")
        upstream.release("ours", "9.9")
        yield upstream


@pytest.fixture
def server(tmp_path: Path, up: Upstream) -> Iterator[PypiServer]:
    put(tmp_path / "packages", OURS)
    (tmp_path / "htpasswd").write_text("user:secret\n")
    made = PypiServer(
        tmp_path / "data",
        *("--fallback", "proxy", "--fallback-url", up.simple_url, "-P", str(tmp_path / "htpasswd")),
        str(tmp_path / "packages"),
        add_fallback=False,
    )
    yield made
    made.services.close()


def file_of(server: PypiServer, page: str) -> str:
    """The path of the only file of a page."""
    (href,) = hrefs(server(page).body)
    return urljoin(page, href.partition("#")[0])


def test_what_is_not_in_the_folder_is_fetched_once(server: PypiServer, up: Upstream) -> None:
    path = file_of(server, "/simple/theirs/")
    bodies = {server(path).body for _ in range(3)}

    assert len(bodies) == 1
    assert len([each for each in up.requests if each.path.endswith(".whl")]) == 1
    assert server("/theirs").headers["Location"] == "/simple/theirs/"
    assert server("/simple/Theirs/").status == 301
    assert server("/simple/nobodys/").status == 404


def test_what_is_in_the_cache_is_sent_without_a_thread(server: PypiServer) -> None:
    hot = server.services.app.hot
    path = file_of(server, "/simple/theirs/")
    assert not hot.is_ready(path, "", "")
    body = server(path).body
    until(lambda: server(path).body == body and hot.is_ready(path, "", ""))

    assert hot.is_ready("/simple/theirs/", "", "")
    assert not hot.is_ready("/simple/nobodys/", "", "")
    assert not hot.is_ready("/root/pypi/+simple/theirs/", "", "")


def test_a_name_in_the_folder_is_not_asked_for(server: PypiServer, up: Upstream) -> None:
    assert file_of(server, "/simple/ours/") == f"/packages/{OURS.filename}"
    assert not [each for each in up.requests if "ours" in each.path]


@pytest.mark.parametrize(
    "path", ["/root", "/root/pypi", "/+status", "/+api", "/root/pypi/+simple/theirs/", "/+login"]
)
def test_nothing_else_of_the_server_behind_is_served(server: PypiServer, path: str) -> None:
    assert server(path).status in (303, 404)
    assert server(path, method="PUT", body=b"{}").status in (404, 405)


@pytest.mark.parametrize(("closed", "page", "file"), [("list", 401, 200), ("download", 200, 401)])
def test_it_is_as_closed_as_the_folder(
    server: PypiServer, tmp_path: Path, up: Upstream, closed: str, page: int, file: int
) -> None:
    path = file_of(server, "/simple/theirs/")
    other = PypiServer(
        tmp_path / "other",
        *("--fallback", "proxy", "--fallback-url", up.simple_url, "-a", closed),
        *("-P", str(tmp_path / "htpasswd"), str(tmp_path / "packages")),
        add_fallback=False,
    )
    good = basic("user", "secret")

    assert other("/simple/theirs/").status == page
    assert other("/simple/theirs/", good).status == 200
    assert other(path, good).status == 200
    assert other(path).status == file
    other.services.close()


def test_below_a_path_links_lead_below_it(server: PypiServer, tmp_path: Path, up: Upstream) -> None:
    other = PypiServer(
        tmp_path / "other",
        *("--fallback", "proxy", "--fallback-url", up.simple_url, "--server-base-url", "/below"),
        str(tmp_path / "packages"),
        add_fallback=False,
    )
    path = file_of(other, "/below/simple/theirs/")

    assert path.startswith("/below/root/pypi/")
    assert other(path).status == 200
    other.services.close()
