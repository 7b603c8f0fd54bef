"""Users, logins and tokens, as devpi-client uses them (devpi.md 1.2 to 1.4)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from fakes import FakeClock
from server import App, Response
from upstream import Upstream

from devpi_server.services import apitokens
from devpi_server.store.meta import AuditRow

Make = Callable[..., App]
HOURS_10 = 36000.0


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"{user}:{password}".encode()).decode()}


def devpi(user: str, password: str) -> dict[str, str]:
    return {"X-Devpi-Auth": b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def server(app: Make) -> App:
    server = app()
    assert create(server, "alice", "pw").status == 201
    return server


def create(server: App, user: str, password: str = "", **values: object) -> Response:
    return server.request("PUT", f"/{user}", {"password": password, **values})


def login(server: App, user: str, password: str) -> Response:
    return server.request("POST", "/+login", {"user": user, "password": password})


def token(server: App, user: str = "alice", password: str = "pw") -> str:
    return login(server, user, password).json["result"]["password"]


def authstatus(server: App, headers: Mapping[str, str]) -> list[object]:
    return server.request("GET", "/+api", None, headers).json["result"]["authstatus"]


def audit(server: App) -> list[AuditRow]:
    with server.services.meta.reading() as tables:
        return list(tables.audit.last(100))


# Discovery


def test_the_root_api_says_where_to_log_in(server: App) -> None:
    answer = server.request("GET", "/+api")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["type"] == "apiconfig"
    result = answer.json["result"]
    assert result["login"].endswith("/+login")
    assert result["authstatus"] == ["noauth", "", []]
    assert "server-keyvalue-parsing" in result["features"]
    assert "index" not in result


def test_the_api_of_an_index_says_where_its_pages_are(server: App) -> None:
    result = server.request("GET", "/root/pypi/+api").json["result"]

    assert result["index"].endswith("/root/pypi")
    assert result["simpleindex"] == result["index"] + "/+simple/"
    assert "pypisubmit" not in result


@pytest.mark.parametrize("host", ["h.example", "h.example:8080", "[::1]:3141"])
def test_addresses_are_those_that_the_client_used(server: App, host: str) -> None:
    answer = server.request("GET", "/+api", None, {"Host": host})

    assert answer.json["result"]["login"] == f"http://{host}/+login"


@pytest.mark.straight("nginx refuses such a host itself, with 400")
def test_a_host_that_is_none_gets_into_no_address(server: App) -> None:
    answer = server.request("GET", "/+api", None, {"Host": 'evil"/<x>'})

    assert "evil" not in answer.json["result"]["login"]


def test_outside_url_is_where_clients_are_sent(app: Make) -> None:
    server = app("--outside-url", "https://pypi.example/sub/")

    answer = server.request("GET", "/sub/+api")
    assert answer.json["result"]["login"] == "https://pypi.example/sub/+login"


@pytest.mark.parametrize(("path", "status"), [("/nobody/+api", 200), ("/nobody/nothing/+api", 404)])
def test_only_an_unknown_index_has_no_api(server: App, path: str, status: int) -> None:
    assert server.request("GET", path).status == status


def test_a_browser_gets_no_api(server: App) -> None:
    assert server("/+api", {"Accept": "text/html"}).status == 404


# Every response

_REFUSED_BY_NGINX = pytest.mark.straight("nginx itself refuses it, with 400")
_ALWAYS = {"api-version", "server-version", "serial", "uuid", "primary-uuid", "master-uuid"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/+api", 200),
        ("/nobody", 404),
        ("/root/pypi/+simple/demo/", 404),
        pytest.param("/%00", 404, marks=_REFUSED_BY_NGINX),
    ],
)
def test_every_response_says_which_server_it_is_from(server: App, path: str, status: int) -> None:
    answer = server.request("GET", path)

    assert answer.status == status
    assert {f"x-devpi-{name}" for name in _ALWAYS} <= {name.lower() for name in answer.headers}
    assert answer.headers["X-Devpi-Api-Version"] == "2"


def test_so_do_pages_from_memory(server: App, up: Upstream) -> None:
    up.release("demo", "1.0")
    for _ in range(3):
        assert server("/simple/demo/").headers["X-Devpi-Api-Version"] == "2"


def test_the_serial_counts_what_the_request_itself_has_changed(server: App) -> None:
    before = int(server.request("GET", "/").headers["X-Devpi-Serial"])

    assert int(create(server, "bob").headers["X-Devpi-Serial"]) == before + 1
    assert int(server.request("GET", "/").headers["X-Devpi-Serial"]) == before + 1


def test_all_processes_are_one_server(app: Make, server: App) -> None:
    uuids = {each.request("GET", "/").headers["X-Devpi-Uuid"] for each in (server, app())}

    assert len(uuids) == 1
    assert "" not in uuids


# Logging in


def test_a_login_gives_a_token_that_is_used_as_the_password(server: App) -> None:
    answer = login(server, "alice", "pw")

    assert answer.status == 200
    assert (answer.json["type"], answer.json["message"]) == ("proxyauth", "login successful")
    assert answer.json["result"]["expiration"] == HOURS_10
    for headers in (basic, devpi):
        sent = headers("alice", answer.json["result"]["password"])
        assert authstatus(server, sent) == ["ok", "alice", []]


@pytest.mark.parametrize("headers", [basic, devpi])
def test_the_password_itself_is_good_as_well(server: App, headers: Any) -> None:
    assert authstatus(server, headers("alice", "pw")) == ["ok", "alice", []]


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("nobody", "pw"), ("", "")])
def test_who_is_not_known_is_told_so(server: App, user: str, password: str) -> None:
    answer = login(server, user, password)

    assert answer.status == 401
    assert answer.json["message"] == f"user {user!r} could not be authenticated"
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="pypi"'


@pytest.mark.parametrize("body", [{}, {"user": "alice"}, [], {"user": 1, "password": "x"}])
def test_a_login_names_user_and_password(server: App, body: object) -> None:
    answer = server.request("POST", "/+login", body)

    assert answer.status == 400
    assert answer.json["message"] == "Bad request: no user/password specified"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nul"])
def test_a_body_that_is_no_json_is_a_bad_request(server: App, body: bytes) -> None:
    assert server.request("POST", "/+login", body).status == 400


def test_wrong_credentials_leave_the_request_anybodys(server: App) -> None:
    assert authstatus(server, basic("alice", "wrong")) == ["noauth", "", []]
    assert server.request("GET", "/root/pypi/+api", None, basic("alice", "x")).status == 200


def test_a_login_ends_after_its_lifetime(app: Make, clock: FakeClock) -> None:
    server = app("--login-lifetime", "60")
    create(server, "alice", "pw")
    sent = basic("alice", token(server))
    clock.advance(59)
    assert authstatus(server, sent)[0] == "ok"
    clock.advance(1)

    assert authstatus(server, sent)[0] == "noauth"


def test_a_token_is_of_its_user_only(server: App) -> None:
    create(server, "bob", "pw")

    assert authstatus(server, basic("bob", token(server)))[0] == "noauth"


def test_a_new_password_ends_all_logins(server: App) -> None:
    old = basic("alice", token(server))
    answer = server.request("PATCH", "/alice", {"password": "new"}, old)

    assert answer.json["type"] == "userpassword"
    assert authstatus(server, old)[0] == "noauth"
    assert authstatus(server, basic("alice", "pw"))[0] == "noauth"
    assert authstatus(server, basic("alice", answer.json["result"]["password"]))[0] == "ok"


def test_devpi_client_is_told_that_its_login_is_dead(server: App) -> None:
    """By an address of where to log in; other clients, and a wrong password, have no login."""
    dead = token(server)
    server.request("PATCH", "/alice", {"password": "new"}, devpi("alice", dead))
    living = devpi("alice", token(server, password="new"))

    refused = server.request("DELETE", "/alice", None, devpi("alice", dead))
    wrong = server.request("POST", "/+login", {"user": "root", "password": "x"}, living)
    others = server.request("DELETE", "/alice", None, basic("alice", dead))

    assert [answer.status for answer in (refused, wrong, others)] == [401] * 3
    assert refused.headers["Location"] == "http://127.0.0.1/+login"
    assert "Location" not in wrong.headers
    assert "Location" not in others.headers


def test_the_login_of_a_deleted_user_is_dead_also_for_the_next_of_its_name(server: App) -> None:
    old = basic("alice", token(server))
    assert server.request("DELETE", "/alice", None, old).status == 200
    assert authstatus(server, old)[0] == "noauth"
    create(server, "alice", "pw")

    assert authstatus(server, old)[0] == "noauth"


def test_another_process_knows_a_login_and_a_change_of_password(app: Make) -> None:
    one, other = app(), app()
    create(one, "alice", "pw")
    sent = basic("alice", token(one))
    assert authstatus(other, sent)[0] == "ok"
    other.request("PATCH", "/alice", {"password": "new"}, sent)

    assert authstatus(one, sent)[0] == "noauth"


def test_guessing_is_slowed_down_for_the_guesser_only(server: App) -> None:
    for _ in range(5):
        assert login(server, "alice", "guess").status == 401
    answer = login(server, "alice", "guess")

    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert login(server.seen_from("192.0.2.7"), "alice", "pw").status == 200


# Root


def test_root_begins_with_the_empty_password(server: App) -> None:
    assert login(server, "root", "").status == 200


# It is the one who writes X-Real-IP, of everybody.
_KNOWN_TO_NGINX = pytest.mark.straight("nginx knows who its clients are")


@pytest.mark.parametrize(
    ("remote", "headers"),
    [
        ("192.0.2.1", {}),
        ("2001:db8::1", {}),
        ("127.0.0.1", {"X-Forwarded-For": "192.0.2.1"}),
        pytest.param("127.0.0.1", {"X-Real-Ip": "127.0.0.1"}, marks=_KNOWN_TO_NGINX),
        ("127.0.0.1", {"Forwarded": "for=192.0.2.1"}),
        pytest.param("", {}, marks=_KNOWN_TO_NGINX),
    ],
)
def test_the_empty_password_of_root_opens_from_this_machine_only(
    server: App, remote: str, headers: Mapping[str, str]
) -> None:
    body = {"user": "root", "password": ""}

    assert server.seen_from(remote).request("POST", "/+login", body, headers).status == 401


def test_who_sets_the_first_password_of_root_goes_on_as_root(server: App) -> None:
    """devpi-client keeps its login, and throws away the one that comes with the answer."""
    sent = devpi("root", token(server, "root", ""))
    assert server.request("PATCH", "/root", {"password": "first"}, sent).status == 200
    assert authstatus(server, sent) == ["ok", "root", []]

    assert server.request("PATCH", "/root", {"password": "second"}, sent).status == 200

    assert authstatus(server, sent)[0] == "noauth"


def test_once_root_has_a_password_it_opens_from_everywhere(server: App) -> None:
    root = devpi("root", token(server, "root", ""))
    assert server.request("PATCH", "/root", {"password": "123"}, root).status == 200

    assert login(server, "root", "").status == 401
    assert login(server.seen_from("192.0.2.1"), "root", "123").status == 200


def test_the_empty_password_of_anybody_else_is_one_like_any_other(server: App) -> None:
    create(server, "bob", "")

    assert login(server.seen_from("192.0.2.1"), "bob", "").status == 200


# Users


def test_a_new_user_is_shown(server: App) -> None:
    answer = create(server, "bob", "pw", email="bob@example.org", title="Bob")

    assert (answer.status, answer.json["type"]) == (201, "userconfig")
    shown = server.request("GET", "/bob").json["result"]
    assert shown == answer.json["result"]
    assert shown == {
        "username": "bob", "email": "bob@example.org", "title": "Bob", "indexes": {},
        "created": "2023-11-14T22:13:20Z",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("user", "body", "status", "message"),
    [
        ("alice", {"password": "x"}, 409, "user already exists"),
        ("bob", {}, 400, "password needs to be set"),
        ("bob", {"password": 5}, 400, "password needs to be set"),
        ("bob", {"password": "x", "foo": 1}, 400, "Unknown keys in user config: foo"),
        ("bob", {"password": "x", "email": []}, 400, "the email of a user is a text"),
        ("bob", [], 400, "the configuration of a user is an object"),
    ],
)
def test_what_cannot_be_a_user_is_told(
    server: App, user: str, body: object, status: int, message: str
) -> None:
    answer = server.request("PUT", f"/{user}", body)

    assert (answer.status, answer.json["message"]) == (status, message)
    assert answer.reason == message


@pytest.mark.parametrize("user", ["b:b", "b%20b", "b%3Fb", "b%23b", "..", "-b", "b%0a", "b" * 101])
def test_a_name_with_signs_in_it_is_refused(server: App, user: str) -> None:
    assert create(server, user, "x").status == 400


@pytest.mark.parametrize("user", ["simple", "ext", "packages"])
def test_no_user_hides_an_address_of_ours(server: App, user: str) -> None:
    assert create(server, user, "x").status in (404, 405)


@pytest.mark.parametrize("user", ["b.b", "b-b", "b_b", "b@b.example", "jürgen", "B"])
def test_names_may_have_these(server: App, user: str) -> None:
    assert create(server, user, "x").status == 201


def test_no_answer_tells_a_password_or_a_hash(server: App) -> None:
    texts = [
        create(server, "bob", "tellnobody").body,
        server.request("GET", "/").body,
        server.request("GET", "/alice").body,
    ]

    assert not any(word in text for text in texts for word in (b"tellnobody", b"argon2", b"pwhash"))


def test_the_list_has_all_users_with_their_indexes(server: App) -> None:
    answer = server.request("GET", "/", {})  # devpi-client sends a body

    assert answer.json["type"] == "list:userconfig"
    assert sorted(answer.json["result"]) == ["alice", "root"]
    assert answer.json["result"]["root"]["indexes"]["pypi"]["type"] == "mirror"


def test_a_change_keeps_what_it_does_not_name(server: App) -> None:
    mine = basic("alice", "pw")
    server.request("PATCH", "/alice", {"email": "a@example.org", "title": "A"}, mine)
    answer = server.request("PATCH", "/alice", {"title": "B"}, mine)

    assert answer.json == {"message": "user updated"}
    shown = server.request("GET", "/alice").json["result"]
    assert (shown["email"], shown["title"]) == ("a@example.org", "B")
    assert "modified" in shown


def test_the_whole_configuration_may_be_sent_back(server: App) -> None:
    """As ``devpi user -m`` and ``devpi passwd`` do."""
    mine = basic("alice", "pw")
    shown = server.request("GET", "/alice").json["result"]
    shown["password"] = "new"

    assert server.request("PATCH", "/alice", shown, mine).status == 200
    assert login(server, "alice", "new").status == 200


@pytest.mark.parametrize(("who", "status"), [("root", 200), ("bob", 403), ("nobody", 401)])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_user_is_for_itself_and_root_to_change(
    server: App, who: str, status: int, method: str
) -> None:
    create(server, "bob", "pw")
    sent = {"root": basic("root", ""), "bob": basic("bob", "pw"), "nobody": {}}[who]

    answer = server.request(method, "/alice", {"title": "x"}, sent)
    assert answer.status == status


def test_root_cannot_be_deleted(server: App) -> None:
    assert server.request("DELETE", "/root", None, basic("root", "")).status == 403


def test_a_user_that_is_not_there_is_told(server: App) -> None:
    root = basic("root", "")

    assert server.request("GET", "/nobody").status == 404
    assert server.request("PATCH", "/nobody", {"title": "x"}, root).status == 404
    assert server.request("DELETE", "/nobody", None, root).status == 404


def test_restrict_modify_leaves_everybody_their_password(app: Make) -> None:
    server = app("--restrict-modify", "root,alice")
    root = basic("root", "")
    assert create(server, "bob", "pw").status == 401
    assert server.request("PUT", "/bob", {"password": "pw"}, root).status == 201
    bob = basic("bob", "pw")
    assert server.request("PATCH", "/bob", {"title": "Bob"}, bob).status == 403
    shown = server.request("GET", "/bob").json["result"]

    assert server.request("PATCH", "/bob", {**shown, "password": "new"}, bob).status == 200


# API tokens


def made(server: App, body: Mapping[str, object], user: str = "alice") -> str:
    answer = server.request("POST", f"/{user}/+token-create", body, basic(user, "pw"))
    assert answer.status == 201, answer
    return answer.json["result"]["token"]


def test_a_token_is_shown_once(server: App) -> None:
    text = made(server, {"actions": ["read"], "note": "ci"})
    listed = server.request("GET", "/alice/+tokens", None, basic("alice", "pw"))

    assert apitokens.looks_like(text)
    (row,) = listed.json["result"]
    assert (row["actions"], row["indexes"], row["note"]) == (["read"], ["*"], "ci")
    assert text[20:].encode() not in listed.body


def test_a_token_manages_nothing(server: App) -> None:
    """Not even its own user: whoever finds it cannot take the account."""
    for sent in ({"Authorization": f"Bearer {made(server, {})}"}, basic("alice", made(server, {}))):
        assert server.request("PATCH", "/alice", {"password": "x"}, sent).status == 403
        assert server.request("POST", "/alice/+token-create", {}, sent).status == 403
        assert authstatus(server, sent) == ["noauth", "", []]


def test_a_token_is_no_password_to_log_in_with(server: App) -> None:
    assert login(server, "alice", made(server, {})).status == 401


def test_only_the_user_and_root_see_and_make_its_tokens(server: App) -> None:
    create(server, "bob", "pw")
    for sent, status in ((basic("bob", "pw"), 403), ({}, 401), (basic("root", ""), 200)):
        assert server.request("GET", "/alice/+tokens", None, sent).status == status


@pytest.mark.parametrize(
    "body",
    [
        {"actions": ["delete"]}, {"actions": []}, {"indexes": ["x"]}, {"projects": ["-"]},
        {"expires": -1}, {"expires": "x"}, {"expires": True}, {"note": "a\nb"}, {"foo": 1}, [],
    ],
)  # fmt: skip
def test_what_cannot_be_a_token_is_told(server: App, body: object) -> None:
    answer = server.request("POST", "/alice/+token-create", body, basic("alice", "pw"))

    assert answer.status == 400


def test_a_token_of_another_cannot_be_revoked(server: App) -> None:
    create(server, "bob", "pw")
    made(server, {})
    (row,) = server.request("GET", "/alice/+tokens", None, basic("alice", "pw")).json["result"]

    answer = server.request("DELETE", f"/bob/+tokens/{row['id']}", None, basic("bob", "pw"))
    assert answer.status == 404


# The audit trail


def test_every_change_is_noted_with_who_and_from_where(server: App) -> None:
    mine = basic("alice", "pw")
    changes = {"title": "x", "password": "new"}
    server.seen_from("192.0.2.9").request("PATCH", "/alice", changes, mine)

    row = audit(server)[0]
    assert (row.who, row.origin, row.action, row.target) == (
        "alice", "192.0.2.9", "user_modify", "alice",
    )  # fmt: skip
    assert row.detail == {"changed": ["title", "password"]}


def test_creation_and_deletion_are_noted(server: App) -> None:
    server.request("DELETE", "/alice", None, basic("alice", "pw"))

    rows = [(row.who, row.action, row.target) for row in audit(server)[:2]]
    assert rows == [
        ("alice", "user_delete", "alice"),
        (":ANONYMOUS:", "user_create", "alice"),
    ]


# For a web server in front


@pytest.fixture
def closed(server: App) -> App:
    server.add_index("alice/closed", acl_read=["alice"])
    server.add_index("alice/open")
    create(server, "bob", "pw")
    return server


CLOSED = [
    "/alice/closed/+simple/", "/alice/closed/+simple/demo/", "/alice/closed/+f/abc/def/x-1.zip",
    "/alice/closed/+f/abc/def/x-1.zip.metadata", "/alice/closed/+simple/?format=x",
    "/alice/%63losed/+simple/", "/alice/closed/demo/1.0/+doc/a/b.html", "/alice/closed/+api",
]  # fmt: skip


@pytest.mark.parametrize("uri", CLOSED)
@pytest.mark.parametrize(
    ("sent", "status"), [({}, 401), (basic("bob", "pw"), 403), (basic("alice", "pw"), 200)]
)
def test_authcheck_says_what_the_server_would(
    closed: App, uri: str, sent: Mapping[str, str], status: int
) -> None:
    answer = closed("/+authcheck", {"X-Original-URI": uri, **sent})

    assert answer.status == status


@pytest.mark.parametrize(
    "uri",
    [
        "/alice/closed/manual/x.html",
        "/alice/closed/manual/a/b/c.html",
        "/alice/closed/+d/x",
        "/alice/closed/.hidden/x",
        "/alice/closed/my manual/%3f/x",
        "/alice/closed/manual/x?y=/../..",
        "/alice/closed/manual/%ff/\xe9/x",
        "//alice//closed/manual/x",
        "/./alice/closed/manual/x",
        "/alice/open/../closed/manual/x",
        "/alice/open/+simple/%2e%2e/%2E./closed/manual/x",
        "/%61lice%2fclosed/manual/x",
        "/../alice/open/x/../../closed#/../open",
    ],
)
def test_authcheck_takes_a_path_for_the_one_that_nginx_reads(closed: App, uri: str) -> None:
    """It sends what the client has written; what it serves, and so what counts, is in order."""
    assert closed("/+authcheck", {"X-Original-URI": uri}).status == 401
    assert closed("/+authcheck", {"X-Original-URI": uri, **basic("alice", "pw")}).status == 200


@pytest.mark.parametrize(
    "uri", ["/", "/alice/open/+simple/", "/alice/open/a/b/c/d", "/simple/demo/", "/+static/x", ""]
)
def test_authcheck_lets_everybody_to_what_is_open(closed: App, uri: str) -> None:
    assert closed("/+authcheck", {"X-Original-URI": uri}).status == 200


@pytest.mark.parametrize(
    ("sent", "status"), [({}, 200), (basic("alice", "pw"), 200), (basic("alice", "x"), 401)]
)
def test_without_an_address_authcheck_says_whether_the_login_is_good(
    closed: App, sent: Mapping[str, str], status: int
) -> None:
    assert closed("/+authcheck", sent).status == status


def test_authcheck_does_not_make_devpi_client_forget_its_login(closed: App) -> None:
    sent = {"X-Original-URI": CLOSED[0], "User-Agent": "devpi-client/7.3.0 (py3.11.7; linux)"}

    assert closed("/+authcheck", sent).status == 403


def test_authcheck_knows_the_sub_path(app: Make) -> None:
    server = app("--outside-url", "http://h.example/sub")
    create(server, "sub/alice", "pw")
    server.add_index("alice/closed", acl_read=["alice"])

    answer = server("/sub/+authcheck", {"X-Original-URI": f"/sub{CLOSED[0]}"})
    assert answer.status == 401
