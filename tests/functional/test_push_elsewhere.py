"""Pushing a release to another server: what is sent, and what is said of it (devpi.md 1.8)."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from server import App, Response
from sink import Received, Say, Sink
from uploading import basic, post, upload
from upstream import Upstream
from upstream.artefacts import Artefact, sdist, wheel

Make = Callable[..., App]
MINE = basic("alice", "pw")
WHEEL = wheel("demo", "1.0", requires_python=">=3.8", requires=["x>1", "y"])
SDIST = sdist("demo", "1.0")
ATTESTATION = {"version": 1, "verification_material": {}, "envelope": {}}
SECRET = "s3cret-w0rd"


@pytest.fixture
def server(app: Make) -> App:
    server = app("--push-networks", "127.0.0.0/8")
    server.request("PUT", "/alice", {"password": "pw"})
    server.add_index("alice/dev")
    return server


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


def push(
    server: App,
    sink: Sink,
    *,
    source: str = "alice/dev",
    who: dict[str, str] | None = None,
    **options: Any,
) -> Response:
    body = {
        "name": "demo",
        "version": "1.0",
        "posturl": sink.url,
        "username": "me",
        "password": SECRET,
        **options,
    }
    return server.request("PUSH", f"/{source}/", body, MINE if who is None else who)


def path_of(index: str, artefact: Artefact) -> str:
    sha256 = hashlib.sha256(artefact.data).hexdigest()
    return f"{index}/+f/{sha256[:3]}/{sha256[3:16]}/{artefact.filename}"


def add_docs(server: App) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("index.html", "<h1>demo</h1>")
    form = {":action": "doc_upload", "name": "demo", "version": "1.0"}
    post(server, "alice/dev", form, {"content": ("demo.zip", buffer.getvalue())}, MINE)
    return buffer.getvalue()


def one(received: Received) -> dict[str, str]:
    """The fields that are there once."""
    return {name: values[0] for name, values in received.form()[0].items() if len(values) == 1}


# What is sent


def test_each_file_is_sent_as_twine_sends_it(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE, signature=b"PGP")
    upload(server, "alice/dev", SDIST, MINE)

    answer = push(server, sink)

    assert answer.status == 200
    assert answer.json == {
        "type": "actionlog",
        "result": [
            [200, "upload", path_of("alice/dev", WHEEL), ""],
            [200, "upload", path_of("alice/dev", SDIST), ""],
        ],
    }
    first, second = sink.received
    fields, files = first.form()
    assert files == {
        "content": (WHEEL.filename, WHEEL.data),
        "gpg_signature": (f"{WHEEL.filename}.asc", b"PGP"),
    }
    assert fields["requires_dist"] == ["x>1", "y"]
    sent = one(first)
    assert (
        sent.items()
        >= {
            ":action": "file_upload",
            "protocol_version": "1",
            "name": "demo",
            "version": "1.0",
            "metadata_version": WHEEL.metadata.decode().splitlines()[0].split(": ")[1],
            "requires_python": ">=3.8",
            "filetype": "bdist_wheel",
            "pyversion": "py3",
            "sha256_digest": hashlib.sha256(WHEEL.data).hexdigest(),
            "blake2_256_digest": hashlib.blake2b(WHEEL.data, digest_size=32).hexdigest(),
        }.items()
    )
    assert one(second).items() >= {"filetype": "sdist", "pyversion": "source"}.items()
    assert "requires_dist" not in second.form()[0]
    assert "gpg_signature" not in second.form()[1]
    credentials = b64encode(f"me:{SECRET}".encode()).decode()
    for received in sink.received:
        assert received.headers["authorization"] == f"Basic {credentials}"


def test_a_release_can_be_registered_first(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE, summary="a demo")

    answer = push(server, sink, register_project=True)

    assert answer.json["result"][0] == [200, "register", "demo", "1.0"]
    sent = one(sink.received[0])
    assert (sent[":action"], sent["name"], sent["summary"]) == ("submit", "demo", "a demo")
    assert one(sink.received[1])[":action"] == "file_upload"


def test_documentation_is_sent_unless_it_is_left_out(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    docs = add_docs(server)

    assert push(server, sink).json["result"][-1] == [200, "docfile", "demo"]
    fields, files = sink.received[-1].form()
    assert (fields[":action"], fields["name"]) == (["doc_upload"], ["demo"])
    assert files == {"content": ("demo.zip", docs)}
    assert len(push(server, sink, no_docs=True).json["result"]) == 1
    assert push(server, sink, only_docs=True).json["result"] == [[200, "docfile", "demo"]]


def test_results_of_tests_stay_here(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    server.request("POST", f"/{path_of('alice/dev', WHEEL)}", {"testenvs": {}})

    assert len(push(server, sink).json["result"]) == 1


def test_attestations_go_with_their_file(server: App, sink: Sink) -> None:
    sent = orjson.dumps([ATTESTATION]).decode()
    upload(server, "alice/dev", WHEEL, MINE, attestations=sent)
    push(server, sink)

    assert orjson.loads(one(sink.received[0])["attestations"]) == [ATTESTATION]


def test_a_file_goes_without_the_attestations_that_nobody_takes(server: App, sink: Sink) -> None:
    sent = orjson.dumps([ATTESTATION]).decode()
    upload(server, "alice/dev", WHEEL, MINE, attestations=sent)
    sink.answers = [Say(400, "Attestations are for trusted publishers"), Say()]

    answer = push(server, sink)

    (action,) = answer.json["result"]
    assert action[0] == 200
    assert action[3] == (
        "without its attestations, because: Attestations are for trusted publishers"
    )
    assert ["attestations" in one(each) for each in sink.received] == [True, False]


def test_a_release_of_a_mirror_is_fetched_and_sent(server: App, sink: Sink, up: Upstream) -> None:
    file = up.release("demo", "1.0", requires_python=">=3.9")

    assert push(server, sink, source="root/pypi").status == 200
    (received,) = sink.received
    assert received.form()[1]["content"] == (file.filename, file.data)
    sent = one(received)
    assert sent["requires_python"] == ">=3.9"
    assert sent["blake2_256_digest"] == hashlib.blake2b(file.data, digest_size=32).hexdigest()


def test_without_a_name_nobody_is_logged_in_there(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)

    assert push(server, sink, username=None, password=None).status == 200
    assert "authorization" not in sink.received[0].headers


def test_what_was_sent_can_be_sent_to_a_server_of_ours(app: Make, server: App, sink: Sink) -> None:
    """All that it was sent with arrives."""
    sent = orjson.dumps([ATTESTATION]).decode()
    upload(server, "alice/dev", WHEEL, MINE, signature=b"PGP", attestations=sent)
    push(server, sink, no_docs=True)
    server.add_index("alice/again")
    received = sink.received[0]
    headers = {"Content-Type": received.headers["content-type"], **MINE}

    answer = server("/alice/again/", headers, method="POST", body=received.body)

    assert answer.status == 200
    ours, theirs = (server.page("demo", f"/alice/{index}/+simple/") for index in ("dev", "again"))
    assert theirs == ours
    for ending in (".asc", ".metadata", ".provenance"):
        here, there = (server(f"/{path_of(f'alice/{index}', WHEEL)}{ending}")
                       for index in ("dev", "again"))  # fmt: skip
        assert (here.status, here.body) == (there.status, there.body) == (200, here.body)


# What is said


def test_a_file_that_is_refused_stops_no_other_and_the_push_has_failed(
    server: App, sink: Sink
) -> None:
    """Its reason is told; what went well is told, too."""
    upload(server, "alice/dev", WHEEL, MINE)
    upload(server, "alice/dev", SDIST, MINE)
    sink.answers = [Say(400, "File already exists")]

    answer = push(server, sink)

    assert answer.status == 502
    assert answer.json["result"] == [
        [400, "upload", path_of("alice/dev", WHEEL), "File already exists"],
        [200, "upload", path_of("alice/dev", SDIST), ""],
    ]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 429, 500, 503, 301])
def test_what_would_fail_again_is_not_tried(server: App, sink: Sink, status: int) -> None:
    """The files that were not sent have their lines, too."""
    upload(server, "alice/dev", WHEEL, MINE)
    upload(server, "alice/dev", SDIST, MINE)
    add_docs(server)
    sink.answers = [Say(status, "so it is")]

    answer = push(server, sink)

    assert answer.status == 502
    not_sent = "not sent, because of what failed before"
    assert answer.json["result"] == [
        [status, "upload", path_of("alice/dev", WHEEL), "so it is"],
        [424, "upload", path_of("alice/dev", SDIST), not_sent],
        [424, "docfile", "demo", not_sent],
    ]
    assert len(sink.received) == 1


def test_a_push_that_failed_can_be_done_again(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    upload(server, "alice/dev", SDIST, MINE)
    sink.answers = [Say(), Say(503, "busy")]

    assert push(server, sink).status == 502
    assert push(server, sink).status == 200


def test_a_server_that_is_not_there_is_told(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)

    answer = push(server, sink, posturl="http://127.0.0.1:9/")

    assert answer.status == 502
    ((status, what, path, text),) = answer.json["result"]
    assert (status, what, path) == (-1, "upload", path_of("alice/dev", WHEEL))
    assert "127.0.0.1:9 cannot be reached" in text


@pytest.mark.parametrize(("status", "ok"), [(410, True), (400, False), (403, False)])
def test_who_takes_no_registrations_is_sent_the_files(
    server: App, sink: Sink, status: int, ok: bool
) -> None:
    """410 is what PyPI says to them; anything else is a failure."""
    upload(server, "alice/dev", WHEEL, MINE)
    sink.answers = [Say(status, "no")]

    answer = push(server, sink, register_project=True)

    assert answer.status == (200 if ok else 502)
    assert [action[0] for action in answer.json["result"]] == [status, 200 if ok else 424]


def test_who_takes_no_documentation_is_no_failure(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    add_docs(server)
    sink.answers = [Say(), Say(410, "Gone")]

    assert push(server, sink).status == 200


def test_the_audit_trail_says_what_was_tried_and_what_came_of_it(server: App, sink: Sink) -> None:
    upload(server, "alice/dev", WHEEL, MINE)
    sink.answers = [Say(403, "no")]
    push(server, sink, posturl=f"{sink.url}?key={SECRET}")

    with server.services.meta.reading() as tables:
        done, tried = tables.audit.last(2)
    assert (tried.who, tried.action, tried.target) == ("alice", "publish", "alice/dev/demo/1.0")
    assert tried.detail == {"to": sink.url}
    assert (done.action, done.detail["ok"]) == ("published", False)
    assert done.detail["done"] == [[403, "upload", path_of("alice/dev", WHEEL), "no"]]


def test_the_password_is_written_nowhere(
    server: App, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    upload(server, "alice/dev", WHEEL, MINE)
    sink.answers = [Say(403, "no"), Say()]
    answers = [push(server, sink), push(server, sink)]
    answers.append(push(server, sink, posturl="http://127.0.0.1:9/"))

    encoded = b64encode(f"me:{SECRET}".encode()).decode()
    for secret in (SECRET, encoded):
        assert secret not in caplog.text
        for answer in answers:
            assert secret.encode() not in answer.body
        for path in server.datadir.rglob("*"):
            assert path.is_dir() or secret.encode() not in path.read_bytes()


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"posturl": None}, "a push needs a targetindex or a posturl"),
        ({"posturl": ""}, "a push needs a targetindex or a posturl"),
        ({"posturl": "ftp://x/"}, "posturl is not an address of http or https"),
        ({"posturl": "legacy"}, "posturl is not an address of http or https"),
        ({"posturl": "http://me:pw@127.0.0.1/"}, "posturl is to be an address alone"),
        ({"posturl": "http://127.0.0.1/\r\nX: y"}, "posturl of a push is a line of text"),
        ({"username": 1}, "username of a push is a line of text"),
        ({"register_project": 1}, "register_project of a push is true or false"),
        ({"version": "2.0"}, "there are no files for demo 2.0 on stage alice/dev"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(
    server: App, sink: Sink, options: dict[str, Any], message: str
) -> None:
    upload(server, "alice/dev", WHEEL, MINE)

    answer = push(server, sink, **options)

    assert (answer.status, sink.received) == (400, [])
    assert message in answer.json["message"]


def test_only_who_is_known_sends_to_others(server: App, sink: Sink) -> None:
    """Though anybody may read the release."""
    upload(server, "alice/dev", WHEEL, MINE)

    answer = push(server, sink, who={})

    assert (answer.status, sink.received) == (401, [])
    assert answer.json["message"] == "log in first to push to another server"


@pytest.mark.parametrize("user", ["root", "alice", "a token of root's"])
def test_only_root_pushes_into_a_private_network(app: Make, sink: Sink, user: str) -> None:
    server = app()
    server.request("PUT", "/alice", {"password": "pw"})
    server.add_index("alice/dev")
    upload(server, "alice/dev", WHEEL, MINE)
    root = basic("root", "")
    made = server.request("POST", "/root/+token-create", {"actions": ["read", "upload"]}, root)
    bearer = {"Authorization": f"Bearer {made.json['result']['token']}"}

    answer = push(server, sink, who={"root": root, "alice": MINE}.get(user, bearer))

    if user == "root":
        assert (answer.status, len(sink.received)) == (200, 1)
    else:
        assert (answer.status, sink.received) == (502, [])
        ((status, _, _, text),) = answer.json["result"]
        assert status == 403
        assert "is in a private network, where only root may push" in text
