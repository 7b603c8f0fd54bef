"""What third-party sites add to a project's page, and what they cannot do to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fakes import FakeClient, Resource

from devpi_server.errors import Unreachable
from devpi_server.names import project
from devpi_server.simple import parse
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream
from devpi_server.upstream.crawl import LARGEST_PAGE, MOST_PAGES, Crawling

INDEX = "https://index.example/simple/foo/"
SITE = "https://foo.example/"


@pytest.fixture
def client() -> FakeClient:
    client = FakeClient()
    client.resources[INDEX] = html(
        f'<a rel="homepage" href="{SITE}">home</a><a href="foo-1.zip">foo</a>', etag='"1"'
    )
    client.resources[SITE] = html('<a href="foo-2.zip">foo</a>')
    return client


@pytest.fixture
def crawling(client: FakeClient) -> Crawling:
    return Crawling(client, 30)


def html(body: str, *, etag: str | None = None) -> Resource:
    return Resource(f"<h1>Links for foo</h1>{body}".encode(), "text/html; charset=utf-8", etag, 7)


def names(answer: Fresh | NotModified | Absent) -> list[str]:
    assert isinstance(answer, Fresh)
    page = parse.page(
        answer.document, answer.content_type, answer.url, project("foo"), answer.serial
    )
    assert page.serial == 7
    return [link.filename for link in page.links]


def test_files_of_a_site_are_files_of_the_project(crawling: Crawling) -> None:
    """They stand on its page beside upstream's own."""
    assert names(crawling.get(INDEX)) == ["foo-2.zip", "foo-1.zip"]


def test_sites_are_asked_again_although_the_index_has_not_changed(
    crawling: Crawling, client: FakeClient
) -> None:
    """An unchanged page says nothing of the sites that it names."""
    first = crawling.get(INDEX)
    assert isinstance(first, Fresh)
    same = crawling.get(INDEX, etag=first.etag)
    client.resources[SITE] = html('<a href="foo-3.zip">foo</a>')

    assert same == NotModified()
    assert names(crawling.get(INDEX, etag=first.etag)) == ["foo-3.zip", "foo-1.zip"]


def test_nothing_that_a_site_names_is_visited(crawling: Crawling, client: FakeClient) -> None:
    """One level, or the whole web would be a package index."""
    client.resources[SITE] = html(
        '<a rel="download" href="https://other.example/">x</a><a href="x.zip#egg=foo-9">y</a>'
    )

    assert names(crawling.get(INDEX)) == ["foo-1.zip"]
    assert {url for _, url, _ in client.asked} == {INDEX, SITE}


def test_a_page_without_links_to_sites_is_passed_on_as_it_is(
    crawling: Crawling, client: FakeClient
) -> None:
    """With upstream's tag, which still works."""
    client.resources[INDEX] = html('<a href="foo-1.zip">foo</a>', etag='"1"')

    answer = crawling.get(INDEX)

    assert isinstance(answer, Fresh)
    assert answer.etag == '"1"'
    assert crawling.get(INDEX, etag='"1"') == NotModified()


def test_json_has_no_such_links(crawling: Crawling, client: FakeClient) -> None:
    """It is passed on as it is."""
    client.resources[INDEX] = Resource(b'{"files": []}', "application/json", serial=7)

    assert names(crawling.get(INDEX)) == []


def test_a_project_that_is_not_there_has_no_sites(crawling: Crawling, client: FakeClient) -> None:
    """Upstream's word stands."""
    del client.resources[INDEX]

    assert crawling.get(INDEX) == Absent()


def test_nothing_of_a_quarantined_project_is_looked_for(
    crawling: Crawling, client: FakeClient
) -> None:
    """PEP 792: nothing of it may be offered."""
    status = '<meta name="pypi:project-status" content="quarantined">'
    client.resources[INDEX] = html(f'{status}<a rel="homepage" href="{SITE}">home</a>')

    assert names(crawling.get(INDEX)) == []
    assert len(client.asked) == 1


SICK = {
    "out of reach": Unreachable("no route"),
    "not there": None,
    "not a web page": Resource(b'<a href="foo-2.zip">', "text/plain"),
    "too large": Resource(b'<a href="foo-2.zip">' + b" " * LARGEST_PAGE, "text/html"),
}


@pytest.mark.parametrize("answer", SICK.values(), ids=list(SICK))
def test_a_sick_site_costs_its_links_and_a_line_in_the_log(
    answer: Resource | Unreachable | None,
    crawling: Crawling,
    client: FakeClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The links of the index still count."""
    client.resources.pop(SITE)
    if answer is not None:
        client.resources[SITE] = answer

    assert names(crawling.get(INDEX)) == ["foo-1.zip"]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith(f"foo: cannot look for files at {SITE}: ")


def test_what_a_site_said_before_stands_in_while_it_is_sick(
    crawling: Crawling, client: FakeClient
) -> None:
    """What was on a page does not come and go with a site's health."""
    crawling.get(INDEX)
    client.resources[SITE] = Unreachable("no route")

    assert names(crawling.get(INDEX)) == ["foo-2.zip", "foo-1.zip"]


def test_sites_that_do_not_answer_in_time_are_left_out(client: FakeClient) -> None:
    """The page does not wait for them."""
    hanging = Hanging(client)

    assert names(Crawling(hanging, 0.01).get(INDEX)) == ["foo-1.zip"]
    hanging.until.set()


class Hanging(FakeClient):
    """Pages of the index answer at once, sites when they are told to."""

    def __init__(self, client: FakeClient) -> None:
        super().__init__()
        self.resources = client.resources
        self.until = threading.Event()

    @contextmanager
    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> Iterator[Stream | NotModified | Absent]:
        self.until.wait()
        with super().stream(url, etag=etag, page=page) as answer:
            yield answer


def test_only_so_many_sites_are_visited(crawling: Crawling, client: FakeClient) -> None:
    """A page cannot make us ask the whole world."""
    client.resources[INDEX] = html(
        "".join(f'<a rel="homepage" href="{SITE}{n}">x</a>' for n in range(MOST_PAGES + 5))
    )

    crawling.get(INDEX)

    assert len(client.asked) == 1 + MOST_PAGES
