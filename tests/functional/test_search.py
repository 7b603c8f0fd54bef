"""XML-RPC ``search`` at an index, as pip asked until PyPI had none any more (devpi.md 1.12)."""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest
from server import App, Response
from uploading import basic, post
from upstream import Upstream

from devpi_server.names import project
from devpi_server.store.meta import Actor, Release

Make = Callable[..., App]
MINE = basic("alice", "pw")
BOB = basic("bob", "pw")
Hits = list[dict[str, Any]]


@pytest.fixture
def server(app: Make) -> App:
    server = app()
    server.request("PUT", "/alice", {"password": "pw"})
    server.request("PUT", "/bob", {"password": "pw"})
    server.add_index("alice/dev")
    return server


def register(server: App, name: str, version: str, summary: str, index: str = "alice/dev") -> None:
    form = {":action": "submit", "name": name, "version": version, "summary": summary}
    assert post(server, index, form, {}, MINE).status == 200


def ask(
    server: App,
    body: bytes,
    index: str = "alice/dev",
    who: dict[str, str] | None = None,
    path: str = "/{}",
) -> Response:
    headers = {"Content-Type": "text/xml", **(MINE if who is None else who)}
    return server(path.format(index), headers, method="POST", body=body)


def search(server: App, *arguments: object, **options: Any) -> Hits:
    body = xmlrpc.client.dumps(arguments, "search").encode()  # type: ignore[arg-type]
    answer = ask(server, body, **options)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/xml")
    ((hits,), _) = xmlrpc.client.loads(answer.body)
    return hits  # type: ignore[return-value]


def found(server: App, word: str, **options: Any) -> list[str]:
    return [hit["name"] for hit in search(server, {"name": word, "summary": word}, "or", **options)]


def said(server: App, body: bytes) -> tuple[int, str]:
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(ask(server, body).body)
    return caught.value.faultCode, caught.value.faultString


# What is found


def test_a_hit_has_what_pip_shows(server: App) -> None:
    register(server, "Demo_App", "1.0", "an old one")
    register(server, "Demo_App", "1.10", "a demo <of> search")
    register(server, "Demo_App", "2.0rc1", "not yet")

    (hit,) = search(server, {"name": ["demo"], "summary": ["demo"]}, "or")

    assert hit.pop("_pypi_ordering") > 0
    assert hit == {
        "name": "Demo_App",
        "version": "1.10",
        "summary": "[alice/dev] a demo <of> search",
    }


def test_names_and_summaries_are_searched_however_they_are_spelled(server: App) -> None:
    register(server, "Demo_App", "1.0", "Reads FILES")
    register(server, "other", "1.0", "")

    for word in ("demo-app", "DEMO.app", "o_a", "files", "ads f"):
        assert found(server, word) == ["Demo_App"], word
    assert found(server, "nothing") == []


def test_the_best_hits_are_first(server: App) -> None:
    for name, summary in (("my-demo", ""), ("demo-kit", ""), ("x", "demo"), ("demo", "")):
        register(server, name, "1.0", summary)

    assert found(server, "demo") == ["demo", "demo-kit", "my-demo", "x"]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (({"name": "demo", "summary": "red"}, "and"), ["demo-red"]),
        (({"name": "demo", "summary": "red"},), ["demo-red"]),
        (({"name": "demo", "summary": "red"}, "or"), ["demo-red", "demo-blue", "paint"]),
        (({"summary": "red"}, "and"), ["demo-red", "paint"]),
        (({"name": ["paint", "blue"]}, "and"), ["paint", "demo-blue"]),
        (({"name": "", "summary": []}, "or"), []),
        (({}, "or"), []),
    ],
)
def test_fields_are_joined_by_the_operator(
    server: App, arguments: tuple[object, ...], names: list[str]
) -> None:
    register(server, "demo-red", "1.0", "it is red")
    register(server, "demo-blue", "1.0", "it is blue")
    register(server, "paint", "1.0", "red and blue")

    assert {hit["name"] for hit in search(server, *arguments)} == set(names)


def test_bases_are_searched_and_the_first_index_wins(server: App) -> None:
    server.add_index("alice/app", bases=["alice/dev"])
    register(server, "demo", "1.0", "of the base")
    register(server, "demo", "0.5", "of its own", "alice/app")
    register(server, "demo-kit", "1.0", "")

    hits = search(server, {"name": "demo"}, index="alice/app")
    assert [(hit["version"], hit["summary"]) for hit in hits] == [
        ("0.5", "[alice/app] of its own"),
        ("1.0", "[alice/dev]"),
    ]


def test_what_a_mirror_holds_is_found_by_its_name(server: App, up: Upstream) -> None:
    """Unless the name was uploaded; and nobody is asked for it."""
    server.add_index("alice/app", bases=["root/pypi"])
    for name in ("demo-public", "demo-cold", "demo-own"):
        up.release(name, "1.0")
    for name in ("demo-public", "demo-own"):
        server.page(name)
    register(server, "demo-own", "1.0", "mine", "alice/app")
    up.clear()

    hits = search(server, {"name": "demo"}, index="alice/app")
    assert {hit["name"]: hit["summary"] for hit in hits} == {
        "demo-own": "[alice/app] mine",
        "demo-public": "[root/pypi]",
    }
    assert found(server, "public", index="root/pypi", who={}) == ["demo-public"]
    assert up.requests == []


def test_the_next_search_of_any_process_finds_what_is_new(app: Make, server: App) -> None:
    other = app()
    assert found(other, "demo") == []
    register(server, "demo", "1.0", "")

    assert found(other, "demo") == ["demo"]


def test_hits_are_limited_to_the_best(server: App) -> None:
    with server.services.meta.writing(Actor("alice", "test")) as tables:
        row = tables.indexes.get("alice/dev")
        assert row is not None
        for number in range(300):
            name = project(f"a-demo-{number}")
            tables.releases.put(row.id, Release(name, "1.0", {"description": "x" * 1000}))
    register(server, "demo", "1.0", "")

    names = found(server, "demo")
    assert (len(names), names[0]) == (100, "demo")


def test_text_that_xml_cannot_have_is_no_fault(server: App) -> None:
    register(server, "demo", "1.0", "bell \x07 and \ufffe")

    (hit,) = search(server, {"name": "demo"})
    assert hit["summary"] == "[alice/dev] bell \ufffd and \ufffd"


# Who may see it


def test_only_what_one_may_read_is_found(server: App) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    server.add_index("alice/app", bases=["alice/secret", "alice/dev"])
    register(server, "demo-secret", "1.0", "", "alice/secret")
    register(server, "demo", "1.0", "")

    assert found(server, "demo", index="alice/app") == ["demo", "demo-secret"]
    assert found(server, "demo", index="alice/app", who=BOB) == ["demo"]
    assert found(server, "demo", index="alice/app", who={}) == ["demo"]


@pytest.mark.parametrize(("who", "status"), [({}, 401), (BOB, 404), (MINE, 200)])
def test_a_closed_index_answers_its_readers_only(
    server: App, who: dict[str, str], status: int
) -> None:
    server.add_index("alice/secret", acl_read=["alice"])
    body = xmlrpc.client.dumps(({"name": "demo"},), "search").encode()

    assert ask(server, body, "alice/secret", who).status == status


def test_an_index_that_is_not_there_is_told_as_ever(server: App) -> None:
    assert ask(server, b"<x/>", "alice/nothing").status == 404


# What is no question


@pytest.mark.parametrize("path", ["/{}", "/{}/"])
@pytest.mark.parametrize("kind", ["text/xml", "text/xml; charset=utf-8", "Text/XML"])
def test_it_is_asked_by_posting_xml(server: App, path: str, kind: str) -> None:
    register(server, "demo", "1.0", "")
    body = xmlrpc.client.dumps(({"name": "demo"},), "search").encode()
    answer = server(path.format("alice/dev"), {"Content-Type": kind}, method="POST", body=body)

    assert b"demo" in answer.body


@pytest.mark.parametrize(
    ("method", "arguments", "fault"),
    [
        ("list_packages", (), "Unknown method 'list_packages'."),
        ("system.multicall", ([],), "Unknown method 'system.multicall'."),
        ("search", (), "search takes what to look for, and an operator"),
        ("search", ("demo",), "search takes what to look for, and an operator"),
        ("search", ({}, "or", 1), "search takes what to look for, and an operator"),
        ("search", ({}, "xor"), "Unknown operator 'xor'."),
        ("search", ({}, ["or"]), "Unknown operator \"['or']\"."),
        ("search", ({"author": "x"}, "or"), "Only 'name' and 'summary' allowed in query."),
        ("search", ({"name": 1}, "or"), "a word of a query is a text of up to 200 characters"),
        ("search", ({"name": "x" * 201},), "a word of a query is a text of up to 200 characters"),
        ("search", ({"name": ["x"] * 21},), "a query has up to 20 words a field"),
    ],
)
def test_another_question_is_answered_with_a_fault(
    server: App, method: str, arguments: tuple[object, ...], fault: str
) -> None:
    body = xmlrpc.client.dumps(arguments, method).encode()  # type: ignore[arg-type]

    assert said(server, body) == (1, fault)


CALL = (
    b"<methodCall><methodName>search</methodName><params><param><value>%s</value></param>"
    b"</params></methodCall>"
)
BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no xml",
        b"<html></html>",
        b"<methodCall>",
        b"<methodResponse><params/></methodResponse>",
        CALL % b"<int>x</int>",
        BOMB + b"<methodCall><methodName>&b;</methodName><params/></methodCall>",
        b"<methodCall>" + b"<value>" * 50 + b"</value>" * 50 + b"</methodCall>",
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_question_is_answered_with_a_fault(server: App, body: bytes) -> None:
    code, text = said(server, body)

    assert code == 1
    assert text.startswith("the request ")


def test_a_question_without_end_is_not_read(server: App) -> None:
    assert ask(server, b"<methodCall>" + b" " * 65_600).status == 413
