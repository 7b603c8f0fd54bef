"""A folder as an index: the pages, and the way from a name to the bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fakes import FakeClock
from upstream import artefacts

from devpi_server import names
from devpi_server.errors import NoSuchFile, NoSuchProject, Overloaded
from devpi_server.names import project
from devpi_server.records import Freshness, Link
from devpi_server.simple import render
from devpi_server.sources.directory import Directory
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.workers.digests import Digests

FOO = project("foo")
WHEEL = artefacts.wheel("foo", "1.0", requires_python=">=3.8")


class Place:
    """A folder, the index of it, and the worker that reads it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.timer = FakeClock(0.0)
        incoming = Incoming(folder / "data" / "incoming")
        self.facts = FolderFacts(folder / "data" / "folders", incoming)
        self.folders = Folders([self.root], clock=FakeClock(0.0))
        self.directory = Directory(self.folders, self.facts)
        self.digests = Digests(
            name="x",
            folders=self.folders,
            facts=self.facts,
            locks=Locks(folder / "data" / "locks"),
            clock=FakeClock(0.0),
            timer=self.timer,
        )

    def put(self, name: str, content: bytes = b"x", when: float | None = None) -> Path:
        place = self.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if when is not None:
            os.utime(place, (when, when))
        return place

    def links(self, name: str = "foo") -> tuple[Link, ...]:
        return self.directory.view(project(name)).load().links

    def at(self, link: Link, ending: str = "") -> bytes:
        """What is served where the page leads to."""
        path = names.file_path(link.filename, link.url, link.digests) + ending
        found = self.directory.at(path)
        content = found.path.read_bytes()
        assert found.filename == link.filename + ending
        assert found.size == len(content)
        assert found.sha256 in (None, hashlib.sha256(content).hexdigest())
        return content

    def read(self) -> None:
        """Let all be read that lies there."""
        self.folders.refresh(1.0)
        for _ in range(3):
            self.digests.tick()
            self.timer.advance(10.0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_is_listed_at_once_with_what_a_stat_says(place: Place) -> None:
    """Nothing is read for it."""
    place.put("sub/foo-1.0.tar.gz", b"12345", when=1_500_000_000.5)
    (link,) = place.links()

    assert link == Link(
        "foo-1.0.tar.gz",
        "file:///sub/foo-1.0.tar.gz",
        size=5,
        uploaded=datetime(2017, 7, 14, 2, 40, 0, 500_000, tzinfo=timezone.utc),
        gpg_sig=False,
    )


def test_once_it_is_read_the_page_says_more(place: Place) -> None:
    """Digest, metadata, Requires-Python; and the stamp says that it does."""
    place.put(WHEEL.filename, WHEEL.data)
    before = place.directory.view(FOO)
    place.read()
    after = place.directory.view(FOO)
    (link,) = after.load().links

    assert before.stamp != after.stamp
    assert not before.load().links[0].digests
    assert link.digests == {"sha256": hashlib.sha256(WHEEL.data).hexdigest()}
    assert link.core_metadata == {"sha256": hashlib.sha256(WHEEL.metadata).hexdigest()}
    assert link.requires_python == ">=3.8"
    assert place.at(link, ".metadata") == WHEEL.metadata


def test_a_replaced_file_has_no_digest_until_it_is_read(place: Place) -> None:
    """Rather none than a wrong one."""
    place.put(WHEEL.filename, WHEEL.data)
    place.read()
    place.put(WHEEL.filename, b"other")
    (link,) = place.links()
    assert not link.digests
    assert link.core_metadata is None
    with pytest.raises(NoSuchFile):
        place.at(link, ".metadata")
    place.read()
    (link,) = place.links()
    assert link.digests == {"sha256": hashlib.sha256(b"other").hexdigest()}


def test_equal_stamps_mean_equal_pages(place: Place) -> None:
    """Also of a page that is loaded after it has changed."""
    place.put("foo-1.0.tar.gz")
    view = place.directory.view(FOO)
    place.read()
    assert not view.load().links[0].digests
    assert place.directory.view(FOO).stamp == place.directory.view(FOO, Freshness.ANY).stamp


def test_releases_are_in_the_order_of_their_versions(place: Place) -> None:
    """What has no proper version comes first."""
    for name in ("foo-1.10.zip", "foo-1.9.zip", "foo-1.9.tar.gz", "foo.zip", "foo-x-final.zip"):
        place.put(name)
    page = place.directory.view(FOO).load()
    assert [link.filename for link in page.links] == [
        "foo.zip", "foo-1.9.tar.gz", "foo-1.9.zip", "foo-1.10.zip",
    ]  # fmt: skip
    assert page.versions == ("1.9", "1.10")


def test_a_file_is_of_one_project_only(place: Place) -> None:
    """The likeliest, as pypi-server has it."""
    place.put("foo-bar-1.0.zip")
    assert [link.filename for link in place.links("foo-bar")] == ["foo-bar-1.0.zip"]
    with pytest.raises(NoSuchProject):
        place.links("foo")
    assert list(place.directory.listing().names()) == ["foo-bar"]


def test_a_signature_shows_on_the_page_and_is_no_distribution(place: Place) -> None:
    """PEP 503."""
    place.put("foo-1.0.zip")
    place.put("foo-1.0.zip.asc", b"signed")
    place.put("foo-2.0.zip")
    assert [link.gpg_sig for link in place.links()] == [True, False]
    assert place.directory.find("foo-1.0.zip.asc").path.read_bytes() == b"signed"


@pytest.mark.parametrize("when", [-5e8, 0, 2e9, 1e10, 1e12])
def test_any_time_of_modification_gives_a_page(place: Place, when: float) -> None:
    """Some are in no year that has a date."""
    place.put("foo-1.0.zip", when=when)
    page = place.directory.view(FOO).load()
    assert render.json_page(page, "../../")
    assert render.html_page(page, "../../")


def test_odd_paths_make_proper_addresses(place: Place) -> None:
    """No two files have the same, and nothing is told of where the folder lies."""
    for folder in (os.fsdecode(b"d\xff"), "a b#c?d&e", "\u00e9"):
        place.put(f"{folder}/foo-1!{len(folder)}.0+x.zip")
    page = place.directory.view(FOO).load()
    assert len({link.url for link in page.links}) == 3
    assert str(place.root).encode() not in render.json_page(page, "../../")
    for link in page.links:
        link.url.encode("ascii")


def test_what_is_opened_comes_with_what_is_known_of_just_these_bytes(place: Place) -> None:
    """The owner may replace the file between finding and opening it."""
    place.put("foo-1.0.zip", b"first")
    place.read()
    held = place.directory.find("foo-1.0.zip")
    assert held.sha256 == hashlib.sha256(b"first").hexdigest()
    opened, now = place.directory.open(held)
    with opened:
        assert opened.read() == b"first"
        assert now == held
    place.put("foo-1.0.zip", b"second")
    opened, now = place.directory.open(held)
    with opened:
        assert opened.read() == b"second"
    assert (now.sha256, now.file.size) == (None, 6)
    (place.root / "foo-1.0.zip").unlink()
    with pytest.raises(NoSuchFile):
        place.directory.open(held)


def test_a_file_is_found_by_its_path_too(place: Place) -> None:
    """``/packages/<path>`` of pypi-server."""
    path = place.put("a/foo-1.0.zip")
    assert place.directory.find_at("a/foo-1.0.zip").path == path
    assert [held.path for held in place.directory.everything()] == [path]
    assert [held.path for held in place.directory.held(FOO)] == [path]


def test_the_page_leads_to_the_bytes(place: Place) -> None:
    """Also a page from before the file was read."""
    place.put("sub/foo-1.0.zip", b"content")
    place.put("sub/foo-1.0.zip.asc", b"signed")
    (before,) = place.links()
    assert place.at(before) == b"content"
    assert place.at(before, ".asc") == b"signed"
    place.read()
    (after,) = place.links()
    assert place.at(before) == place.at(after) == b"content"
    assert place.at(after, ".asc") == b"signed"
    with pytest.raises(NoSuchFile):
        place.at(after, ".metadata")


def test_a_path_with_a_digest_leads_to_no_other_content(place: Place) -> None:
    """While it is not known, nobody is told that the file is not there."""
    path = place.put("foo-1.0.zip", b"first")
    place.read()
    (first,) = place.links()
    path.write_bytes(b"second")
    with pytest.raises(Overloaded):
        place.at(first)
    place.read()
    with pytest.raises(NoSuchFile):
        place.at(first)
    (second,) = place.links()
    assert place.at(second) == b"second"
    with pytest.raises(NoSuchFile):
        place.directory.at("+e/elsewhere/foo-1.0.zip")


def test_an_sdist_says_which_python_it_needs(place: Place) -> None:
    """So that nobody builds one that cannot work."""
    sdist = artefacts.sdist("foo", "2.0", requires_python=">=3.9")
    place.put(sdist.filename, sdist.data)
    place.put("bar-2.0.tar.gz", sdist.data)
    place.read()
    assert [link.requires_python for link in place.links()] == [">=3.9"]
    assert [link.requires_python for link in place.links("bar")] == [None]


def test_metadata_that_somebody_has_cleaned_away_is_made_again(place: Place) -> None:
    """Its place is a cache."""
    place.put(WHEEL.filename, WHEEL.data)
    place.read()
    (link,) = place.links()
    for path in (place.facts._folder / "+metadata").rglob("*"):
        path.is_file() and path.write_bytes(b"torn")
    assert place.at(link, ".metadata") == WHEEL.metadata
    shutil.rmtree(place.facts._folder / "+metadata")
    assert place.at(link, ".metadata") == WHEEL.metadata


def test_a_wheel_that_is_no_archive_is_listed_without_metadata(place: Place) -> None:
    """Half a copy must not break the page."""
    place.put(WHEEL.filename, WHEEL.data[:100])
    place.read()
    (link,) = place.links()
    assert link.digests
    assert link.core_metadata is None


def test_nothing_is_written_into_the_folder(place: Place) -> None:
    """It is not ours."""
    place.put(WHEEL.filename, WHEEL.data)
    place.root.chmod(0o500)
    before = place.root.stat()
    place.read()
    place.links()
    assert place.root.stat().st_mtime_ns == before.st_mtime_ns
    assert os.listdir(place.root) == [WHEEL.filename]
