"""Who may do what: every principal at every address by every method.

Made from the application's own list of routes, so that no new one escapes.  What
each action needs is stated here once more, in other words than in the server.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fakes import FakeClock
from server import App, Client, Response
from uploading import basic, upload
from upstream.artefacts import wheel

from devpi_server.web.app import Route

DEMO = wheel("demo", "1.0")
SHA256 = hashlib.sha256(DEMO.data).hexdigest()
OPEN, CLOSED = "alice/open", "alice/closed"

# Who may know that there is the closed index; and who may do what to an index they know of.
READERS = {"owner", "root", "uploader", "reader", "reader token", "both token"}
OWNERS = {"owner", "root"}
UPLOADERS = {"owner", "uploader", "upload token", "both token"}
REMOVERS = {"owner", "root", "uploader"}
EVERYBODY = {
    "nobody", "wrong", "stranger", "owner", "uploader", "reader", "root", "reader token",
    "upload token", "both token", "other token", "expired token", "revoked token",
}  # fmt: skip
UNKNOWN = {"nobody", "wrong", "expired token", "revoked token"}
TOKENS = {"reader token", "upload token", "both token", "other token"}
PEOPLE = EVERYBODY - TOKENS

OF_INDEX = {
    "pkg_list": EVERYBODY,
    "pkg_read": EVERYBODY,
    "index_read": EVERYBODY,
    "refresh": EVERYBODY,
    "upload": UPLOADERS,
    "push": EVERYBODY,
    "prefetch": EVERYBODY - UNKNOWN,
    "toxresult_upload": PEOPLE | {"upload token", "both token"},
    "remove": REMOVERS,
    "yank": REMOVERS,
    "index_modify": OWNERS,
    "index_delete": OWNERS,
}
OF_USER = {
    "user_create": PEOPLE,
    "user_modify": OWNERS,
    "user_delete": OWNERS,
    "index_create": OWNERS,
    "token": OWNERS,
}
OPEN_TO_ALL = {"home", "status", "api", "login", "authcheck", "user_list", "user_read"}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "PUSH", "OPTIONS")


class World:
    """A server with two indexes of one content, and everybody's credentials."""

    def __init__(self, server: App, clock: FakeClock) -> None:
        self.server = server
        self._asked = 0
        for user in ("alice", "bob", "carol", "rita"):
            server.request("PUT", f"/{user}", {"password": "pw"})
        acls = {"acl_upload": ["alice", "carol"]}
        server.add_index(OPEN, **acls)
        server.add_index(CLOSED, acl_read=["carol", "rita"], **acls)
        server.add_index("bob/own")
        for index in (OPEN, CLOSED):
            assert upload(server, index, DEMO, basic("alice", "pw")).status == 200
        self.credentials: dict[str, Mapping[str, str]] = {
            "nobody": {},
            "wrong": basic("alice", "wrong"),
            "stranger": basic("bob", "pw"),
            "owner": basic("alice", "pw"),
            "uploader": basic("carol", "pw"),
            "reader": basic("rita", "pw"),
            "root": basic("root", ""),
            "reader token": self._token("rita", actions=["read"]),
            "upload token": self._token("carol", actions=["upload"], indexes=[OPEN, CLOSED]),
            "both token": self._token("carol", actions=["read", "upload"], projects=["demo"]),
            "other token": self._token("carol", actions=["read", "upload"], indexes=["bob/own"]),
            "expired token": self._token("alice", actions=["read", "upload"], expires=10),
            "revoked token": self._token("alice", actions=["read", "upload"], note="revoke"),
        }
        (revoked,) = (row["id"] for row in self._tokens("alice") if row["note"] == "revoke")
        server.request("DELETE", f"/alice/+tokens/{revoked}", None, basic("alice", "pw"))
        clock.advance(11)

    def _token(self, user: str, **scope: object) -> dict[str, str]:
        answer = self.server.request("POST", f"/{user}/+token-create", scope, basic(user, "pw"))
        return {"Authorization": f"Bearer {answer.json['result']['token']}"}

    def _tokens(self, user: str) -> list[dict[str, str]]:
        answer = self.server.request("GET", f"/{user}/+tokens", None, basic(user, "pw"))
        found: list[dict[str, str]] = answer.json["result"]
        return found

    def serial(self) -> int:
        with self.server.services.meta.reading() as tables:
            return tables.serial

    def ask(self, who: str, method: str, path: str, body: str = "") -> Response:
        """:param body: the type of its content, of which there is none."""
        headers = {"Accept": "application/vnd.pypi.simple.v1+json, application/json"}
        if body:
            headers["Content-Type"] = body
        return self.client(who)(path, {**headers, **self.credentials[who]}, method=method)

    def client(self, who: str) -> Client:
        """Who guesses passwords does it from many addresses, so that it is not slowed down."""
        self._asked += 1
        here = self.server
        return here.seen_from(f"2001:db8:{self._asked:x}::1") if who == "wrong" else here


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    clock = FakeClock()
    folder = tmp_path_factory.mktemp("access") / "data"
    server = App("--datadir", str(folder), "--mirror-url", "http://127.0.0.1:1/", clock=clock)
    yield World(server, clock)
    server.services.close()


def all_routes(folder: Path) -> list[Route]:
    server = App("--datadir", str(folder), "--mirror-url", "http://127.0.0.1:1/")
    server.services.close()
    return list(server.services.app.routes)


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    return all_routes(tmp_path_factory.mktemp("routes"))


def paths(rule: str, index: str) -> Iterator[str]:
    """The rule as an address of something that is there."""
    user, _, name = index.partition("/")
    path = (
        rule.replace("<user>", user).replace("<index>", name).replace("<project>", "demo")
        .replace("<version>", "1.0").replace("<head>", SHA256[:3]).replace("<tail>", SHA256[3:16])
        .replace("<folder>", "x").replace("<token>", "x" * 12).replace("<path:path>", "index.html")
        .replace("<kind>", "py3").replace("<letter>", "d")
        .replace("<result>", "x").replace("<serial>", "1")
    )  # fmt: skip
    assert "<" not in path.replace("<file>", ""), f"{rule} has a part that this test does not know"
    if "<file>" not in path:
        yield path
    else:
        for ending in ("", ".metadata", ".asc", ".provenance"):
            yield path.replace("<file>", DEMO.filename + ending)


def allowed(route: Route, index: str) -> set[str]:
    """Who may."""
    if route.action in OPEN_TO_ALL:
        return EVERYBODY
    if route.action in OF_USER:
        return OF_USER[route.action]
    return OF_INDEX[route.action] & (EVERYBODY if index == OPEN else knowing(route))


def knowing(route: Route) -> set[str]:
    """Who may know of the closed index, at this route."""
    if route.action == "upload":
        return READERS | {"upload token"}
    if route.action == "push":  # its body says of which project
        return READERS
    # A token for one project sees that project, and not the index as a whole.
    about_one = "<project>" in route.rule or "<file>" in route.rule
    return READERS if about_one else READERS - {"both token"}


def refusal(who: str, route: Route, index: str) -> int:
    """With which status."""
    if who in UNKNOWN:
        return 401
    if route.action in OF_INDEX and index == CLOSED and who not in knowing(route):
        return 404
    return 403


@pytest.mark.parametrize("index", [OPEN, CLOSED])
@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_what_is_not_allowed_is_refused_and_changes_nothing(
    world: World, routes: list[Route], who: str, index: str
) -> None:
    before = world.serial()
    checked = 0
    for route in routes:
        if who in allowed(route, index) or route.index is not None:
            continue
        for path in paths(route.rule, index):
            for method in [route.method, *(["HEAD"] if route.method == "GET" else [])]:
                answer = world.ask(who, method, path, route.body)
                expected = refusal(who, route, index)
                assert answer.status == expected, (who, method, path, route.action, answer)
                checked += 1

    assert world.serial() == before
    assert checked or who in ("owner", "root")


@pytest.mark.parametrize("index", [OPEN, CLOSED])
@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_what_is_allowed_is_not_refused(
    world: World, routes: list[Route], who: str, index: str
) -> None:
    """Of what changes something, only as far as the missing body."""
    for route in routes:
        if who not in allowed(route, index) or route.method in ("DELETE", "POST"):
            continue
        if route.action in ("login", "authcheck") or route.rule.startswith("/+changelog"):
            continue  # these answer with a refusal of their own
        if route.index is not None and route.action == "upload":
            continue  # of an index that is neither of the two
        for path in paths(route.rule, index):
            answer = world.ask(who, route.method, path, route.body)
            assert answer.status not in (401, 403), (who, route.method, path, answer)
            if route.index is None:  # else it is a page of an upstream that is not there
                assert answer.status < 500, (who, route.method, path, answer)


@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_no_other_method_does_anything(world: World, routes: list[Route], who: str) -> None:
    before = world.serial()
    taken: dict[str, set[str]] = {}
    for route in routes:
        taken.setdefault(route.rule, set()).add(route.method)
    for rule, methods in taken.items():
        path = next(paths(rule, CLOSED))
        for method in set(METHODS) - methods - {"HEAD"}:
            others = [each for each in routes if each.method == method]
            if any(next(paths(each.rule, CLOSED)) == path for each in others):
                continue
            answer = world.ask(who, method, path)
            assert answer.status in (400, 401, 403, 404, 405), (who, method, path, answer)

    assert world.serial() == before


@pytest.mark.parametrize("who", sorted(EVERYBODY - READERS))
def test_no_part_of_a_closed_file_is_sent(world: World, who: str) -> None:
    path = f"/{CLOSED}/+f/{SHA256[:3]}/{SHA256[3:16]}/{DEMO.filename}"
    for headers in (
        {"Range": "bytes=0-9"},
        {"If-None-Match": f'"{SHA256}"'},
        {"If-None-Match": "*"},
        {"Accept": "application/json"},
    ):
        answer = world.client(who)(path, {**headers, **world.credentials[who]})
        assert answer.status == (401 if who in UNKNOWN else 404)
        assert SHA256.encode() not in answer.body


@pytest.mark.parametrize("who", sorted(EVERYBODY))
def test_the_closed_index_is_in_no_list_for_others(world: World, who: str) -> None:
    knows = who in READERS - {"both token"}
    for path in ("/", "/alice"):
        answer = world.client(who)(path, {"Accept": "application/json", **world.credentials[who]})
        assert (b"closed" in answer.body) == knows, path


def test_every_action_of_a_route_is_stated_here(routes: list[Route]) -> None:
    stated = {*OF_INDEX, *OF_USER, *OPEN_TO_ALL}

    assert {route.action for route in routes} <= stated
