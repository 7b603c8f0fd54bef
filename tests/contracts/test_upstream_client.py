"""What every upstream client keeps to: the one over HTTP, and the fake in its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

import pytest
from fakes import FakeClient, FakeClock, Resource
from upstream import Cut, NoLength, Status, Upstream, WrongLength

from devpi_server.errors import Corrupt, Denied, Failed, Unreachable, Unsupported, UpstreamError
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream, UpstreamClient
from devpi_server.upstream.client import RequestsClient

HTML = "text/html; charset=UTF-8"
BODY = bytes(range(256)) * 20


class World(Protocol):
    """An upstream, and a client that asks it."""

    client: UpstreamClient

    def url(self, name: str) -> str:
        """An address of this upstream."""

    def put(self, name: str, resource: Resource | UpstreamError) -> None:
        """Let upstream answer so at this address."""


class FakeWorld:
    def __init__(self) -> None:
        self.client = FakeClient()

    def url(self, name: str) -> str:
        return f"https://upstream.test/{name}"

    def put(self, name: str, resource: Resource | UpstreamError) -> None:
        self.client.resources[self.url(name)] = resource


class HttpWorld:
    """The scriptable upstream; an ETag makes it answer conditional requests."""

    STATUS: ClassVar = {Failed: 500, Denied: 403}

    def __init__(self, up: Upstream) -> None:
        self._up = up
        self.client = RequestsClient(timeout=10.0, clock=FakeClock(), urls=[up.simple_url])

    def url(self, name: str) -> str:
        return f"{self._up.url}{name}"

    def put(self, name: str, resource: Resource | UpstreamError) -> None:
        path = f"/{name}"
        if isinstance(resource, UpstreamError):
            self._up.fail(path, Status(self.STATUS[type(resource)]))
            return
        headers = {"Content-Type": resource.content_type}
        if resource.encoded:
            headers["Content-Encoding"] = "br"
        if resource.serial is not None:
            headers["X-PyPI-Last-Serial"] = str(resource.serial)
        if resource.etag is not None:
            headers["ETag"] = resource.etag
            self._up.fail(
                lambda r: r.path == path and r.headers.get("if-none-match") == resource.etag,
                Status(304),
            )
        faults = [Status(200, headers, resource.body)]
        if resource.length is not None:
            faults.append(WrongLength(resource.length - len(resource.body)))
        if not resource.tells_length:
            faults.append(NoLength())
        if resource.breaks_after is not None:
            faults.append(Cut(resource.breaks_after))
        self._up.fail(path, *faults)


@pytest.fixture(params=["fake", "http"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    with Upstream() as up:
        yield HttpWorld(up)


def read(world: World, name: str) -> bytes:
    with world.client.stream(world.url(name)) as stream:
        assert not isinstance(stream, NotModified | Absent)
        return b"".join(stream.chunks())


def test_a_page_comes_whole_with_what_upstream_says_of_it(world: World) -> None:
    """``get`` returns address, document, type, ETag and serial."""
    world.put("page", Resource(BODY, HTML, etag='"1"', serial=7))
    expected = Fresh(world.url("page"), BODY, HTML, '"1"', 7)
    assert world.client.get(world.url("page")) == expected


def test_a_page_says_nothing_that_upstream_does_not(world: World) -> None:
    """Without ETag and serial there are none."""
    world.put("page", Resource(b"", HTML))
    assert world.client.get(world.url("page")) == Fresh(world.url("page"), b"", HTML)


def test_a_page_that_is_held_is_not_sent_again(world: World) -> None:
    """The current ETag brings ``NotModified``, another one the page."""
    world.put("page", Resource(BODY, HTML, etag='"2"'))
    assert world.client.get(world.url("page"), etag='"2"') == NotModified()
    assert isinstance(world.client.get(world.url("page"), etag='"1"'), Fresh)


def test_what_upstream_does_not_have_is_absent(world: World) -> None:
    """``Absent`` is an answer, not an error, for page, file and size."""
    assert world.client.get(world.url("none")) == Absent()
    assert world.client.size(world.url("none")) == Absent()
    with world.client.stream(world.url("none")) as stream:
        assert stream == Absent()


@pytest.mark.parametrize("error", [Failed("sick"), Denied("no")])
def test_a_refusal_is_never_taken_for_absence(world: World, error: UpstreamError) -> None:
    """ "Cannot tell" is raised by every method."""
    world.put("page", error)
    with pytest.raises(type(error)):
        world.client.get(world.url("page"))
    with pytest.raises(type(error)):
        world.client.size(world.url("page"))
    with pytest.raises(type(error)), world.client.stream(world.url("page")):
        pass


def test_a_stream_knows_its_head_before_its_body(world: World) -> None:
    """Status, length, type, ETag and serial are known when the stream opens."""
    world.put("file", Resource(BODY, "application/zip", etag='"f"', serial=3))
    with world.client.stream(world.url("file")) as stream:
        assert not isinstance(stream, NotModified | Absent)
        told = (stream.length, stream.content_type, stream.etag, stream.serial, stream.encoded)
        assert told == (len(BODY), "application/zip", '"f"', 3, False)
        assert stream.url == world.url("file")
        assert b"".join(stream.chunks()) == BODY


def test_a_stream_can_be_conditional(world: World) -> None:
    """A large page that is held is not sent again either."""
    world.put("page", Resource(BODY, HTML, etag='"2"'))
    with world.client.stream(world.url("page"), etag='"2"', page=True) as stream:
        assert stream == NotModified()


def test_a_stream_may_be_left_unread(world: World) -> None:
    """Whoever has seen enough of the head just leaves."""
    world.put("file", Resource(BODY * 100))
    with world.client.stream(world.url("file")) as stream:
        assert not isinstance(stream, NotModified | Absent)
    assert read(world, "file") == BODY * 100


def test_a_body_of_unknown_length_ends_with_itself(world: World) -> None:
    """Without a length there is none to compare with."""
    world.put("file", Resource(BODY, tells_length=False))
    with world.client.stream(world.url("file")) as stream:
        assert not isinstance(stream, NotModified | Absent)
        assert stream.length is None
        assert b"".join(stream.chunks()) == BODY


@pytest.mark.parametrize("kept", [0, 1, len(BODY) - 1])
def test_a_body_that_breaks_off_is_an_error(world: World, kept: int) -> None:
    """No short body is ever taken for a whole one, in pages and files alike (U05)."""
    world.put("file", Resource(BODY, breaks_after=kept))
    with pytest.raises(Unreachable):
        read(world, "file")
    with pytest.raises(Unreachable):
        world.client.get(world.url("file"))


def test_a_body_that_is_shorter_than_its_length_is_an_error(world: World) -> None:
    """A Content-Length that claims more than there is, is a broken body (U05)."""
    world.put("file", Resource(BODY, length=len(BODY) + 5))
    with pytest.raises(Unreachable):
        read(world, "file")


def test_what_came_before_the_break_is_passed_on(world: World) -> None:
    """The reader of a stream gets the bytes as they arrive, then the error."""
    world.put("file", Resource(BODY, breaks_after=3000))
    got = bytearray()

    def take(stream: Stream) -> None:
        for chunk in stream.chunks():
            got.extend(chunk)

    with world.client.stream(world.url("file")) as stream:
        assert not isinstance(stream, NotModified | Absent)
        with pytest.raises(Unreachable):
            take(stream)
    assert got == BODY[:3000]


def test_decoding_stops_at_the_limit(world: World) -> None:
    """A body above the limit is refused, one at the limit is not."""
    world.put("file", Resource(BODY))

    def decoded(limit: int) -> bytes:
        with world.client.stream(world.url("file"), page=True) as stream:
            assert not isinstance(stream, NotModified | Absent)
            return b"".join(stream.decoded(limit))

    assert decoded(len(BODY)) == BODY
    with pytest.raises(Corrupt):
        decoded(len(BODY) - 1)


def test_a_content_encoding_is_told(world: World) -> None:
    """The raw bytes of an encoded body are not those of the file."""
    world.put("file", Resource(BODY, encoded=True))
    with world.client.stream(world.url("file")) as stream:
        assert not isinstance(stream, NotModified | Absent)
        assert stream.encoded
        assert b"".join(stream.chunks()) == BODY


def test_the_size_of_a_file_is_had_without_it(world: World) -> None:
    """``size`` is the length in bytes, None if upstream does not tell."""
    world.put("file", Resource(BODY))
    world.put("other", Resource(BODY, tells_length=False))
    assert world.client.size(world.url("file")) == len(BODY)
    assert world.client.size(world.url("other")) is None


def test_a_question_brings_its_answer(world: World) -> None:
    """``post`` returns the body, whole."""
    world.put("ask", Resource(BODY, "text/xml"))
    assert world.client.post(world.url("ask"), b"<question/>", "text/xml") == BODY


def test_a_question_that_nobody_takes_is_unsupported(world: World) -> None:
    """That there is nobody to ask is no answer, and no absence."""
    with pytest.raises(Unsupported):
        world.client.post(world.url("none"), b"<question/>", "text/xml")


def test_an_answer_that_breaks_off_is_an_error(world: World) -> None:
    """Half an answer is none."""
    world.put("ask", Resource(BODY, "text/xml", breaks_after=10))
    with pytest.raises(Unreachable):
        world.client.post(world.url("ask"), b"<question/>", "text/xml")
