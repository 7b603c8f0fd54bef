"""What is published for a web server in front, and what is not (``--publish``)."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from fakes import FakeClock
from people import join
from server import INDEX, JSON, App, until
from upstream import Upstream
from upstream.artefacts import wheel

from devpi_server.store.published import Published

DEMO = wheel("demo", "1.0")
MIRRORED = f"{INDEX}demo/"
PAGE = {"root,pypi,+simple,page.html", "root,pypi,+simple,page.html.gz"}
OWN = {"alice,dev,+simple,page.html", "alice,dev,+simple,page.html.gz"}


class Front:
    """What a web server in front finds."""

    def __init__(self, app: App, clock: FakeClock) -> None:
        self._app = app
        self._clock = clock
        self._projects = app.datadir / "published" / "projects"
        self._numbers = itertools.count()
        self.alice = join(app, "alice")
        self.alice.ok("PUT", "/alice/dev", {"bases": []})
        self.alice.ok("PUT", "/alice/last", {"bases": []})

    def __call__(self, *paths: str, project: str = "demo") -> set[str]:
        """Ask for them; return what is published of the project then."""
        last = f"last{next(self._numbers)}"
        self.alice.upload("alice/last", wheel(last, "1.0"))
        self._clock.now += 3  # what was offered just before is not looked at again
        for path in paths:
            self._app(path)
        # Offers are seen to one after the other: when this one is there, all before it are.
        self._app(f"/alice/last/+simple/{last}/")
        until((self._projects / last / "alice,last,+simple,page.html").exists)
        folder = self._projects / project
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def front(app: Callable[..., App], clock: FakeClock) -> Callable[..., tuple[App, Front]]:
    def make(*options: str) -> tuple[App, Front]:
        made = app("--publish", *options)
        return made, Front(made, clock)

    return make


Make = Callable[..., tuple[App, Front]]


def test_a_page_that_anybody_may_read_is_published(up: Upstream, front: Make) -> None:
    """For each address and form that was asked for."""
    up.release("demo", "1.0")
    app, ask = front()

    assert ask(MIRRORED) == PAGE
    app("/simple/demo/", {"Accept": JSON})
    assert ask() == PAGE | {",,simple,page.json", ",,simple,page.json.gz"}


@pytest.mark.straight("nginx needs the option")
def test_without_the_option_nothing_is(up: Upstream, app: Callable[..., App]) -> None:
    up.release("demo", "1.0")

    server = app()
    server(MIRRORED)

    assert not (server.datadir / "published" / "projects").exists()


def test_a_mirror_s_page_is_published_for_as_long_as_it_is_young(
    up: Upstream, front: Make, clock: FakeClock
) -> None:
    up.release("demo", "1.0")
    app, ask = front("--mirror-cache-expiry=1000")
    assert ask(MIRRORED) == PAGE

    clock.now += 960
    app.tick("publish")
    assert ask() == PAGE
    clock.now += 20
    app.tick("publish")

    assert ask() == set()


def test_a_mirror_s_page_is_asked_for_anew_each_half_hour(
    up: Upstream, front: Make, clock: FakeClock
) -> None:
    """So that the application knows what is in use, however long a page is young."""
    up.release("demo", "1.0")
    app, ask = front("--mirror-cache-expiry=100000")
    assert ask(MIRRORED) == PAGE

    clock.now += 1760
    app.tick("publish")
    assert ask() == PAGE
    clock.now += 20
    app.tick("publish")

    assert ask() == set()


def test_a_page_whose_time_has_come_meanwhile_is_not(
    up: Upstream, front: Make, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who notes it so late that nobody may have seen the note in time lets it be."""
    up.release("demo", "1.0")
    _, ask = front("--mirror-cache-expiry=1000")
    note = Published.due

    def late(self: Published, project: str, until: float) -> None:
        clock.now += 1000
        note(self, project, until)

    monkeypatch.setattr(Published, "due", late)

    assert ask(MIRRORED) == set()


def test_when_the_clock_is_set_back_nothing_is(up: Upstream, front: Make, clock: FakeClock) -> None:
    up.release("demo", "1.0")
    app, ask = front()
    app.tick("publish")
    assert ask(MIRRORED) == PAGE

    clock.now -= 3600
    app.tick("publish")

    assert not app.datadir.joinpath("published/projects").exists()


@pytest.mark.parametrize("options", [["--mirror-cache-expiry=0"], ["--mirror-cache-expiry=20"]])
def test_a_page_that_is_soon_to_be_confirmed_is_not(
    up: Upstream, front: Make, options: list[str]
) -> None:
    up.release("demo", "1.0")
    _, ask = front(*options)

    assert ask(MIRRORED) == set()


def test_a_stale_page_is_not(up: Upstream, front: Make, clock: FakeClock) -> None:
    up.release("demo", "1.0")
    app, ask = front()
    app(MIRRORED)
    clock.now += 10_000
    app.tick("publish")
    up.stop()

    assert app(MIRRORED).origin == "stale"
    assert ask(MIRRORED) == set()


def test_a_page_is_withdrawn_when_upstream_names_a_change(
    up: Upstream, front: Make, clock: FakeClock
) -> None:
    up.release("demo", "1.0")
    app, ask = front()
    app.tick()
    assert ask(MIRRORED) == PAGE

    up.release("demo", "2.0")
    clock.now += 60
    app.tick()

    assert not app.datadir.joinpath("published/projects/demo").exists()


def test_a_file_that_teaches_its_page_withdraws_it(up: Upstream, front: Make) -> None:
    """A page without digests says more once a file is held."""
    up.release("demo", "1.0", hashed=False, metadata=False)
    app, ask = front()
    assert ask(MIRRORED) == PAGE
    before = app.links("demo")

    app(before[DEMO.filename]["url"])
    until(lambda: app.links("demo") != before)

    assert "sha256" not in str(before)
    assert not app.datadir.joinpath("published/projects/demo/root,pypi,+simple,page.html").exists()


def test_a_page_that_a_mirror_may_soon_have_a_part_in_is_not(up: Upstream, front: Make) -> None:
    """A whitelisted name that upstream does not have yet."""
    app, ask = front()
    ask.alice.upload("alice/dev", DEMO)
    app.change_index("alice/dev", bases=["root/pypi"])
    assert ask("/alice/dev/+simple/demo/") == OWN

    app.change_index("alice/dev", mirror_whitelist=["demo"])

    assert ask("/alice/dev/+simple/demo/") == set()


def test_what_needs_a_permission_is_not(front: Make) -> None:
    """Nor a page with a part that does."""
    app, ask = front()
    ask.alice.upload("alice/dev", DEMO)
    app.change_index("alice/dev", acl_read=["alice"])
    app.add_index("alice/public", bases=["alice/dev"])
    mine = ask.alice

    for index in ("dev", "public"):
        path = f"/alice/{index}/+simple/demo/"
        assert mine("GET", path, headers={"Accept": JSON}).status == 200
        assert ask(path) == set()


def test_pages_with_whole_addresses_are_not(up: Upstream, front: Make) -> None:
    """They depend on who asks."""
    up.release("demo", "1.0")
    app, ask = front()

    app(MIRRORED, {"X-Devpi-Absolute-Urls": ""})
    app(f"{MIRRORED}?format=application/vnd.pypi.simple.v1+json")

    assert ask() == set()


def test_what_the_packages_folder_holds_is_not(
    up: Upstream, front: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nobody says when it changes."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / DEMO.filename).write_bytes(DEMO.data)
    app, ask = front(f"--packages={folder}")

    url = app.links("demo", "/root/packages/+simple/")[DEMO.filename]["url"]

    assert ask("/simple/demo/", url, url) == set()


def test_what_the_packages_folder_may_hold_at_any_moment_is_not(
    up: Upstream, front: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A name is upstream's only as long as nobody copies a file of it there."""
    up.release("demo", "9.0")
    folder = tmp_path_factory.mktemp("packages")
    _, ask = front(f"--packages={folder}")
    ask.alice.ok("PATCH", "/alice/dev", {"bases": "root/packages"})

    assert ask("/simple/demo/", "/root/packages/+simple/demo/", "/alice/dev/+simple/demo/") == set()
    assert ask(MIRRORED) == PAGE


def test_a_held_file_is_published_with_its_metadata(up: Upstream, front: Make) -> None:
    up.release("demo", "1.0")
    app, ask = front()
    path = app.address("demo", DEMO.filename)
    app(path)
    until(lambda: app(path, method="HEAD").origin == "hit")

    ask(f"{path}.metadata")  # which the page says from now on
    found = ask(path, f"{path}.metadata")

    place = f"root,pypi,{','.join(path.split('/')[4:])}"
    assert {place, f"{place}.metadata"} <= found
    folder = app.datadir / "published" / "projects" / "demo"
    assert (folder / place).read_bytes() == app(path).body


def test_a_quarantined_file_is_withdrawn(up: Upstream, front: Make, clock: FakeClock) -> None:
    up.release("demo", "1.0")
    app, ask = front()
    path = app.address("demo", DEMO.filename)
    app(path)
    until(lambda: app(path, method="HEAD").origin == "hit")
    assert any(DEMO.filename in name for name in ask(path))

    up.quarantine("demo")
    clock.now += 10_000
    app(MIRRORED)

    assert app(path).status == 403
    assert not any(DEMO.filename in name for name in ask(path))
