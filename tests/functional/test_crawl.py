"""A project whose files are on its own site, as in 2013, through the whole server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

import pytest
from fakes import FakeClock
from server import App
from upstream import Status, Upstream

DATA = Path(__file__).parent.parent / "data" / "crawl"
INDEX = "/root/old/+simple/"
OLD, NEW, TIP = b"sdist of 0.9", b"sdist of 1.0", b"tip"

Make = Callable[..., App]


@pytest.fixture
def site() -> Iterator[Upstream]:
    """The project's own site."""
    with Upstream() as site:
        yield site


@pytest.fixture
def app(app: Callable[..., App], up: Upstream, site: Upstream, tmp_path: Path) -> Make:
    """A mirror of the index that knows the site; ``app(crawl="no")`` leaves it alone."""
    answers = {
        (up, "/simple/demo/"): page("index.html", site),
        (up, "/packages/source/d/demo/demo-0.9.tar.gz"): Status(200, body=OLD),
        (site, "/demo/"): page("home.html", site),
        (site, "/demo/download.html"): page("download.html", site),
        (site, "/demo/files/demo-1.0.tar.gz"): Status(200, body=NEW),
        (site, "/demo/files/demo-0.7.zip"): Status(200, body=b"not what the page promised"),
        (site, "/repo/tarball/master"): Status(200, body=TIP),
    }
    for (host, path), answer in answers.items():
        host.fail(re.compile(rf"^{re.escape(path)}$"), answer)

    def make(*, crawl: str = "yes") -> App:
        config = tmp_path / "devpi.yml"
        config.write_text(
            f"mirrors:\n  root/old:\n    mirror_url: {up.simple_url}\n    mirror_crawl: {crawl}\n"
        )
        return app("-c", str(config))

    return make


def page(name: str, site: Upstream) -> Status:
    text = Template((DATA / name).read_text()).substitute(
        site=site.url.rstrip("/"), md5_of_old=md5(OLD), md5_of_other=md5(b"other")
    )
    return Status(200, {"Content-Type": "text/html; charset=utf-8"}, text.encode())


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def test_a_page_lists_the_files_of_the_sites_that_it_names(app: Make) -> None:
    """Egg links, then the newest version; of two files with one name, the index's own."""
    files = app().page("demo", INDEX)["files"]

    assert [file["filename"] for file in files] == [
        "demo-1.1.tar.gz", "demo-1.0.tar.gz", "demo-0.9.tar.gz", "demo-0.7.zip",
    ]  # fmt: skip
    assert [file["hashes"] for file in files] == [
        {}, {}, {"md5": md5(OLD)}, {"md5": md5(b"other")},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("filename", "content"),
    [("demo-1.1.tar.gz", TIP), ("demo-1.0.tar.gz", NEW), ("demo-0.9.tar.gz", OLD)],
)
def test_a_file_of_a_site_is_cached_like_any_file(
    filename: str, content: bytes, app: Make, site: Upstream, up: Upstream
) -> None:
    """Once it has been here, the site may go away."""
    server = app()
    address = server.links("demo", INDEX)[filename]["url"]
    assert server(address).body == content

    site.stop()
    up.stop()

    assert server(address).body == content
    assert server.links("demo", INDEX)[filename]["hashes"]["sha256"]


def test_a_file_that_is_not_what_its_link_promised_is_refused(app: Make) -> None:
    """A hash in a fragment is checked, wherever it was found."""
    server = app()

    assert server(server.links("demo", INDEX)["demo-0.7.zip"]["url"]).status == 502


def test_a_site_that_is_down_takes_nothing_from_the_index(app: Make, site: Upstream) -> None:
    """What upstream itself has is listed as ever."""
    site.stop()

    assert set(app().links("demo", INDEX)) == {"demo-1.1.tar.gz", "demo-0.9.tar.gz"}


def test_a_file_that_appears_on_a_site_appears_on_the_page(
    app: Make, site: Upstream, clock: FakeClock
) -> None:
    """At the expiry, although the index has not changed."""
    server = app()
    server.page("demo", INDEX)
    site.heal()
    found = '<a href="/demo/files/demo-2.0.tar.gz">new</a>'
    site.fail("/demo/", Status(200, {"Content-Type": "text/html"}, found.encode()))
    clock.advance(3600)

    assert "demo-2.0.tar.gz" in server.links("demo", INDEX)


def test_a_feed_of_changes_does_not_vouch_for_sites(
    app: Make, site: Upstream, clock: FakeClock
) -> None:
    """The index is followed, but nobody says when a site changes: its pages age."""
    server = app()
    server.tick("follow root/old")
    clock.advance(2)
    server.page("demo", INDEX)
    site.clear()

    for _ in range(31):
        clock.advance(60)
        server.tick("follow root/old")
    server.page("demo", INDEX)

    assert site.count("/demo/") > 0


def test_no_site_is_visited_unless_the_mirror_is_told_to(app: Make, site: Upstream) -> None:
    """Off is the default, and off is off."""
    server = app(crawl="no")
    by_default = server.links("demo")

    assert set(by_default) == {"demo-0.9.tar.gz"}
    assert set(server.links("demo", INDEX)) == {"demo-0.9.tar.gz"}
    assert site.requests == []


def test_a_site_gets_no_more_than_one_visit_a_page(app: Make, site: Upstream) -> None:
    """And nothing that it links to is visited."""
    app().page("demo", INDEX)

    assert sorted(request.path for request in site.requests) == ["/demo/", "/demo/download.html"]
