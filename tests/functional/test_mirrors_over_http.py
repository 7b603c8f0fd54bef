"""Mirrors that users make, change and delete while the server runs (devpi.md 1.5)."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
from people import Person, join, root_of
from server import App
from upstream import Upstream

from devpi_server.mirror_settings import WORDS
from devpi_server.names import project

Make = Callable[..., App]
MIRROR = "/root/other"
PAGE = f"{MIRROR}/+simple/demo/"


@pytest.fixture
def other() -> Iterator[Upstream]:
    """Another upstream than that of root/pypi."""
    with Upstream() as upstream:
        upstream.release("demo", "1.0")
        yield upstream


@pytest.fixture
def server(app: Make) -> App:
    return app()


@pytest.fixture
def root(server: App) -> Person:
    return root_of(server)


def make(person: Person, url: str, path: str = MIRROR, **words: Any) -> None:
    person.ok("PUT", path, {"type": "mirror", "mirror_url": url, **words})


def files(server: App, index: str = MIRROR) -> set[str]:
    return set(server.links("demo", f"{index}/+simple/"))


DEMO = "demo-1.0-py3-none-any.whl"
LATER = "demo-2.0-py3-none-any.whl"


# Making


def test_a_mirror_serves_as_soon_as_it_is_made(server: App, root: Person, other: Upstream) -> None:
    make(root, other.simple_url)

    assert files(server) == {DEMO}
    shown = root.ok("GET", f"{MIRROR}?no_projects=").json["result"]
    assert shown == {"type": "mirror", "volatile": True, "mirror_url": other.simple_url}


def test_a_mirror_serves_in_every_process(app: Make, other: Upstream) -> None:
    first, second = app(), app()
    assert second(PAGE).status == 404

    make(root_of(first), other.simple_url)

    assert files(second) == {DEMO}


def test_the_background_work_of_a_mirror_begins_and_ends_with_it(
    server: App, root: Person, other: Upstream
) -> None:
    def workers() -> set[str]:
        server.tick("mirrors")
        return {worker.name for worker in server.services.workers if "root/other" in worker.name}

    make(root, other.simple_url)
    assert "follow root/other" in workers()
    root.ok("DELETE", MIRROR)
    assert workers() == set()


def test_values_of_a_mirror_may_all_be_texts(root: Person) -> None:
    make(
        root,
        "https://a.test/simple, https://b.test/simple",
        mirror_cache_expiry="60",
        mirror_no_project_list="YES",
        mirror_use_external_urls="no",
        mirror_provides_core_metadata="true",
        mirror_web_url_fmt="https://a.test/project/{name}/",
        title="Another",
        volatile="false",
        mirror_keep_vanished=True,
    )

    assert root.ok("GET", f"{MIRROR}?no_projects=").json["result"] == {
        "type": "mirror",
        "mirror_url": "https://a.test/simple/ https://b.test/simple/",
        "mirror_cache_expiry": 60,
        "mirror_no_project_list": True,
        "mirror_use_external_urls": False,
        "mirror_provides_core_metadata": True,
        "mirror_web_url_fmt": "https://a.test/project/{name}/",
        "title": "Another",
        "volatile": False,
        "mirror_keep_vanished": True,
    }


ONLY_CONFIGURED = "can be set in the configuration file of the server only"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"mirror_url": None}, "the mirror root/other needs a mirror_url"),
        ({"mirror_url": ""}, "the mirror root/other needs a mirror_url"),
        ({"mirror_url": "file:///etc/passwd"}, "mirror_url: this is not an http"),
        ({"mirror_url": ["https://a.test/", 7]}, None),
        ({"mirror_cache_expiry": "soon"}, 'mirror_cache_expiry: "soon" is not a number'),
        ({"mirror_cache_expiry": True}, "mirror_cache_expiry is not a value"),
        ({"mirror_no_project_list": "2"}, "Unknown boolean value '2'."),
        ({"mirror_web_url_fmt": "https://a.test/"}, "mirror_web_url_fmt: the URL has no"),
        ({"mirror_ca_file": "/etc/passwd"}, f"mirror_ca_file {ONLY_CONFIGURED}"),
        ({"mirror_client_cert": "x"}, f"mirror_client_cert {ONLY_CONFIGURED}"),
        ({"mirror_allow_networks": "10.0.0.0/8"}, f"mirror_allow_networks {ONLY_CONFIGURED}"),
        ({"own_host_is_trusted": True}, "indexconfig got unexpected keyword arguments: own_host"),
        ({"acl_toxresult_upload": ""}, "indexconfig got unexpected keyword arguments: acl_tox"),
    ],
)
def test_what_a_mirror_cannot_be_is_refused_with_a_reason(
    root: Person, words: dict[str, Any], reason: str | None
) -> None:
    body = {"type": "mirror", "mirror_url": "https://a.test/simple/", **words}
    answer = root("PUT", MIRROR, body)

    assert answer.status == 400
    assert answer.json["message"].startswith(reason or "")


def test_what_a_stage_has_is_ignored(root: Person) -> None:
    """Old dumps have it on mirrors."""
    make(root, "https://a.test/", bases="x", acl_upload="y", mirror_whitelist="z")

    assert root.ok("GET", f"{MIRROR}?no_projects=").json["result"].keys() == {
        "type",
        "mirror_url",
        "volatile",
    }


# Changing


def test_a_change_takes_effect_at_once_in_every_process(app: Make, other: Upstream) -> None:
    first, second = app(), app()
    root = root_of(first)
    make(root, other.simple_url)
    assert files(first) == files(second) == {DEMO}
    with Upstream() as another:
        another.release("demo", "2.0")
        root.ok("PATCH", MIRROR, {"mirror_url": another.simple_url})

        assert files(first) == files(second) == {LATER}


def test_a_changed_mirror_goes_on_following_its_upstream(
    server: App, root: Person, other: Upstream
) -> None:
    """Those who did the background work before have let go of it."""
    make(root, other.simple_url)
    server.tick("mirrors")
    server.tick("follow root/other")
    root.ok("PATCH", MIRROR, ["mirror_keep_vanished=yes"])
    server.tick("mirrors")
    asked = other.count("/pypi", "POST")

    server.tick("follow root/other")

    assert other.count("/pypi", "POST") > asked


def test_a_change_that_upstream_has_nothing_to_do_with_keeps_the_mirror(
    server: App, root: Person, other: Upstream
) -> None:
    make(root, other.simple_url)
    before = server.services.indexes.find("root/other").source

    root.ok("PATCH", MIRROR, {"volatile": False, "acl_read": ["root"], "description": "x"})

    assert server.services.indexes.find("root/other").source is before
    assert server(PAGE).status == 401


# Secrets


def test_a_password_in_an_address_is_never_shown(
    server: App, root: Person, other: Upstream
) -> None:
    make(root, other.simple_url.replace("://", "://user:secret@"))
    assert server(PAGE).status == 200
    assert other.requests[-1].headers["Authorization"].startswith("Basic ")

    for path in (MIRROR, "/root", "/", "/+status"):
        assert b"secret" not in root.ok("GET", path).body
        assert b"user:" not in root.ok("GET", path).body.replace(b'"user:', b"")


def test_what_was_shown_can_be_sent_back_without_losing_the_password(
    server: App, root: Person, other: Upstream
) -> None:
    make(root, other.simple_url.replace("://", "://user:secret@"))
    shown = root.ok("GET", MIRROR).json

    shown["result"]["mirror_cache_expiry"] = 0
    root.ok("PATCH", MIRROR, shown)
    server(PAGE)
    assert "Authorization" in other.requests[-1].headers

    root.ok("PATCH", MIRROR, {"mirror_url": other.simple_url.replace("://", "://@")})
    server(PAGE)
    assert "Authorization" not in other.requests[-1].headers


# What mirrors must not reach


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "http://localhost/",
        "http://10.1.2.3/",
        "http://[::1]/",
        "http://169.254.169.254/latest/",
        "http://2130706433/",
        "http://0x7f.1/",
    ],
)
@pytest.mark.parametrize("word", ["mirror_url", "mirror_changelog_url"])
def test_only_root_names_private_addresses(server: App, url: str, word: str) -> None:
    alice = join(server, "alice")
    body = {"type": "mirror", "mirror_url": "https://a.test/", word: url}

    answer = alice("PUT", "/alice/m", body)
    assert (answer.status, "only root" in answer.json["message"]) == (400, True)
    alice.ok("PUT", "/alice/m", {"type": "mirror", "mirror_url": "https://a.test/"})
    assert alice("PATCH", "/alice/m", {word: url}).status == 400
    assert root_of(server)("PATCH", "/alice/m", {word: url}).status == 200


def test_a_name_that_stands_for_a_private_address_leads_nowhere(
    server: App, other: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a name stands for is found out when it is used, each time."""
    really = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **options: Any) -> list[Any]:
        return really("127.0.0.1" if host == "inside.test" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    alice = join(server, "alice")
    make(alice, other.simple_url.replace("127.0.0.1", "inside.test"), "/alice/m")

    answer = server("/alice/m/+simple/demo/")
    assert answer.status == 502
    assert b"private network" in answer.body
    assert other.requests == []

    root_of(server).ok("PATCH", "/alice/m", {"mirror_url": other.simple_url})
    assert files(server, "/alice/m") == {DEMO}
    alice.ok("PATCH", "/alice/m", {"title": "x", "mirror_url": other.simple_url})
    assert files(server, "/alice/m") == {DEMO}


def test_netrc_is_not_for_addresses_of_users(
    app: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who makes a mirror is not let in with the passwords of this machine."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine nexus.test login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = app()
    alice = join(server, "alice")

    for person, path in ((alice, "/alice/m"), (root_of(server), "/root/m")):
        make(person, "https://nexus.test/simple/", path)

    assert [_authorized(server, name) for name in ("alice/m", "root/m")] == [False, True]


def _authorized(server: App, name: str) -> bool:
    """Whether the mirror's client would send any credentials to its own address."""
    mirrored = server.services.indexes.find(name).mirrored
    assert mirrored is not None
    client: Any = mirrored.mirror.pages._refresher._client._client  # that which is observed
    return client._origin("https://nexus.test/simple/").authorization is not None


# What the configuration says


def test_a_mirror_of_the_configuration_file_is_changed_there_only(
    app: Make, tmp_path: Path, other: Upstream
) -> None:
    config = tmp_path / "devpi.yml"
    config.write_text(f"mirrors:\n  root/other:\n    mirror_url: {other.simple_url}\n")
    server = app("-c", str(config))
    root = root_of(server)

    assert root("PUT", MIRROR, {}).status == 409
    for method in ("PATCH", "DELETE"):
        answer = root(method, MIRROR, {})
        assert answer.status == 403
        assert "declared in the configuration" in answer.json["message"]
    assert root.ok("GET", MIRROR).json["result"]["mirror_url"] == other.simple_url
    root.ok("PUT", "/root/dev", {"bases": "root/other"})
    assert files(server, "/root/dev") == {DEMO}


def test_what_the_command_line_says_of_root_pypi_is_changed_there_only(
    app: Make, other: Upstream
) -> None:
    server = app("--mirror-cache-expiry", "100")
    root = root_of(server)
    shown = root.ok("GET", "/root/pypi").json["result"]
    assert shown["mirror_cache_expiry"] == 100

    for word, value in (("mirror_url", other.simple_url), ("mirror_cache_expiry", "5")):
        answer = root("PATCH", "/root/pypi", {word: value})
        assert answer.status == 403
        assert answer.json["message"].startswith(f"{word} of index root/pypi is set by")
    assert root("PATCH", "/root/pypi", ["mirror_url-="]).status == 403
    root.ok("PATCH", "/root/pypi", {**shown, "title": "Ours"})
    assert root.ok("GET", "/root/pypi").json["result"] == {**shown, "title": "Ours"}


def test_files_and_networks_of_the_configuration_are_not_shown(app: Make, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    shutil.copy(certifi.where(), ca_file)
    config = tmp_path / "devpi.yml"
    config.write_text(
        f"mirrors:\n  root/pypi:\n    mirror_allow_networks: [10.0.0.0/8]\n"
        f"    mirror_ca_file: {ca_file}\n"
    )
    shown = root_of(app("-c", str(config))).ok("GET", "/root/pypi").body

    assert b"10.0.0.0" not in shown
    assert b"ca.pem" not in shown
    assert {word.name for word in WORDS if word.name.encode() in shown} == {"mirror_url", "title"}


# Deleting


def test_a_mirror_that_is_made_anew_knows_nothing_of_the_old_one(
    app: Make, other: Upstream
) -> None:
    """Neither its pages nor its files, in any process, whoever wrote what when."""
    first, second = app(), app()
    root = root_of(first)
    make(root, other.simple_url, mirror_cache_expiry=100000)
    address = first.links("demo", f"{MIRROR}/+simple/")[DEMO]["url"]
    assert first(address).status == second(address).status == 200
    old = second.services.indexes.find("root/other").source
    root.ok("DELETE", MIRROR)
    assert first(address).status == second(address).status == 404

    with Upstream() as another:
        another.release("demo", "2.0")
        make(root, another.simple_url)

        other.release("late", "1.0")
        assert old.view(project("late")).load().links
        assert files(first) == files(second) == {LATER}
        assert first(address).status == second(address).status == 404
        assert second(f"{MIRROR}/+simple/late/").status == 404


def test_what_a_deleted_mirror_has_cached_goes(app: Make, other: Upstream, up: Upstream) -> None:
    up.release("demo", "1.0")
    first, second = app(), app()
    root = root_of(first)
    make(root, other.simple_url)
    assert files(first) == files(second, "/root/pypi") == {DEMO}
    mirrors = first.datadir / "mirror"
    assert len(list(mirrors.glob("root/other+*/pages/demo"))) == 1

    second.tick("forget mirrors")
    first.tick("forget mirrors")
    assert len(list(mirrors.glob("root/other+*/pages/demo"))) == 1
    root.ok("DELETE", MIRROR)
    first.tick("forget mirrors")
    second.tick("forget mirrors")

    assert list(mirrors.glob("root/other*")) == []
    assert [path.name for path in mirrors.iterdir()] == ["root"]
    assert files(first, "/root/pypi") == {DEMO}
