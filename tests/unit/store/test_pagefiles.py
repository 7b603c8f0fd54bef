"""Upstream's pages on disk: versions are told apart, freshness survives, damage is noticed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from fakes import FakeClock

from devpi_server.errors import StoreError
from devpi_server.names import project
from devpi_server.store.incoming import Incoming
from devpi_server.store.pagefiles import PageFiles, PageHead

DEMO, OTHER = project("demo"), project("other")
DOCUMENT = b'{"files": [], "name": "demo"}'


def head_of(document: bytes = DOCUMENT) -> PageHead:
    return PageHead(
        base="https://upstream.test/simple/",
        url="https://upstream.test/simple/demo/",
        content_type="application/vnd.pypi.simple.v1+json",
        etag='"1"',
        serial=7,
        sha256=hashlib.sha256(document).hexdigest(),
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pages"


@pytest.fixture
def pages(tmp_path: Path, folder: Path, clock: FakeClock) -> PageFiles:
    return PageFiles(folder, Incoming(tmp_path / "incoming"), clock)


def test_nothing_is_held_at_first(pages: PageFiles) -> None:
    """A mirror that has held no page yet has no folder either, and that is no fault."""
    assert pages.find(DEMO) is None
    assert pages.head(DEMO) is None
    assert pages.read(DEMO) is None
    assert pages.touch(DEMO) is None
    assert pages.stamp() is None
    assert list(pages.projects()) == []
    pages.expire(DEMO)
    pages.remove(DEMO)


def test_what_is_written_is_read(pages: PageFiles, clock: FakeClock) -> None:
    """Head and document come back, dated now."""
    held = pages.write(DEMO, head_of(), DOCUMENT)
    assert held == pages.find(DEMO)
    assert held.checked == int(clock.now)
    assert pages.head(DEMO) == head_of()
    assert pages.read(DEMO) == (head_of(), DOCUMENT)


@pytest.mark.parametrize("document", [b"", b"\n", b"a\r\n\nb\0", os.urandom(70_000)])
def test_a_document_is_any_bytes(pages: PageFiles, document: bytes) -> None:
    """Line ends and zeros in upstream's document are its own."""
    pages.write(DEMO, head_of(document), document)
    assert pages.read(DEMO) == (head_of(document), document)


def test_every_rewrite_is_another_version(pages: PageFiles) -> None:
    """Equal bytes written twice are two versions, even within a second."""
    stamps = {pages.write(DEMO, head_of(), DOCUMENT).stamp for _ in range(20)}
    assert len(stamps) == 20


def test_a_revalidated_page_is_the_same_version(pages: PageFiles, clock: FakeClock) -> None:
    """``touch`` moves the date, never the stamp."""
    held = pages.write(DEMO, head_of(), DOCUMENT)
    clock.advance(1000)
    touched = pages.touch(DEMO)
    assert touched is not None
    assert touched.stamp == held.stamp
    assert touched.checked == held.checked + 1000
    assert touched == pages.find(DEMO)


def test_an_expired_page_is_the_same_version(pages: PageFiles) -> None:
    """``expire`` says that the page is not known to be current, and nothing else."""
    held = pages.write(DEMO, head_of(), DOCUMENT)
    pages.expire(DEMO)
    expired = pages.find(DEMO)
    assert expired is not None
    assert (expired.stamp, expired.checked) == (held.stamp, 0)
    assert pages.read(DEMO) == (head_of(), DOCUMENT)
    again = pages.touch(DEMO)
    assert again == held


def test_freshness_is_seen_by_every_process(
    pages: PageFiles, folder: Path, tmp_path: Path, clock: FakeClock
) -> None:
    """Another object over the same folder sees date and version alike."""
    pages.write(DEMO, head_of(), DOCUMENT)
    others = PageFiles(folder, Incoming(tmp_path / "incoming"), clock)
    clock.advance(5)
    others.touch(DEMO)
    assert pages.find(DEMO) == others.find(DEMO)


@pytest.mark.parametrize("kept", [0, 1, 50, -1, -len(DOCUMENT), -len(DOCUMENT) - 1])
def test_a_torn_page_is_not_read(pages: PageFiles, folder: Path, kept: int) -> None:
    """Whatever a power failure leaves of the file, half a page is never a page."""
    pages.write(DEMO, head_of(), DOCUMENT)
    file = folder / DEMO
    file.write_bytes(file.read_bytes()[:kept])
    assert pages.read(DEMO) is None


@pytest.mark.parametrize(
    "content",
    [b"\0" * 500, b"null\n", b"[]\n", b"{}\n", b'{"base": 1}\n', b"5\n", b'"x"\n', b"\xff"],
)
def test_a_page_of_nonsense_is_not_read(pages: PageFiles, folder: Path, content: bytes) -> None:
    """Neither head nor document of a damaged file count."""
    folder.mkdir()
    (folder / DEMO).write_bytes(content)
    assert pages.head(DEMO) is None
    assert pages.read(DEMO) is None


def test_changed_bytes_are_noticed(pages: PageFiles, folder: Path) -> None:
    """The digest in the head is that of the document."""
    pages.write(DEMO, head_of(), DOCUMENT)
    file = folder / DEMO
    file.write_bytes(file.read_bytes().replace(b"files", b"fires"))
    assert pages.read(DEMO) is None


def test_a_removed_page_is_gone(pages: PageFiles) -> None:
    """And stays gone when it is removed again."""
    pages.write(DEMO, head_of(), DOCUMENT)
    pages.remove(DEMO)
    pages.remove(DEMO)
    assert pages.find(DEMO) is None


def test_held_projects_are_listed_in_order(pages: PageFiles, folder: Path) -> None:
    """What has not the name of a project is none."""
    for name in (OTHER, DEMO):
        pages.write(name, head_of(), DOCUMENT)
    for stray in (".hidden", "Upper", "a_b"):
        (folder / stray).write_bytes(b"")
    assert list(pages.projects()) == [DEMO, OTHER]


def test_the_stamp_of_all_changes_when_a_page_comes_or_goes(pages: PageFiles, folder: Path) -> None:
    """A list of the projects that is kept elsewhere is known to be old."""
    pages.write(DEMO, head_of(), DOCUMENT)
    os.utime(folder, ns=(0, 0))
    before = pages.stamp()
    pages.write(OTHER, head_of(), DOCUMENT)
    came = pages.stamp()
    assert came != before
    os.utime(folder, ns=(0, 0))
    pages.remove(OTHER)
    assert pages.stamp() != before


def test_a_sick_disk_is_told(pages: PageFiles, folder: Path) -> None:
    """Where the folder should be is a file: nothing of it is "not there"."""
    folder.write_bytes(b"")
    for act in (
        lambda: pages.find(DEMO),
        lambda: pages.head(DEMO),
        lambda: pages.read(DEMO),
        lambda: pages.write(DEMO, head_of(), DOCUMENT),
        lambda: pages.touch(DEMO),
        lambda: pages.expire(DEMO),
        lambda: pages.remove(DEMO),
        lambda: list(pages.projects()),
    ):
        with pytest.raises(StoreError):
            act()


def test_a_page_that_cannot_be_kept_leaves_the_old_one(
    pages: PageFiles, folder: Path, tmp_path: Path
) -> None:
    """The page held before is as it was."""
    held = pages.write(DEMO, head_of(), DOCUMENT)
    (tmp_path / "incoming").rmdir()
    with pytest.raises(StoreError):
        pages.write(DEMO, head_of(b"new"), b"new")
    assert pages.find(DEMO) == held
    assert pages.read(DEMO) == (head_of(), DOCUMENT)
