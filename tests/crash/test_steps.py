"""Killed at each durable step of a change: what was acknowledged is there, whole.

What was not is there whole, or not at all.  Nothing is left under way, and no file is
listed whose bytes are not there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from crashing import (
    MINE,
    MOST_STEPS,
    NEVER,
    Files,
    Site,
    asked,
    kill_at_each_step,
    run,
    served,
)
from fakes import FakeClock
from server import App, Client, Response, mirror_of, until
from uploading import upload
from upstream import Upstream
from upstream.artefacts import Artefact, sdist, wheel

OLD, NEW = wheel("demo", "1.0"), wheel("demo", "1.0", requires=["x"])
SDIST = sdist("demo", "1.0")
BOTH = {NEW.filename: NEW.data, SDIST.filename: SDIST.data}
_SHA256 = hashlib.sha256(NEW.data).hexdigest()
PLACE = f"/alice/dev/+f/{_SHA256[:3]}/{_SHA256[3:16]}/{NEW.filename}"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """With an empty index."""
    return Site(tmp_path)


@pytest.fixture
def full(site: Site) -> Site:
    """With a wheel and an sdist of demo 1.0."""
    with site.serve() as server:
        for file in (NEW, SDIST):
            assert upload(server, "alice/dev", file, MINE).status == 200
    return site


def uploading(file: Artefact) -> Callable[[Client], Response]:
    return partial(upload, index="alice/dev", artefact=file, headers=MINE)


def pushing(index: str, target: str) -> Callable[[Client], Response]:
    body = {"name": "demo", "version": "1.0", "targetindex": target}
    return asked("PUSH", f"/{index}", body)


def test_an_upload(site: Site) -> None:
    kill_at_each_step(site, site.changing(uploading(NEW)), {}, {NEW.filename: NEW.data})


def test_an_upload_over_another(site: Site) -> None:
    with site.serve() as server:
        assert upload(server, "alice/dev", OLD, MINE).status == 200

    kill_at_each_step(
        site,
        site.changing(uploading(NEW)),
        {OLD.filename: OLD.data},
        {NEW.filename: NEW.data},
    )


def test_a_push(full: Site) -> None:
    """Of several files, over one of them: all of it, or nothing."""
    with full.serve() as server:
        server.add_index("alice/next")
        assert upload(server, "alice/next", OLD, MINE).status == 200

    kill_at_each_step(
        full,
        full.changing(pushing("alice/dev", "alice/next")),
        {OLD.filename: OLD.data},
        BOTH,
        index="alice/next",
    )
    with full.serve() as server:
        assert served(server) == BOTH


def test_a_push_from_a_mirror(site: Site) -> None:
    """The files are held; their metadata is read from them, and kept."""
    with Upstream() as up:
        file = up.release("demo", "1.0", sdist=True)
        fetch = App(*mirror_of(up, site.datadir))
        held = {name: fetch(link["url"]).body for name, link in fetch.links("demo").items()}
        fetch.services.close()
    assert held[file.filename] == file.data

    kill_at_each_step(site, site.changing(pushing("root/pypi", "alice/dev")), {}, held)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (PLACE, {SDIST.filename: SDIST.data}),
        ("/alice/dev/demo/1.0", {}),
        ("/alice/dev/demo", {}),
        ("/alice/dev", {}),
        ("/alice", {}),
    ],
    ids=["file", "version", "project", "index", "user"],
)
def test_a_removal(full: Site, path: str, left: Files) -> None:
    """All that belongs to it goes, or nothing; the bytes go later."""
    kill_at_each_step(full, full.changing(asked("DELETE", path)), BOTH, left, least=2)


def test_bytes_that_nothing_names(full: Site) -> None:
    """While they are deleted, a day later, what is left is served as before."""
    assert run(NEVER, full.changing(asked("DELETE", PLACE))) is not None
    left = {SDIST.filename: SDIST.data}

    kill_at_each_step(full, full.reclaiming(), left, left, least=4)
    kept = {path.read_bytes() for path in (full.datadir / "files").rglob("*") if path.is_file()}
    assert kept == {SDIST.data}


def test_a_change_of_what_another_process_has_published(site: Site) -> None:
    """At no step is a page left published that is not the one of now."""
    clock = FakeClock()
    with site.serve() as server:
        assert upload(server, "alice/dev", NEW, MINE).status == 200
    page = site.datadir / "published" / "projects" / "demo" / "alice,dev,+simple,page.html"
    outcomes = set()
    with site.serve("--publish", clock=clock) as other:
        for step in range(1, MOST_STEPS):
            clock.now += 10
            before = other("/alice/dev/+simple/demo/").body
            until(page.exists)
            file = OLD if _SHA256 in before.decode() else NEW
            is_killed = run(step, site.changing(uploading(file))) is None
            now = other("/alice/dev/+simple/demo/").body
            assert not page.exists() or page.read_bytes() == now, f"after a kill at step {step}"
            if not is_killed:
                break
            outcomes.add(now == before)
    assert outcomes == {True, False}
