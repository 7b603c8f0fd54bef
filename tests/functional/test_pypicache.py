"""The addresses of pypicache, on every server (peers.md 2), with its faults mended."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from people import Person, join, root_of
from server import JSON, App, Client, Response
from uploading import encoded
from upstream import Status, Upstream, artefacts

from devpi_server.cli import pypicache
from devpi_server.settings import Settings

Make = Callable[..., App]
DEMO = artefacts.wheel("demo", "1.0")
OWN = artefacts.sdist("mypackage", "1.0")
OWN_PATH = "/packages/source/m/mypackage/mypackage-1.0.tar.gz"
NOBODY: dict[str, str] = {}


@pytest.fixture
def cache(up: Upstream, tmp_path: Path) -> Iterator[App]:
    """The server as ``python -m devpi_server.pypicache DIR`` makes it."""
    found: list[Settings] = []

    def take(settings: Settings) -> Any:
        found.append(settings)

    words = [str(tmp_path / "data"), "--port", "0", "--upstream", up.url]
    pypicache.main(words, build=take, serve=lambda *_: 0)
    made = App("--datadir", "x", adjust=lambda _: found[0])
    yield made
    made.services.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


def hrefs(answer: Response) -> list[str]:
    assert answer.status == 200, answer
    return re.findall(r'<a href="([^"]*)"', answer.body.decode())


def names_of(answer: Response) -> list[str]:
    return re.findall(r"<a [^>]*>([^<]*)</a>", answer.body.decode())


def send(
    server: Client, path: str, name: str, file: tuple[str, bytes], headers: dict[str, str] = NOBODY
) -> Response:
    content_type, body = encoded({}, {name: file})
    return server(path, {"Content-Type": content_type, **headers}, method="POST", body=body)


def requirements(server: Client, text: str, name: str = "-", **fields: str) -> Any:
    content_type, body = encoded(fields, {"requirements": (name, text.encode())})
    answer = server("/requirements.txt", {"Content-Type": content_type}, method="POST", body=body)
    assert answer.status == 200, answer
    return answer.json


# /local/


def test_what_was_installed_is_local_and_nothing_else_is(app: Make, up: Upstream) -> None:
    for version in ("1.0", "2.0"):
        up.release("Demo", version)
    up.release("other", "1.0")
    server = app()
    server(server.address("demo", "demo-1.0-py3-none-any.whl"))
    server.page("other")
    up.clear()

    assert names_of(server("/local/")) == ["demo"]
    assert names_of(server("/local/demo/")) == ["demo-1.0-py3-none-any.whl"]
    assert server("/local/other/").status == 404
    assert server("/local/nothing/").status == 404
    assert not up.requests


def test_local_links_lead_to_the_files(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()
    data = server(server.address("demo", "demo-1.0-py3-none-any.whl")).body

    for path in ("/local/demo/", "/local/demo/1.0", "/local/demo/1.0/", "/simple/demo/1.0/"):
        (href,) = hrefs(server(path))
        assert server(urljoin(path, href).partition("#")[0]).body == data
    (file,) = server("/local/demo/", {"Accept": JSON}).json["files"]
    assert server(urljoin("/local/demo/", file["url"])).body == data


def test_local_takes_any_spelling_of_a_name(app: Make, up: Upstream) -> None:
    up.release("Some.Thing", "1.0")
    server = app()
    server(server.address("some-thing", "some_thing-1.0-py3-none-any.whl"))

    for spelling in ("Some.Thing", "SOME_thing"):
        moved = server(f"/local/{spelling}/")
        assert (moved.status, moved.headers["Location"]) == (301, "../some-thing/")
        assert server(f"/local/{spelling}").headers["Location"] == "some-thing/"
        assert server(f"/local/{spelling}/1.0").status == 200


def test_local_shows_what_is_fetched_from_one_request_to_the_next(app: Make, up: Upstream) -> None:
    server = app()
    for number in range(5):
        up.release(f"demo{number}", "1.0")
        server(server.address(f"demo{number}", f"demo{number}-1.0-py3-none-any.whl"))

        assert len(names_of(server("/local/"))) == number + 1


def test_a_client_that_has_the_local_page_is_told_so(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()
    server(server.address("demo", "demo-1.0-py3-none-any.whl"))
    tag = server("/local/demo/").headers["ETag"]

    assert server("/local/demo/", {"If-None-Match": tag}).status == 304


def test_what_somebody_may_not_read_is_not_local_either(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()
    server(server.address("demo", "demo-1.0-py3-none-any.whl"))
    server.change_index("root/pypi", acl_read=["root"])

    for path in ("/local/", "/local/demo/", "/simple/demo/1.0", f"/packages/demo/{DEMO.filename}"):
        assert server(path).status == 401
        assert root_of(server)("GET", path).status == 200


# One version, one file


def test_a_page_of_one_version_has_its_files_only(app: Make, up: Upstream) -> None:
    for version in ("1.0", "1.0.post1"):
        up.release("demo", version, sdist=True)
    server = app()

    assert names_of(server("/simple/demo/1.0")) == ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"]
    assert names_of(server("/simple/Demo/1.0.0")) == names_of(server("/simple/demo/1.0"))
    assert server("/simple/demo/3").status == 404
    assert server("/simple/nothing/3").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/packages/source/d/demo/demo-1.0.tar.gz",
        "/packages/source/D/Demo/Demo-1.0.tar.gz",
        "/packages/demo/demo-1.0.tar.gz",
        "/packages/py3/d/demo/demo-1.0-py3-none-any.whl",
        "/packages/2.7/d/demo/demo-1.0-py3-none-any.whl",
    ],
)
def test_a_file_is_found_by_its_name(app: Make, up: Upstream, path: str) -> None:
    up.release("demo", "1.0", sdist=True)
    data = {file.filename: file.data for file in (up.file(path.rpartition("/")[2].lower()),)}

    answer = app()(path)

    assert answer.status == 200
    assert [answer.body] == list(data.values())
    assert app()(path, method="HEAD").headers["Content-Length"] == str(len(answer.body))


def test_a_file_that_nobody_has_is_not_found(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()

    for name in ("demo-2.0.tar.gz", "nothing-1.0.tar.gz", "demo", "..", "%2e%2e%2fx"):
        assert server(f"/packages/source/d/demo/{name}").status == 404
    up.fail("/simple/sick/", Status(503))
    assert server("/packages/source/s/sick/sick-1.0.tar.gz").status == 502


# Uploads


def test_a_package_is_uploaded_and_served_at_once(cache: App, tmp_path: Path) -> None:
    answer = send(cache, "/uploadpackage/", "sdist", (OWN.filename, OWN.data))

    assert (answer.status, answer.json) == (200, {"uploaded": "ok"})
    assert cache(OWN_PATH).body == OWN.data
    assert names_of(cache("/local/")) == ["mypackage"]
    assert names_of(cache("/local/mypackage/1.0")) == [OWN.filename]
    assert names_of(cache("/simple/mypackage/")) == [OWN.filename]
    (path,) = (tmp_path / "data" / "packages").rglob(OWN.filename)
    assert path.read_bytes() == OWN.data


def test_so_is_what_is_put(cache: App) -> None:
    for path, data in (
        (OWN_PATH, OWN.data),
        (f"/packages/py3/d/demo/{DEMO.filename}", DEMO.data),
    ):
        answer = cache(path, method="PUT", body=data)
        assert (answer.status, answer.json) == (200, {"uploaded": "ok"})
        assert cache(path).body == data
        assert cache(path, method="PUT", body=b"x").status == 409
        assert cache(path).body == data


def test_a_file_that_is_there_stays(cache: App) -> None:
    send(cache, "/uploadpackage/", "sdist", (OWN.filename, OWN.data))

    answer = send(cache, "/uploadpackage/", "sdist", (OWN.filename, b"other"))

    assert answer.status == 409
    assert answer.json == {"error": True, "message": f"File already exists: {OWN.filename}"}
    assert cache(OWN_PATH).body == OWN.data


@pytest.mark.parametrize("name", ["a-1.0-dev.tar.gz", "a-1.0-SNAPSHOT.zip", "a-1-dev.tar.bz2"])
def test_a_snapshot_gives_way(cache: App, name: str) -> None:
    for data in (b"one", b"two"):
        assert send(cache, "/uploadpackage/", "sdist", (name, data)).status == 200
        assert cache(f"/packages/source/a/a/{name}").body == data


def test_what_is_missing_is_told(cache: App) -> None:
    told = {"error": True, "message": "Missing package data."}
    for answer in (
        send(cache, "/uploadpackage/", "content", (OWN.filename, OWN.data)),
        send(cache, "/uploadpackage", "other", ("x", b"x")),
        cache(OWN_PATH, method="PUT", body=b""),
    ):
        assert (answer.status, answer.json) == (400, told)
    answer = send(cache, "/requirements.txt", "other", ("x", b"x"))
    assert answer.status == 400
    assert answer.json == {"error": True, "message": "Missing requirements data."}


@pytest.mark.parametrize(
    "name", ["x", "../a-1.0.tar.gz", ".a-1.0.tar.gz", "a-1.0.txt", "a\n-1.zip"]
)
def test_a_name_that_is_none_is_refused(cache: App, name: str, tmp_path: Path) -> None:
    answer = send(cache, "/uploadpackage/", "sdist", (name, b"x"))

    assert answer.status == 400
    assert not list((tmp_path / "data" / "packages").iterdir())


def test_upstream_is_shown_beside_what_is_there(cache: App, up: Upstream) -> None:
    up.release("mypackage", "2.0")
    send(cache, "/uploadpackage/", "sdist", (OWN.filename, OWN.data))

    assert names_of(cache("/simple/mypackage/")) == [OWN.filename, "mypackage-2.0-py3-none-any.whl"]
    assert names_of(cache("/local/mypackage/")) == [OWN.filename]


def test_the_folder_of_an_old_one_is_served(cache: App, tmp_path: Path) -> None:
    place = tmp_path / "data" / "packages" / "m" / "mypackage"
    place.mkdir(parents=True)
    (place / OWN.filename).write_bytes(OWN.data)

    assert cache(OWN_PATH).body == OWN.data
    assert cache(f"/packages/mypackage/{OWN.filename}").body == OWN.data
    assert names_of(cache("/local/mypackage/")) == [OWN.filename]


# Permissions on a server with accounts


def test_who_may_upload_to_the_folder_may_do_so_here(app: Make, folder: Path) -> None:
    server = app("--packages", str(folder))
    alice, root = join(server, "alice"), root_of(server)
    file = (OWN.filename, OWN.data)

    assert send(server, "/uploadpackage/", "sdist", file).status == 401
    assert send(server, "/uploadpackage/", "sdist", file, alice.credentials).status == 403
    assert server(OWN_PATH, method="PUT", body=OWN.data).status == 401
    assert not list(folder.iterdir())
    assert send(server, "/uploadpackage/", "sdist", file, root.credentials).status == 200
    assert [path.name for path in folder.iterdir()] == [OWN.filename]


def test_a_mirror_takes_no_files(app: Make) -> None:
    server = app()
    root = root_of(server)

    for headers, status in ((NOBODY, 401), (root.credentials, 403)):
        answer = send(server, "/uploadpackage/", "sdist", (OWN.filename, OWN.data), headers)
        assert answer.status == status
        assert server(OWN_PATH, headers, method="PUT", body=b"x").status == status


def test_somebody_known_may_prefetch(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()
    text = b"demo==1.0 --hash=sha256:" + up.file(DEMO.filename).sha256.encode()

    for who, status in ((Person(server), 401), (join(server, "alice"), 200)):
        answer = send(server, "/requirements.txt", "requirements", ("-", text), who.credentials)
        assert answer.status == status
    assert answer.json["cached"] == [DEMO.filename]


# POST /requirements.txt


def test_what_requirements_need_is_cached(cache: App, up: Upstream) -> None:
    up.release("demo", "1.0", requires=["deep"])
    up.release("deep", "0.1")
    up.release("old", "3.0", wheel=False)

    told = requirements(cache, "demo==1.0\nold\nnothing==2\n!?\n-e git+http://x/y\n")

    assert told["cached"] == ["deep-0.1-py3-none-any.whl", DEMO.filename, "old-3.0.tar.gz"]
    assert told["unparseable"] == ["!?"]
    assert sorted(told["failed"])[:2] == ["-e git+http://x/y", "nothing==2"]
    states = {each["line"]: each["result"] for each in told["results"]}
    assert states["demo==1.0"] == states["deep 0.1"] == states["old"] == "cached"
    assert names_of(cache("/local/")) == ["deep", "demo", "old"]


def test_a_frozen_environment_that_is_broken_is_cached_line_by_line(
    cache: App, up: Upstream
) -> None:
    up.release("demo", "1.0", requires=["deep>=2"])
    up.release("deep", "1.0")

    told = requirements(cache, "demo==1.0\ndeep==1.0\n")

    assert told["cached"] == ["deep-1.0-py3-none-any.whl", DEMO.filename]
    assert told["failed"] == []
    (together,) = (each for each in told["results"] if each["result"] == "failed")
    assert "conflicting" in together["reason"]


def test_a_lock_is_known_by_its_name(cache: App, up: Upstream) -> None:
    file = up.release("demo", "1.0")
    lock = (
        '[[package]]\nname = "demo"\nversion = "1.0"\n'
        f'files = [{{file = "{DEMO.filename}", hash = "sha256:{file.sha256}"}}]\n'
    )

    for name in ("poetry.lock", "C:\\app\\poetry.lock"):
        assert requirements(cache, lock, name)["cached"] == [DEMO.filename]


def test_it_is_fetched_for_whom_the_form_says(cache: App, up: Upstream) -> None:
    for platform in ("win_amd64", "manylinux_2_17_x86_64"):
        name = f"demo-1.0-cp312-cp312-{platform}.whl"
        up.release("demo", "1.0", filename=name, content=platform.encode() * 100)
    lock = '[[package]]\nname = "demo"\nversion = "1.0"\nfiles = []\n'

    told = requirements(cache, lock, "poetry.lock", platform="windows", python_version="3.12")

    assert told["cached"] == ["demo-1.0-cp312-cp312-win_amd64.whl"]
    told = requirements(cache, lock, "poetry.lock", all_platforms="yes")
    assert len(told["cached"]) == 2


def test_nobodys_code_is_run_here(cache: App, up: Upstream) -> None:
    """An sdist is fetched with what it says that its build needs, and not built."""
    up.release("demo", "1.0", wheel=False)
    up.release("setuptools", "1.0")

    told = requirements(cache, "demo\n--no-binary=demo\n")

    assert told["cached"] == ["demo-1.0.tar.gz", "setuptools-1.0-py3-none-any.whl"]
    assert "only building it would tell" in told["notes"][0]


@pytest.mark.parametrize(
    "fields", [{"platform": "amiga"}, {"python_version": "2"}, {"all_platforms": "1"}]
)
def test_what_is_asked_for_in_vain_is_told(cache: App, fields: dict[str, str]) -> None:
    if "all_platforms" in fields:
        fields = {"requirements": "x\n" * 3000}
    content_type, body = encoded(fields, {"requirements": ("-", b"demo\n" * 3000)})
    answer = cache("/requirements.txt", {"Content-Type": content_type}, method="POST", body=body)

    assert answer.status in (400, 413)
    assert answer.json["error"] is True


@pytest.mark.parametrize("path", ["/uploadpackage/", "/requirements.txt"])
def test_what_is_no_form_is_refused(cache: App, path: str) -> None:
    answer = cache(path, {"Content-Type": "text/plain"}, method="POST", body=b"demo")

    assert (answer.status, answer.json["error"]) == (400, True)
