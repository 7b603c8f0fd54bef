"""``RequestsClient`` against an upstream that misbehaves, over real sockets."""

from __future__ import annotations

import gc
import gzip
import io
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import urllib3
from fakes import FakeAlarm, FakeClock
from server import until
from upstream import (
    AddHeaders,
    Chunked,
    CloseAtAccept,
    CloseUnanswered,
    Cut,
    CutHead,
    GzipBomb,
    GzipEncoded,
    HangBeforeAnswer,
    HangInBody,
    HugePage,
    Latency,
    NoLength,
    Redirect,
    ResetKeepAlive,
    Slow,
    SlowHead,
    Status,
    Substitute,
    Upstream,
    WrongLength,
)

from devpi_server.concurrency import Crew
from devpi_server.errors import (
    Corrupt,
    Denied,
    Failed,
    TimedOut,
    Unreachable,
    UpstreamError,
)
from devpi_server.upstream.base import Absent, Fresh, NotModified
from devpi_server.upstream.client import LARGEST_PAGE, RequestsClient
from devpi_server.upstream.connections import Response
from devpi_server.upstream.watchdog import Watchdog, Wire

PAGE = "/simple/demo/"
LONG = 30.0  # seconds that no test takes unless it fails
SOON = 0.2  # seconds: a deadline for upstreams that never answer
MB = 1 << 20


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as up:
        up.release("demo", "1.0")
        yield up


@pytest.fixture
def other() -> Iterator[Upstream]:
    with Upstream() as other:
        other.release("demo", "2.0")
        yield other


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(up: Upstream, clock: FakeClock) -> RequestsClient:
    return RequestsClient(timeout=10.0, clock=clock, urls=[up.simple_url])


def page_of(up: Upstream) -> str:
    return f"{up.simple_url}demo/"


def body_of(client: RequestsClient, url: str) -> bytes:
    with client.stream(url) as stream:
        assert not isinstance(stream, NotModified | Absent)
        return b"".join(stream.chunks())


# Asking


def test_a_page_is_asked_for_as_json_first_and_compressed(
    up: Upstream, client: RequestsClient
) -> None:
    """PEP 691: the form that we prefer; gzip; our own name."""
    answer = client.get(page_of(up))
    assert isinstance(answer, Fresh)
    assert answer.content_type == "application/vnd.pypi.simple.v1+json"
    assert answer.document.startswith(b"{")
    headers = up.requests[0].headers
    assert headers["accept-encoding"] == "gzip"
    assert headers["user-agent"].startswith("devpi-server/")


def test_a_file_is_asked_for_as_it_is(up: Upstream, client: RequestsClient) -> None:
    """Files come without a content encoding, so that bytes and length are those of the file."""
    file = up.file("demo-1.0-py3-none-any.whl")
    assert body_of(client, f"{up.url}{file.path[1:]}") == file.data
    assert up.requests[0].headers["accept-encoding"] == "identity"


def test_what_was_asked_with_an_etag_and_has_not_changed_is_not_sent(
    up: Upstream, client: RequestsClient
) -> None:
    """A revalidation costs a 304."""
    page = client.get(page_of(up))
    assert isinstance(page, Fresh)
    assert client.get(page_of(up), etag=page.etag) == NotModified()
    assert [request.status for request in up.requests] == [200, 304]


def test_a_304_that_nobody_asked_for_says_nothing(up: Upstream, client: RequestsClient) -> None:
    """Without If-None-Match there is nothing that could be "not modified"."""
    up.fail(PAGE, Status(304))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_one_connection_carries_many_requests(up: Upstream, client: RequestsClient) -> None:
    """Pages, 304s, 404s, redirects and sizes leave the connection open."""
    page = client.get(page_of(up))
    assert isinstance(page, Fresh)
    client.get(page_of(up), etag=page.etag)
    client.get(f"{up.simple_url}none/")
    client.get(f"{up.simple_url}Demo/")
    client.size(f"{up.url}{up.file('demo-1.0-py3-none-any.whl').path[1:]}")
    client.get(page_of(up))
    assert up.connections == 1


# Statuses


@pytest.mark.parametrize("status", [404, 410])
def test_not_found_and_gone_are_absence(up: Upstream, client: RequestsClient, status: int) -> None:
    """Upstream's own word that there is no such thing."""
    up.fail(PAGE, Status(status))
    assert client.get(page_of(up)) == Absent()
    assert client.size(page_of(up)) == Absent()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Denied),
        (403, Denied),
        (429, Denied),
        (500, Failed),
        (502, Failed),
        (503, Failed),
        (599, Failed),
        (201, Corrupt),
        (206, Corrupt),
        (302, Corrupt),
        (400, Corrupt),
        (418, Corrupt),
    ],
)
def test_any_other_status_is_an_error_of_its_kind(
    up: Upstream, client: RequestsClient, status: int, kind: type[UpstreamError]
) -> None:
    """Only 200 is a page, and a partial answer is never kept as a whole one (C03)."""
    up.fail(PAGE, Status(status, body=b"<html>sorry</html>"))
    with pytest.raises(kind) as raised:
        client.get(page_of(up))
    assert str(status) in raised.value.message
    assert raised.value.retry_after is None


# Retry-After


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_told_to_wait_does_not_ask_before(
    up: Upstream, client: RequestsClient, clock: FakeClock, status: int
) -> None:
    """Retry-After in seconds is passed on, obeyed, and over when it is over."""
    up.fail(PAGE, Status(status, {"Retry-After": "30"}), times=1)
    with pytest.raises(UpstreamError) as first:
        client.get(page_of(up))
    assert first.value.retry_after == 30
    clock.advance(29)
    with pytest.raises(Denied) as second:
        client.get(page_of(up))
    assert second.value.retry_after in (1, 2)
    assert up.count(PAGE) == 1
    clock.advance(1)
    assert isinstance(client.get(page_of(up)), Fresh)


def test_retry_after_can_be_a_date(up: Upstream, client: RequestsClient, clock: FakeClock) -> None:
    """RFC 9110: an HTTP date is as good as seconds."""
    up.fail(PAGE, Status(429, {"Retry-After": formatdate(clock.now + 120, usegmt=True)}))
    with pytest.raises(Denied) as raised:
        client.get(page_of(up))
    assert raised.value.retry_after == 120


def test_429_is_about_us_and_503_about_what_was_asked_for(
    up: Upstream, client: RequestsClient
) -> None:
    """After 503 other pages are still asked for, after 429 nothing of that host is."""
    up.release("well", "1.0")
    up.fail(PAGE, Status(503, {"Retry-After": "30"}), times=1)
    with pytest.raises(Failed):
        client.get(page_of(up))
    assert isinstance(client.get(f"{up.simple_url}well/"), Fresh)
    up.fail("/simple/well/", Status(429, {"Retry-After": "30"}), times=1)
    with pytest.raises(Denied):
        client.get(f"{up.simple_url}well/")
    with pytest.raises(Denied):
        client.get(f"{up.simple_url}third/")
    assert up.count("/simple/third/") == 0


def test_one_host_that_wants_peace_does_not_silence_another(
    up: Upstream, other: Upstream, client: RequestsClient
) -> None:
    """Pauses belong to an origin."""
    up.fail("/", Status(429, {"Retry-After": "30"}))
    with pytest.raises(Denied):
        client.get(page_of(up))
    assert isinstance(client.get(page_of(other)), Fresh)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 1),
        ("999999999999999999999999", 600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1),
        ("Mon, 01 Jan 0001 00:00:00 -0000", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 99 Foo 2024 00:00:00 GMT", None),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("\u00b2", None),
    ],
)
def test_no_retry_after_is_too_strange(
    up: Upstream, client: RequestsClient, text: str, seconds: int | None
) -> None:
    """Nonsense is as good as none, and no pause is longer than ten minutes."""
    up.fail(PAGE, Status(429, {"Retry-After": text}))
    with pytest.raises(Denied) as raised:
        client.get(page_of(up))
    if seconds is None:
        assert raised.value.retry_after in (None, 1)
    else:
        assert raised.value.retry_after == seconds


# Hostile headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X-PyPI-Last-Serial": "9" * 5000},
        {"X-PyPI-Last-Serial": "\u00b2"},
        {"X-PyPI-Last-Serial": "-1"},
        {"Set-Cookie": "a=b; expires=nonsense"},
        {"Content-Type": "\x01;=;"},
        {"ETag": "\u00ff"},
    ],
)
def test_a_strange_header_field_is_left_out(
    up: Upstream, client: RequestsClient, headers: dict[str, str]
) -> None:
    """The page counts, whatever else upstream says (U02)."""
    up.fail(PAGE, AddHeaders(headers))
    answer = client.get(page_of(up))
    assert isinstance(answer, Fresh)
    assert answer.serial is None or "X-PyPI-Last-Serial" not in headers


# urllib3 lets go of the connection without closing it; the collector does that.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("length", ["-5", "abc", "1, 2", "9" * 30, "\u00b2", "1e3"])
def test_a_nonsense_length_is_never_an_error_of_another_kind(
    up: Upstream, client: RequestsClient, length: str
) -> None:
    """A Content-Length that cannot be read leads to a page or to an upstream error (U05)."""
    up.fail(PAGE, AddHeaders({"Content-Length": length}), NoLength())
    with suppress(UpstreamError):
        assert isinstance(client.get(page_of(up)), Fresh)
    gc.collect()


def test_cookies_are_never_sent_back(up: Upstream, client: RequestsClient) -> None:
    """U10: upstream cannot mark us."""
    up.fail(PAGE, AddHeaders({"Set-Cookie": "mark=1; Path=/"}))
    client.get(page_of(up))
    client.get(page_of(up))
    assert up.count(PAGE) == 2
    assert not [request for request in up.requests if "cookie" in request.headers]


# Bodies


@pytest.mark.parametrize("reset", [False, True])
def test_a_page_that_is_cut_is_an_error(up: Upstream, client: RequestsClient, reset: bool) -> None:
    """A connection that ends in the middle of a page leaves no half page."""
    up.fail(PAGE, Cut(10, reset=reset))
    with pytest.raises(Unreachable):
        client.get(page_of(up))


@pytest.mark.parametrize("lines", range(1, 7))
def test_a_head_that_is_cut_is_an_error(up: Upstream, client: RequestsClient, lines: int) -> None:
    """U05: the HTTP library takes it for a whole one, without what would tell the length."""
    headers = {"Content-Type": "application/zip", "ETag": '"1"', "X-Amz": "2", "X-Last": "3"}
    up.fail(PAGE, Status(200, headers, b"file"), CutHead(lines))
    with pytest.raises(Unreachable):
        body_of(client, page_of(up))
    up.heal()
    assert body_of(client, page_of(up))


def test_a_chunked_body_that_is_cut_is_an_error(up: Upstream, client: RequestsClient) -> None:
    """Without a Content-Length the missing last chunk tells."""
    up.fail(PAGE, Substitute(b"x" * 100_000), Chunked(), Cut(50_000))
    with pytest.raises(Unreachable):
        client.get(page_of(up))


def test_a_chunked_body_comes_whole(up: Upstream, client: RequestsClient) -> None:
    """Chunks are a framing, not an encoding."""
    body = bytes(range(256)) * 4000
    up.fail(PAGE, Substitute(body), Chunked())
    answer = client.get(page_of(up))
    assert isinstance(answer, Fresh)
    assert answer.document == body
    with client.stream(page_of(up)) as stream:
        assert not isinstance(stream, NotModified | Absent)
        assert stream.length is None
        assert b"".join(stream.chunks()) == body


def test_a_body_longer_than_its_length_is_not_read_on(up: Upstream, client: RequestsClient) -> None:
    """What follows the stated length belongs to nobody, least of all to the next request."""
    up.fail(PAGE, Substitute(b"12345"), WrongLength(-2), times=1)
    assert body_of(client, page_of(up)) == b"123"
    assert isinstance(client.get(page_of(up)), Fresh)


def test_a_page_over_the_limit_is_refused(up: Upstream, client: RequestsClient) -> None:
    """U02: a page has at most 64 MB."""
    up.fail(PAGE, HugePage(LARGEST_PAGE + 1))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_a_page_that_says_that_it_is_too_large_is_not_read(
    up: Upstream, client: RequestsClient
) -> None:
    """Not even its beginning."""
    up.fail(PAGE, HugePage(LARGEST_PAGE + 1), HangInBody(0))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_large_pages_that_hang_keep_no_small_one_waiting(
    up: Upstream, client: RequestsClient
) -> None:
    """However many of them have taken all the memory that there is for them."""
    size = LARGEST_PAGE - 1
    rule = up.fail("/simple/huge/", HugePage(size), HangInBody(size - 1))
    crew = Crew("ask", 4)

    def ask() -> int:
        answer = client.get(f"{up.simple_url}huge/")
        assert isinstance(answer, Fresh)
        return len(answer.document)

    flights = [crew.submit(ask) for _ in range(4)]
    up.wait_for("/simple/huge/", times=4)
    until(lambda: client._memory._left < 0)

    assert isinstance(client.get(page_of(up)), Fresh)

    rule.remove()
    assert {flight.result(LONG) for flight in flights} == {size}


def test_a_gzip_bomb_is_refused(up: Upstream, client: RequestsClient) -> None:
    """U02: what counts is the size of the decoded page."""
    up.fail(PAGE, GzipBomb(LARGEST_PAGE + MB))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_gzip_is_decoded_in_small_pieces(up: Upstream, client: RequestsClient) -> None:
    """A bomb never is in memory as a whole, however strongly it is compressed."""
    up.fail(PAGE, GzipBomb(20 * MB))
    with client.stream(page_of(up), page=True) as stream:
        assert not isinstance(stream, NotModified | Absent)
        sizes = [len(piece) for piece in stream.decoded(LARGEST_PAGE)]
    assert sum(sizes) == 20 * MB
    assert max(sizes) <= MB


@pytest.mark.parametrize(
    "body",
    [
        b"this is no gzip",
        gzip.compress(b"page" * 1000)[:-9],
        gzip.compress(b"page" * 1000)[:30],
        gzip.compress(b"page") + gzip.compress(b"and the rest"),
        b"",
    ],
    ids=["none", "cut", "cut early", "two", "empty"],  # their bytes have the time in them
)
def test_broken_gzip_is_refused(up: Upstream, client: RequestsClient, body: bytes) -> None:
    """What cannot be decoded to its end is no page."""
    up.fail(PAGE, Status(200, {"Content-Encoding": "gzip"}, body))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_gzip_that_nobody_asked_for_is_decoded_in_pages(
    up: Upstream, client: RequestsClient
) -> None:
    """The header counts, not what we asked for."""
    up.fail(PAGE, Substitute(b"<html></html>", "text/html"), GzipEncoded())
    answer = client.get(page_of(up))
    assert isinstance(answer, Fresh)
    assert answer.document == b"<html></html>"


def test_an_encoding_that_we_do_not_speak_is_refused(up: Upstream, client: RequestsClient) -> None:
    """No guess is made at other encodings."""
    up.fail(PAGE, AddHeaders({"Content-Encoding": "br"}))
    with pytest.raises(Corrupt):
        client.get(page_of(up))


def test_the_size_of_an_encoded_answer_is_not_that_of_the_file(
    up: Upstream, client: RequestsClient
) -> None:
    """Content-Length counts the encoded bytes, so the size is not known."""
    up.fail(PAGE, GzipEncoded())
    assert client.size(page_of(up)) is None


# Redirects


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_to_where_they_lead(
    up: Upstream, other: Upstream, client: RequestsClient, code: int
) -> None:
    """The page says where it came from in the end, so that its links start there."""
    up.fail(PAGE, Redirect(page_of(other), code))
    answer = client.get(page_of(up))
    assert isinstance(answer, Fresh)
    assert answer.url == page_of(other)


def test_a_relative_redirect_starts_at_the_address_asked_for(
    up: Upstream, client: RequestsClient
) -> None:
    """Location is resolved against the request."""
    up.fail("/old/demo/", Redirect("../../simple/demo/"))
    answer = client.get(f"{up.url}old/demo/")
    assert isinstance(answer, Fresh)
    assert answer.url == page_of(up)


def test_a_few_redirects_are_fine_and_many_are_not(up: Upstream, client: RequestsClient) -> None:
    """U04: seven hops reach the page, a deeper chain is refused."""

    def chain(hops: int) -> str:
        for number in range(hops):
            target = f"/hop/{number + 1}/" if number + 1 < hops else PAGE
            up.fail(f"/hop/{number}/", Redirect(target))
        return f"{up.url}hop/0/"

    assert isinstance(client.get(chain(7)), Fresh)
    up.heal()
    with pytest.raises(Corrupt):
        client.get(chain(8))


def test_a_redirect_loop_ends(up: Upstream, client: RequestsClient) -> None:
    """U04: a page that leads to itself is refused after a few turns."""
    up.fail(PAGE, Redirect("{path}"))
    with pytest.raises(Corrupt):
        client.get(page_of(up))
    assert up.count(PAGE) <= 10


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/demo/",
        "javascript:alert(1)",
        "data:text/html,hello",
        "gopher://127.0.0.1/",
        "http://[",
        "http://[::1",
        "//[",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:0/",
        "https:",
    ],
)
def test_a_redirect_to_no_web_address_is_refused(
    up: Upstream, client: RequestsClient, location: str
) -> None:
    """U03: nothing but http and https is ever spoken, and nonsense is no crash."""
    up.fail(PAGE, Redirect(location))
    with pytest.raises(UpstreamError):
        client.get(page_of(up))


@pytest.mark.parametrize(
    "url",
    ["", "demo", "file:///etc/passwd", "http://", "http://[::1", "http://a:b/", "ftp://h/x"],
)
def test_only_web_addresses_are_asked(client: RequestsClient, url: str) -> None:
    """X01: whatever a page links to, no other scheme is spoken."""
    with pytest.raises(Corrupt):
        client.get(url)
    with pytest.raises(Corrupt):
        client.size(url)


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "..", ".test", "*", "a b", "\u00ad"])
def test_a_host_that_cannot_be_is_unreachable(client: RequestsClient, host: str) -> None:
    """No host name leads to an error of another kind."""
    with pytest.raises(UpstreamError):
        client.get(f"http://{host}/")


class _Elsewhere:
    """An adapter that answers without a network, for addresses of https."""

    def __init__(self, location: str) -> None:
        self._location = location

    def ask(self, method: str, url: str, headers: Mapping[str, str], **_: object) -> Response:
        raw: Any = urllib3.HTTPResponse(
            io.BytesIO(), {"Location": self._location}, status=302, preload_content=False
        )
        with socket.socket() as closed:
            raw.wire = Wire(closed, Watchdog(FakeAlarm(), 1.0))
        return Response(url, method, raw)

    def close(self) -> None:
        pass


def test_https_never_leads_to_plain_http(up: Upstream, client: RequestsClient) -> None:
    """U04: who has asked in secret is not led into the open."""
    client._adapter = _Elsewhere(page_of(up))  # type: ignore[assignment]
    with pytest.raises(Corrupt, match="https"):
        client.get("https://secure.test/simple/demo/")
    assert up.requests == []


# Credentials


def _with_credentials(up: Upstream, clock: FakeClock) -> RequestsClient:
    url = up.simple_url.replace("://", "://user:p%40ss@")
    return RequestsClient(timeout=10.0, clock=clock, urls=[url])


def test_credentials_go_to_their_own_origin(up: Upstream, clock: FakeClock) -> None:
    """Name and password of the mirror's address are sent there, decoded, and in no URL."""
    _with_credentials(up, clock).get(page_of(up))
    (request,) = up.requests
    assert request.headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert "@" not in request.target


def test_credentials_go_nowhere_else(up: Upstream, other: Upstream, clock: FakeClock) -> None:
    """A link to another origin, the same host with another port included, carries none."""
    _with_credentials(up, clock).get(page_of(other))
    assert "authorization" not in other.requests[0].headers


def test_credentials_are_dropped_on_the_way_to_another_origin(
    up: Upstream, other: Upstream, clock: FakeClock
) -> None:
    """U04: a redirect to elsewhere does not take them along, the way back does."""
    up.fail(PAGE, Redirect(page_of(other)))
    other.fail(PAGE, Redirect(f"{up.simple_url}Demo/"), times=1)
    up.fail("/simple/Demo/", Status(200))
    _with_credentials(up, clock).get(page_of(up))
    assert [("authorization" in r.headers) for r in up.requests] == [True, True]
    assert ["authorization" in r.headers for r in other.requests] == [False]


def test_credentials_in_a_link_are_not_used(up: Upstream, client: RequestsClient) -> None:
    """U01: what an index writes into its links is no secret of ours to send."""
    client.get(page_of(up).replace("://", "://user:secret@"))
    assert "authorization" not in up.requests[0].headers


def test_netrc_is_asked_for_credentials(
    up: Upstream, client: RequestsClient, tmp_path: Path
) -> None:
    """As pip does it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password p@ss\n")
    client.get(page_of(up))
    assert up.requests[0].headers["authorization"] == "Basic dXNlcjpwQHNz"


def test_no_message_shows_credentials(clock: FakeClock) -> None:
    """X07: what is logged and sent to clients names the host only."""
    with Upstream() as gone:
        url = gone.simple_url.replace("://", "://user:secret@")
    client = RequestsClient(timeout=10.0, clock=clock, urls=[url])
    with pytest.raises(Unreachable) as raised:
        client.get(url)
    assert "secret" not in raised.value.message


# Connections


def test_a_stopped_upstream_is_unreachable(up: Upstream, client: RequestsClient) -> None:
    """Refused connections are told as such."""
    up.stop()
    with pytest.raises(Unreachable, match="refused"):
        client.get(page_of(up))
    with pytest.raises(Unreachable):
        client.size(page_of(up))


@pytest.mark.parametrize("fault", [CloseAtAccept(), CloseUnanswered(), CloseUnanswered(reset=True)])
def test_a_connection_that_ends_unanswered_gets_one_more_try(
    up: Upstream, client: RequestsClient, fault: CloseAtAccept | CloseUnanswered
) -> None:
    """Once may be bad luck; twice is unreachable."""
    rule = up.fail(PAGE, fault, times=1)
    assert isinstance(client.get(page_of(up)), Fresh)
    assert rule.hits == 1
    rule = up.fail(PAGE, fault)
    client = RequestsClient(timeout=10.0, clock=FakeClock(), urls=[up.simple_url])
    with pytest.raises(Unreachable):
        client.get(page_of(up))
    assert rule.hits == 2


def _many_idle_connections(client: RequestsClient, up: Upstream, url: str, count: int) -> None:
    """Leave so many open connections to the upstream in the pool."""
    go_on = threading.Event()
    rule = up.fail(PAGE, HangBeforeAnswer(until=go_on))
    threads = [threading.Thread(target=client.get, args=(url,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    up.wait_for(PAGE, times=count)
    go_on.set()
    for thread in threads:
        thread.join()
    rule.remove()


def test_connections_that_went_bad_while_idle_are_replaced(
    up: Upstream, client: RequestsClient
) -> None:
    """However many idle connections are dead, the second try is on a new one."""
    _many_idle_connections(client, up, page_of(up), 5)
    up.fail(PAGE, ResetKeepAlive())
    assert isinstance(client.get(page_of(up)), Fresh)


def test_silence_before_the_answer_is_a_timeout(up: Upstream, clock: FakeClock) -> None:
    """Upstream has the timeout to begin its answer, and is not asked again at once."""
    up.fail(PAGE, HangBeforeAnswer())
    client = RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url])
    with pytest.raises(TimedOut):
        client.get(page_of(up))
    with pytest.raises(TimedOut):
        client.size(page_of(up))
    assert up.count(PAGE) == 1


def test_silence_in_the_body_is_a_timeout(up: Upstream, clock: FakeClock) -> None:
    """A page or a file that stops arriving is given up."""
    up.fail(PAGE, HangInBody(5))
    client = RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url])
    with pytest.raises(TimedOut):
        client.get(page_of(up))
    with pytest.raises(TimedOut):
        body_of(client, page_of(up))


def test_a_page_that_trickles_is_a_timeout(up: Upstream, clock: FakeClock) -> None:
    """U02: bytes that come often enough do not hold us for ever."""
    up.fail(PAGE, HugePage(10_000), Slow(1000))
    with pytest.raises(TimedOut):
        RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url]).get(page_of(up))


def test_a_head_that_trickles_is_a_timeout(up: Upstream, clock: FakeClock) -> None:
    """U02: status line and header have the timeout together, for whatever is asked."""
    up.fail(PAGE, SlowHead(100))
    client = RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url])
    for ask in (client.get, client.size, lambda url: client.part(url, 0, 10)):
        with pytest.raises(TimedOut):
            ask(page_of(up))
    with pytest.raises(TimedOut):
        body_of(client, page_of(up))
    with pytest.raises(TimedOut):
        client.post(page_of(up), b"", "text/xml")


def test_a_head_that_trickles_through_a_proxy_is_a_timeout(
    up: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy passes on what upstream sends, as it comes."""
    monkeypatch.setenv("http_proxy", up.url)
    up.fail(PAGE, SlowHead(100))
    client = RequestsClient(timeout=SOON, clock=clock, urls=["http://index.test/simple/"])
    with pytest.raises(TimedOut):
        client.size("http://index.test/simple/demo/")


def test_redirects_that_trickle_in_are_a_timeout(up: Upstream, clock: FakeClock) -> None:
    """Eight hops, each just in time, are not in time."""
    up.fail(PAGE, Latency(SOON * 0.9), Redirect("{path}"))
    client = RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url])
    with pytest.raises(TimedOut):
        client.get(page_of(up))


@pytest.mark.parametrize("framing", [b"1" * 10_000, b"5;" + b"x" * 10_000])
def test_a_page_whose_chunks_never_begin_is_a_timeout(
    up: Upstream, clock: FakeClock, framing: bytes
) -> None:
    """U02: no byte of the body comes, but something always does."""
    up.fail(
        PAGE,
        Status(200, {"Transfer-Encoding": "chunked"}, framing),
        NoLength(),
        Slow(1000),
    )
    client = RequestsClient(timeout=SOON, clock=clock, urls=[up.simple_url])
    with pytest.raises(TimedOut):
        client.get(page_of(up))


def test_a_slow_head_that_comes_in_time_is_fine(up: Upstream, client: RequestsClient) -> None:
    """And what comes after it on the same connection."""
    rule = up.fail(PAGE, SlowHead(2000))
    assert isinstance(client.get(page_of(up)), Fresh)
    rule.remove()
    assert isinstance(client.get(page_of(up)), Fresh)
    assert up.connections == 1


@pytest.mark.parametrize("status", [302, 404, 503])
def test_a_body_that_nobody_wants_is_not_waited_for(
    up: Upstream, clock: FakeClock, status: int
) -> None:
    """The status says all: whether the rest comes is no matter of the one who asks."""
    client = RequestsClient(timeout=LONG * 10, clock=clock, urls=[up.simple_url])
    headers = {"Location": PAGE} if status == 302 else {}
    up.fail(PAGE, Status(status, headers, b"x" * 100), HangInBody(10), times=1)
    flight = Crew("ask", 1).submit(lambda: client.get(page_of(up)))
    answer: object = flight.exception(LONG) or flight.result()
    expected = {302: Fresh, 404: Absent, 503: Failed}[status]
    assert isinstance(answer, expected)
    up.heal()


# Proxies


@pytest.fixture
def proxied(up: Upstream, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> RequestsClient:
    """A client in an environment whose web proxy the upstream plays."""
    monkeypatch.setenv("http_proxy", up.url)
    return RequestsClient(
        timeout=10.0, clock=clock, urls=["http://index.test/simple/", "http://127.0.0.1/"]
    )


def test_the_environments_proxy_is_used(up: Upstream, proxied: RequestsClient) -> None:
    """``http_proxy`` counts."""
    answer = proxied.get("http://index.test/simple/demo/")
    assert isinstance(answer, Fresh)
    assert up.requests[0].target == "http://index.test/simple/demo/"


def test_no_proxy_is_obeyed(
    up: Upstream, other: Upstream, proxied: RequestsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts in ``no_proxy`` are asked directly."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    proxied.get(page_of(other))
    assert up.requests == []
    assert other.requests[0].target == PAGE


def test_idle_connections_to_a_proxy_are_replaced_too(
    up: Upstream, proxied: RequestsClient
) -> None:
    """However many idle connections to the proxy are dead, the second try is on a new one."""
    url = "http://index.test/simple/demo/"
    _many_idle_connections(proxied, up, url, 5)
    up.fail(PAGE, ResetKeepAlive())
    assert isinstance(proxied.get(url), Fresh)


@pytest.mark.parametrize("body", [b"", b"zz\r\nnot a chunk\r\n", b"-5\r\nhello", b"5\r\nhel"])
def test_chunked_garbage_is_an_error_of_ours(
    up: Upstream, client: RequestsClient, body: bytes
) -> None:
    """Nothing of the HTTP library comes through this border (U05)."""
    up.fail(PAGE, Status(200, {"Transfer-Encoding": "chunked"}, body), NoLength())
    with pytest.raises(Unreachable):
        client.get(page_of(up))
