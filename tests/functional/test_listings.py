"""The list of projects of an index that builds on others (devpi.md 1.10)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from fakes import FakeClock
from people import Person, join, root_of
from server import JSON, App, until
from upstream import Status, Upstream
from upstream.artefacts import wheel

Make = Callable[..., App]
DEV = "/alice/dev/+simple/"


@pytest.fixture
def up(up: Upstream) -> Upstream:
    for name in ("Zope", "demo", "ruamel.yaml"):
        up.release(name, "1.0")
    return up


@pytest.fixture
def server(app: Make) -> App:
    return app()


@pytest.fixture
def alice(server: App) -> Person:
    """alice/dev builds on alice/base and root/pypi."""
    person = join(server, "alice")
    person.ok("PUT", "/alice/base", {})
    person.ok("PUT", "/alice/dev", {"bases": "alice/base,root/pypi"})
    person.upload("alice/base", wheel("based", "1.0"))
    person.upload("alice/dev", wheel("demo", "1.0"))
    person.upload("alice/dev", wheel("ruamel-yaml", "1.0"))
    return person


ALL = ["Zope", "based", "demo", "ruamel-yaml"]


def listed(server: App, path: str = DEV, who: Person | None = None) -> list[str]:
    headers = who.credentials if who else {}
    answer = server(path, {"Accept": JSON, **headers})
    assert answer.status == 200, answer
    return sorted(project["name"] for project in answer.json["projects"])


def lists(server: App) -> list[Path]:
    return [path for path in (server.datadir / "lists").glob("*") if path.is_dir()]


def test_the_list_has_all_names_of_all_members_each_once(server: App, alice: Person) -> None:
    assert listed(server) == ALL
    assert listed(server, "/alice/base/+simple/") == ["based"]
    assert listed(server, "/root/pypi/+simple/") == ["Zope", "demo", "ruamel.yaml"]


def test_the_list_comes_in_every_form_and_encoding(server: App, alice: Person) -> None:
    plain = server(DEV, {"Accept": "text/html"}).body
    assert re.findall(rb'<a href="([^"]+)/">', plain)[:3] == [b"demo", b"ruamel-yaml", b"based"]
    assert b"<title>list of all projects</title>" in plain
    for accept in (JSON, "text/html"):
        plain = server(DEV, {"Accept": accept}).body
        packed = server(DEV, {"Accept": accept, "Accept-Encoding": "gzip"})
        assert gzip.decompress(packed.body) == plain
        packed = server(DEV, {"Accept": accept, "Accept-Encoding": "zstd"})
        assert zstandard.ZstdDecompressor().decompressobj().decompress(packed.body) == plain
        head = server(DEV, {"Accept": accept}, method="HEAD")
        assert int(head.headers["Content-Length"]) == len(plain)
        held = server(DEV, {"Accept": accept, "If-None-Match": head.headers["ETag"]})
        assert (held.status, held.body) == (304, b"")


def test_the_list_is_made_once_for_all_processes(app: Make, server: App, alice: Person) -> None:
    assert server(DEV).origin == "miss"
    for process in (server, app()):
        assert process(DEV).origin == "hit"
        assert server(DEV, {"Accept": JSON}).origin == "hit"

    assert len(lists(server)) == 1


def test_a_project_that_comes_or_goes_is_seen_at_once(server: App, alice: Person) -> None:
    assert listed(server) == ALL
    alice.upload("alice/base", wheel("newer", "1.0"))
    assert listed(server) == sorted([*ALL, "newer"])
    alice.ok("DELETE", "/alice/base/newer")
    alice.ok("DELETE", "/alice/base/based")
    assert listed(server) == ["Zope", "demo", "ruamel-yaml"]

    assert len(lists(server)) == 1  # the others are no more of use


def test_a_new_release_of_a_project_makes_no_new_list(server: App, alice: Person) -> None:
    before = server(DEV).headers["ETag"]
    alice.upload("alice/base", wheel("based", "2.0"))

    assert server(DEV).headers["ETag"] == before


def test_what_is_new_upstream_is_seen_when_its_list_has_expired(
    server: App, up: Upstream, alice: Person, clock: FakeClock
) -> None:
    assert listed(server) == ALL
    up.release("another", "1.0")
    assert listed(server) == ALL
    clock.advance(2000)

    assert server(DEV).origin == "stale"
    until(lambda: listed(server) == sorted([*ALL, "another"]))


def test_what_one_may_not_read_is_not_in_the_list(
    server: App, alice: Person, clock: FakeClock
) -> None:
    alice.ok("PATCH", "/alice/base", {"acl_read": "alice"})

    for _ in range(2):
        assert listed(server) == ["Zope", "demo", "ruamel-yaml"]
        assert listed(server, DEV, alice) == ALL
    assert server(DEV).headers["Cache-Control"].startswith("private")
    assert "Authorization" in server(DEV).headers["Vary"]
    root_of(server).ok("PATCH", "/root/pypi", {"acl_read": "root"})
    assert listed(server) == ["demo", "ruamel-yaml"]


def test_a_mirror_that_cannot_tell_leaves_no_half_a_list(
    server: App, up: Upstream, alice: Person, clock: FakeClock
) -> None:
    rule = up.fail("/simple/", Status(500))
    assert server(DEV).status == 502

    up.heal()
    assert listed(server) == ALL
    up.stop()
    clock.advance(2000)
    assert listed(server) == ALL
    assert rule is not None


@pytest.mark.parametrize("is_configured", [True, False])
def test_a_mirror_without_a_list_adds_what_is_held(
    server: App, up: Upstream, alice: Person, is_configured: bool
) -> None:
    if is_configured:
        root_of(server).ok("PATCH", "/root/pypi", ["mirror_no_project_list=yes"])
    else:
        up.fail(re.compile("^/simple/$"), Status(404))
    assert listed(server) == ["based", "demo", "ruamel-yaml"]

    server.page("zope")

    assert listed(server) == ["based", "demo", "ruamel-yaml", "zope"]


@pytest.fixture
def other() -> Iterator[Upstream]:
    with Upstream() as upstream:
        for number in range(100):
            upstream.release(f"other-{number:03}", "1.0")
        upstream.release("Demo", "1.0")
        upstream.release("zope", "1.0")
        yield upstream


def test_two_mirrors_are_merged(server: App, alice: Person, other: Upstream) -> None:
    """Whichever has the longer list."""
    root = root_of(server)
    root.ok("PUT", "/root/other", {"type": "mirror", "mirror_url": other.simple_url})
    alice.ok("PATCH", "/alice/dev", ["bases+=root/other"])

    found = listed(server)

    assert len(found) == 104
    assert len({name.lower() for name in found}) == 104
    assert {name.lower() for name in found} >= {name.lower() for name in ALL}


def test_a_list_that_is_damaged_on_disk_is_made_anew(server: App, alice: Person) -> None:
    before = server(DEV).body
    (folder,) = lists(server)
    (folder / "html.gzip").unlink()

    assert server(DEV).body == before
    (folder / "sizes").write_bytes(b"{")
    assert server(DEV).body == before
    assert (folder / "html.gzip").exists()


def test_lists_of_many_indexes_do_not_pile_up(server: App, alice: Person) -> None:
    for number in range(25):
        alice.ok("PUT", f"/alice/dev{number}", {"bases": "root/pypi"})
        assert listed(server, f"/alice/dev{number}/+simple/") == ["Zope", "demo", "ruamel.yaml"]

    assert len(lists(server)) == 21
