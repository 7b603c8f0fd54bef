"""Project pages and lists of projects, as clients see them."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
import zstandard
from fakes import FakeClock
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from server import INDEX, JSON, App, Response, until
from upstream import (
    CloseUnanswered,
    Cut,
    DeepJson,
    Fault,
    GzipBomb,
    HangBeforeAnswer,
    HangInBody,
    Mode,
    Redirect,
    Request,
    Slow,
    Status,
    Substitute,
    Upstream,
    WrongLength,
)

HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html; charset=utf-8"
LATEST = "application/vnd.pypi.simple.latest"
PIP = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"
UV = f"{JSON}, {HTML};q=0.2, text/html;q=0.01"
POETRY = f"{JSON}, */*;q=0.1"

MOUNTS = ("/ext/pypi/simple/", "/simple/", "/root/pypi/+simple/")
EXPIRY = 1800  # seconds, the default
Make = Callable[..., App]


def decoded(answer: Response) -> bytes:
    encoding = answer.headers.get("Content-Encoding")
    if encoding == "gzip":
        return gzip.decompress(answer.body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
    assert encoding is None
    return answer.body


def is_root(request: Request) -> bool:
    """Whether upstream is asked for the list of all its projects."""
    return request.path == "/simple/"


# Negotiation


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("image/png", TEXT),
        (";;;,,q=", TEXT),
        (JSON, JSON),
        (f"{LATEST}+json", JSON),
        (HTML, HTML),
        (f"{LATEST}+html", HTML),
        (PIP, JSON),
        (UV, JSON),
        (POETRY, JSON),
        (f"{JSON};q=0.1, {HTML};q=0.2", HTML),
        (f"{JSON};q=0, text/html;q=0.5", TEXT),
    ],
)
def test_the_form_is_what_accept_asks_for(
    up: Upstream, app: Make, mount: str, accept: str | None, expected: str
) -> None:
    """Content-Type names the form that Accept prefers, text/html where it says nothing of use."""
    up.release("demo", "1.0")

    answer = app()(f"{mount}demo/", {} if accept is None else {"Accept": accept})

    assert (answer.status, answer.headers["Content-Type"]) == (200, expected)
    assert answer.body.startswith(b"{" if expected == JSON else b"<!DOCTYPE html>")


@pytest.mark.parametrize("path", ["/simple/demo/", "/simple/", INDEX])
@pytest.mark.parametrize("wanted", [JSON, HTML])
def test_format_in_the_query_beats_accept(up: Upstream, app: Make, path: str, wanted: str) -> None:
    """``?format=`` decides, whatever Accept says (PEP 691)."""
    up.release("demo", "1.0")
    other = HTML if wanted == JSON else JSON

    answer = app()(f"{path}?format={quote(wanted)}", {"Accept": other})

    assert answer.headers["Content-Type"] == wanted


PAGES = ("/simple/demo/", "/simple/", INDEX)


@dataclass(frozen=True)
class Variant:
    """A representation, by what a client sends."""

    accept: str
    encoding: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept": self.accept, "Accept-Encoding": self.encoding}


VARIANTS = [
    Variant(*pair) for pair in itertools.product((JSON, HTML, "text/html"), ("", "gzip", "zstd"))
]


def ready(up: Upstream, app: App) -> App:
    """An application that holds a project, its page and both lists."""
    for number in range(40):
        up.release("demo", f"1.{number}", requires_python=">=3.10")
    up.add_project("Some.Other")
    for path in PAGES:
        assert app(path).status == 200
    return app


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.straight("nginx has ETags of its own")
def test_every_variant_says_what_it_depends_on(up: Upstream, app: Make, path: str) -> None:
    """200 and 304 carry Vary and Cache-Control: who shares a cache gets no other's form."""
    server = ready(up, app())
    for variant in VARIANTS:
        whole = server(path, variant.headers)
        again = server(path, {**variant.headers, "If-None-Match": whole.headers["ETag"]})

        assert (whole.status, again.status) == (200, 304)
        for answer in (whole, again):
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            assert answer.headers["Cache-Control"] == "max-age=0, must-revalidate"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.straight("nginx sends no zstd")
def test_every_encoding_decodes_to_the_same_bytes(up: Upstream, app: Make, path: str) -> None:
    """gzip and zstd are only another dress of the identity body."""
    server = ready(up, app())
    for accept in (JSON, "text/html"):
        bodies = [server(path, Variant(accept, each).headers) for each in ("", "gzip", "zstd")]

        assert [each.headers.get("Content-Encoding") for each in bodies] == [None, "gzip", "zstd"]
        assert len({decoded(each) for each in bodies}) == 1


@pytest.mark.parametrize("path", PAGES)
def test_the_etag_is_strong_and_each_representation_has_its_own(
    up: Upstream, app: Make, path: str
) -> None:
    """Equal tags mean equal bytes, also between forms and encodings."""
    server = ready(up, app())
    found: dict[str, bytes] = {}
    for variant in VARIANTS:
        answer = server(path, variant.headers)
        tag = answer.headers["ETag"]

        assert re.fullmatch(r'"[^"]+"', tag)
        assert found.setdefault(tag, answer.body) == answer.body
    assert len(found) >= 6


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("condition", ["{}", "W/{}", '"other", {}', "*"])
@pytest.mark.straight("nginx has ETags of its own")
def test_a_304_repeats_the_etag_and_has_no_body(
    up: Upstream, app: Make, path: str, condition: str
) -> None:
    """uv asks again without the condition if a 304 lacks the ETag."""
    server = ready(up, app())
    for variant in VARIANTS:
        tag = server(path, variant.headers).headers["ETag"]
        answer = server(path, {**variant.headers, "If-None-Match": condition.format(tag)})

        assert (answer.status, answer.headers["ETag"], answer.body) == (304, tag, b"")
        assert "Content-Type" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
def test_another_representations_etag_is_no_304(up: Upstream, app: Make, path: str) -> None:
    """A client that holds the HTML does not hold the JSON."""
    server = ready(up, app())
    tag = server(path, {"Accept": "text/html"}).headers["ETag"]

    assert server(path, {"Accept": JSON, "If-None-Match": tag}).status == 200


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.straight("nginx has ETags of its own")
def test_head_says_what_get_says(up: Upstream, app: Make, path: str) -> None:
    """HEAD has the header of GET, the length included, and no body."""
    server = ready(up, app())
    for variant in VARIANTS:
        get = server(path, variant.headers)
        head = server(path, variant.headers, method="HEAD")

        assert (head.status, head.body) == (200, b"")
        assert dict(head.headers) == dict(get.headers)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405(up: Upstream, app: Make, path: str, method: str) -> None:
    """What only reads says so, and which methods it takes."""
    answer = ready(up, app())(path, method=method)

    assert answer.status == 405
    assert "GET" in answer.headers["Allow"]


# Addresses


@pytest.mark.parametrize("prefix", ["", "/sub/path"])
@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("demo-thing", "demo-thing/"),
        ("Demo.Thing", "demo-thing/"),
        ("Demo.Thing/", "demo-thing/"),
        ("demo__thing/", "demo-thing/"),
        ("DEMO-THING/", "demo-thing/"),
        ("demo-.-thing/", "demo-thing/"),
    ],
)
def test_other_spellings_move_to_the_one_address(
    app: Make, prefix: str, mount: str, spelling: str, expected: str
) -> None:
    """301 to the normalised name with its slash, by a relative address, query kept."""
    server = app("--outside-url", f"https://example.org{prefix}")

    answer = server(f"{prefix}{mount}{spelling}?format=x")

    assert answer.status == 301
    found = urljoin(f"https://example.org{prefix}{mount}{spelling}", answer.headers["Location"])
    assert found == f"https://example.org{prefix}{mount}{expected}?format=x"


@pytest.mark.parametrize("prefix", ["", "/sub/path"])
@pytest.mark.parametrize("mount", MOUNTS)
def test_a_list_without_its_slash_moves(app: Make, prefix: str, mount: str) -> None:
    """The address of a list ends in a slash, or relative links would lead astray."""
    path = f"{prefix}{mount}".removesuffix("/")

    answer = app("--outside-url", f"http://example.org{prefix}")(path)

    assert answer.status == 301
    assert urljoin(path, answer.headers["Location"]) == f"{path}/"


@pytest.mark.parametrize("prefix", ["", "/sub"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/ext/pypi/simple/"),
        ("/ext/pypi", "/ext/pypi/simple/"),
        ("/ext/pypi/", "/ext/pypi/simple/"),
        ("/ext/pypi/demo/", "/ext/pypi/simple/demo/"),
    ],
)
def test_the_short_addresses_lead_to_the_index(
    app: Make, prefix: str, path: str, expected: str
) -> None:
    """Whoever configures the server's root finds the index; 302, for nothing promises that."""
    server = app("--outside-url", f"http://example.org{prefix}")
    answer = server(prefix + path, {"Accept": "text/html,*/*;q=0.8"})

    assert answer.status == 302
    assert urljoin(prefix + path, answer.headers["Location"]) == prefix + expected


NAMES = [
    "-demo", "demo-", ".demo", "_", "de mo", "démo", "demo;x", "demo:80", "d@mo", "a" * 201,
    "%2e%2e", "..%2f..%2fetc", "%2e%2e%2f%2e%2e", "demo%00", "demo%0a", "demo%0d%0aSet-Cookie:x=1",
    "%c0%ae%c0%ae", "%ff%fe", "%ed%a0%80", "..\\..\\etc", "%5c%5chost%5cshare", "C:%5c", "demo%20",
    "demo.", "%252e%252e", "a" * 100_000, "+", "+simple", "%F0%9F%90%8D", "demo%3fformat", "*",
    "x/" * 1000,
]  # fmt: skip


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:30])
@pytest.mark.straight("some of these nginx itself refuses, with 400")
def test_what_is_no_project_name_is_404(
    up: Upstream, app: Make, mount: str, slash: str, name: str
) -> None:
    """An invalid name is a project that is not there, and upstream never hears of it."""
    answer = app()(f"{mount}{name}{slash}")

    assert answer.status == 404
    assert up.requests == []


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("junk", ["%ff", "%c0%ae", "%ed%a0%80", "%00", "%0d%0a", "%2f", ";x=1"])
@pytest.mark.straight("some of these nginx itself refuses, with 400")
def test_junk_in_a_path_is_never_overlooked(up: Upstream, app: Make, mount: str, junk: str) -> None:
    """A path with bytes that mean nothing names nothing; it is not the path without them."""
    up.release("demo", "1.0")
    server = app()
    for path in (f"{mount}de{junk}mo/", f"{mount}demo{junk}/", f"{mount}{junk}demo/"):
        assert server(path).status == 404


PIECES = st.one_of(
    st.sampled_from(
        [
            *(name[:300] for name in NAMES), "ext", "pypi", "simple", "root", "+simple", "+f", "+e",
            "..", ".", "", "demo", "Demo", "+status", "%2f", "//", "?format=", "?", "&", "#",
        ]
    ),
    st.text(max_size=20).map(lambda text: quote(text, safe="")),
    st.binary(max_size=10).map(lambda data: "".join(f"%{byte:02x}" for byte in data)),
)  # fmt: skip


@pytest.fixture
def one_app(app: Make) -> App:
    """For all examples."""
    return app()


@pytest.mark.straight("what no client can send, only a call can")
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.lists(PIECES, max_size=8).map("/".join),
    accept=st.one_of(st.sampled_from([PIP, "application/json", "a/b"]), st.text(max_size=20)),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
)
@example(path="root/pypi/+f/abc/%2e%2e%2f/x", accept="", method="GET")
@example(path="%0d%0aX-Evil:1/", accept="\r\nX-Evil: 1", method="GET")
def test_no_path_is_a_server_error(one_app: App, path: str, accept: str, method: str) -> None:
    """Whatever is asked for, the answer is well-formed WSGI and never a 5xx."""
    header = accept.encode("utf-8").decode("latin-1")

    answer = one_app(f"/{path}", {"Accept": header}, method=method)

    assert answer.status in {200, 301, 302, 304, 404, 405}
    location = answer.headers.get("Location", "")
    assert not urlsplit(location).netloc
    assert "\n" not in location


@pytest.mark.parametrize(
    "header", ["Accept", "Accept-Encoding", "User-Agent", "If-None-Match", "Range", "X-Devpi-Auth"]
)
@pytest.mark.parametrize(
    "path", ["/", "/simple/", "/simple/demo/", "/root/pypi", "/root/pypi/demo/1.0", "/+login"]
)
def test_a_header_that_is_no_utf_8_is_no_fault_of_ours(
    path: str, header: str, up: Upstream, app: Make
) -> None:
    up.release("demo", "1.0")

    assert app()(path, {header: "caf\xe9"}).status < 500


@pytest.mark.straight("what no client can send, only a call can")
@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "Accept", "Accept-Encoding", "If-None-Match", "Range", "Host", "X-Forwarded-For",
                "X-Forwarded-Prefix", "X-Forwarded-Host", "X-Outside-Url", "X-Original-Url",
                "X-Http-Method-Override", "Cookie", "Authorization",
            ]
        ),
        st.text(st.characters(max_codepoint=255), max_size=40),
    )
)  # fmt: skip
def test_no_unkeyed_header_changes_a_page(up: Upstream, app: Make, headers: dict[str, str]) -> None:
    """What Vary does not name has no say in the bytes of a page: nothing to poison caches with."""
    if up.project("demo") is None:
        up.release("demo", "1.0")
    server = app()
    keyed = {name: headers[name] for name in ("Accept", "Accept-Encoding") if name in headers}
    condition = {name: headers[name] for name in ("If-None-Match",) if name in headers}

    plain = server("/simple/demo/", keyed | condition)
    answer = server("/simple/demo/", headers)

    assert (answer.status, answer.body) == (plain.status, plain.body)
    for name in ("ETag", "Content-Type", "Content-Encoding", "Vary"):
        assert answer.headers.get(name) == plain.headers.get(name)


# Where answers come from


def test_a_page_is_a_miss_once_and_then_a_hit(up: Upstream, app: Make) -> None:
    """The first request fetches, the others are served from what is held."""
    up.release("demo", "1.0")
    server = app()

    origins = [server("/simple/demo/").origin for _ in range(3)]

    assert origins == ["miss", "hit", "hit"]
    assert up.count("/simple/demo/") == 1


@pytest.mark.straight("what nginx sends, nginx logs")
def test_the_log_says_where_an_answer_came_from(up: Upstream, app: Make, clock: FakeClock) -> None:
    """Each request is one event, with its status and the value of X-Devpi-Cache."""
    up.release("demo", "1.0")
    server = app()
    for path in ("/simple/demo/", "/simple/demo/", "/simple/none/", "/simple/Demo/"):
        server(path)
    clock.advance(EXPIRY)
    server("/simple/demo/")

    assert [(event.path, event.status, event.origin) for event in server.events] == [
        ("/simple/demo/", "200", "miss"),
        ("/simple/demo/", "200", "hit"),
        ("/simple/none/", "404", "-"),
        ("/simple/Demo/", "301", "-"),
        ("/simple/demo/", "200", "revalidated"),
    ]


def test_one_fetch_serves_every_mount_form_and_encoding(up: Upstream, app: Make) -> None:
    """There is one page behind all addresses and representations."""
    up.release("demo", "1.0")
    server = app()
    for mount, variant in itertools.product(MOUNTS, VARIANTS):
        assert server(f"{mount}demo/", variant.headers).status == 200
    assert up.count("/simple/demo/") == 1


def test_a_page_is_revalidated_when_it_expires_and_not_before(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """One conditional request an expiry, which costs upstream no body."""
    up.release("demo", "1.0")
    server = app()
    tag = server("/simple/demo/").headers["ETag"]

    clock.advance(EXPIRY - 1)
    assert server("/simple/demo/").origin == "hit"
    clock.advance(1)
    answer = server("/simple/demo/")

    assert (answer.origin, answer.headers["ETag"]) == ("revalidated", tag)
    first, second = up.requests
    assert "if-none-match" not in first.headers
    assert second.headers["if-none-match"]
    assert second.status == 304
    assert server("/simple/demo/").origin == "hit"


def test_a_changed_page_is_a_miss_with_another_etag(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """What upstream changes is seen after the expiry, in every representation."""
    up.release("demo", "1.0")
    server = app()
    before = {variant: server("/simple/demo/", variant.headers) for variant in VARIANTS}
    up.release("demo", "2.0")
    clock.advance(EXPIRY)

    assert server("/simple/demo/").origin == "miss"
    for variant in VARIANTS:
        answer = server("/simple/demo/", variant.headers)
        assert answer.headers["ETag"] != before[variant].headers["ETag"]
        assert b"demo-2.0" in decoded(answer)


def test_a_poor_upstreams_unchanged_page_keeps_its_etag(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """Without ETags upstream the same bytes are the same page: clients get their 304."""
    up.mode = Mode.POOR
    up.release("demo", "1.0")
    server = app()
    tag = server("/simple/demo/", {"Accept": JSON}).headers["ETag"]
    clock.advance(EXPIRY)

    answer = server("/simple/demo/", {"Accept": JSON, "If-None-Match": tag})

    assert (answer.status, answer.origin) == (304, "revalidated")
    assert up.count("/simple/demo/") == 2


def test_freshness_survives_a_restart(up: Upstream, app: Make, clock: FakeClock) -> None:
    """A new process on the same data directory asks upstream no sooner than the old one."""
    up.release("demo", "1.0")
    tag = app()("/simple/demo/").headers["ETag"]
    clock.advance(EXPIRY - 1)

    answer = app()("/simple/demo/")

    assert (answer.origin, answer.headers["ETag"]) == ("hit", tag)
    assert up.count("/simple/demo/") == 1


def test_a_revalidation_survives_a_restart(up: Upstream, app: Make, clock: FakeClock) -> None:
    """A 304 of upstream counts for the next process too."""
    up.release("demo", "1.0")
    server = app()
    server("/simple/demo/")
    clock.advance(EXPIRY)
    server("/simple/demo/")
    clock.advance(EXPIRY - 1)

    assert app()("/simple/demo/").origin == "hit"


def test_a_clock_that_was_set_back_does_not_freeze_pages(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """A page from the future is checked with upstream."""
    up.release("demo", "1.0")
    server = app()
    server("/simple/demo/")
    clock.advance(-10_000)

    assert server("/simple/demo/").origin == "revalidated"


def test_upstreams_404_is_remembered_for_a_minute(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """Guessing a name again and again costs upstream a request a minute."""
    server = app()
    for _ in range(3):
        assert server("/simple/demo/").status == 404
    clock.advance(59)
    assert server("/simple/demo/").status == 404
    assert up.count("/simple/demo/") == 1

    clock.advance(1)
    up.release("demo", "1.0")

    assert server("/simple/demo/").status == 200


def test_a_project_that_upstream_removed_is_gone(up: Upstream, app: Make, clock: FakeClock) -> None:
    """Upstream's own 404 is a 404, not a failure to be served stale."""
    up.release("demo", "1.0")
    server = app()
    server("/simple/demo/")
    up.remove_project("demo")
    clock.advance(EXPIRY)

    assert server("/simple/demo/").status == 404


def test_requests_for_one_cold_page_are_one_flight(up: Upstream, app: Make) -> None:
    """A flood of clients is one request upstream."""
    up.release("demo", "1.0")
    rule = up.fail("/simple/demo/", HangBeforeAnswer())
    server = app()
    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(server, "/simple/demo/") for _ in range(8)]
        up.wait_for("/simple/demo/")
        rule.remove()
        answers = [each.result() for each in asked]

    assert [answer.status for answer in answers] == [200] * 8
    assert up.count("/simple/demo/") == 1


# A sick upstream

SICK: dict[str, tuple[Fault, ...]] = {
    "500": (Status(500),),
    "503": (Status(503),),
    "503 and when to come again": (Status(503, {"Retry-After": "7"}),),
    "429": (Status(429),),
    "429 and when to come again": (Status(429, {"Retry-After": "7"}),),
    "401": (Status(401),),
    "403": (Status(403),),
    "204": (Status(204),),
    "418": (Status(418),),
    "206": (Status(206, {"Content-Range": "bytes 0-1/2"}, b"{}"),),
    "a redirect in circles": (Redirect("{path}"),),
    "a redirect to a file": (Redirect("file:///etc/passwd"),),
    "closed without an answer": (CloseUnanswered(),),
    "reset without an answer": (CloseUnanswered(reset=True),),
    "cut at the start": (Cut(0),),
    "cut in the middle": (Cut(100),),
    "shorter than it says": (WrongLength(10),),
    "a web page in place of JSON": (Substitute(b"<h1>Sign in</h1>", "text/html"),),
    "JSON that is none": (Substitute(b"{", JSON),),
    "JSON of another shape": (Substitute(b"[]", JSON),),
    "another project's page": (
        Substitute(b'{"meta":{"api-version":"1.0"},"name":"evil","files":[]}', JSON),
    ),
    "another major version": (
        Substitute(b'{"meta":{"api-version":"2.0"},"name":"demo","files":[]}', JSON),
    ),
    "another content type": (Substitute(b"demo", "image/png"),),
    "deep JSON": (DeepJson(100_000),),
    "a bomb": (GzipBomb(80 << 20),),
}
SILENT: dict[str, tuple[Fault, ...]] = {
    "silence before the answer": (HangBeforeAnswer(),),
    "silence in the page": (HangInBody(50),),
    "a page that trickles": (Slow(20),),
}


@pytest.mark.parametrize("sick", [*SICK, *SILENT])
def test_a_held_page_is_served_stale_whatever_happens_upstream(
    up: Upstream, app: Make, clock: FakeClock, sick: str
) -> None:
    """A failure upstream is not a failure here: the page that is held, as it was."""
    up.release("demo", "1.0")
    server = app("--request-timeout", "0.3")
    before = server("/simple/demo/", {"Accept": JSON})
    up.fail("/simple/demo/", *(SICK | SILENT)[sick])
    clock.advance(EXPIRY)

    answer = server("/simple/demo/", {"Accept": JSON})

    assert (answer.status, answer.origin) == (200, "stale")
    assert (answer.body, answer.headers["ETag"]) == (before.body, before.headers["ETag"])


@pytest.mark.parametrize("sick", SICK)
def test_a_failure_is_told_when_nothing_is_held(up: Upstream, app: Make, sick: str) -> None:
    """Cannot tell is 502 or 503 with the reason in the status line, never 404, never empty."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", *SICK[sick])

    answer = app()("/simple/demo/")

    assert answer.status == (503 if "come again" in sick else 502)
    assert answer.reason not in {"", "Bad Gateway", "Service Unavailable"}
    assert answer.reason in answer.body.decode()
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("sick", SILENT)
def test_silence_is_504_when_nothing_is_held(up: Upstream, app: Make, sick: str) -> None:
    """An upstream that does not answer in time is told from one that is broken."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", *SILENT[sick])

    answer = app("--request-timeout", "0.2")("/simple/demo/")

    assert answer.status == 504
    assert "time" in answer.reason or "within" in answer.reason or "slowly" in answer.reason


def test_a_304_that_nobody_asked_for_is_502(up: Upstream, app: Make) -> None:
    """Not modified says nothing to whom nothing is held."""
    up.fail("/simple/demo/", Status(304))

    assert app()("/simple/demo/").status == 502


def test_nobody_at_home_is_502(up: Upstream, app: Make) -> None:
    """A refused connection is a bad gateway, and the reason says who cannot be reached."""
    up.stop()

    answer = app()("/simple/demo/")

    assert (answer.status, f":{up.port}" in answer.reason) == (502, True)


@pytest.mark.parametrize("code", [429, 503])
def test_upstreams_retry_after_is_passed_on_and_obeyed(
    up: Upstream, app: Make, clock: FakeClock, code: int
) -> None:
    """Clients are told to wait as long as upstream wants, and upstream gets its quiet."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", Status(code, {"Retry-After": "30"}), times=1)
    server = app()

    answer = server("/simple/demo/")
    again = server("/simple/demo/")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    assert again.status == 503
    assert 0 < int(again.headers["Retry-After"]) <= 31
    assert up.count("/simple/demo/") == 1
    clock.advance(32)
    assert server("/simple/demo/").status == 200


@pytest.mark.parametrize("sick", SICK)
def test_a_page_recovers_as_soon_as_upstream_does(
    up: Upstream, app: Make, clock: FakeClock, sick: str
) -> None:
    """No failure is held against a healthy upstream."""
    up.release("demo", "1.0")
    rule = up.fail("/simple/demo/", *SICK[sick])
    server = app()
    server("/simple/demo/")
    rule.remove()
    clock.advance(10)

    assert server("/simple/demo/").status == 200


def test_a_slow_flight_goes_on_behind_the_stale_page(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """Upstream's late answer is not thrown away."""
    up.release("demo", "1.0")
    server = app("--request-timeout", "0.3")
    server("/simple/demo/")
    up.release("demo", "2.0")
    rule = up.fail("/simple/demo/", HangBeforeAnswer())
    clock.advance(EXPIRY)
    assert server("/simple/demo/").origin == "stale"
    rule.remove()

    until(lambda: server("/simple/demo/").origin == "hit")

    assert b"demo-2.0" in server("/simple/demo/").body


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/problem+json, */*;q=0.1", "application/problem+json"),
        ("application/json", "application/json"),
        (PIP, "text/plain; charset=utf-8"),
    ],
)
def test_the_reason_comes_in_the_form_that_the_client_reads(
    up: Upstream, app: Make, accept: str, content_type: str
) -> None:
    """uv reads a problem document, devpi-client JSON, people a line; one message in all."""
    answer = app()("/simple/demo/", {"Accept": accept})

    assert (answer.status, answer.headers["Content-Type"]) == (404, content_type)
    assert answer.reason in answer.body.decode()


# Hostile text

EVIL = "\"'><script>alert(1)</script>\r\nX-Evil: 1\x00\u2028"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def evil_page() -> bytes:
    file = {
        "filename": "demo-1.0.tar.gz",
        "url": "https://example.org/demo-1.0.tar.gz",
        "hashes": {"sha256": "a" * 64, EVIL: EVIL, "md5": EVIL},
        "requires-python": f">=3{EVIL}",
        "yanked": EVIL,
        "provenance": f"https://example.org/{EVIL}",
        "core-metadata": {"sha256": EVIL},
        EVIL: EVIL,
    }
    others = [
        {"filename": name, "url": url, "hashes": {}}
        for name, url in [
            (f"demo-2{EVIL}.tar.gz", "https://example.org/demo-2.tar.gz"),
            ("demo-3.tar.gz", "javascript:alert(1)//demo-3.tar.gz"),
            ("demo-4.tar.gz", "data:text/html,x/demo-4.tar.gz"),
            ("demo-5.tar.gz", "file:///etc/demo-5.tar.gz"),
            ("../demo-6.tar.gz", "https://example.org/demo-6.tar.gz"),
            ("demo-7.tar.gz", "https://user:secret@example.org/demo-7.tar.gz"),
            ("demo-8.tar.gz", f"https://example.org/{EVIL}/demo-8.tar.gz"),
        ]
    ]
    return json.dumps(
        {
            "meta": {"api-version": "1.4", EVIL: EVIL},
            "name": "demo",
            "project-status": {"status": EVIL, "reason": EVIL},
            "versions": [EVIL],
            "files": [file, *others],
            EVIL: EVIL,
        }
    ).encode()


def test_no_text_of_upstream_becomes_markup(up: Upstream, app: Make) -> None:
    """Whatever upstream writes, our HTML has our tags and our attributes only."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", Substitute(evil_page(), JSON))

    answer = app()("/simple/demo/")

    assert answer.status == 200
    tags = _Tags()
    tags.feed(answer.body.decode())
    assert {tag for tag, _ in tags.found} <= {
        "html", "head", "meta", "title", "body", "h1", "a", "br",
    }  # fmt: skip
    for tag, attributes in tags.found:
        assert set(attributes) <= {
            "name", "content", "href", "data-requires-python", "data-core-metadata",
            "data-dist-info-metadata", "data-yanked", "data-gpg-sig", "data-provenance",
            "data-upload-time", "data-size",
        }  # fmt: skip
        if tag == "a":
            href = attributes["href"] or ""
            assert href.startswith(("../../root/pypi/+f/", "../../root/pypi/+e/"))
            assert ".." not in href.removeprefix("../../")


def test_no_text_of_upstream_leaves_its_place_in_json(up: Upstream, app: Make) -> None:
    """The JSON of a hostile page is JSON, leads to us only, and shows no password."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", Substitute(evil_page(), JSON))

    answer = app()("/simple/demo/", {"Accept": JSON})

    assert b"secret" not in answer.body
    for file in answer.json["files"]:
        assert file["url"].startswith(("../../root/pypi/+f/", "../../root/pypi/+e/"))


def test_no_header_of_upstream_leaks_through(up: Upstream, app: Make) -> None:
    """Cookies and cache rules of upstream are not ours."""
    up.release("demo", "1.0")
    evil = {"Set-Cookie": "a=b", "X-Frame-Options": "ALLOW", "Cache-Control": "public"}
    page = b'{"meta":{"api-version":"1.0"},"name":"demo","files":[]}'
    up.fail("/simple/demo/", Status(200, {**evil, "Content-Type": JSON, "Age": "5"}, page))

    answer = app()("/simple/demo/")

    assert answer.status == 200
    assert not {"set-cookie", "x-frame-options", "age"} & set(answer.headers)


# Lists


def test_the_short_list_has_what_is_held(up: Upstream, app: Make) -> None:
    """``/ext/pypi/simple/`` lists the projects whose page is held, and asks upstream nothing."""
    for name in ("demo", "other", "third"):
        up.release(name, "1.0")
    server = app()
    assert server("/ext/pypi/simple/", {"Accept": JSON}).json["projects"] == []
    server("/simple/other/")
    server("/simple/demo/")
    up.clear()

    for mount in ("/ext/pypi/simple/", "/simple/"):
        listed = server(mount, {"Accept": JSON}).json
        assert [project["name"] for project in listed["projects"]] == ["demo", "other"]
    assert b'<a href="demo/">demo</a>' in server("/simple/").body
    assert up.requests == []


def test_the_full_list_has_all_of_upstream(up: Upstream, app: Make) -> None:
    """``/root/pypi/+simple/`` lists every project of upstream, fetched once for all forms."""
    for name in ("demo", "Some.Other", "third"):
        up.release(name, "1.0")
    server = app()
    for variant in VARIANTS:
        body = decoded(server(INDEX, variant.headers)).decode()
        if variant.accept == JSON:
            found = {project["name"] for project in json.loads(body)["projects"]}
        else:
            found = set(re.findall(r'<a href="[^"]+/">([^<]+)</a>', body))
        assert {name.lower().replace(".", "-") for name in found} == {"demo", "some-other", "third"}
    assert up.count(is_root) == 1


def test_the_full_list_is_refreshed_in_the_background(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """An expired list is served at once, and the next one that asks gets the new one."""
    up.release("demo", "1.0")
    server = app()
    assert server(INDEX).origin == "miss"
    assert server(INDEX).origin == "hit"
    up.release("second", "1.0")
    clock.advance(EXPIRY)

    answer = server(INDEX)

    assert (answer.origin, b"second" in answer.body) == ("stale", False)
    until(lambda: server(INDEX).origin == "hit")
    assert b"second" in server(INDEX).body
    assert up.count(is_root) == 2


def test_an_unchanged_full_list_costs_upstream_no_body(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """The refresh is conditional, and what has not changed keeps its ETag."""
    up.release("demo", "1.0")
    server = app()
    tag = server(INDEX).headers["ETag"]
    clock.advance(EXPIRY)
    server(INDEX)
    until(lambda: server(INDEX).origin == "hit")

    assert server(INDEX).headers["ETag"] == tag
    assert [request.status for request in up.requests] == [200, 304]


def test_the_full_list_is_served_stale_when_upstream_is_gone(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """The list that is held is better than none."""
    up.release("demo", "1.0")
    server = app()
    before = server(INDEX)
    up.stop()
    clock.advance(EXPIRY)

    answer = server(INDEX)

    assert (answer.status, answer.origin, answer.body) == (200, "stale", before.body)


@pytest.mark.parametrize("sick", ["500", "cut in the middle", "JSON that is none", "a bomb"])
def test_a_failure_of_the_full_list_is_told(up: Upstream, app: Make, sick: str) -> None:
    """Nothing of a list that did not arrive whole is kept or served."""
    for number in range(20):
        up.release(f"demo{number}", "1.0")
    rule = up.fail(is_root, *SICK[sick])
    server = app()

    answer = server(INDEX)

    assert answer.status == 502
    assert answer.reason not in {"", "Bad Gateway"}
    rule.remove()
    assert server(INDEX).status == 200


def test_a_full_list_that_was_lost_from_the_disk_is_fetched_again(
    up: Upstream, app: Make, tmp_path: Path
) -> None:
    """Deleting any of the cache costs a fetch, nothing else."""
    up.release("demo", "1.0")
    server = app()
    before = server(INDEX)
    forms = [path for path in (tmp_path / "data" / "mirror").rglob("json.*") if path.is_file()]
    forms[0].unlink()

    answer = server(INDEX, {"Accept": JSON, "Accept-Encoding": "gzip, zstd"})

    assert (answer.status, answer.origin) == (200, "miss")
    assert server(INDEX).body == before.body


def test_no_list_is_needed_for_a_project(up: Upstream, app: Make) -> None:
    """A project's page comes without the 45 MB of the list."""
    up.release("demo", "1.0")
    up.fail(is_root, Status(500))

    assert app()("/simple/demo/").status == 200
    assert up.count(is_root) == 0


def test_an_unknown_index_is_404(app: Make) -> None:
    """Another index is not there, whatever is asked of it."""
    server = app()
    for rest in ("+simple/", "+simple/demo/", "+f/abc/def/demo-1.0.tar.gz", "+e/x/demo.tar.gz"):
        assert server(f"/some/body/{rest}").status == 404


# Behind other servers


def links_of(answer: Response, url: str) -> list[str]:
    """Where the links of a page lead, as a browser at the address sees it."""
    tags = _Tags()
    tags.feed(answer.body.decode())
    return [
        urljoin(url, attributes["href"] or "").partition("#")[0]
        for tag, attributes in tags.found
        if tag == "a"
    ]


STRIPPED = pytest.param(True, marks=pytest.mark.straight("nginx as we configure it strips nothing"))


@pytest.mark.parametrize("mount", MOUNTS)
@pytest.mark.parametrize("is_stripped", [STRIPPED, False])
def test_links_work_behind_the_sub_path_of_outside_url(
    up: Upstream, app: Make, mount: str, is_stripped: bool
) -> None:
    """They lead back through the front server, whether it strips the sub-path or not."""
    file = up.release("demo", "1.0")
    server = app("--outside-url", "https://example.org/sub/path/")
    inner = "" if is_stripped else "/sub/path"

    page = server(f"{inner}{mount}demo/")
    (link,) = links_of(page, f"https://example.org/sub/path{mount}demo/")

    root = "https://example.org/sub/path"
    assert link.startswith(f"{root}/root/pypi/+f/")
    assert server(inner + link.removeprefix(root)).body == file.data


@pytest.mark.straight("nginx itself says where it is")
@pytest.mark.parametrize("mount", MOUNTS)
def test_a_trusted_proxy_names_the_sub_path(up: Upstream, app: Make, mount: str) -> None:
    """X-Forwarded-Prefix counts from the address that --trusted-proxy names."""
    file = up.release("demo", "1.0")
    server = app("--trusted-proxy", "127.0.0.1")
    headers = {"X-Forwarded-Prefix": "/sub", "X-Forwarded-For": "192.0.2.7"}

    page = server(f"/sub{mount}demo/", headers)
    (link,) = links_of(page, f"https://example.org/sub{mount}demo/")

    assert page.status == 200
    assert server(link.removeprefix("https://example.org"), headers).body == file.data


@pytest.mark.parametrize("options", [(), ("--trusted-proxy", "192.0.2.1")])
def test_nobody_else_names_the_sub_path(up: Upstream, app: Make, options: tuple[str, ...]) -> None:
    """X-Forwarded headers of a stranger change nothing."""
    up.release("demo", "1.0")
    server = app(*options)
    headers = {
        "X-Forwarded-Prefix": "/sub",
        "X-Outside-Url": "http://evil.example/sub",
        "X-Forwarded-Host": "evil.example",
        "Host": "evil.example",
    }

    assert server("/sub/simple/demo/", headers).status == 404
    plain, spoiled = server("/simple/demo/"), server("/simple/demo/", headers)
    assert (spoiled.status, spoiled.body) == (200, plain.body)
    assert b"evil" not in spoiled.body


# Offline


def test_offline_serves_the_page_that_is_held_and_no_other(
    up: Upstream, app: Make, clock: FakeClock
) -> None:
    """``--offline-mode`` asks upstream nothing, however old a page is."""
    up.release("demo", "1.0")
    up.release("other", "1.0")
    app()("/simple/demo/")
    up.clear()
    clock.advance(100 * EXPIRY)
    server = app("--offline-mode")

    assert server("/simple/demo/").origin == "hit"
    assert server("/simple/other/").status == 404
    assert server(INDEX, {"Accept": JSON}).json["projects"] == [{"name": "demo"}]
    assert server("/simple/", {"Accept": JSON}).json["projects"] == [{"name": "demo"}]
    assert up.requests == []
