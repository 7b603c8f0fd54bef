"""``pypi-server``: its addresses, as its clients know them."""

from __future__ import annotations

import hashlib
import io
import os
import xmlrpc.client
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import pytest
from foldering import NOWHERE, OPEN, PypiServer, hrefs, put
from server import JSON, Response, until
from uploading import basic, encoded
from upstream import artefacts

pytestmark = pytest.mark.straight("our configuration of nginx is for devpi-server")

Make = Callable[..., PypiServer]
WHEEL = artefacts.wheel("foo", "1.0", requires_python=">=3.8")
SDIST = artefacts.sdist("foo_bar", "1.1")
SHA256 = hashlib.sha256(WHEEL.data).hexdigest()
ANSWERS_OPENLY = {
    "/": 200,
    "/simple": 301,
    "/simple/": 200,
    "/simple/foo": 301,
    "/simple/foo/": 200,
    "/simple/Foo_Bar/": 301,
    "/simple/missing/": 303,
    "/packages": 301,
    "/packages/": 200,
    f"/packages/{WHEEL.filename}": 200,
    f"/packages/{WHEEL.filename}.asc": 404,
    "/packages/missing-1.0.zip": 404,
    "/foo": 303,
    "/foo/": 303,
    "/foo/json": 200,
    "/Foo/json": 301,
    "/missing/json": 404,
    "/pypi/foo/json": 404,
    "/health": 200,
    "/favicon.ico": 404,
    "/a/b/c": 404,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "packages", WHEEL, SDIST)
    return tmp_path / "packages"


@pytest.fixture
def make(tmp_path: Path, folder: Path) -> Make:
    return lambda *options: PypiServer(tmp_path / "data", *options, str(folder))


@pytest.fixture
def server(make: Make) -> PypiServer:
    """One where everybody may do everything."""
    return make(*OPEN)


def send(
    server: PypiServer,
    action: str = "file_upload",
    files: dict[str, tuple[str, bytes]] | None = None,
    headers: dict[str, str] | None = None,
    **fields: str,
) -> Response:
    """Post a form."""
    form = {":action": action, **fields} if action else fields
    content_type, body = encoded(form, files or {})
    sent = {"Content-Type": content_type, **(headers or {})}
    return server("/", sent, method="POST", body=body)


def names_of(folder: Path) -> set[str]:
    """All files, hidden ones included."""
    return {name for _, _, names in os.walk(folder) for name in names}


# Pages


@pytest.mark.parametrize(("path", "status"), ANSWERS_OPENLY.items())
def test_each_address_has_its_answer(server: PypiServer, path: str, status: int) -> None:
    assert server(path).status == status
    assert server(path, method="HEAD").status == status


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_what_is_not_there_is_at_the_fallback(server: PypiServer, protocol: str) -> None:
    """By a 303, which HTTP/1.0 does not have."""
    server.protocol = protocol
    answer = server("/simple/missing/")

    assert answer.status == (302 if protocol == "HTTP/1.0" else 303)
    assert answer.headers["Location"] == f"{NOWHERE}missing/"


def test_without_fallback_it_is_nowhere(make: Make) -> None:
    answer = make(*OPEN, "--disable-fallback")("/simple/Missing/")

    assert answer.status == 301
    answer = make(*OPEN, "--disable-fallback")("/simple/missing/")
    assert answer.status == 404
    assert b"Not Found (missing does not exist)" in answer.body


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/simple", "/simple/"),
        ("/simple/foo", "/simple/foo/"),
        ("/simple/Foo.Bar/", "/simple/foo-bar/"),
        ("/packages", "/packages/"),
        ("/Foo", "/simple/Foo/"),
        ("/a%0Ab/", "/simple/a%0Ab/"),
        ("/Foo_Bar/json", "/foo-bar/json"),
        ("/simple/a%0Ab", "/simple/a%0Ab/"),
    ],
)
def test_redirects_stay_on_the_server(server: PypiServer, path: str, location: str) -> None:
    assert server(path).headers["Location"] == location


def test_a_page_has_links_with_digests_at_once(server: PypiServer) -> None:
    page = server("/simple/foo/").body

    assert hrefs(page) == [f"/packages/{WHEEL.filename}#sha256={SHA256}"]
    assert b"Requires-Python" not in page
    assert server(hrefs(page)[0].partition("#")[0]).body == WHEEL.data


def test_a_page_says_what_modern_installers_ask_for(server: PypiServer) -> None:
    server.read()
    answer = server("/simple/foo/", {"Accept": JSON})
    (file,) = answer.json["files"]

    assert answer.headers["Content-Type"] == JSON
    assert file["url"] == f"/packages/{WHEEL.filename}"
    assert file["hashes"] == {"sha256": SHA256}
    assert file["size"] == len(WHEEL.data)
    assert file["requires-python"] == ">=3.8"
    assert "upload-time" in file
    metadata = server(f"{file['url']}.metadata")
    assert metadata.body == WHEEL.metadata
    assert file["core-metadata"]["sha256"] == hashlib.sha256(metadata.body).hexdigest()
    again = {"Accept": JSON, "If-None-Match": answer.headers["ETag"]}
    assert server("/simple/foo/", again).status == 304


def test_the_lists_have_all_that_is_there(server: PypiServer, folder: Path) -> None:
    put(folder / "sub dir", artefacts.sdist("baz", "2.0"))
    (folder / ".hidden-1.0.zip").write_bytes(b"secret")
    put(folder / ".hidden", artefacts.sdist("secret", "1.0"))
    (folder / "README.txt").write_text("not a package")

    assert hrefs(server("/simple/").body) == ["baz/", "foo/", "foo-bar/"]
    listed = server("/packages/").body
    paths = [href.partition("#")[0] for href in hrefs(listed)]
    assert sorted(paths) == [
        f"/packages/{WHEEL.filename}",
        "/packages/foo_bar-1.1.tar.gz",
        "/packages/sub%20dir/baz-2.0.tar.gz",
    ]
    assert b">sub dir/baz-2.0.tar.gz</a>" in listed
    for href in hrefs(listed):
        assert server(urljoin("/packages/", href.partition("#")[0])).status == 200
    for path in (".hidden-1.0.zip", ".hidden/secret-1.0.tar.gz", "README.txt", "../data/secret"):
        assert server(f"/packages/{path}").status == 404


def test_the_next_request_sees_what_was_copied_and_removed(
    server: PypiServer, folder: Path
) -> None:
    assert server("/simple/new/").status == 303
    put(folder, artefacts.sdist("new", "1.0"))
    assert hrefs(server("/simple/new/").body)
    (folder / "new-1.0.tar.gz").unlink()
    assert server("/simple/new/").status == 303


@pytest.mark.parametrize("algorithm", ["md5", "sha512", "blake2b"])
def test_links_have_the_digest_that_is_wanted(make: Make, algorithm: str) -> None:
    server = make(*OPEN, "--hash-algo", algorithm)
    digest = hashlib.new(algorithm, WHEEL.data).hexdigest()

    for _ in range(2):
        assert hrefs(server("/simple/foo/").body)[0].endswith(f"#{algorithm}={digest}")
        assert f"#{algorithm}={digest}".encode() in server("/packages/").body
        server.read()


def test_links_have_no_digest_where_none_is_wanted(make: Make) -> None:
    server = make(*OPEN, "--hash-algo", "off")
    server.read()

    assert hrefs(server("/simple/foo/").body) == [f"/packages/{WHEEL.filename}"]
    assert server("/simple/foo/", {"Accept": JSON}).json["files"][0]["hashes"] == {}


def test_the_first_folder_counts(make: Make, tmp_path: Path, folder: Path) -> None:
    put(tmp_path / "second", artefacts.sdist("baz", "1.0"))
    (tmp_path / "second" / WHEEL.filename).write_bytes(b"other")
    server = make(*OPEN, "-r", str(folder), str(tmp_path / "second"))

    assert hrefs(server("/simple/baz/").body)
    assert server(f"/packages/{WHEEL.filename}").body == WHEEL.data


def test_json_tells_versions_the_newest_first(server: PypiServer, folder: Path) -> None:
    put(folder, artefacts.sdist("foo", "1.10"), artefacts.sdist("foo", "1.9"))
    answer = server("/foo/json", {"Host": "host.example:8080"})

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["info"] == {"version": "1.10"}
    assert list(answer.json["releases"]) == ["1.10", "1.9", "1.0"]
    (file,) = answer.json["releases"]["1.0"]
    assert file == {"url": f"http://host.example:8080/packages/{WHEEL.filename}"}


# Where it is served


def test_the_page_for_people_says_where_it_is(server: PypiServer) -> None:
    page = server("/", {"Host": "host.example"}).body.decode()

    assert "PyPI compatible package index serving 2 packages" in page
    assert "--index-url http://host.example/simple/ PACKAGE" in page
    assert hrefs(page.encode()) == ["/packages/", "/simple/"]


def test_all_of_it_can_be_below_a_path(make: Make) -> None:
    server = make(*OPEN, "--server-base-url", "/priv/index")

    assert server("/").status == 404
    assert server("/simple/").status == 404
    assert hrefs(server("/priv/index/").body) == ["/priv/index/packages/", "/priv/index/simple/"]
    (href,) = hrefs(server("/priv/index/simple/foo/").body)
    assert href.startswith(f"/priv/index/packages/{WHEEL.filename}#")
    assert server(href.partition("#")[0]).body == WHEEL.data
    assert server("/priv/index/foo").headers["Location"] == "/priv/index/simple/foo/"
    assert server("/priv/index").status == 200


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_front_server_may_name_its_path_with_its_host(server: PypiServer, slash: str) -> None:
    headers = {"X-Forwarded-Host": f"forward.example/priv{slash}"}

    page = server("/", headers).body.decode()
    assert "--index-url http://forward.example/priv/simple/ PACKAGE" in page
    assert hrefs(page.encode()) == ["/priv/packages/", "/priv/simple/"]
    assert hrefs(server("/simple/foo/", headers).body)[0].startswith("/priv/packages/foo-1.0")
    assert hrefs(server("/packages/", headers).body)[0].startswith("/priv/packages/")
    assert server("/simple", headers).headers["Location"] == "/priv/simple/"


@pytest.mark.parametrize("host", ['x/"><script>', "x//evil.example", "x/a\rb", "/" + 200 * "a"])
def test_no_other_path_is_believed(server: PypiServer, host: str) -> None:
    headers = {"X-Forwarded-Host": host}

    assert b"<script>" not in server("/", headers).body
    assert hrefs(server("/simple/foo/", headers).body)[0].startswith("/packages/foo-1.0")


def test_what_is_in_the_address_is_no_script(server: PypiServer) -> None:
    page = server("/?<alert>Red</alert>", {"Host": "host.example"}).body.decode()

    assert "<alert>" not in page
    assert "alert" in page


def test_a_welcome_page_of_ones_own(make: Make, tmp_path: Path) -> None:
    names = ("URL", "VERSION", "NUMPKGS", "PACKAGES", "SIMPLE")
    template = tmp_path / "welcome.html"
    template.write_text("".join(f"{name}={{{{{name}}}}}\n" for name in names))
    said = make(*OPEN, "--welcome", str(template))("/", {"Host": "h"}).body.decode().splitlines()

    assert said[0] == "URL=http://h/"
    assert said[2:5] == ["NUMPKGS=2", "PACKAGES=/packages/", "SIMPLE=/simple/"]


def test_health_is_where_it_is_wanted(make: Make) -> None:
    server = make(*OPEN, "--health-endpoint", "/-/alive")

    assert server("/-/alive").body == b"Ok"
    assert server("/health").status == 303


def test_files_may_be_kept_for_as_long_as_is_said(make: Make) -> None:
    path = f"/packages/{WHEEL.filename}"

    assert "Cache-Control" not in make(*OPEN)(path).headers
    kept = make(*OPEN, "--cache-control", "3600")
    assert kept(path).headers["Cache-Control"] == "public, max-age=3600"
    assert "3600" not in kept("/simple/foo/").headers["Cache-Control"]


def test_files_come_in_parts_and_only_if_they_are_others(server: PypiServer) -> None:
    path = f"/packages/{WHEEL.filename}"
    whole = server(path)

    assert server(path, {"Range": "bytes=2-5"}).body == WHEEL.data[2:6]
    assert server(path, {"Range": "bytes=99999999-"}).status == 416
    assert server(path, {"If-None-Match": whole.headers["ETag"]}).status == 304
    modified = whole.headers["Last-Modified"]
    assert server(path, {"If-Modified-Since": modified}).status == 304


def test_what_was_sent_before_is_sent_as_it_is_now(server: PypiServer, folder: Path) -> None:
    """Without a thread, as long as nothing has changed, and only to who may."""
    path = f"/packages/{WHEEL.filename}"
    hot = server.services.app.hot
    assert not hot.is_ready("/simple/foo/", "", "")
    server.read()  # which settles what was listed
    page = server("/simple/foo/")
    assert server(path).body == WHEEL.data
    until(lambda: server("/simple/foo/") and hot.is_ready("/simple/foo/", "", ""))

    assert server("/simple/foo/").body == page.body
    assert hot.is_ready(path, "", "")
    assert server("/simple/foo/", {"X-Forwarded-Host": "h/x"}).body != page.body
    put(folder, artefacts.sdist("foo", "2.0"))
    assert len(hrefs(server("/simple/foo/").body)) == 2
    (folder / WHEEL.filename).write_bytes(b"other")
    assert server(path).body == b"other"
    (folder / WHEEL.filename).unlink()
    assert server(path).status == 404


# Uploads


def test_what_is_uploaded_is_there(server: PypiServer, folder: Path) -> None:
    new = artefacts.sdist("new", "1.0")
    declared = hashlib.sha256(new.data).hexdigest()
    answer = send(server, files={"content": (new.filename, new.data)}, sha256_digest=declared)

    assert (answer.status, answer.body) == (200, b"")
    assert (folder / new.filename).read_bytes() == new.data
    assert hrefs(server("/simple/new/").body) == [f"/packages/{new.filename}#sha256={declared}"]
    assert server(f"/packages/{new.filename}").body == new.data


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_large_upload_has_its_digest_at_once(make: Make, algorithm: str) -> None:
    """It was made while it was received; a file that is copied there gets it when it is read."""
    server = make(*OPEN, "--overwrite", "--hash-algo", algorithm)
    for content in (b"x" * 9_000_000, b"y" * 9_000_000):
        assert send(server, files={"content": ("big-1.0.zip", content)}).status == 200
        digest = hashlib.new(algorithm, content).hexdigest()
        expected = [f"/packages/big-1.0.zip#{algorithm}={digest}"]
        assert hrefs(server("/simple/big/").body) == expected


def test_a_large_file_is_listed_before_it_is_read(server: PypiServer, folder: Path) -> None:
    (folder / "big-1.0.zip").write_bytes(b"x" * 9_000_000)
    assert hrefs(server("/simple/big/").body) == ["/packages/big-1.0.zip"]
    server.read()
    assert "#sha256=" in hrefs(server("/simple/big/").body)[0]


def test_a_signature_comes_with_its_file(server: PypiServer, folder: Path) -> None:
    files = {"content": ("new-1.0.zip", b"x"), "gpg_signature": ("new-1.0.zip.asc", b"sig")}
    assert send(server, files=files).status == 200

    assert server("/packages/new-1.0.zip.asc").body == b"sig"
    assert b'data-gpg-sig="true"' in server("/simple/new/").body
    files["gpg_signature"] = ("other-1.0.zip.asc", b"sig")
    files["content"] = ("new-1.1.zip", b"x")
    answer = send(server, files=files)
    assert answer.status == 400
    assert b"Unrelated signature" in answer.body
    assert "new-1.1.zip" not in names_of(folder)


@pytest.mark.parametrize(
    ("agent", "status"), [("distutils/3.8", 409), ("twine/6.2.0 requests/2", 400)]
)
def test_a_name_is_taken_once(server: PypiServer, folder: Path, agent: str, status: int) -> None:
    """twine skips what is there by the words in a 400."""
    files = {"content": (WHEEL.filename, b"other")}
    answer = send(server, files=files, headers={"User-Agent": agent})

    assert answer.status == status
    assert f"Package '{WHEEL.filename}' already exists!" in unescape(answer.body.decode())
    assert (folder / WHEEL.filename).read_bytes() == WHEEL.data


def test_a_file_gives_way_where_that_is_allowed(make: Make, folder: Path) -> None:
    server = make(*OPEN, "--overwrite")
    before = server("/simple/foo/").body
    assert send(server, files={"content": (WHEEL.filename, b"other")}).status == 200

    assert (folder / WHEEL.filename).read_bytes() == b"other"
    assert server("/simple/foo/").body != before


@pytest.mark.parametrize(
    "name",
    ["foo", "no-1", "a b-1.0.zip", "foo-1.0.exe.txt", "föö-1.0.zip", ".foo-1.0.zip", "x;y-1.0.zip"],
)
def test_other_names_are_refused(server: PypiServer, folder: Path, name: str) -> None:
    before = names_of(folder)
    answer = send(server, files={"content": (name, b"x")})

    assert (answer.status, answer.reason) == (400, "Bad Request")
    assert f"Bad filename: {name}" in answer.body.decode()
    assert names_of(folder) == before


def test_other_bytes_than_were_declared_are_refused(server: PypiServer, folder: Path) -> None:
    for field, digest in (("sha256_digest", "0" * 64), ("md5_digest", "0" * 32)):
        answer = send(server, files={"content": ("new-1.0.zip", b"x")}, **{field: digest})
        assert answer.status == 400
    assert "new-1.0.zip" not in names_of(folder)


def test_metadata_may_be_large(server: PypiServer) -> None:
    """bottle takes 100 KiB of fields."""
    files = {"content": ("new-1.0.zip", b"x")}
    assert send(server, files=files, description="x" * 3_000_000).status == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action": ""}, "Missing ':action' field!"),
        ({"action": "BAD"}, "Unsupported ':action' field: BAD"),
        ({}, "Missing 'content' file-field!"),
        ({"action": "doc_upload"}, "Missing 'content' file-field!"),
        ({"action": "remove_pkg"}, "Missing 'name'/'version' fields: name=None, version=None"),
        (
            {"action": "remove_pkg", "name": "foo", "version": ""},
            "Missing 'name'/'version' fields: name=foo, version=<",
        ),
    ],
)
def test_a_form_says_what_it_is(server: PypiServer, fields: dict[str, str], message: str) -> None:
    answer = send(server, **fields)

    assert (answer.status, answer.reason) == (400, "Bad Request")
    assert message in unescape(answer.body.decode())


def test_what_is_no_form_says_nothing(server: PypiServer) -> None:
    answer = server("/", method="POST", body=b"")

    assert answer.status == 400
    assert "Missing ':action' field!" in unescape(answer.body.decode())


@pytest.mark.parametrize("action", ["submit", "verify"])
def test_registering_needs_nothing(server: PypiServer, action: str) -> None:
    assert send(server, action, name="foo", version="1.0").status == 200


def test_all_of_a_version_is_removed(server: PypiServer, folder: Path) -> None:
    put(folder / "sub", artefacts.sdist("foo", "1.0"), artefacts.sdist("foo", "1.1"))
    (folder / f"{WHEEL.filename}.asc").write_bytes(b"sig")
    assert send(server, "remove_pkg", name="foo", version="1.0").status == 200

    assert names_of(folder) == {SDIST.filename, "foo-1.1.tar.gz"}
    answer = send(server, "remove_pkg", name="foo", version="1.0")
    assert (answer.status, answer.reason) == (404, "Not Found")
    assert b"foo (1.0) not found" in answer.body


def test_documentation_is_kept_elsewhere(server: PypiServer, folder: Path, tmp_path: Path) -> None:
    before = names_of(folder)
    page = artefacts.wheel("x", "1").data  # a zip, without a page
    assert b"not a zip" in send(server, "doc_upload", {"content": ("d.zip", page)}, name="x").body
    zipped = zip_of("index.html")
    assert send(server, "doc_upload", {"content": ("d.zip", zipped)}, name="Foo").status == 200

    assert (tmp_path / "data/docs/foo/latest.zip").read_bytes() == zipped
    assert names_of(folder) == before


def zip_of(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "<h1>Documentation</h1>")
    return buffer.getvalue()


# Search


def search(server: PypiServer, *words: str, at: str = "/RPC2") -> set[tuple[str, str]]:
    question = xmlrpc.client.dumps(({"name": list(words), "summary": list(words)}, "or"), "search")
    answer = server(at, {"Content-Type": "text/xml"}, method="POST", body=question.encode())
    assert answer.status == 200
    ((hits,), method) = xmlrpc.client.loads(answer.body)
    assert method == "search"
    assert all(hit["summary"] == hit["version"] for hit in hits)
    return {(hit["name"], hit["version"]) for hit in hits}


def test_search_finds_names_and_parts_of_them(server: PypiServer) -> None:
    assert search(server, "foo") == {("foo", "1.0"), ("foo_bar", "1.1")}
    assert search(server, "Foo_B") == {("foo_bar", "1.1")}
    assert search(server, "missing") == set()


@pytest.mark.parametrize("at", ["/RPC2", "/", "/simple", "/simple/"])
def test_search_is_wherever_pip_asks(server: PypiServer, at: str) -> None:
    """It asks at the address of the index that it is given."""
    assert search(server, "foo_bar", at=at) == {("foo_bar", "1.1")}


def test_a_question_may_be_as_loose_as_it_ever_was(server: PypiServer) -> None:
    loose = b"<xml><methodName>search</methodName><string>foo_bar</string></xml>"
    answer = server("/RPC2", method="POST", body=loose)

    (((hit,),), _) = xmlrpc.client.loads(answer.body)
    assert (hit["name"], hit["version"]) == ("foo_bar", "1.1")


def test_what_went_wrong_is_no_script(server: PypiServer) -> None:
    host = {"Host": "host.example"}
    sent = {"name": "<alert>Red</alert>", "version": "1.1.1"}
    for accept in ({}, {"Accept": "text/html"}):
        page = send(server, "remove_pkg", headers={**host, **accept}, **sent).body.decode()
        assert "alert" in page
        assert "host.example" in page
        assert "<alert>" not in page
    answer = send(server, "remove_pkg", headers={**host, "Accept": "*/*"}, **sent)
    assert answer.body == b"<alert>Red</alert> (1.1.1) not found\n"
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    "body", [b"", b"<a>", b'<!DOCTYPE x [<!ENTITY a "b">]><methodCall>&a;</methodCall>']
)
def test_what_is_no_question_is_refused(server: PypiServer, body: bytes) -> None:
    answer = server("/RPC2", method="POST", body=body)

    assert answer.status == 400
    assert b"Invalid or unsafe XML payload" in answer.body


def test_other_questions_are_told_in_their_own_way(server: PypiServer) -> None:
    question = xmlrpc.client.dumps((), "list_packages").encode()
    answer = server("/RPC2", method="POST", body=question)

    with pytest.raises(xmlrpc.client.Fault, match="Unknown method"):
        xmlrpc.client.loads(answer.body)


# Who may


ACTION_OF = {
    ("GET", "/"): "",
    ("GET", "/health"): "",
    ("GET", "/foo"): "",
    ("GET", "/foo/"): "",
    ("GET", "/favicon.ico"): "",
    ("GET", "/simple"): "list",
    ("GET", "/simple/"): "list",
    ("GET", "/simple/foo"): "list",
    ("GET", "/simple/foo/"): "list",
    ("GET", "/simple/Foo/"): "list",
    ("GET", "/simple/missing/"): "list",
    ("GET", "/packages"): "list",
    ("GET", "/packages/"): "list",
    ("GET", "/foo/json"): "list",
    ("GET", "/missing/json"): "list",
    ("POST", "/RPC2"): "list",
    ("POST", "/simple/"): "list",
    ("GET", f"/packages/{WHEEL.filename}"): "download",
    ("GET", f"/packages/{WHEEL.filename}.metadata"): "download",
    ("GET", "/packages/missing-1.0.zip"): "download",
    ("POST", "/"): "update",
}
MIXES = [".", "update", "download", "list", "update,download", "update,list", "download,list",
         "update,download,list"]  # fmt: skip


@pytest.mark.parametrize("closed", MIXES)
def test_each_action_is_closed_or_open(make: Make, tmp_path: Path, closed: str) -> None:
    """Nobody and who has a wrong password are asked for one; who has the right one is let in."""
    passwords = tmp_path / "htpasswd"
    passwords.write_text("user:secret\n")
    server = make("-a", closed, "-P", "." if closed == "." else str(passwords))
    openly = make(*OPEN)
    good, wrong = basic("user", "secret"), basic("user", "wrong")

    for (method, path), action in ACTION_OF.items():
        body = b"" if method == "POST" else None
        expected = openly(path, method=method, body=body)
        for headers in ({}, wrong):
            answer = server(path, headers, method=method, body=body)
            if action in closed.split(","):
                assert answer.status == 401, (path, headers)
                assert answer.headers["WWW-Authenticate"] == 'Basic realm="pypi"'
            else:
                assert answer.status == expected.status, (path, headers)
        answer = server(path, good, method=method, body=body)
        assert (answer.status, answer.body) == (expected.status, expected.body), path


def test_without_passwords_nobody_uploads(make: Make) -> None:
    server = make()

    assert server("/simple/foo/").status == 200
    assert send(server).status == 401
    assert send(server, headers=basic("user", "any")).status == 401


def test_what_is_not_for_everybody_is_no_cache_s(make: Make, tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text("user:secret\n")
    server = make("-a", "download,list", "-P", str(tmp_path / "htpasswd"))

    for path in ("/simple/foo/", f"/packages/{WHEEL.filename}"):
        cached = server(path, basic("user", "secret")).headers["Cache-Control"]
        assert cached.startswith("private")


def test_other_methods_are_refused(server: PypiServer) -> None:
    answer = server("/simple/", method="DELETE")

    assert answer.status == 405
    assert "GET" in answer.headers["Allow"]
