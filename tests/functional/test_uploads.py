"""Uploads: what is taken, what is refused, and what is served of it (devpi.md 1.7, 1.11)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urljoin

import orjson
import pytest
from server import JSON, App, held
from uploading import basic, post, upload
from upstream import Upstream
from upstream.artefacts import sdist, wheel

Make = Callable[..., App]
MINE = basic("alice", "pw")
DEMO = wheel("demo", "1.0", requires_python=">=3.8")


@pytest.fixture
def server(app: Make) -> App:
    server = app()
    server.request("PUT", "/alice", {"password": "pw"})
    server.add_index("alice/dev")
    server.add_index("alice/prod", volatile=False)
    return server


def files(server: App, index: str = "alice/dev", project: str = "demo") -> dict[str, dict]:
    page = server.page(project, f"/{index}/+simple/")
    return {file["filename"]: file for file in page["files"]}


# What is served of it


def test_an_uploaded_wheel_is_served_with_all_that_can_be_known(server: App) -> None:
    answer = upload(server, "alice/dev", DEMO, MINE)

    assert (answer.status, answer.body) == (200, b"")
    (file,) = files(server).values()
    sha256 = hashlib.sha256(DEMO.data).hexdigest()
    metadata = hashlib.sha256(DEMO.metadata).hexdigest()
    assert file == {
        "filename": DEMO.filename,
        "url": f"../../+f/{sha256[:3]}/{sha256[3:16]}/{DEMO.filename}",
        "hashes": {"sha256": sha256},
        "requires-python": ">=3.8",
        "size": len(DEMO.data),
        "upload-time": "2023-11-14T22:13:20Z",
        "yanked": False,
        "core-metadata": {"sha256": metadata},
        "gpg-sig": False,
    }
    path = f"/alice/dev/{file['url'].removeprefix('../../')}"
    assert server(path).body == DEMO.data
    assert server(path + ".metadata").body == DEMO.metadata
    assert server(path + ".asc").status == 404


def test_the_page_has_versions_and_the_newest_api(server: App) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    upload(server, "alice/dev", sdist("demo", "2.0"), MINE)

    page = server.page("demo", "/alice/dev/+simple/")
    assert page["versions"] == ["1.0", "2.0"]
    assert page["meta"]["api-version"] == "1.4"


def test_a_signature_is_served_beside_its_file(server: App) -> None:
    upload(server, "alice/dev", DEMO, MINE, signature=b"-----BEGIN PGP SIGNATURE-----")

    (file,) = files(server).values()
    assert file["gpg-sig"] is True
    path = f"/alice/dev/{file['url'].removeprefix('../../')}.asc"
    assert server(path).body == b"-----BEGIN PGP SIGNATURE-----"


def test_attestations_are_served_as_provenance(server: App) -> None:
    attestation = {"version": 1, "verification_material": {}, "envelope": {}}
    sent = orjson.dumps([attestation]).decode()
    assert upload(server, "alice/dev", DEMO, MINE, attestations=sent).status == 200

    (file,) = files(server).values()
    assert file["provenance"] == file["url"] + ".provenance"
    answer = server(f"/alice/dev/{file['provenance'].removeprefix('../../')}")
    assert answer.json["attestation_bundles"][0]["attestations"] == [attestation]


def test_the_next_request_of_any_process_sees_it(app: Make, server: App) -> None:
    other = app()
    assert other("/alice/dev/+simple/demo/").status == 404
    upload(server, "alice/dev", DEMO, MINE)

    assert list(files(other)) == [DEMO.filename]


def test_a_page_in_memory_is_not_served_beyond_an_upload(server: App) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    for _ in range(3):
        files(server)
    upload(server, "alice/dev", sdist("demo", "1.0"), MINE)

    assert len(files(server)) == 2


# What is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({":action": "foo"}, "action 'foo' not supported"),
        ({"name": ""}, "the form has no name"),
        ({"version": ""}, "the form has no version"),
        ({"version": "3.0"}, "does not contain version"),
        ({"name": "other"}, "does not match project name"),
        ({"name": "-x-"}, "is not a valid project name"),
        ({"sha256_digest": "0" * 64}, "another sha256 than the form says"),
        ({"md5_digest": "0" * 32}, "another md5 than the form says"),
        ({"blake2_256_digest": "0" * 64}, "another blake2 than the form says"),
        ({"attestations": "{}"}, "the attestations are not a list"),
    ],
)
def test_a_form_at_fault_is_refused_with_the_reason(
    server: App, fields: dict[str, str], message: str
) -> None:
    answer = upload(server, "alice/dev", DEMO, MINE, **fields)

    assert answer.status == 400
    assert message in answer.reason
    assert server("/alice/dev/+simple/demo/").status == 404
    assert held(server.datadir) == {}


def test_a_form_without_a_file_is_refused(server: App) -> None:
    form = {":action": "file_upload", "name": "demo", "version": "1.0"}
    answer = post(server, "alice/dev", form, {}, MINE)

    assert (answer.status, answer.reason) == (400, "content file field not found")


@pytest.mark.parametrize("name", ["demo-1.0.txt", "demo-1.0.html", "../demo-1.0.tar.gz"])
def test_a_name_that_no_installer_takes_is_refused(server: App, name: str) -> None:
    artefact = replace(sdist("demo", "1.0"), filename=name)
    answer = upload(server, "alice/dev", artefact, MINE, name="demo", version="1.0")

    assert answer.status == 400
    assert held(server.datadir) == {}


def test_a_mirror_takes_nothing(server: App) -> None:
    upload_ = upload(server, "root/pypi", DEMO, basic("root", ""))

    assert (upload_.status, upload_.reason) in (
        (404, "cannot submit to mirror index"),
        (403, "no permission to submit"),
    )


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("bob", 403), ("wrong", 401)])
def test_only_who_may_upload_can(server: App, who: str | None, status: int) -> None:
    server.request("PUT", "/bob", {"password": "pw"})
    headers = {None: {}, "bob": basic("bob", "pw"), "wrong": basic("alice", "x")}[who]

    assert upload(server, "alice/dev", DEMO, headers).status == status
    assert held(server.datadir) == {}


# Again


def test_the_same_file_again_is_fine(server: App) -> None:
    for index in ("alice/dev", "alice/prod"):
        assert upload(server, index, DEMO, MINE).reason == "OK"
        again = upload(server, index, DEMO, MINE)
        assert (again.status, again.reason) == (
            200,
            "Upload of identical file to non volatile index.",
        )


def test_other_bytes_replace_the_file_of_a_volatile_index_only(server: App) -> None:
    other = wheel("demo", "1.0", requires=["x"])
    for index in ("alice/dev", "alice/prod"):
        upload(server, index, DEMO, MINE)

    assert upload(server, "alice/dev", other, MINE).status == 200
    answer = upload(server, "alice/prod", other, MINE)

    assert answer.status == 409
    assert "already exists" in answer.reason
    assert b"already exists" in answer.body
    sha256 = {index: files(server, index)[DEMO.filename]["hashes"]["sha256"]
              for index in ("alice/dev", "alice/prod")}  # fmt: skip
    assert sha256 == {
        "alice/dev": hashlib.sha256(other.data).hexdigest(),
        "alice/prod": hashlib.sha256(DEMO.data).hexdigest(),
    }


def test_the_address_of_what_was_replaced_is_gone(server: App) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    path = "/alice/dev/" + files(server)[DEMO.filename]["url"].removeprefix("../../")
    upload(server, "alice/dev", wheel("demo", "1.0", requires=["x"]), MINE)

    assert server(path).status == 410


def test_a_spelling_of_a_file_that_is_there_is_another_file_to_nobody(server: App) -> None:
    upload(server, "alice/dev", sdist("my_demo", "1.0"), MINE)
    twin = replace(sdist("my_demo", "1.0"), filename="my-demo-1.0.tar.gz")

    assert upload(server, "alice/dev", twin, MINE, name="my-demo", version="1.0").status == 409


# Metadata alone


@pytest.mark.parametrize("action", ["submit", "verify"])
def test_a_release_can_be_registered_without_a_file(server: App, action: str) -> None:
    """As ``setup.py register`` does; from then on the name is private."""
    form = {":action": action, "name": "Demo", "version": "1.0", "summary": "a demo"}
    assert post(server, "alice/dev", form, {}, MINE).status == 200

    page = server.page("demo", "/alice/dev/+simple/")
    assert (page["versions"], page["files"]) == (["1.0"], [])


# Inheritance: dependency confusion is closed


def test_a_private_name_is_never_asked_of_a_mirror(app: Make, server: App, up: Upstream) -> None:
    server.add_index("alice/app", bases=["alice/dev", "root/pypi"])
    up.release("demo", "9.0")
    up.release("public", "1.0")
    upload(server, "alice/dev", DEMO, MINE)

    assert list(files(server, "alice/app")) == [DEMO.filename]
    assert list(files(server, "alice/app", "public"))
    assert not [request for request in up.requests if "demo" in request.path]


def test_a_whitelisted_name_is_merged(server: App, up: Upstream) -> None:
    server.add_index("alice/own", mirror_whitelist=["demo"], bases=["root/pypi"])
    public = up.release("demo", "9.0")
    upload(server, "alice/own", DEMO, MINE)

    assert len(files(server, "alice/own")) == 1 + len(
        public.files if hasattr(public, "files") else [public]
    )


def test_files_of_bases_lead_to_their_own_index(server: App) -> None:
    server.add_index("alice/app", bases=["alice/dev"])
    upload(server, "alice/dev", DEMO, MINE)

    (file,) = files(server, "alice/app").values()
    assert file["url"].startswith("../../../../alice/dev/+f/")
    path = file["url"].removeprefix("../../../..")
    assert server(path).body == DEMO.data
    assert server(path.replace("/alice/dev/", "/alice/app/")).body == DEMO.data


# Documentation


def zipped(**pages: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in pages.items():
            archive.writestr(name.replace("__", "/").replace("_html", ".html"), text)
    return buffer.getvalue()


def doc_upload(server: App, data: bytes, version: str = "1.0") -> int:
    form = {":action": "doc_upload", "name": "demo", "version": version}
    return post(server, "alice/dev", form, {"content": ("demo.zip", data)}, MINE).status


def test_documentation_is_served_page_by_page(server: App) -> None:
    assert doc_upload(server, zipped(index_html="<h1>demo</h1>", api__index_html="api")) == 200

    assert server("/alice/dev/demo/1.0/+doc/").headers["Location"] == "index.html"
    page = server("/alice/dev/demo/1.0/+doc/index.html")
    assert (page.status, page.body) == (200, b"<h1>demo</h1>")
    assert page.headers["Content-Type"] == "text/html"
    assert server("/alice/dev/demo/1.0/+doc/api/index.html").body == b"api"
    again = server("/alice/dev/demo/1.0/+doc/index.html", {"If-None-Match": page.headers["ETag"]})
    assert again.status == 304


@pytest.mark.parametrize("page", ["", "index.html", "api/index.html"])
def test_the_frame_of_devpi_leads_to_the_page(server: App, page: str) -> None:
    path = f"/alice/dev/demo/1.0/+d/{page}"

    location = server(path).headers["Location"]
    assert urljoin(path, location) == f"/alice/dev/demo/1.0/+doc/{page}"


@pytest.mark.parametrize(
    "path", ["../../../etc/passwd", "..%2f..%2fsecret", "%2e%2e/x", "/etc/passwd"]
)
def test_no_path_leads_out_of_the_documentation(server: App, path: str) -> None:
    doc_upload(server, zipped(index_html="x"))

    assert server(f"/alice/dev/demo/1.0/+doc/{path}").status == 404


def test_latest_and_stable_are_versions(server: App) -> None:
    for version in ("1.0", "2.0", "3.0rc1"):
        doc_upload(server, zipped(index_html=version), version)

    assert server("/alice/dev/demo/latest/+doc/index.html").body == b"2.0"
    assert server("/alice/dev/demo/stable/+doc/index.html").body == b"2.0"


def test_documentation_that_is_no_zip_is_refused(server: App) -> None:
    assert doc_upload(server, b"<html>") == 400
    assert held(server.datadir) == {}


# Test results


def test_a_test_result_is_kept_with_its_file(server: App) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    path = "/alice/dev/" + files(server)[DEMO.filename]["url"].removeprefix("../../")
    answer = server.request("POST", path, {"testenvs": {}})

    assert (answer.status, answer.json["type"]) == (200, "toxresultpath")
    where = "/" + answer.json["result"].partition("#")[0]
    assert f"{DEMO.filename}.toxresult-20231114221320-0" in where
    assert orjson.loads(server(where).body) == {"testenvs": {}}
    assert list(files(server)) == [DEMO.filename]


@pytest.mark.parametrize("which", ["", "/{name}"])
def test_the_page_of_a_test_result_leads_to_it(server: App, which: str) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    path = "/alice/dev/" + files(server)[DEMO.filename]["url"].removeprefix("../../")
    for turn in range(2):
        result = server.request("POST", path, {"turn": turn}).json["result"].partition("#")[0]
    name = result.rpartition("/")[2]
    page = f"/alice/dev/demo/1.0/+toxresults/{DEMO.filename}{which.format(name=name)}"

    location = server(page).headers["Location"]
    assert server(urljoin(page, location)).json == {"turn": 1}


def test_there_are_no_replicas(server: App) -> None:
    for path in ("/+changelog/0", "/+changelog/5-"):
        assert server(path).status == 403


@pytest.mark.parametrize(("body", "status"), [(b"no json", 400), (b"", 400)])
def test_a_test_result_is_json(server: App, body: bytes, status: int) -> None:
    upload(server, "alice/dev", DEMO, MINE)
    path = "/alice/dev/" + files(server)[DEMO.filename]["url"].removeprefix("../../")

    assert server.request("POST", path, body).status == status


def test_only_a_file_that_is_there_has_test_results(server: App) -> None:
    path = f"/alice/dev/+f/{'0' * 3}/{'0' * 13}/{DEMO.filename}"

    assert server.request("POST", path, {}).status == 404


# Who may read


@pytest.mark.parametrize(
    "path",
    ["/alice/secret/+simple/", "/alice/secret/+simple/demo/", "/alice/secret/+api", "FILE",
     "FILE.metadata"],
)  # fmt: skip
def test_a_closed_index_is_told_of_to_nobody(server: App, path: str) -> None:
    server.request("PUT", "/bob", {"password": "pw"})
    server.add_index("alice/secret", acl_read=["alice"])
    upload(server, "alice/secret", DEMO, MINE)
    sha256 = hashlib.sha256(DEMO.data).hexdigest()
    path = path.replace("FILE", f"/alice/secret/+f/{sha256[:3]}/{sha256[3:16]}/{DEMO.filename}")
    get = {"Accept": f"{JSON}, application/json"}

    assert server(path, {**get, **MINE}).status == 200
    assert server(path, get).status == 401
    known, nothing = (
        server(each, {**get, **basic("bob", "pw")})
        for each in (path, path.replace("/secret/", "/nothing/"))
    )
    assert known.status == nothing.status == 404
    assert known.body.replace(b"secret", b"nothing") == nothing.body


def test_what_only_some_may_read_is_kept_by_no_cache(server: App) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    upload(server, "alice/secret", DEMO, MINE)
    (path,) = (
        "/alice/secret/" + file["url"].removeprefix("../../")
        for file in server("/alice/secret/+simple/demo/", {"Accept": JSON, **MINE}).json["files"]
    )

    for each in (path, "/alice/secret/+simple/demo/"):
        answer = server(each, MINE)
        assert "private" in answer.headers["Cache-Control"]
        assert "public" not in answer.headers["Cache-Control"]


def test_a_closed_base_shuts_the_mirror_out_and_shows_nothing(server: App, up: Upstream) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    server.add_index("alice/open", bases=["alice/secret", "root/pypi"])
    up.release("demo", "9.0")
    upload(server, "alice/secret", DEMO, MINE)

    assert server("/alice/open/+simple/demo/").status == 404
    assert not [request for request in up.requests if "demo" in request.path]
    answer = server("/alice/open/+simple/demo/", {"Accept": JSON, **MINE})
    assert [file["filename"] for file in answer.json["files"]] == [DEMO.filename]


def test_an_index_that_is_closed_later_is_closed_at_once(app: Make, server: App) -> None:
    """Also for pages and files that are hot, in every process."""
    other = app()
    upload(server, "alice/dev", DEMO, MINE)
    path = "/alice/dev/" + files(server)[DEMO.filename]["url"].removeprefix("../../")
    for _ in range(3):
        assert (other("/alice/dev/+simple/demo/").status, other(path).status) == (200, 200)
    server.change_index("alice/dev", acl_read=["alice"])

    assert (other("/alice/dev/+simple/demo/").status, other(path).status) == (401, 401)
