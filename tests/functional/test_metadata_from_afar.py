"""Metadata of wheels whose upstream offers none: read in parts, kept, advertised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from fakes import FakeClock
from server import App
from upstream import File, Mode, Substitute, Upstream

Make = Callable[..., App]

SIZE = 3_000_000


@pytest.fixture
def poor(up: Upstream) -> Upstream:
    up.mode = Mode.POOR
    return up


@pytest.fixture
def wheel(poor: Upstream) -> File:
    return poor.release("demo", "1.0", size=SIZE)


def test_metadata_is_read_without_fetching_the_wheel(
    app: Make, poor: Upstream, wheel: File
) -> None:
    """A few parts from the wheel's end are enough, whatever its size."""
    server = app()
    address = server.address("demo", wheel.filename)
    poor.clear()

    answer = server(f"{address}.metadata")

    assert answer.body == wheel.metadata
    parts = [request for request in poor.requests if request.path == wheel.path]
    assert all("Range" in request.headers or request.method == "HEAD" for request in parts)
    assert not (server.datadir / "files").is_dir() or SIZE not in [
        path.stat().st_size for path in (server.datadir / "files").rglob("*")
    ]


def test_what_was_read_is_kept_and_advertised_with_its_hash(
    app: Make, poor: Upstream, wheel: File
) -> None:
    """From then on, the page offers it, with the digest and the size that were learned."""
    server = app()
    address = server.address("demo", wheel.filename)
    assert "core-metadata" not in server.links("demo")[wheel.filename]
    server(f"{address}.metadata")
    poor.clear()

    link = server.links("demo")[wheel.filename]

    assert link["core-metadata"] == {"sha256": hashlib.sha256(wheel.metadata or b"").hexdigest()}
    assert link["size"] == SIZE
    assert server(f"{address}.metadata").body == wheel.metadata
    assert poor.requests == []


def test_where_ranges_are_not_offered_it_comes_with_the_wheel(
    app: Make, poor: Upstream, wheel: File
) -> None:
    """An upstream that sends only whole files: no metadata until the wheel is held."""
    poor.ranges = False
    server = app()
    address = server.address("demo", wheel.filename)
    assert server(f"{address}.metadata").status == 404

    assert server(address).status == 200

    assert server(f"{address}.metadata").body == wheel.metadata


def test_the_held_wheel_has_the_last_word(app: Make, poor: Upstream, wheel: File) -> None:
    """What was read from afar is replaced by what the verified wheel contains."""
    server = app()
    address = server.address("demo", wheel.filename)
    twin = poor.release("twin", "1.0", size=SIZE)
    rule = poor.fail(wheel.path, Substitute(twin.data))
    spoilt = server(f"{address}.metadata")
    rule.remove()

    assert server(address).status == 200
    assert spoilt.body != wheel.metadata or spoilt.status == 404
    assert server(f"{address}.metadata").body == wheel.metadata
    digest = hashlib.sha256(wheel.metadata or b"").hexdigest()
    assert server.links("demo")[wheel.filename]["core-metadata"] == {"sha256": digest}


def test_the_newest_wheels_of_projects_in_use_are_harvested(
    app: Make, poor: Upstream, wheel: File, clock: FakeClock
) -> None:
    """In the background, for what clients ask for: then the page offers it unasked."""
    new = poor.release("demo", "2.0", size=SIZE)
    server = app()
    server.page("demo")
    server.page("demo")
    server.tick("interest root/pypi")
    clock.advance(60)

    server.tick("harvest root/pypi")

    links = server.links("demo")
    assert "core-metadata" in links[new.filename]
    assert "core-metadata" not in links[wheel.filename]
    poor.clear()
    server.tick("harvest root/pypi")
    assert poor.requests == []


def test_what_a_page_promises_is_not_replaced_by_what_the_wheel_says(
    app: Make, up: Upstream
) -> None:
    """An index may offer metadata that was mended since; its digest is what clients check."""
    file = up.release("demo", "1.0")
    mended = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nSummary: mended\n"
    up.publish("demo", replace(file, metadata=mended))
    server = app()
    address = server.address("demo", file.filename)
    assert server(address).status == 200

    for _ in range(2):
        assert server(f"{address}.metadata").body == mended
