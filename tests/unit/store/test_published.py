"""What is published is withdrawn before it stops being true, whoever dies meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devpi_server.errors import StoreError
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import Incoming
from devpi_server.store.published import LEASE, SOON, Published

DEMO = NormalizedName("demo")
PAGE = "root,pypi,+simple,page.html"
FILE = "root,pypi,abc,0123456789abc,demo-1.0.tar.gz"
WAY = "files/root,pypi/abc/0123456789abc,demo-1.0.tar.gz"
ROOT = Path(__file__).parents[3]
# Changes the project "demo", or everything, until it is killed.
OTHER = """
import sys, time
from pathlib import Path
from devpi_server.store.incoming import Incoming
from devpi_server.store.published import Published
folder = Path(sys.argv[1])
published = Published(folder / "published", folder / "lock", Incoming(folder / "incoming"))
change = published.changing(["demo"]) if sys.argv[2] == "demo" else published.changing_all()
with change:
    print("changing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path / "published", tmp_path / "lock", Incoming(tmp_path / "incoming"))
    yield made
    made.close()


def put(published: Published, project: str = DEMO, body: bytes = b"page") -> bool:
    """Publish a page; whether that was possible."""
    with published.shelf(project) as shelf:
        if shelf is None:
            return False
        shelf.put(PAGE, body)
        return True


def link(published: Published, file: Path) -> None:
    with published.shelf(DEMO) as shelf:
        assert shelf is not None
        shelf.link(FILE, file)


def test_what_is_published_is_there_at_the_lease_s_name(published: Published) -> None:
    put(published)

    published.extend(now=1005.0)

    place = published.folder / "leases" / "100" / "projects" / DEMO / PAGE
    assert place.read_bytes() == b"page"


def test_a_lease_runs_out(published: Published) -> None:
    """Each is there for the seconds in its name and the ten before them, not longer."""
    for now in (1005.0, 1011.0, 1042.0):
        published.extend(now)
        assert {path.name for path in (published.folder / "leases").iterdir()} == {
            str(int(now) // LEASE),
            str(int(now) // LEASE + 1),
        }


def test_a_change_withdraws_what_is_published_of_the_project(published: Published) -> None:
    put(published)
    put(published, "other")

    with published.changing([DEMO]):
        assert not published.has(DEMO, PAGE)
        assert published.has("other", PAGE)


def test_a_change_of_everything_withdraws_everything(published: Published, tmp_path: Path) -> None:
    put(published)
    (tmp_path / "file").touch()
    link(published, tmp_path / "file")

    with published.changing_all():
        assert not published.has(DEMO, PAGE)
        assert not published.has_file(FILE)


def test_nothing_is_published_while_it_is_being_changed(published: Published) -> None:
    with published.changing([DEMO]):
        with published.changing([DEMO]):
            assert not put(published)
        assert not put(published)
        assert put(published, "other")
    with published.changing_all():
        assert not put(published)
    assert put(published)


def test_what_was_read_before_a_change_is_published_nowhere(published: Published) -> None:
    """However late it comes."""
    with published.shelf(DEMO) as shelf:
        assert shelf is not None
        with published.changing([DEMO]):
            shelf.put(PAGE, b"old")
        shelf.put(PAGE, b"old")

    assert not published.has(DEMO, PAGE)


@pytest.mark.parametrize("what", ["demo", "everything"])
def test_others_see_a_change_until_it_is_done_or_its_process_dies(
    published: Published, tmp_path: Path, what: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path), what],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline()
        assert not put(published)
        with published.changing([DEMO]):  # beside it
            assert not put(published)
        assert not put(published)
        other.kill()

    assert put(published)


def test_who_asks_keeps_nobody_from_changing(published: Published, tmp_path: Path) -> None:
    with published.shelf(DEMO) as shelf:
        assert shelf is not None
        with subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path), "demo"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"changing\n"
            other.kill()


def test_what_is_due_is_withdrawn_before_that(published: Published) -> None:
    """Early enough for the longest lease that there may be by then."""
    put(published)
    published.due(DEMO, 2000.0)

    published.extend(2000.0 - SOON - 1)
    assert published.has(DEMO, PAGE)
    published.extend(2000.0 - 2 * LEASE)

    assert not published.has(DEMO, PAGE)
    assert not list((published.folder / "due").iterdir())


def test_a_file_is_found_by_its_address_until_it_is_withdrawn(
    published: Published, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"bytes")

    link(published, tmp_path / "file")

    assert (published.folder / WAY).read_bytes() == b"bytes"
    assert published.has_file(FILE)
    with published.changing([DEMO]):
        assert not published.has_file(FILE)
    link(published, tmp_path / "file")
    assert published.has_file(FILE)


def test_what_was_withdrawn_is_deleted(published: Published, tmp_path: Path) -> None:
    """With the way to it, unless it is published once more."""
    (tmp_path / "file").touch()
    link(published, tmp_path / "file")
    with published.changing([DEMO]):
        put(published, "other")
    published.extend(1000.0)

    assert not (published.folder / WAY).is_symlink()
    assert not list((published.folder / "dropped").iterdir())

    link(published, tmp_path / "file")
    with published.changing_all():
        pass
    link(published, tmp_path / "file")
    published.extend(1000.0)

    assert published.has_file(FILE)
    assert not list((published.folder / "dropped").iterdir())


def test_a_new_process_withdraws_all(published: Published, tmp_path: Path) -> None:
    put(published)
    published.due(DEMO, 2000.0)

    published.begin()

    assert not published.has(DEMO, PAGE)
    assert not (published.folder / "due").exists()


def test_equal_pages_have_equal_dates(published: Published) -> None:
    """From which nginx makes its ETags; others differ."""
    dates = []
    for body in (b"one", b"two", b"one"):
        put(published, body=body)
        dates.append((published.folder / "projects" / DEMO / PAGE).stat().st_mtime)

    assert dates[0] == dates[2] != dates[1]
    assert all(0 <= date < 2**31 for date in dates)


def test_a_name_that_no_folder_can_have_is_not_published_and_can_change(
    published: Published,
) -> None:
    with published.changing(["a" * 300]):
        pass
    with pytest.raises(StoreError):
        put(published, "a" * 300)
