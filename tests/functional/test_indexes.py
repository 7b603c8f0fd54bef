"""Indexes over HTTP: made, shown, changed and deleted (devpi.md 1.5)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from fakes import FakeClock
from people import Person, join, login, root_of
from server import App
from upstream import Upstream

from devpi_server.store.database import Database

Make = Callable[..., App]
STAGE = {
    "type": "stage",
    "volatile": True,
    "acl_upload": ["alice"],
    "acl_toxresult_upload": [":ANONYMOUS:"],
    "bases": [],
    "mirror_whitelist": [],
    "mirror_whitelist_inheritance": "intersection",
}


@pytest.fixture
def server(app: Make) -> App:
    return app()


@pytest.fixture
def alice(server: App) -> Person:
    return join(server, "alice")


@pytest.fixture
def root(server: App) -> Person:
    return root_of(server)


def config(person: Person, name: str = "alice/dev") -> dict[str, Any]:
    answer = person.ok("GET", f"/{name}?no_projects=").json
    assert answer["type"] == "indexconfig"
    return answer["result"]


def why(answer: Any) -> tuple[int, str]:
    return answer.status, answer.json["message"]


UNKNOWN_INHERITANCE = (
    "Unknown value 'all' for mirror_whitelist_inheritance, must be 'intersection' or 'union'."
)


# Making


def test_a_new_index_has_devpis_defaults(alice: Person) -> None:
    answer = alice("PUT", "/alice/dev", {})

    assert (answer.status, answer.json) == (200, {"type": "indexconfig", "result": STAGE})
    assert config(alice) == STAGE


def test_values_may_all_be_texts(alice: Person) -> None:
    """As ``devpi index -c dev key=value…`` sends them."""
    words = {
        "bases": "root/pypi, root/pypi",
        "volatile": "False",
        "acl_upload": "alice,:authenticated:",
        "acl_toxresult_upload": "",
        "mirror_whitelist": "Some_Project,*",
        "mirror_whitelist_inheritance": "UNION",
        "title": "The title",
        "description": "Two\nlines",
        "custom_data": "7",
    }
    alice.ok("PUT", "/alice/dev/", words)

    assert config(alice) == {
        "type": "stage",
        "bases": ["root/pypi"],
        "volatile": False,
        "acl_upload": ["alice", ":AUTHENTICATED:"],
        "acl_toxresult_upload": [],
        "mirror_whitelist": ["some-project", "*"],
        "mirror_whitelist_inheritance": "union",
        "title": "The title",
        "description": "Two\nlines",
        "custom_data": "7",
    }


@pytest.mark.parametrize(("text", "value"), [("TRUE", True), ("yes", True), ("No", False)])
def test_booleans_are_read_in_any_case(alice: Person, text: str, value: bool) -> None:
    alice.ok("PUT", "/alice/dev", {"volatile": text})

    assert config(alice)["volatile"] is value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"volatile": "perhaps"}, "Unknown boolean value 'perhaps'."),
        ({"volatile": 1}, "Unknown boolean value '1'."),
        ({"bases": "pypi"}, "invalid base index spec: 'pypi'"),
        ({"bases": "root/none"}, "base index 'root/none' does not exist"),
        ({"bases": {"root": "pypi"}}, "Unknown list value \"{'root': 'pypi'}\"."),
        ({"type": "cat"}, "unknown index type 'cat'"),
        ({"type": ["stage"]}, "unknown index type \"['stage']\""),
        ({"a": "b", "c": 1}, "indexconfig got unexpected keyword arguments: a=b, c=1"),
        ({"mirror_url": "x"}, "indexconfig got unexpected keyword arguments: mirror_url=x"),
        (
            {"mirror_whitelist_inheritance": "all"},
            UNKNOWN_INHERITANCE,
        ),
        ({"mirror_whitelist": "a b"}, "mirror_whitelist has what is not a name of a project"),
        ({"title": "two\nlines"}, "a title is one line of text"),
        ({"description": 7}, "a description is a text of at most 100,000 characters"),
        ({"own_host_is_trusted": True}, None),
        ([], "the configuration of an index is an object"),
        (None, None),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    alice: Person, body: object, reason: str | None
) -> None:
    answer = alice("PUT", "/alice/dev", body)

    assert answer.status == 400
    assert reason in (None, answer.json["message"])
    assert alice("GET", "/alice/dev").status == 404


@pytest.mark.parametrize("name", ["-x", "_x", "a b", "a:b", "a%2Cb", ".x", "x" * 101, "%C2%A0"])
def test_a_name_has_devpis_characters_only(alice: Person, name: str) -> None:
    assert alice("PUT", f"/alice/{name}", {}).status == 400


def test_an_index_is_there_once(alice: Person) -> None:
    alice.ok("PUT", "/alice/dev", {})

    assert why(alice("PUT", "/alice/dev", {})) == (409, "index 'alice/dev' exists")


def test_only_the_owner_and_root_make_indexes(server: App, alice: Person, root: Person) -> None:
    bob = join(server, "bob")

    assert Person(server)("PUT", "/alice/dev", {}).status == 401
    assert why(bob("PUT", "/alice/dev", {})) == (403, "no permission to create index")
    assert root("PUT", "/alice/dev", {}).status == 200
    assert root("PUT", "/nobody/dev", {}).status == 404


# Showing


def test_an_index_is_shown_with_its_projects_unless_that_is_not_wanted(alice: Person) -> None:
    alice.ok("PUT", "/alice/dev", {})

    assert alice.ok("GET", "/alice/dev/").json["result"] == {**STAGE, "projects": []}
    assert "projects" not in alice.ok("GET", "/alice/dev/?no_projects=").json["result"]
    assert why(alice("GET", "/alice/none")) == (404, "The stage alice/none could not be found.")


def test_a_mirror_is_shown_with_all_of_upstreams_projects(
    server: App, up: Upstream, root: Person
) -> None:
    """Once its list has been fetched; until then, those that are held. Nobody waits for it."""
    for name in ("Zoo", "demo"):
        up.release(name, "1.0")
    server.page("demo")
    shown = root.ok("GET", "/root/pypi").json["result"]
    assert shown["projects"] == ["demo"]
    assert (shown["type"], shown["volatile"], shown["title"]) == ("mirror", False, "PyPI")
    assert shown["mirror_url"] == up.simple_url

    assert server("/root/pypi/+simple/").status == 200

    assert sorted(root.ok("GET", "/root/pypi").json["result"]["projects"]) == ["demo", "zoo"]


def test_a_users_indexes_are_shown_with_the_user(server: App, alice: Person) -> None:
    alice.ok("PUT", "/alice/dev", {})

    for path in ("/alice", "/alice/"):
        assert alice.ok("GET", path).json["result"]["indexes"] == {"dev": STAGE}


def test_a_get_with_a_body_is_a_get(alice: Person) -> None:
    """devpi-client sends one."""
    alice.ok("PUT", "/alice/dev", {})

    assert alice("GET", "/alice/dev?no_projects=", {}).json["result"] == STAGE


# Changing


def changed(alice: Person, body: object) -> dict[str, Any]:
    """What differs from the defaults after a PATCH."""
    answer = alice.ok("PATCH", "/alice/dev", body)
    assert answer.json == {"type": "indexconfig", "result": config(alice)}
    return {key: value for key, value in config(alice).items() if STAGE.get(key) != value}


@pytest.fixture
def dev(alice: Person) -> Person:
    alice.ok("PUT", "/alice/dev", {})
    return alice


def test_an_object_changes_what_it_names(dev: Person) -> None:
    assert changed(dev, {"volatile": "no", "title": "A"}) == {"volatile": False, "title": "A"}
    assert changed(dev, {"acl_upload": ["bob"]}) == {
        "volatile": False,
        "title": "A",
        "acl_upload": ["bob"],
    }
    assert changed(dev, {"volatile": True, "title": None, "acl_upload": "alice"}) == {}


def test_what_a_get_has_shown_can_be_sent_back(dev: Person) -> None:
    """``devpi getjson`` to a file, edited, ``devpi patchjson``."""
    shown = dev.ok("GET", "/alice/dev").json
    shown["result"]["bases"] = ["root/pypi"]

    assert changed(dev, shown) == {"bases": ["root/pypi"]}


def test_a_list_of_steps_changes_one_thing_after_the_other(dev: Person) -> None:
    steps = [
        "acl_upload+=bob",
        "acl_upload+=bob",
        "acl_upload+=:anonymous:",
        "acl_upload-=alice",
        "mirror_whitelist+=A_b",
        "mirror_whitelist+=c",
        "mirror_whitelist-=A.B",
        "bases+=root/pypi",
        "title=x=y",
        "description=gone",
        "description-=",
    ]

    assert changed(dev, steps) == {
        "acl_upload": ["bob", ":ANONYMOUS:"],
        "mirror_whitelist": ["c"],
        "bases": ["root/pypi"],
        "title": "x=y",
    }
    assert changed(dev, ["bases=", "acl_upload=alice", "mirror_whitelist-=c", "title-="]) == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (["bases-=zzz"], "The 'bases' setting doesn't have value 'zzz'"),
        (["volatile-="], "Default values can't be removed."),
        (["acl_read-="], "Default values can't be removed."),
        (["volatile+=yes"], "The 'volatile' setting is not a list"),
        (["title+=x"], "The 'title' setting is not a list"),
        (["unknown+=x"], "indexconfig got unexpected keyword arguments: unknown+=x"),
        (["unknown-="], "indexconfig got unexpected keyword arguments: unknown-="),
        (["unknown=x"], "indexconfig got unexpected keyword arguments: unknown=x"),
        (["bases"], "'bases' is not key=value, key+=value or key-=value"),
        (["=x"], "'=x' is not key=value, key+=value or key-=value"),
        ([7], "'7' is not key=value, key+=value or key-=value"),
        (["type=mirror"], "the 'type' of an index can't be changed"),
        ({"type": "mirror"}, "the 'type' of an index can't be changed"),
        ("x", "the configuration of an index is an object, or a list of key=value"),
    ],
)
def test_a_change_that_cannot_be_changes_nothing(dev: Person, body: object, reason: str) -> None:
    body = ["title=x", *body] if isinstance(body, list) else body

    assert why(dev("PATCH", "/alice/dev", body)) == (400, reason)
    assert config(dev) == STAGE


def test_what_nobody_changes_is_ignored(dev: Person) -> None:
    body = {"type": "stage", "projects": ["a"], "name": "alice/dev", "index": "dev"}

    assert changed(dev, body) == {}
    assert changed(dev, ["type=stage", "projects=a"]) == {}


def test_a_change_that_changes_nothing_is_an_error_for_who_wants_that(dev: Person) -> None:
    reason = "The requested modifications resulted in no changes"

    assert why(dev("PATCH", "/alice/dev?error_on_noop", {"volatile": True})) == (400, reason)
    assert dev("PATCH", "/alice/dev?error_on_noop", {"volatile": False}).status == 200
    assert dev("PATCH", "/alice/dev?error_on_noop", ["volatile=no"]).status == 400


def test_only_the_owner_and_root_change_and_delete(server: App, dev: Person, root: Person) -> None:
    bob = join(server, "bob")
    for method in ("PATCH", "DELETE"):
        assert Person(server)(method, "/alice/dev", {}).status == 401
        assert bob(method, "/alice/dev", {}).status == 403
        assert root(method, "/alice/none", {}).status == 404

    root.ok("PATCH", "/alice/dev", ["title=x"])
    root.ok("DELETE", "/alice/dev")


# Deleting


def test_a_deleted_index_is_gone(dev: Person) -> None:
    answer = dev("DELETE", "/alice/dev")

    assert (answer.status, answer.json) == (201, {"message": "index alice/dev deleted"})
    assert dev("GET", "/alice/dev").status == 404
    assert dev("DELETE", "/alice/dev/").status == 404
    assert dev.ok("GET", "/alice").json["result"]["indexes"] == {}


def test_an_index_that_is_not_volatile_is_not_deleted(dev: Person) -> None:
    dev.ok("PATCH", "/alice/dev", ["volatile=False"])

    reason = "index alice/dev non-volatile, cannot delete"
    assert why(dev("DELETE", "/alice/dev")) == (403, reason)
    assert dev("GET", "/alice/dev").status == 200


def test_what_builds_on_a_deleted_index_asks_no_mirror(
    server: App, up: Upstream, dev: Person
) -> None:
    """Any name may have been one of that index, and belong to somebody else upstream."""
    for name in ("demo", "other"):
        up.release(name, "1.0")
    dev.ok("PUT", "/alice/prod", {"bases": "alice/dev,root/pypi", "mirror_whitelist": "other"})
    dev.ok("DELETE", "/alice/dev")

    answer = server("/alice/prod/+simple/demo/")
    assert answer.status == 503
    assert b"a base of alice/prod is no more" in answer.body
    assert server("/alice/prod/+simple/other/").status == 200
    assert [request.path for request in up.requests] == ["/simple/other/"]

    dev.ok("PATCH", "/alice/prod", ["bases-=alice/dev"])
    assert server("/alice/prod/+simple/demo/").status == 200


# Who may know


@pytest.fixture
def secret(dev: Person) -> Person:
    """alice/secret, for bob."""
    join(dev.server, "bob")
    dev.ok("PUT", "/alice/secret", {"acl_read": "bob", "bases": "root/pypi"})
    return dev


def test_the_right_to_read_is_shown_where_it_is_restricted(secret: Person) -> None:
    assert config(secret, "alice/secret")["acl_read"] == ["bob"]
    secret.ok("PATCH", "/alice/secret", ["acl_read+=:AUTHENTICATED:"])
    assert config(secret, "alice/secret")["acl_read"] == ["bob", ":AUTHENTICATED:"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/alice/secret"),
        ("GET", "/alice/secret/?no_projects="),
        ("PATCH", "/alice/secret"),
        ("DELETE", "/alice/secret"),
        ("GET", "/alice/secret/+simple/"),
        ("GET", "/alice/secret/+simple/demo/"),
        ("GET", "/alice/secret/+api"),
    ],
)
def test_who_may_not_read_an_index_is_not_told_of_it(
    secret: Person, method: str, path: str
) -> None:
    """401 for anybody, because a password may be the answer; 404 for somebody known."""
    server = secret.server
    carol = join(server, "carol")
    body = None if method == "GET" else {}

    assert Person(server)(method, path, body).status == 401
    assert carol(method, path, body).status == 404
    bob = login(server, "bob")
    assert bob(method, path, body).status not in (401, 404) or "demo" in path


def test_an_index_that_one_may_not_read_is_in_no_list(secret: Person) -> None:
    server = secret.server
    carol, bob = join(server, "carol"), login(server, "bob")

    for person, expected in ((carol, {"dev"}), (Person(server), {"dev"}), (bob, {"dev", "secret"})):
        assert person.ok("GET", "/alice").json["result"]["indexes"].keys() == expected
        assert person.ok("GET", "/").json["result"]["alice"]["indexes"].keys() == expected


def test_a_base_that_one_may_not_read_does_not_exist(secret: Person) -> None:
    server = secret.server
    carol, bob = join(server, "carol"), login(server, "bob")

    reason = "base index 'alice/secret' does not exist"
    assert why(carol("PUT", "/carol/dev", {"bases": "alice/secret"})) == (400, reason)
    carol.ok("PUT", "/carol/dev", {})
    assert why(carol("PATCH", "/carol/dev", ["bases+=alice/secret"])) == (400, reason)
    assert bob("PUT", "/bob/dev", {"bases": "alice/secret"}).status == 200


def test_a_base_that_one_may_not_read_any_more_stays_and_is_not_shown(secret: Person) -> None:
    """Without it, its names would be asked of the mirrors."""
    bob = login(secret.server, "bob")
    bob.ok("PUT", "/bob/dev", {"bases": "alice/secret,alice/dev"})
    secret.ok("PATCH", "/alice/secret", {"acl_read": []})

    assert config(bob, "bob/dev")["bases"] == ["alice/dev"]
    assert config(Person(secret.server), "bob/dev")["bases"] == ["alice/dev"]
    bob.ok("PATCH", "/bob/dev", {**config(bob, "bob/dev"), "bases": ["root/pypi"]})
    assert config(bob, "bob/dev")["bases"] == ["root/pypi"]
    assert config(secret, "bob/dev")["bases"] == ["root/pypi", "alice/secret"]

    bob.ok("PATCH", "/bob/dev", ["bases-=alice/secret"])
    assert config(secret, "bob/dev")["bases"] == ["root/pypi"]


# What is written down


def test_every_change_of_an_index_is_in_the_audit_trail(dev: Person, clock: FakeClock) -> None:
    dev.ok("PATCH", "/alice/dev", ["title=x"])
    dev.ok("PATCH", "/alice/dev", ["title=x"])
    dev.ok("DELETE", "/alice/dev")

    assert isinstance(dev.server, App)
    store = Database(dev.server.datadir / "devpi.sqlite", clock)
    with closing(store), store.reading() as tables:
        rows = [row for row in tables.audit.last(10) if row.target == "alice/dev"]
    assert [(row.action, row.who, row.origin) for row in reversed(rows)] == [
        ("index_create", "alice", "127.0.0.1"),
        ("index_modify", "alice", "127.0.0.1"),
        ("index_delete", "alice", "127.0.0.1"),
    ]
    assert rows[1].detail == {"title": "x"}
