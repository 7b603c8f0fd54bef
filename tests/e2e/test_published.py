"""What nginx sends by itself: the same as the server would, and never what is not true any more."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from people import Person, join, root_of
from server import JSON, Http, Response, ServerProcess, mirror_of, until
from upstream import Upstream
from upstream.artefacts import wheel

from devpi_server.deploy import render
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

PIP = {
    "Accept": f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}
OLD_PIP = {"Accept": "text/html"}
INDEX = "/alice/dev/+simple/demo/"
# Pages that are dated in nginx's ETags, and those of the server.
DEMO, NEWER = wheel("demo", "1.0"), wheel("demo", "2.0")


class Site:
    """A server with nginx in front."""

    def __init__(self, server: ServerProcess, nginx: Http, config: str) -> None:
        self.server = server
        self.nginx = nginx
        self.config = config

    def is_from_nginx(self, path: str, headers: dict[str, str]) -> bool:
        return is_ready(self.nginx(path, headers))

    def published(self, path: str, headers: dict[str, str] = PIP) -> Response:
        """The answer, once nginx gives it."""
        until(lambda: self.is_from_nginx(path, headers))
        return self.nginx(path, headers)


def is_ready(answer: Response) -> bool:
    """Whether nginx has made the answer: the server tells its serial in each."""
    return "X-Devpi-Serial" not in answer.headers


@pytest.fixture
def server(up: Upstream, tmp_path: Path) -> Iterator[ServerProcess]:
    options = mirror_of(up, tmp_path / "da ta", "--trusted-proxy=127.0.0.1", "--publish")
    with ServerProcess(*options, log=tmp_path / "log") as server:
        yield server


@pytest.fixture
def site(server: ServerProcess, nginx: Callable[..., int], tmp_path: Path) -> Site:
    words = ["--gen-config", "--host=127.0.0.1", f"--port={server.port}"]
    words.append(f"--datadir={tmp_path / 'da ta'}")
    config = render.nginx(Plan(read(words, {}), given(words, {})), tmp_path / "da ta")
    return Site(server, Http(f"http://127.0.0.1:{nginx(config)}/"), config)


@pytest.fixture
def alice(site: Site) -> Person:
    """Somebody with an index of her own, who asks nginx."""
    alice = join(site.nginx, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": ["root/pypi"]})
    return alice


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (INDEX, PIP),
        ("/root/pypi/+simple/flask/", OLD_PIP),
        ("/ext/pypi/simple/flask/", PIP),
        ("/simple/flask/", {"Accept": "*/*", "Accept-Encoding": "gzip"}),
    ],
)
def test_a_page_from_nginx_is_that_of_the_server(
    up: Upstream, site: Site, alice: Person, path: str, headers: dict[str, str]
) -> None:
    """Byte for byte, with the headers that installers and caches look at; 304 and HEAD, too."""
    up.release("flask", "1.0")
    alice.upload("alice/dev", DEMO)

    ready, own = site.published(path, headers), site.server(path, headers)

    assert ready.body == own.body
    for name in ("Content-Type", "Content-Encoding", "Content-Length", "Cache-Control", "Vary"):
        assert ready.headers.get(name) == own.headers.get(name), name
    assert "Last-Modified" not in ready.headers
    tag = {"If-None-Match": ready.headers["ETag"]}
    again = site.nginx(path, {**headers, **tag})
    assert (again.status, again.body, is_ready(again)) == (304, b"", True)
    head = site.nginx(path, headers, method="HEAD")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", ready.headers["ETag"])


@pytest.mark.parametrize("change", ["upload", "yank", "delete", "acl", "index", "user", "bases"])
def test_after_a_change_nobody_is_sent_what_was_before(
    site: Site, alice: Person, change: str
) -> None:
    path = alice.upload("alice/dev", DEMO)
    old = site.published(INDEX)
    assert is_ready(site.published(path))

    if change == "upload":
        alice.upload("alice/dev", NEWER)
    elif change == "yank":
        alice.ok("POST", "/alice/dev/demo/1.0/+yank", {"reason": "bad"})
    elif change == "delete":
        alice.ok("DELETE", "/alice/dev/demo/1.0")
    elif change == "acl":
        alice.ok("PATCH", "/alice/dev", ["acl_read=alice"])
    elif change == "index":
        alice.ok("DELETE", "/alice/dev")
    elif change == "user":
        root_of(site.nginx).ok("DELETE", "/alice")
    else:
        alice.ok("PATCH", "/alice/dev", ["bases="])

    assert not site.is_from_nginx(INDEX, PIP)
    assert not site.is_from_nginx(path, {})
    new = site.nginx(INDEX, PIP)
    assert (new.status, new.body) != (200, old.body) or change == "bases"
    expected = {"delete": 410, "acl": 401, "index": 404, "user": 404}.get(change, 200)
    assert site.nginx(path).status == expected


def test_a_file_from_nginx_is_that_of_the_server(site: Site, alice: Person) -> None:
    """Whole, in part, and its metadata; what devpi-client asks of it comes from the server."""
    path = alice.upload("alice/dev", DEMO)

    ready = site.published(path, {})

    assert ready.body == DEMO.data
    assert ready.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in ready.headers["Cache-Control"]
    condition = {"Range": "bytes=5-9", "If-Range": ready.headers["ETag"]}
    part = site.nginx(path, condition)
    assert (part.status, part.body, is_ready(part)) == (206, DEMO.data[5:10], True)
    metadata = site.published(f"{path}.metadata", {})
    assert metadata.body == site.server(f"{path}.metadata").body
    assert metadata.headers["Content-Type"].startswith("text/plain")
    assert site.nginx.request("GET", path).json["type"] == "releasefilemeta"


def test_who_has_a_file_of_the_server_s_is_told_so_by_it(site: Site, alice: Person) -> None:
    """Its ETag is the digest, which nginx does not know."""
    path = alice.upload("alice/dev", DEMO)
    tag = f'"{hashlib.sha256(DEMO.data).hexdigest()}"'
    site.published(path, {})

    assert site.nginx(path, {"If-None-Match": tag}).status == 304
    assert site.nginx(path, {"Range": "bytes=1-2", "If-Range": tag}).body == DEMO.data[1:3]


def test_what_needs_a_permission_is_never_published(
    site: Site, alice: Person, tmp_path: Path
) -> None:
    """Its large files are sent by nginx all the same, once the server has decided."""
    large = wheel("large", "1.0", size=1_000_000)
    alice.ok("PATCH", "/alice/dev", ["acl_read=alice"])
    path = alice.upload("alice/dev", large)

    for _ in range(3):
        answer = site.nginx(path, alice.credentials)
        assert (answer.status, answer.body) == (200, large.data)
        assert "private" in answer.headers["Cache-Control"]
        assert site.nginx(INDEX.replace("demo", "large"), alice.credentials).status == 200
    part = site.nginx(path, {**alice.credentials, "Range": "bytes=500000-500009"})
    assert (part.status, part.body) == (206, large.data[500000:500010])
    assert site.nginx(path).status == 401
    found = (tmp_path / "da ta" / "published").rglob("*large*")
    assert not list(found)
    assert site.nginx(f"/+sent/files/{hashlib.sha256(large.data).hexdigest()}").status == 404


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_where_nginx_is_not_let_in_the_server_answers(
    site: Site, alice: Person, nginx: Callable[..., int]
) -> None:
    """Pages, files, and the large ones that need a permission."""
    large = wheel("large", "1.0", size=1_000_000)
    alice.ok("PUT", "/alice/own", {"acl_read": ["alice"]})
    private, public = alice.upload("alice/own", large), alice.upload("alice/dev", large)
    site.published(public, {})
    stranger = Http(f"http://127.0.0.1:{nginx(site.config, user='www-data')}/")

    assert stranger(private, alice.credentials).body == large.data
    assert stranger(public).body == large.data
    assert list(stranger.links("large", "/alice/dev/+simple/")) == [large.filename]


def test_where_the_clock_or_the_server_stops_nginx_asks(
    up: Upstream, site: Site, alice: Person, tmp_path: Path
) -> None:
    """Without a lease, nothing is published; nobody extends it when all processes have died."""
    alice.upload("alice/dev", DEMO)
    site.published(INDEX)
    site.server.kill()

    for lease in (tmp_path / "da ta" / "published" / "leases").iterdir():
        lease.unlink()

    assert site.nginx(INDEX, PIP).status == 502


def test_a_server_begins_with_nothing_published(
    up: Upstream, site: Site, alice: Person, tmp_path: Path
) -> None:
    """Whatever has changed while none was there."""
    alice.upload("alice/dev", DEMO)
    site.published(INDEX)
    options = mirror_of(up, tmp_path / "da ta", "--publish")

    with ServerProcess(*options, log=tmp_path / "second.log"):
        assert not site.is_from_nginx(INDEX, PIP)


def test_a_web_server_may_ask_for_locations_of_its_own(
    site: Site, alice: Person, nginx: Callable[..., int], tmp_path: Path
) -> None:
    """``auth_request /+may-read;`` lets in whom the server would let in."""
    alice.ok("PATCH", "/alice/dev", ["acl_read=alice"])
    (tmp_path / "docs" / "alice" / "dev").mkdir(parents=True)
    (tmp_path / "docs" / "alice" / "dev" / "index.html").write_text("for alice")
    words = ["--gen-config", "--host=127.0.0.1", f"--port={site.server.port}"]
    config = render.nginx(Plan(read(words, {}), given(words, {})), None)
    docs = f'auth_request /+may-read; root "{tmp_path / "docs"}";'
    own = f"    location = /alice/dev/index.html {{ {docs} }}\n"
    config = config.replace("    location / {", f"{own}    location / {{", 1)
    proxy = Http(f"http://127.0.0.1:{nginx(config)}/")

    assert proxy("/alice/dev/index.html").status == 401
    assert proxy("/alice/dev/index.html", alice.credentials).body == b"for alice"
