"""A folder of packages as an index, over HTTP (``--packages``)."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin

import pytest
from fakes import FakeClock
from people import join, root_of
from server import JSON, App, Response, until
from uploading import upload
from upstream import Upstream, artefacts

from devpi_server.errors import ConfigError
from devpi_server.store import folders

Make = Callable[..., App]
SIMPLE, OWN = "/simple/", "/root/packages/+simple/"
WHEEL = artefacts.wheel("demo", "1.0", requires_python=">=3.8")
SHA256 = hashlib.sha256(WHEEL.data).hexdigest()


@pytest.fixture
def clock() -> FakeClock:
    """All that is written in the test is old, so nothing has to rest before it is read."""
    return FakeClock(time.time() + 7200)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / WHEEL.filename).write_bytes(WHEEL.data)
    return folder


@pytest.fixture
def server(app: Make, folder: Path) -> App:
    return app("--packages", str(folder))


def read(server: App) -> None:
    """Let what lies in the folder be read."""
    server.tick("watch root/packages")
    server.tick("digests root/packages")


def names_in(body: bytes) -> list[str]:
    return re.findall(r'<a href="[^"]*"[^>]*>([^<]+)</a>', body.decode())


def listed(server: App, project: str = "demo", mount: str = SIMPLE) -> list[str]:
    """The names of the files on a page; none if there is no page."""
    answer = server(f"{mount}{project}/")
    if answer.status == 404:
        return []
    assert answer.status == 200, answer
    return names_in(answer.body)


# Pages


@pytest.mark.parametrize("mount", [SIMPLE, OWN])
def test_a_page_says_what_is_known_of_the_files(server: App, folder: Path, mount: str) -> None:
    os.utime(folder / WHEEL.filename, (1_500_000_000.5, 1_500_000_000.5))
    read(server)
    (file,) = server.page("demo", mount)["files"]

    assert urljoin(f"{mount}demo/", file["url"]) == (
        f"/root/packages/+f/{SHA256[:3]}/{SHA256[3:16]}/{WHEEL.filename}"
    )
    assert file["hashes"] == {"sha256": SHA256}
    assert file["size"] == len(WHEEL.data)
    assert file["upload-time"] == "2017-07-14T02:40:00.500000Z"
    assert file["requires-python"] == ">=3.8"
    assert file["core-metadata"] == {"sha256": hashlib.sha256(WHEEL.metadata).hexdigest()}
    assert server.page("demo", mount)["versions"] == ["1.0"]
    html = server(f"{mount}demo/").body.decode()
    assert f"{WHEEL.filename}#sha256={SHA256}" in html
    assert 'data-requires-python="&gt;=3.8"' in html


@pytest.mark.parametrize("mount", [SIMPLE, OWN])
def test_before_a_file_is_read_it_is_listed_and_served(server: App, mount: str) -> None:
    file = server.links("demo", mount)[WHEEL.filename]

    assert file["hashes"] == {}
    assert server(file["url"]).body == WHEEL.data


def test_the_address_that_a_file_had_before_it_was_read_stays(server: App) -> None:
    early = server.links("demo", SIMPLE)[WHEEL.filename]["url"]
    read(server)
    late = server.links("demo", SIMPLE)[WHEEL.filename]["url"]

    assert early != late
    for url in (early, late):
        assert server(url).body == WHEEL.data
        assert server(f"{url}.metadata").body == WHEEL.metadata


def test_what_the_owner_does_is_served_so_by_the_next_request(server: App, folder: Path) -> None:
    def served() -> dict[str, bytes]:
        links = server.links("demo", SIMPLE)
        return {name: server(link["url"]).body for name, link in links.items()}

    other = artefacts.sdist("demo", "2.0")
    for _ in range(2):  # the second time, the hot path answers
        assert served() == {WHEEL.filename: WHEEL.data}
    (folder / "sub").mkdir()
    (folder / "sub" / other.filename).write_bytes(other.data)
    for _ in range(2):
        assert served() == {WHEEL.filename: WHEEL.data, other.filename: other.data}
    (folder / WHEEL.filename).write_bytes(b"written over")
    for _ in range(2):
        assert served() == {WHEEL.filename: b"written over", other.filename: other.data}
    url = server.links("demo", SIMPLE)[WHEEL.filename]["url"]
    (folder / WHEEL.filename).unlink()
    assert server(url).status == 404
    assert served() == {other.filename: other.data}
    (folder / "sub" / other.filename).unlink()
    assert listed(server) == []


def test_the_address_with_a_digest_is_of_these_bytes_only(server: App, folder: Path) -> None:
    read(server)
    url = server.links("demo", SIMPLE)[WHEEL.filename]["url"]
    assert "immutable" in server(url).headers["Cache-Control"]
    (folder / WHEEL.filename).write_bytes(b"other")

    assert server(url).status == 503  # it has not been read as it is now
    read(server)
    assert server(url).status == 404


def test_a_page_that_the_client_has_is_not_sent(server: App, folder: Path) -> None:
    tag = server(f"{SIMPLE}demo/").headers["ETag"]

    assert server(f"{SIMPLE}demo/", {"If-None-Match": tag}).status == 304
    (folder / "demo-3.0.tar.gz").write_bytes(b"x")
    assert server(f"{SIMPLE}demo/", {"If-None-Match": tag}).status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_that_the_client_has_is_not_sent(server: App, folder: Path, method: str) -> None:
    url = server.links("demo", SIMPLE)[WHEEL.filename]["url"]

    def asked(**headers: str) -> Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return server(url, sent, method=method)

    first = asked()
    tag, modified = first.headers["ETag"], first.headers["Last-Modified"]
    assert first.headers["Content-Length"] == str(len(WHEEL.data))
    assert parsedate_to_datetime(modified).timestamp() == int(
        (folder / WHEEL.filename).stat().st_mtime
    )
    assert "immutable" not in first.headers["Cache-Control"]
    assert asked(If_None_Match=tag).status == 304
    assert asked(If_Modified_Since=modified).status == 304
    assert asked(If_None_Match='"another"', If_Modified_Since=modified).status == 200
    assert asked(If_Modified_Since="Sun, 06 Nov 1994 08:49:37 GMT").status == 200
    assert asked(If_Modified_Since="yesterday").status == 200
    (folder / WHEEL.filename).write_bytes(b"other")
    assert asked(If_None_Match=tag).status == 200


def test_parts_of_a_file_are_sent(server: App) -> None:
    url = server.links("demo", SIMPLE)[WHEEL.filename]["url"]
    tag = server(url).headers["ETag"]
    part = server(url, {"Range": "bytes=2-5", "If-Range": tag})

    assert (part.status, part.body) == (206, WHEEL.data[2:6])
    assert server(url, {"Range": "bytes=99999-"}).status == 416


def test_a_signature_is_served_beside_its_file(server: App, folder: Path) -> None:
    (folder / f"{WHEEL.filename}.asc").write_bytes(b"PGP")
    file = server.links("demo", SIMPLE)[WHEEL.filename]

    assert file["gpg-sig"] is True
    assert server(f"{file['url']}.asc").body == b"PGP"


def test_the_list_has_the_projects_of_the_folder_and_those_that_are_cached(
    server: App, up: Upstream
) -> None:
    up.release("there", "1.0")
    server.page("there", SIMPLE)

    assert names_in(server(SIMPLE).body) == ["demo", "there"]
    assert names_in(server(OWN).body) == ["demo", "there"]


def test_the_first_of_several_folders_counts(app: Make, folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / WHEEL.filename).write_bytes(b"hidden")
    (second / "more-1.0.tar.gz").write_bytes(b"more")
    server = app("--packages", str(folder), "--packages", str(second))

    assert server(server.links("demo", SIMPLE)[WHEEL.filename]["url"]).body == WHEEL.data
    assert listed(server, "more") == ["more-1.0.tar.gz"]


def test_nothing_is_written_into_the_folder(server: App, folder: Path) -> None:
    before = folder.stat().st_mtime_ns
    read(server)
    server(server.links("demo", SIMPLE)[WHEEL.filename]["url"])

    assert [path.name for path in folder.iterdir()] == [WHEEL.filename]
    assert folder.stat().st_mtime_ns == before


def test_what_was_read_is_known_after_a_restart(app: Make, folder: Path) -> None:
    read(app("--packages", str(folder)))

    assert app("--packages", str(folder)).page("demo", SIMPLE)["files"][0]["hashes"]


@pytest.mark.parametrize("near", [True, False])
def test_a_folder_on_another_machine_is_asked_on_threads_that_may_wait(
    app: Make, folder: Path, monkeypatch: pytest.MonkeyPatch, near: bool
) -> None:
    monkeypatch.setattr(folders, "is_near", lambda _: near)
    server = app("--packages", str(folder))
    file = server.links("demo", SIMPLE)[WHEEL.filename]["url"]
    for path, accept in ((f"{SIMPLE}demo/", JSON), (file, "")):
        server(path, {"Accept": accept})
        assert server.services.app.hot.is_ready(path, accept, "") is near


# Upstream


def test_a_name_in_the_folder_is_never_asked_of_upstream(server: App, up: Upstream) -> None:
    """Else who takes it there would get among our files."""
    up.release("demo", "9.0")

    assert listed(server) == [WHEEL.filename]
    assert listed(server, mount=OWN) == [WHEEL.filename]
    assert up.count(re.compile("demo"), None) == 0


def test_all_other_names_are_upstreams(server: App, up: Upstream) -> None:
    up.release("there", "1.0")
    link = next(iter(server.links("there", SIMPLE).values()))

    assert link["url"].startswith("/root/pypi/+f/")
    assert server(link["url"]).status == 200
    assert listed(server, "nowhere") == []


def test_both_are_shown_if_the_server_is_told_to(app: Make, folder: Path, up: Upstream) -> None:
    up.release("demo", "9.0")
    server = app("--packages", str(folder), "--merge-upstream")
    names = listed(server)

    assert names[0] == WHEEL.filename
    assert any("9.0" in name for name in names)
    for link in server.links("demo", SIMPLE).values():
        assert server(link["url"]).status == 200


def test_while_the_folder_cannot_be_read_upstream_is_not_asked(
    server: App, folder: Path, up: Upstream
) -> None:
    """Its names are not known then."""
    up.release("other", "1.0")
    assert server(f"{SIMPLE}demo/").status == 200
    folder.rename(folder.with_name("moved"))

    assert server(f"{SIMPLE}demo/").status == 503
    assert server(f"{SIMPLE}other/").status == 503
    assert up.count(re.compile("other"), None) == 0


def test_root_pypi_is_what_it_is_without_a_folder(server: App, up: Upstream) -> None:
    up.release("demo", "9.0")

    assert WHEEL.filename not in listed(server, mount="/root/pypi/+simple/")
    assert WHEEL.filename not in listed(server, mount="/ext/pypi/simple/")


# As devpi's clients see it


def test_the_index_is_shown(server: App) -> None:
    shown = server.request("GET", "/root/packages").json["result"]

    assert shown == {
        "type": "directory",
        "bases": ["root/pypi"],
        "mirror_whitelist": [],
        "volatile": False,
        "projects": ["demo"],
    }
    indexes = server.request("GET", "/root").json["result"]["indexes"]
    assert indexes["packages"]["type"] == "directory"
    api = server.request("GET", "/root/packages/+api").json["result"]
    assert "pypisubmit" not in api


def test_projects_versions_and_files_are_shown(server: App, folder: Path) -> None:
    (folder / "flup-1.0.3.dev-20110405.tar.gz").write_bytes(b"x")
    read(server)
    version = server.request("GET", "/root/packages/demo/1.0").json["result"]
    (link,) = version["+links"]

    assert version["requires_python"] == ">=3.8"
    assert link["hash_spec"] == f"sha256={SHA256}"
    path = link["href"].removeprefix("http://127.0.0.1")
    file = server.request("GET", path).json["result"]
    assert (file["project"], file["version"]) == ("demo", "1.0")
    assert file["hash_spec"] == f"sha256={SHA256}"
    assert list(server.request("GET", "/root/packages/flup").json["result"]) == [
        "1.0.3.dev-20110405"
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"volatile": True}),
        ("PUT", "", {"type": "stage"}),
        ("DELETE", "", None),
        ("DELETE", "/demo", None),
        ("DELETE", "/demo?force=1", None),
        ("DELETE", "/demo/1.0", None),
        ("DELETE", f"/+f/{SHA256[:3]}/{SHA256[3:16]}/{WHEEL.filename}?force=1", None),
        ("POST", "/demo/1.0/+yank", {}),
        ("POST", f"/+f/{SHA256[:3]}/{SHA256[3:16]}/{WHEEL.filename}/+yank", {}),
        ("POST", f"/+f/{SHA256[:3]}/{SHA256[3:16]}/{WHEEL.filename}", {}),
    ],
)
def test_nobody_changes_it_by_way_of_the_server(
    server: App, folder: Path, method: str, path: str, body: object
) -> None:
    read(server)
    answer = root_of(server)(method, f"/root/packages{path}", body)

    assert 400 <= answer.status < 500
    assert answer.json["message"]
    assert [each.name for each in folder.iterdir()] == [WHEEL.filename]
    assert listed(server) == [WHEEL.filename]


def test_an_upload_is_told_that_it_is_a_folder(server: App, folder: Path) -> None:
    other = artefacts.sdist("other", "1.0")
    root = root_of(server)
    answer = upload(server, "root/packages", other, root.credentials)

    assert answer.status == 403
    assert "files are copied there" in answer.reason
    assert upload(server, "root/packages", other, {}).status == 401
    assert not list(folder.glob("other*"))


def test_no_other_index_of_a_folder_can_be_made(server: App) -> None:
    answer = root_of(server)("PUT", "/root/another", {"type": "directory"})

    assert answer.status == 400
    assert "configuration" in answer.json["message"]


def test_an_index_can_build_on_it(server: App, folder: Path, up: Upstream) -> None:
    up.release("demo", "9.0")
    up.release("there", "1.0")
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": "root/packages"})
    mount = "/alice/dev/+simple/"
    alice.upload("alice/dev", artefacts.sdist("own", "1.0"))

    assert listed(server, mount=mount) == [WHEEL.filename]
    assert server(server.links("demo", mount)[WHEEL.filename]["url"]).body == WHEEL.data
    assert len(listed(server, "there", mount)) == 1
    assert sorted(server.request("GET", "/alice/dev/demo").json["result"]) == ["1.0"]
    (folder / WHEEL.filename).unlink()
    assert any("9.0" in name for name in listed(server, mount=mount))


@pytest.mark.parametrize("is_read", [True, False])
def test_a_release_is_pushed_from_it(server: App, folder: Path, is_read: bool) -> None:
    (folder / f"{WHEEL.filename}.asc").write_bytes(b"PGP")
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": []})
    if is_read:
        read(server)
    order = {"name": "demo", "version": "1.0", "targetindex": "alice/dev"}
    alice.ok("POST", "/root/packages", order)
    (folder / WHEEL.filename).unlink()
    link = server.links("demo", "/alice/dev/+simple/")[WHEEL.filename]

    assert server(link["url"]).body == WHEEL.data
    assert server(f"{link['url']}.asc").body == b"PGP"
    assert server(f"{link['url']}.metadata").body == WHEEL.metadata


def test_what_its_bases_have_is_not_pushed_from_it(server: App, up: Upstream) -> None:
    up.release("there", "1.0")
    alice = join(server, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": []})
    order = {"name": "there", "version": "1.0", "targetindex": "alice/dev"}

    assert alice("POST", "/root/packages", order).status == 400


def test_its_projects_are_found(server: App, up: Upstream) -> None:
    up.release("demo", "9.0")
    server.page("demo", "/root/pypi/+simple/")
    question = (
        b"<?xml version='1.0'?><methodCall><methodName>search</methodName><params><param><value>"
        b"<struct><member><name>name</name><value><string>dem</string></value></member></struct>"
        b"</value></param></params></methodCall>"
    )
    answer = server("/root/packages/", {"Content-Type": "text/xml"}, method="POST", body=question)

    assert answer.body.count(b"demo") == 1
    assert b"[root/packages]" in answer.body


def test_an_index_that_is_there_is_not_hidden(app: Make, folder: Path) -> None:
    """Its names would be handed over to upstream."""
    app().add_index("root/packages")

    with pytest.raises(ConfigError, match="root/packages"):
        app("--packages", str(folder))


# A server in a process of its own


def test_a_file_is_read_in_the_background(spawn: Callable[..., App], folder: Path) -> None:
    server = spawn("--packages", str(folder))

    until(lambda: server.page("demo", SIMPLE)["files"][0]["hashes"])
    assert JSON in server(f"{SIMPLE}demo/", {"Accept": JSON}).headers["Content-Type"]
