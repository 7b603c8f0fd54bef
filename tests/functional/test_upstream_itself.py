"""The scriptable upstream keeps its promises; what is tested against it leans on them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
import xmlrpc.client
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from upstream import (
    Chunked,
    CloseAtAccept,
    CloseUnanswered,
    Cut,
    DeepJson,
    Fault,
    GzipBomb,
    GzipEncoded,
    HangBeforeAnswer,
    HangInBody,
    Headers,
    HugePage,
    Latency,
    ManyLinks,
    Mode,
    NoLength,
    OldSerial,
    Redirect,
    ResetKeepAlive,
    RpcFault,
    Slow,
    Status,
    StripHeaders,
    Substitute,
    Upstream,
    WrongLength,
)

pytestmark = pytest.mark.straight("the tests' own upstream")

JSON = "application/vnd.pypi.simple.v1+json"
PAGE = "/simple/demo/"


@dataclass
class Reply:
    status: int
    reason: str
    headers: Headers
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class Client:
    """One connection that is kept alive for as long as the server likes."""

    def __init__(self, up: Upstream) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=30)

    def __call__(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> Reply:
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            with self._connection.getresponse() as answer:
                fields = Headers(dict(answer.getheaders()))
                return Reply(answer.status, answer.reason, fields, answer.read())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def get(up: Upstream) -> Iterator[Client]:
    client = Client(up)
    yield client
    client.close()


def rpc(get: Client, method: str, *arguments: object) -> object:
    body = xmlrpc.client.dumps(arguments, method)  # type: ignore[arg-type]
    reply = get("/pypi", {"Content-Type": "text/xml"}, method="POST", body=body.encode())
    assert reply.status == 200
    return xmlrpc.client.loads(reply.body)[0][0]


# Content


@pytest.mark.parametrize("size", [None, 2000, 10_000, 10_240, 100_000, 1_000_000])
def test_a_wheel_is_real_and_exactly_as_large_as_asked(up: Upstream, size: int | None) -> None:
    file = up.release("Demo.Thing", "1.0", size=size, requires=["other>=2"])

    assert file.filename == "demo_thing-1.0-py3-none-any.whl"
    assert size in {None, file.size}
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        assert archive.testzip() is None
        record = archive.read("demo_thing-1.0.dist-info/RECORD").decode().split()
        assert {row.split(",")[0] for row in record} == set(archive.namelist())
        assert archive.read("demo_thing-1.0.dist-info/METADATA") == file.metadata
    assert b"Requires-Dist: other>=2\n" in (file.metadata or b"")


def test_equal_arguments_make_equal_bytes(up: Upstream) -> None:
    first = up.release("demo", "1.0", size=5000, sdist=True)
    sdist = up.file("demo-1.0.tar.gz")
    with Upstream() as other:
        again = other.release("demo", "1.0", size=5000, sdist=True)

        assert (first.data, first.path) == (again.data, again.path)
        assert sdist.data == other.file("demo-1.0.tar.gz").data
    with tarfile.open(fileobj=io.BytesIO(sdist.data)) as archive:
        assert "demo-1.0/PKG-INFO" in archive.getnames()


@pytest.mark.parametrize("span", ["0-0", "1048570-1048590", "3000000-", "-1000"])
def test_a_generated_blob_has_the_same_bytes_in_any_range(
    up: Upstream, get: Client, span: str
) -> None:
    blob = up.blob("big", "big-1.0.tar.gz", 3_000_123)

    whole = get(blob.path).body
    part = get(blob.path, {"Range": f"bytes={span}"})

    assert hashlib.sha256(whole).hexdigest() == blob.sha256
    assert len(whole) == blob.size
    first, _, last = span.partition("-")
    start = int(first) if first else len(whole) - int(last)
    stop = int(last) + 1 if first and last else len(whole)
    assert (part.status, part.body) == (206, whole[start:stop])
    assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


def test_files_companions_and_their_headers(up: Upstream, get: Client) -> None:
    file = up.release("demo", "1.0+local", signature=True)

    answer = get(file.path.replace("+", "%2B"), {"If-None-Match": "*"})
    head = get(file.path, method="HEAD")

    assert (answer.status, answer.body) == (200, file.data)
    assert answer.headers["cache-control"] == "max-age=365000000, immutable, public"
    assert head.headers["content-length"] == str(file.size)
    assert head.headers["accept-ranges"] == "bytes"
    assert (head.headers["etag"], head.body) == (answer.headers["etag"], b"")
    assert get(file.path + ".metadata").body == file.metadata
    assert get(file.path + ".asc").status == 200
    assert get(file.path, {"Range": "bytes=999999-"}).status == 416
    up.ranges = False
    assert get(file.path, {"Range": "bytes=0-0"}).status == 200
    up.mode = Mode.POOR
    assert get(file.path + ".metadata").status == 404


def test_a_removed_file_leaves_the_page_but_its_url_works_unless_told(
    up: Upstream, get: Client
) -> None:
    kept, lost = up.release("demo", "1.0"), up.release("demo", "2.0")
    up.remove_file(kept)
    up.remove_file(lost.filename, keep_blob=False)

    assert get(PAGE, {"Accept": JSON}).json["files"] == []
    assert get(kept.path).status == 200
    assert get(lost.path).status == 404


# Pages


def test_warehouse_json_page(up: Upstream, get: Client) -> None:
    file = up.release("demo", "1.0", requires_python=">=3.8", yanked="broken", provenance=True)

    reply = get(PAGE, {"Accept": JSON})
    page = reply.json
    files = page["files"]
    assert isinstance(files, list)
    (link,) = files

    assert reply.headers["content-type"] == JSON
    assert reply.headers["x-pypi-last-serial"] == str(up.serial)
    assert page["meta"] == {"_last-serial": up.serial, "api-version": "1.4"}
    assert page["versions"] == ["1.0"]
    assert link["hashes"] == {"sha256": hashlib.sha256(file.data).hexdigest()}
    assert link["core-metadata"] == {"sha256": hashlib.sha256(file.metadata or b"").hexdigest()}
    assert (link["size"], link["yanked"]) == (file.size, "broken")
    assert link["url"] == up.url.removesuffix("/") + file.path
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", link["upload-time"])
    assert get(link["provenance"].removeprefix(up.url.removesuffix("/"))).status == 200


def test_each_representation_has_its_own_strong_etag_which_a_304_repeats(
    up: Upstream, get: Client
) -> None:
    up.release("demo", "1.0")
    forms = [
        {"Accept": accept, "Accept-Encoding": encoding}
        for accept in (JSON, "text/html")
        for encoding in ("identity", "gzip, deflate")
    ]
    replies = [get(PAGE, form) for form in forms]
    tags = [reply.headers["etag"] for reply in replies]

    assert len(set(tags)) == len(forms)
    assert not any(tag.startswith("W/") for tag in tags)
    assert gzip.decompress(replies[1].body) == replies[0].body
    for form, tag in zip(forms, tags, strict=True):
        again = get(PAGE, {**form, "If-None-Match": tag})
        assert (again.status, again.headers["etag"], again.body) == (304, tag, b"")
    up.touch_serial("demo")
    assert get(PAGE, {**forms[0], "If-None-Match": tags[0]}).status == 200


def test_a_poor_index_has_html_and_nothing_else(up: Upstream, get: Client) -> None:
    up.mode = Mode.POOR
    file = up.release("demo", "1.0")

    reply = get(PAGE, {"Accept": JSON, "Accept-Encoding": "gzip"})

    assert reply.headers["content-type"].startswith("text/html")
    assert f'<a href="../..{file.path}#sha256={file.sha256}">'.encode() in reply.body
    assert b"metadata" not in reply.body
    assert not {"etag", "x-pypi-last-serial", "content-encoding"} & set(reply.headers)
    assert get("/pypi", method="POST", body=b"<methodCall/>").status == 405


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/simple", "/simple/"),
        ("/simple/demo", PAGE),
        ("/simple/De.Mo/", "/simple/de-mo/"),
        ("/simple/De_mO", "/simple/de-mo/"),
    ],
)
def test_missing_slashes_and_other_spellings_are_redirected(
    get: Client, path: str, target: str
) -> None:
    reply = get(path)
    assert (reply.status, reply.headers["location"]) == (301, target)


def test_the_root_lists_what_is_not_quarantined(up: Upstream, get: Client) -> None:
    up.add_project("Demo")
    up.add_project("evil")
    up.quarantine("evil")

    root = get("/simple/", {"Accept": JSON})

    assert root.json == {
        "meta": {"_last-serial": up.serial, "api-version": "1.4"},
        "projects": [{"_last-serial": up.serial - 2, "name": "Demo"}],
    }
    assert get("/simple/", {"Accept": JSON, "If-None-Match": root.headers["etag"]}).status == 304
    assert b'<a href="/simple/demo/">Demo</a>' in get("/simple/").body
    evil = get("/simple/evil/", {"Accept": JSON})
    assert (evil.status, evil.json["project-status"]) == (200, {"status": "quarantined"})
    assert get("/simple/nothing/").status == 404


# Journal


def test_every_change_but_archiving_is_journalled(up: Upstream, get: Client) -> None:
    start = rpc(get, "changelog_last_serial")
    up.release("demo", "1.0")
    up.yank("demo", "1.0", "why")
    etag = get(PAGE).headers["etag"]
    before = up.serial
    up.archive("demo")

    assert up.serial == before
    assert get(PAGE).headers["etag"] != etag
    up.unyank("demo", "1.0")
    up.quarantine("demo")
    up.remove_project("demo")
    rows = rpc(get, "changelog_since_serial", start)
    assert isinstance(rows, list)
    assert [row[3] for row in rows] == [
        "create",
        "new release",
        "add py3 file demo-1.0-py3-none-any.whl",
        "yank release",
        "unyank release",
        "project quarantined",
        "remove project",
    ]
    assert [row[4] for row in rows] == list(range(1001, 1008))
    assert rows[-1][:2] == ["demo", None]
    up.changelog_cap = 3
    assert rpc(get, "changelog_since_serial", start) == rows[:3]


def test_the_journal_can_fault_limit_rates_talk_nonsense_and_be_off(
    up: Upstream, get: Client
) -> None:
    with pytest.raises(xmlrpc.client.Fault, match="no search"):
        rpc(get, "search", "demo")
    with pytest.raises(xmlrpc.client.Fault):
        rpc(get, "changelog_since_serial", "not a number")
    up.fail("/pypi", RpcFault.rate_limited(7), times=1)
    up.fail("/pypi", Status(200, body=b"<html>"), times=1)
    with pytest.raises(xmlrpc.client.Fault, match=r"HTTPTooManyRequests.*in 7 seconds\."):
        rpc(get, "changelog_last_serial")
    assert get("/pypi", method="POST", body=b"").body == b"<html>"
    assert rpc(get, "changelog_last_serial") == up.serial
    up.xmlrpc = False
    assert get("/pypi", method="POST", body=b"").status == 405
    assert up.count("/pypi", "POST") == len(up.requests)


def test_a_stale_node_shows_the_page_as_it_was_under_its_own_serial(
    up: Upstream, get: Client
) -> None:
    up.release("demo", "1.0")
    old = up.serial
    before = get(PAGE, {"Accept": JSON})
    up.release("demo", "2.0")
    up.fail(PAGE, OldSerial(old), times=1)

    assert get(PAGE, {"Accept": JSON}) == before
    assert get(PAGE, {"Accept": JSON}).json["versions"] == ["1.0", "2.0"]
    up.rewind(old)
    assert get(PAGE, {"Accept": JSON}) == before
    assert rpc(get, "changelog_last_serial") == old


# Faults


def test_of_the_rules_for_a_path_the_first_that_is_left_counts(up: Upstream, get: Client) -> None:
    up.add_project("demo")
    up.fail(PAGE, Status(503, {"Retry-After": "9"}, b"tired", "Sleepy"), times=2)
    rule = up.fail(re.compile("demo"), Redirect("http://example.invalid{path}"), Latency(0.001))

    first, second, third = get(PAGE), get(PAGE), get(PAGE)
    rule.remove()

    assert (first.status, first.reason, first.body) == (503, "Sleepy", b"tired")
    assert first.headers["retry-after"] == "9"
    assert second.status == 503
    assert (third.status, third.headers["location"]) == (302, f"http://example.invalid{PAGE}")
    assert get(PAGE).status == 200
    assert rule.hits == 1
    assert [request.status for request in up.requests] == [503, 503, 302, 200]


@pytest.mark.parametrize(
    ("fault", "length"),
    [(Cut(100), 100), (Cut(100, reset=True), None), (WrongLength(5), None)],
    ids=repr,
)
def test_a_body_that_ends_early(
    up: Upstream, get: Client, fault: Fault, length: int | None
) -> None:
    file = up.release("demo", "1.0")
    up.fail("/packages/", fault, times=1)

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)) as caught:
        get(file.path)

    if length is not None:
        assert isinstance(caught.value, http.client.IncompleteRead)
        assert caught.value.partial == file.data[:length]
    assert get(file.path).body == file.data


@pytest.mark.parametrize(
    "fault", [Chunked(), NoLength(), Slow(10**7), HangInBody(10, seconds=0.001)], ids=repr
)
def test_a_body_that_comes_another_way(up: Upstream, get: Client, fault: Fault) -> None:
    file = up.release("demo", "1.0", size=200_000)
    up.fail("/packages/", fault)

    reply = get(file.path)

    assert reply.body == file.data
    assert ("content-length" in reply.headers) == isinstance(fault, Slow | HangInBody)
    assert get(file.path).body == file.data


def test_a_body_that_is_another(up: Upstream, get: Client) -> None:
    file = up.release("demo", "1.0")
    up.fail(file.path, Substitute(), times=1)
    up.fail(file.path, Substitute(b"<html>", "text/html"), times=1)
    up.fail(file.path, GzipEncoded(), times=1)
    up.fail(file.path, WrongLength(-5), times=1)
    up.fail(file.path, StripHeaders(("etag", "Accept-Ranges")), times=1)
    wrong, page, packed, short, stripped = (get(file.path) for _ in range(5))

    assert len(wrong.body) == file.size
    assert wrong.body != file.data
    assert (page.status, page.body, page.headers["content-type"]) == (200, b"<html>", "text/html")
    assert gzip.decompress(packed.body) == file.data
    assert packed.headers["content-encoding"] == "gzip"
    assert short.body == file.data[:-5]
    assert not {"etag", "accept-ranges"} & set(stripped.headers)


def test_a_condition_does_not_hide_a_fault_of_the_body(up: Upstream, get: Client) -> None:
    up.add_project("demo")
    etag = get(PAGE).headers["etag"]
    up.fail(PAGE, Substitute(b"sick"))

    assert get(PAGE, {"If-None-Match": etag}).body == b"sick"


def test_pages_that_are_too_much(up: Upstream, get: Client) -> None:
    for fault in (HugePage(300_001), ManyLinks(2500), ManyLinks(2500), DeepJson(900)):
        up.fail(PAGE, fault, times=1)
    up.fail(PAGE, GzipBomb(5_000_001))
    huge, html, many, deep = (get(PAGE, {"Accept": a}) for a in ("", "text/html", JSON, JSON))
    bomb = get(PAGE)

    assert len(huge.body) == 300_001
    assert html.body.count(b"<a href=") == 2500
    assert len(many.json["files"]) == 2500  # type: ignore[arg-type]
    assert deep.body.count(b"[") == 900
    assert len(bomb.body) < 50_000
    assert gzip.decompress(bomb.body) == b" " * 5_000_001


def test_connections_that_end_without_an_answer(up: Upstream, get: Client) -> None:
    up.add_project("demo")
    up.fail(PAGE, ResetKeepAlive(), times=1)

    assert get(PAGE).status == 200
    with pytest.raises(ConnectionResetError):
        get(PAGE)
    assert get(PAGE).status == 200
    up.fail(PAGE, CloseUnanswered(), times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        get(PAGE)
    up.fail("/", CloseAtAccept(), times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        get(PAGE)
    assert get(PAGE).status == 200
    assert up.connections == 4
    assert [r.status for r in up.requests] == [200, None, 200, None, 200]
    assert [(r.connection, r.nth) for r in up.requests] == [(1, 0), (1, 1), (2, 0), (2, 1), (4, 0)]


@pytest.mark.parametrize("fault", [HangBeforeAnswer(), HangInBody(10)], ids=repr)
def test_what_hangs_goes_on_when_its_rule_is_removed_and_ends_when_the_server_stops(
    up: Upstream, fault: Fault
) -> None:
    file = up.release("demo", "1.0")
    with ThreadPoolExecutor(2) as pool:
        rule = up.fail("/packages/", fault)
        healed = pool.submit(Client(up), file.path, {"Connection": "close"})
        up.wait_for("/packages/")
        assert not healed.done()
        rule.remove()
        assert healed.result().body == file.data

        up.fail("/packages/", fault)
        broken = pool.submit(Client(up), file.path)
        up.wait_for("/packages/", 2)
        up.stop()
        assert isinstance(broken.exception(), http.client.HTTPException | ConnectionError)


def test_a_hang_can_end_by_an_event(up: Upstream) -> None:
    over = threading.Event()
    up.fail("/simple/", HangBeforeAnswer(until=over))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Client(up), "/simple/", {"Connection": "close"})
        up.wait_for("/simple/")
        over.set()
        assert waiting.result().status == 200


# Sockets


def test_the_network_goes_and_comes_back_on_the_same_port(up: Upstream, get: Client) -> None:
    port = up.port
    assert get("/simple/").status == 200
    up.stop()
    get.close()
    with pytest.raises(ConnectionRefusedError):
        get("/simple/")
    up.start()
    assert get("/simple/").status == 200
    assert up.port == port


def test_three_hundred_connections_at_once(up: Upstream) -> None:
    up.release("demo", "1.0")
    together = threading.Barrier(300, timeout=60)

    def visit(_: int) -> int:
        client = Client(up)
        try:
            client("/simple/demo/")
            together.wait()
            return client("/simple/demo/").status
        finally:
            client.close()

    with ThreadPoolExecutor(300) as pool:
        assert set(pool.map(visit, range(300))) == {200}
    assert up.connections == 300
    assert up.count(PAGE) == 600
    up.clear()
    assert up.requests == []


def test_it_answers_as_a_forward_proxy_and_keeps_what_was_asked(up: Upstream, get: Client) -> None:
    up.add_project("demo")
    assert get("http://example.invalid/simple/demo/?x=1", {"X-Thing": "a"}).status == 200
    (request,) = up.requests
    assert request.path == "/simple/demo/?x=1"
    assert request.target == "http://example.invalid/simple/demo/?x=1"
    assert request.headers["x-THING"] == "a"


@pytest.mark.parametrize("mode", Mode)
def test_pip_downloads_from_it(up: Upstream, tmp_path: Path, mode: Mode) -> None:
    up.mode = mode
    up.release("demo", "1.0")
    file = up.release("demo", "2.0", sdist=True, requires=["nothing-there"])
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}

    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"),
            *("download", "--no-deps", "--no-cache-dir"),
            *("-i", up.simple_url, "-d", str(tmp_path), "demo"),
        ],
        check=True,
        env=environment,
        capture_output=True,
    )

    assert (tmp_path / file.filename).read_bytes() == file.data
    assert up.count(file.path + ".metadata") == (1 if mode is Mode.WAREHOUSE else 0)
