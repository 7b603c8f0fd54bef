"""Pushing a release from one index to another: what is done, and what is refused (devpi.md 1.8)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from fakes import FakeClock
from server import App, Response
from uploading import basic, post, upload
from upstream import Status, Substitute, Upstream
from upstream.artefacts import Artefact, sdist, wheel

from devpi_server.store.meta import Actor

Make = Callable[..., App]
MINE = basic("alice", "pw")
BOB = basic("bob", "pw")
WHEEL = wheel("demo", "1.0", requires_python=">=3.8")
SDIST = sdist("demo", "1.0")
ATTESTATION = {"version": 1, "verification_material": {}, "envelope": {}}


@pytest.fixture
def server(app: Make) -> App:
    server = app()
    server.request("PUT", "/alice", {"password": "pw"})
    server.request("PUT", "/bob", {"password": "pw"})
    server.add_index("alice/dev")
    server.add_index("alice/prod", volatile=False)
    return server


def push(
    server: App,
    target: str = "alice/prod",
    *,
    source: str = "alice/dev",
    who: dict[str, str] | None = None,
    method: str = "PUSH",
    **options: Any,
) -> Response:
    body = {"name": "demo", "version": "1.0", "targetindex": target, **options}
    body = {key: value for key, value in body.items() if value is not None}
    return server.request(method, f"/{source}", body, MINE if who is None else who)


def path_of(index: str, artefact: Artefact) -> str:
    sha256 = hashlib.sha256(artefact.data).hexdigest()
    return f"{index}/+f/{sha256[:3]}/{sha256[3:16]}/{artefact.filename}"


def add_docs(server: App, text: str = "<h1>demo</h1>") -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.html", text)
    form = {":action": "doc_upload", "name": "demo", "version": "1.0"}
    post(server, "alice/dev", form, {"content": ("demo.zip", buffer.getvalue())}, MINE)


def add_result(server: App, artefact: Artefact = WHEEL, index: str = "alice/dev") -> None:
    assert server.request("POST", f"/{path_of(index, artefact)}", {"testenvs": {}}).status == 200


def files(server: App, index: str = "alice/prod") -> dict[str, dict[str, Any]]:
    page = server("/" + index + "/+simple/demo/", {"Accept": "application/vnd.pypi.simple.v1+json"})
    return {file["filename"]: file for file in page.json["files"]} if page.status == 200 else {}


def log_of(server: App, index: str, filename: str) -> list[tuple[object, ...]]:
    """What, who, from where, where to."""
    with server.services.meta.reading() as tables:
        row = tables.indexes.get(index)
        assert row is not None
        file = tables.files.find(row.id, filename)
    assert file is not None
    return [(entry.what, entry.who, entry.src, entry.dst) for entry in file.log]


# What is done


def test_a_release_is_pushed_with_everything_that_belongs_to_it(server: App) -> None:
    sent = orjson.dumps([ATTESTATION]).decode()
    upload(server, "alice/dev", WHEEL, MINE, signature=b"PGP", attestations=sent)
    upload(server, "alice/dev", SDIST, MINE)
    add_docs(server)
    add_result(server)

    answer = push(server)

    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    results = answer.json["result"]
    result = results.pop(2)
    assert answer.json["type"] == "actionlog"
    assert result[:2] == [200, "store_toxresult"]
    assert f"{WHEEL.filename}.toxresult-" in result[2]
    assert results == [
        [200, "register", "demo", "1.0", "->", "alice/prod"],
        [200, "store_releasefile", path_of("alice/prod", WHEEL)],
        [200, "store_releasefile", path_of("alice/prod", SDIST)],
        [200, "store_doczip", "demo", "1.0", "->", "alice/prod"],
    ]
    before, after = files(server, "alice/dev"), files(server)
    assert after == before
    for artefact in (WHEEL, SDIST):
        assert server(f"/{path_of('alice/prod', artefact)}").body == artefact.data
    served = f"/{path_of('alice/prod', WHEEL)}"
    assert server(f"{served}.metadata").body == WHEEL.metadata
    assert server(f"{served}.asc").body == b"PGP"
    assert b"envelope" in server(f"{served}.provenance").body
    assert server("/alice/prod/demo/1.0/+doc/index.html").body == b"<h1>demo</h1>"
    assert orjson.loads(server(f"/{result[2]}").body) == {"testenvs": {}}


@pytest.mark.parametrize("path", ["/alice/dev", "/alice/dev/"])
@pytest.mark.parametrize("method", ["PUSH", "POST"])
def test_it_is_asked_for_with_push_or_a_post_of_json(server: App, path: str, method: str) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    body = {"name": "Demo", "version": "1.0.0", "targetindex": "alice/prod"}

    answer = server.request(method, path, body, MINE)

    assert answer.status == 200
    assert answer.json["result"][0] == [200, "register", "Demo", "1.0.0", "->", "alice/prod"]
    assert list(files(server)) == [WHEEL.filename]


def test_documentation_can_be_left_out_or_pushed_alone(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    add_docs(server)

    def done(answer: Response) -> list[str]:
        return [action[1] for action in answer.json["result"]]

    assert done(push(server, no_docs=True)) == ["register", "store_releasefile"]
    assert server("/alice/prod/demo/1.0/+doc/index.html").status == 404
    assert done(push(server, only_docs=True)) == ["register", "store_doczip"]
    assert server("/alice/prod/demo/1.0/+doc/index.html").status == 200


def test_the_log_says_where_a_file_was_and_who_pushed_it(server: App) -> None:
    server.add_index("bob/next", acl_upload=["alice", "bob"])
    upload(server, "alice/dev", WHEEL, MINE)
    push(server)
    push(server, "bob/next", source="alice/prod", who=BOB)

    assert log_of(server, "bob/next", WHEEL.filename) == [
        ("upload", "alice", None, "alice/dev"),
        ("push", "alice", "alice/dev", "alice/prod"),
        ("push", "bob", "alice/prod", "bob/next"),
    ]


def test_a_push_over_another_file_of_a_volatile_index_is_noted(server: App) -> None:
    server.add_index("alice/next")
    upload(server, "alice/next", wheel("demo", "1.0", requires=["x"]), MINE)
    upload(server, "alice/dev", WHEEL, MINE)

    assert push(server, "alice/next").status == 200
    whats = [entry[0] for entry in log_of(server, "alice/next", WHEEL.filename)]
    assert whats == ["overwrite", "upload", "push"]
    assert server(f"/{path_of('alice/next', WHEEL)}").body == WHEEL.data


def test_a_push_that_was_done_can_be_done_again(server: App) -> None:
    """Also to an index that is not volatile, and nothing is there twice."""
    upload(server, "alice/dev", WHEEL, MINE)
    add_result(server)
    add_docs(server)
    first = push(server)
    log = log_of(server, "alice/prod", WHEEL.filename)

    assert push(server).json == first.json
    assert log_of(server, "alice/prod", WHEEL.filename) == log


def test_results_of_two_indexes_stand_side_by_side(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    push(server)
    add_result(server, index="alice/prod")
    path = f"/{path_of('alice/dev', WHEEL)}"
    assert server.request("POST", path, {"testenvs": {"py": {}}}).status == 200

    answer = push(server)

    (result,) = (each[2] for each in answer.json["result"] if each[1] == "store_toxresult")
    assert result.endswith("-1")
    assert orjson.loads(server(f"/{result}").body) == {"testenvs": {"py": {}}}
    first = result.removesuffix("-1").rpartition("/")[2] + "-0"
    with server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/prod")
        assert row is not None
        assert tables.files.find(row.id, first) is not None


def test_metadata_is_seen_in_the_target(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE, summary="a demo")
    push(server)

    with server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/prod")
        assert row is not None
        (release,) = tables.releases.of(row.id, "demo")  # type: ignore[arg-type]
    assert (release.version, release.fields["summary"]) == ("1.0", "a demo")


def test_a_push_is_in_the_audit_trail(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    push(server)

    with server.services.meta.reading() as tables:
        (row,) = tables.audit.last(1)
    assert (row.who, row.action, row.target) == ("alice", "push", "alice/prod/demo/1.0")
    assert row.detail["from"] == "alice/dev"
    assert list(row.detail["files"]) == [WHEEL.filename]  # type: ignore[call-overload]


def test_another_process_sees_it_at_once(app: Make, server: App) -> None:
    other = app()
    upload(server, "alice/dev", WHEEL, MINE)
    assert files(other) == {}
    push(server)

    assert list(files(other)) == [WHEEL.filename]


def test_what_was_yanked_stays_yanked(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    with server.services.meta.writing(Actor("alice", "test")) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        file = tables.files.find(row.id, WHEEL.filename)
        assert file is not None
        tables.files.put(row.id, replace(file, yanked="broken"))
    push(server)

    assert files(server)[WHEEL.filename]["yanked"] == "broken"


# What is refused


def test_another_file_of_the_name_stops_all_of_it(server: App) -> None:
    """The release has two files; only one of them is in the way, and nothing is changed."""
    upload(server, "alice/prod", SDIST, MINE)
    upload(server, "alice/dev", WHEEL, MINE, summary="new")
    upload(server, "alice/dev", sdist("demo", "1.0", requires=["x"]), MINE)
    before = files(server)

    answer = push(server)

    assert answer.status == 409
    assert "already exists in non-volatile index" in answer.json["message"].replace(
        f": {SDIST.filename}", ""
    )
    assert files(server) == before
    with server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/prod")
        assert row is not None
        (release,) = tables.releases.of(row.id, "demo")  # type: ignore[arg-type]
        assert "summary" not in release.fields
        assert tables.audit.last(1)[0].action == "upload"


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"version": "9"}, 400, "there are no files for demo 9 on stage alice/dev"),
        ({"name": "other"}, 400, "there are no files for other 1.0 on stage alice/dev"),
        ({"name": "-x-"}, 400, "there are no files for -x- 1.0 on stage alice/dev"),
        ({"version": "2.0"}, 404, "no release/files found for demo 2.0"),
        ({"only_docs": True}, 404, "no release/files found for demo 1.0"),
        ({"name": None}, 400, "a push needs name and version"),
        ({"version": ""}, 400, "a push needs name and version"),
        ({"name": ["demo"]}, 400, "name of a push is a line of text"),
        ({"no_docs": True, "only_docs": True}, 400, "can't use 'no_docs' and 'only_docs'"),
        ({"no_docs": "yes"}, 400, "no_docs of a push is true or false"),
        ({"foo": 1, "bar": 2}, 400, "unknown additional options: bar, foo"),
        ({"posturl": "http://x"}, 400, "unknown additional options: posturl"),
        ({"targetindex": None}, 400, "a push needs a targetindex or a posturl"),
        ({"targetindex": "alice"}, 400, "targetindex not in format user/index"),
        ({"targetindex": "a/b/c"}, 400, "targetindex not in format user/index"),
        ({"targetindex": "alice/"}, 400, "targetindex not in format user/index"),
        ({"targetindex": "alice/nothing"}, 404, "The stage alice/nothing could not be found."),
        ({"targetindex": "bob/dev"}, 401, "user 'alice' cannot upload to 'bob/dev'"),
    ],
)
def test_what_cannot_be_pushed_is_refused_with_the_reason(
    server: App, options: dict[str, Any], status: int, message: str
) -> None:
    server.add_index("bob/dev")
    upload(server, "alice/dev", WHEEL, MINE)
    form = {":action": "submit", "name": "demo", "version": "2.0"}
    post(server, "alice/dev", form, {}, MINE)

    answer = push(server, **{"target": "alice/prod", **options})

    assert answer.status == status
    assert message in answer.json["message"]
    assert files(server) == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"'])
def test_a_body_that_is_no_object_is_refused(server: App, body: bytes) -> None:
    assert server.request("PUSH", "/alice/dev", body, MINE).status == 400


def test_bases_are_pushed_from_where_they_are(server: App, up: Upstream) -> None:
    """As devpi does: what an index has only through its bases is not its own to give."""
    server.add_index("alice/app", bases=["alice/dev", "root/pypi"])
    upload(server, "alice/dev", WHEEL, MINE)

    answer = push(server, source="alice/app")

    assert (answer.status, answer.json["message"]) == (
        400,
        "there are no files for demo 1.0 on stage alice/app",
    )


def test_a_mirror_takes_nothing(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)

    assert push(server, "root/pypi", who=basic("root", "")).status in (401, 404)


# Who may


def test_who_pushes_has_to_be_allowed_to_upload_there(server: App) -> None:
    upload(server, "alice/dev", WHEEL, MINE)

    for who, user in ((BOB, "'bob'"), ({}, "None"), (basic("alice", "x"), "None")):
        answer = push(server, who=who)
        assert answer.status == 401
        assert answer.json["message"] == f"user {user} cannot upload to 'alice/prod'"
    assert files(server) == {}


def test_who_may_read_the_source_may_push_from_it(server: App) -> None:
    server.add_index("bob/own")
    upload(server, "alice/dev", WHEEL, MINE)

    assert push(server, "bob/own", who=BOB).status == 200


def test_a_source_that_one_may_not_read_is_not_there(server: App) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    server.add_index("bob/own")
    upload(server, "alice/secret", WHEEL, MINE)

    hidden = push(server, "bob/own", source="alice/secret", who=BOB)
    nothing = push(server, "bob/own", source="alice/nothing", who=BOB)
    assert hidden.status == nothing.status == 404
    assert hidden.body.replace(b"secret", b"nothing") == nothing.body
    assert push(server, "bob/own", source="alice/secret", who={}).status == 401


def test_a_target_that_one_may_not_read_is_not_there(server: App) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    server.add_index("bob/own")
    upload(server, "bob/own", WHEEL, BOB)

    hidden = push(server, "alice/secret", source="bob/own", who=BOB)
    nothing = push(server, "alice/nothing", source="bob/own", who=BOB)
    assert hidden.status == nothing.status == 404
    assert hidden.body.replace(b"secret", b"nothing") == nothing.body


def token(server: App, **scope: list[str]) -> dict[str, str]:
    made = server.request("POST", "/alice/+token-create", scope, MINE)
    return basic("__token__", made.json["result"]["token"])


def test_a_token_pushes_what_it_may_read_to_where_it_may_upload(server: App) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    upload(server, "alice/secret", WHEEL, MINE)
    dev = ["alice/secret"]
    prod = ["alice/prod"]
    both = dev + prod

    def status(**scope: list[str]) -> int:
        return push(server, source="alice/secret", who=token(server, **scope)).status

    assert status(actions=["read", "upload"], indexes=both, projects=["other"]) == 404
    assert status(actions=["upload"], indexes=both) == 404
    assert status(actions=["read", "upload"], indexes=prod) == 404
    assert status(actions=["read"], indexes=both) == 401
    assert status(actions=["read", "upload"], indexes=dev) == 401
    assert files(server) == {}
    assert status(actions=["read", "upload"], indexes=both, projects=["demo"]) == 200


# From a mirror


def test_a_release_of_a_mirror_is_fetched_and_pushed_with_all_its_metadata(
    server: App, up: Upstream
) -> None:
    public = up.release("demo", "1.0", sdist=True, requires_python=">=3.9")
    up.release("demo", "2.0")

    answer = push(server, source="root/pypi")

    assert answer.status == 200
    names = sorted(action[2].rpartition("/")[2] for action in answer.json["result"][1:])
    assert names == ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"]
    found = files(server)
    theirs = server.links("demo")
    assert found.keys() == {"demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"}
    for filename, file in found.items():
        for key in ("hashes", "size", "upload-time", "requires-python"):
            assert file[key] == theirs[filename][key], key
    assert found["demo-1.0-py3-none-any.whl"]["core-metadata"]
    assert up.count("/packages/") == 2
    with server.services.meta.reading() as tables:
        row = tables.indexes.get("alice/prod")
        assert row is not None
        (release,) = tables.releases.of(row.id, "demo")  # type: ignore[arg-type]
    assert release.fields["requires_python"] == ">=3.9"
    assert release.fields["metadata_version"]
    assert public


def test_what_a_mirror_holds_is_not_fetched_again(server: App, up: Upstream) -> None:
    file = up.release("demo", "1.0")
    server(server.address("demo", file.filename))

    assert push(server, source="root/pypi").status == 200
    assert up.count("/packages/") == 1


def test_a_pushed_file_outlives_the_mirror_it_came_from(server: App, up: Upstream) -> None:
    file = up.release("demo", "1.0")
    push(server, source="root/pypi")
    up.remove_release("demo", "1.0")

    assert server("/" + files(server)[file.filename]["url"].replace("../../", "alice/prod/")).body


@pytest.mark.parametrize("what", ["page", "file"])
def test_a_mirror_that_cannot_be_asked_stops_the_push(server: App, up: Upstream, what: str) -> None:
    up.release("demo", "1.0")
    up.fail("/simple/demo/" if what == "page" else "/packages/", Status(500))

    answer = push(server, source="root/pypi")

    assert answer.status == 502
    assert files(server) == {}


def test_other_bytes_than_the_page_states_are_not_pushed(server: App, up: Upstream) -> None:
    up.release("demo", "1.0")
    up.fail("/packages/", Substitute())

    assert push(server, source="root/pypi").status == 502
    assert files(server) == {}


def test_what_upstream_has_quarantined_is_not_pushed(
    server: App, up: Upstream, clock: FakeClock
) -> None:
    file = up.release("demo", "1.0")
    server(server.address("demo", file.filename))
    up.quarantine("demo")
    server.tick()
    clock.advance(10_000)

    assert push(server, source="root/pypi").status in (400, 403, 404)
    assert files(server) == {}


def test_a_mirror_that_keeps_nothing_is_pushed_from_all_the_same(app: Make, up: Upstream) -> None:
    up.release("demo", "1.0")
    server = app()
    server.request("PUT", "/alice", {"password": "pw"})
    server.add_index("alice/prod")
    server.change_index("root/pypi", mirror_use_external_urls=True)

    assert push(server, source="root/pypi").status == 200
    assert len(files(server)) == 1


def test_a_file_that_nobody_could_upload_is_pushed_as_it_is(server: App, up: Upstream) -> None:
    """Its page says of it what is known."""
    up.release("demo", "1.0", filename="demo-1.0.zip", content=b"no zip", requires_python=">=3")

    assert push(server, source="root/pypi").status == 200
    assert files(server)["demo-1.0.zip"]["requires-python"] == ">=3"
