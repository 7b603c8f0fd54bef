"""One page with the files of all projects, asked for as an index."""

from __future__ import annotations

import orjson
import pytest
from fakes import FakeClient, FakeClock, Resource

from devpi_server.errors import Corrupt, Denied, Unreachable
from devpi_server.names import project
from devpi_server.records import Page
from devpi_server.simple import listing, parse
from devpi_server.upstream.base import Absent, Fresh, NotModified
from devpi_server.upstream.flat import Flat

BASE = "https://index.example/whl/"


@pytest.fixture
def client() -> FakeClient:
    client = FakeClient()
    client.resources[BASE] = page("foo-1.zip", "bar-1.zip", etag='"1"')
    return client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def flat(client: FakeClient, clock: FakeClock) -> Flat:
    return Flat(client, clock)


def page(*files: str, etag: str | None = None) -> Resource:
    document = "".join(f'<a href="{file}">{file}</a>' for file in files)
    return Resource(document.encode(), "text/html", etag)


def read(answer: Fresh | NotModified | Absent, name: str) -> Page:
    assert isinstance(answer, Fresh)
    return parse.page(answer.document, answer.content_type, answer.url, project(name))


def test_a_project_has_a_page_of_its_own(flat: Flat) -> None:
    """With the files that are its, and the addresses that they have."""
    found = read(flat.get(f"{BASE}foo/"), "foo")

    assert [link.url for link in found.links] == [f"{BASE}foo-1.zip"]


def test_a_project_without_files_is_not_there(flat: Flat) -> None:
    """The page knows all projects."""
    assert flat.get(f"{BASE}baz/") == Absent()


def test_the_page_is_asked_for_once_for_many_projects(flat: Flat, client: FakeClient) -> None:
    """An installer asks for a hundred projects at a time."""
    flat.get(f"{BASE}foo/")
    flat.get(f"{BASE}bar/")

    assert client.asked == [("get", BASE, None)]


def test_the_page_is_revalidated_later(flat: Flat, client: FakeClient, clock: FakeClock) -> None:
    """With its ETag, so that no change costs next to nothing."""
    before = flat.get(f"{BASE}foo/")
    clock.advance(60)

    assert flat.get(f"{BASE}foo/") == before
    assert client.asked == [("get", BASE, None), ("get", BASE, '"1"')]


def test_a_page_changes_with_its_own_files_only(
    flat: Flat, client: FakeClient, clock: FakeClock
) -> None:
    """A release of one project makes no other page stale."""
    tags = {}
    for name in ("foo", "bar"):
        answer = flat.get(f"{BASE}{name}/")
        assert isinstance(answer, Fresh)
        tags[name] = answer.etag
    client.resources[BASE] = page("foo-1.zip", "bar-1.zip", "foo-2.zip", etag='"2"')
    clock.advance(60)

    assert flat.get(f"{BASE}bar/", etag=tags["bar"]) == NotModified()
    assert len(read(flat.get(f"{BASE}foo/", etag=tags["foo"]), "foo").links) == 2


@pytest.mark.parametrize(
    "answer",
    [None, Resource(b"<html>log in</html>", "text/html"), Unreachable("gone"),
     Denied("no", status=403)],
    ids=["404", "login", "unreachable", "403"],
)  # fmt: skip
def test_a_page_that_is_not_there_says_nothing_of_projects(
    answer: Resource | Unreachable | None,
    flat: Flat,
    client: FakeClient,
) -> None:
    """Not even where a 403 means that there is no such project."""
    client.resources.pop(BASE)
    if answer is not None:
        client.resources[BASE] = answer

    with pytest.raises((Corrupt, Denied, Unreachable)) as caught:
        flat.get(f"{BASE}foo/")
    assert caught.value.status is None


def test_a_bad_answer_does_not_replace_a_good_page(
    flat: Flat, client: FakeClient, clock: FakeClock
) -> None:
    """Upstream's next good answer may be that nothing has changed."""
    flat.get(f"{BASE}foo/")
    good, client.resources[BASE] = client.resources[BASE], Resource(b"<html>", "text/html", '"x"')
    clock.advance(60)
    with pytest.raises(Corrupt):
        flat.get(f"{BASE}foo/")
    client.resources[BASE] = good

    assert isinstance(flat.get(f"{BASE}foo/"), Fresh)
    assert client.asked[-1] == ("get", BASE, '"1"')


def bucket(*keys: str, more: bool) -> Resource:
    contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
    truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
    document = f"<ListBucketResult>{truncated}{contents}</ListBucketResult>"
    return Resource(document.encode(), "application/xml", '"1"')


def test_a_listing_in_parts_is_followed_to_its_end(
    flat: Flat, client: FakeClient, clock: FakeClock
) -> None:
    """And not revalidated: the tag of its first part says nothing of the others."""
    client.resources[BASE] = bucket("foo-1.zip", more=True)
    client.resources[f"{BASE}?marker=foo-1.zip"] = bucket("foo-2.zip", more=False)

    assert len(read(flat.get(f"{BASE}foo/"), "foo").links) == 2
    clock.advance(60)
    flat.get(f"{BASE}foo/")
    assert [etag for _, _, etag in client.asked] == [None] * 4


def test_a_listing_that_breaks_off_is_not_believed(flat: Flat, client: FakeClient) -> None:
    """The files of its missing parts would be gone."""
    client.resources[BASE] = bucket("foo-1.zip", more=True)

    with pytest.raises(Corrupt, match="end"):
        flat.get(f"{BASE}foo/")


def test_a_listing_without_an_end_is_left(flat: Flat, client: FakeClient) -> None:
    """It leads in circles."""
    client.resources[BASE] = bucket("foo-1.zip", more=True)
    client.resources[f"{BASE}?marker=foo-1.zip"] = bucket("foo-1.zip", more=True)

    with pytest.raises(Corrupt, match="end"):
        flat.get(f"{BASE}foo/")
    assert len(client.asked) < 1000


def test_the_list_of_projects_is_made_of_the_files(flat: Flat) -> None:
    """It is a list of names, as of any index."""
    with flat.stream(BASE, page=True) as answer:
        assert not isinstance(answer, NotModified | Absent)
        assert list(listing.names(answer.decoded(10**6), answer.content_type)) == ["bar", "foo"]
        etag = answer.etag
    with flat.stream(BASE, etag=etag, page=True) as answer:
        assert answer == NotModified()


def test_files_are_asked_for_as_ever(flat: Flat, client: FakeClient) -> None:
    """Only pages are made here."""
    client.resources[f"{BASE}foo-1.zip"] = Resource(b"zip")

    with flat.stream(f"{BASE}foo-1.zip") as answer:
        assert not isinstance(answer, NotModified | Absent)
        assert b"".join(answer.chunks()) == b"zip"
    assert flat.size(f"{BASE}foo-1.zip") == 3


def test_a_made_page_is_json_that_any_client_of_the_api_reads(flat: Flat) -> None:
    """So what it says goes the way of any upstream's page."""
    answer = flat.get(f"{BASE}foo/")

    assert isinstance(answer, Fresh)
    assert orjson.loads(answer.document)["name"] == "foo"


@pytest.mark.parametrize("name", ["torch_stable.html", "Links.HTM", "list.xml"])
def test_the_page_may_be_a_file(name: str, flat: Flat, client: FakeClient) -> None:
    """Its address has no slash at its end then, and its links start beside it."""
    client.resources[BASE + name] = client.resources[BASE]

    found = read(flat.get(f"{BASE}{name}/foo/"), "foo")

    assert [link.url for link in found.links] == [f"{BASE}foo-1.zip"]
