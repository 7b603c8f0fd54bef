"""Scopes of API tokens: what they allow, and how they are written down."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.errors import BadRequest
from devpi_server.names import NormalizedName
from devpi_server.services.scopes import Scope, from_json, scope

DEMO, OTHER = NormalizedName("demo"), NormalizedName("other")


def test_an_action_does_not_contain_the_other() -> None:
    reading, both = scope("read"), scope("read,upload")

    assert reading.allows("read", "a/b", DEMO)
    assert not reading.allows("upload", "a/b", DEMO)
    assert not scope("upload").allows("read", "a/b", DEMO)
    assert both.allows("read", "a/b", DEMO)
    assert both.allows("upload", "a/b", DEMO)


def test_what_is_neither_reading_nor_uploading_is_for_no_token() -> None:
    assert not scope("read,upload").allows("delete", "a/b", DEMO)


def test_an_index_is_meant_to_the_letter() -> None:
    narrow = scope("read", "alice/dev, alice/prod")

    assert narrow.allows("read", "alice/dev")
    assert narrow.allows("read", "alice/prod")
    for index in ("alice/de", "alice/dev2", "alice", "Alice/dev", "bob/dev", "*", ""):
        assert not narrow.allows("read", index)


def test_a_star_is_every_index() -> None:
    assert scope("read", "*").allows("read", "any/where")
    assert scope("read", ["alice/dev", "*"]) == scope("read")


def test_a_token_for_projects_is_for_no_index_as_a_whole() -> None:
    """A list of projects tells of others."""
    narrow = scope("read", "*", "Demo")

    assert narrow.allows("read", "a/b", DEMO)
    assert not narrow.allows("read", "a/b", OTHER)
    assert not narrow.allows("read", "a/b")
    assert scope("read").allows("read", "a/b")


def test_a_token_for_projects_reaches_an_index_with_some_of_them() -> None:
    narrow = scope("upload", "a/b", "demo")

    assert narrow.reaches("upload", "a/b")
    assert not narrow.reaches("read", "a/b")
    assert not narrow.reaches("upload", "a/c")
    assert not narrow.allows("upload", "a/b")


def test_words_may_stand_in_one_text_or_in_several() -> None:
    expected = Scope(
        frozenset(["read", "upload"]), ("a/b", "c/d"), (DEMO, NormalizedName("my-lib"))
    )

    assert scope("upload, read", "c/d a/b", "My_Lib,demo") == expected
    assert scope(["read", "upload"], ["a/b", "c/d", "a/b"], ["my.lib", "demo"]) == expected
    assert scope(["read upload"], ["a/b,c/d"], ["my-lib, DEMO"]) == expected


WRONG = [
    (("delete",), 'a token allows read or upload, not "delete"'),
    (("Read",), 'a token allows read or upload, not "Read"'),
    (([],), "a token has to allow something: read or upload"),
    (("read", []), 'a token has to be for some index: user/index, or "*" for all'),
    (("read", "alice"), '"alice" is not the name of an index, as user/index'),
    (("read", "alice/*"), '"alice/*" is not the name of an index, as user/index'),
    (("read", "a/b/c"), '"a/b/c" is not the name of an index, as user/index'),
    (("read", "a/+simple"), '"a/+simple" is not the name of an index, as user/index'),
    (("read", "/b"), '"/b" is not the name of an index, as user/index'),
    (("read", "a/b\0"), '"a/b\0" is not the name of an index, as user/index'),
    (("read", "*", "../x"), '"../x" is not a valid project name'),
    (("read", "*", ["demo", "-"]), '"-" is not a valid project name'),
    (("read", "*", ["demo", "x" * 5000]), f'"{"x" * 100}" is not a valid project name'),
    (("read", [f"a/{n}" for n in range(101)]), "no more than 100 words of a kind"),
    (("read", "*", ",".join(f"p{n}" for n in range(101))), "no more than 100 words of a kind"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_a_wrong_word_is_told(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        scope(*words)

    assert message in caught.value.message


@pytest.mark.parametrize("nothing", ["", " ", ",", [""], ["demo", ""]])
def test_an_empty_word_does_not_lift_a_restriction(nothing: str | list[str]) -> None:
    """``--project "$PROJECT"`` in a script, where the variable is not set."""
    for words in ((nothing,), ("read", nothing), ("read", "*", nothing)):
        with pytest.raises(BadRequest, match="a word of the token's scope is empty"):
            scope(*words)


def test_what_json_leaves_out_is_not_restricted() -> None:
    assert from_json({"actions": ["read"]}) == scope("read")
    assert from_json({"actions": ["read"], "indexes": ["a/b"]}) == scope("read", "a/b")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "is an object"),
        ([], "is an object"),
        ("read", "is an object"),
        ({}, "a token has to allow something"),
        ({"actions": "read"}, '"actions" of a token\'s scope is a list of words'),
        ({"actions": ["read"], "projects": None}, '"projects" of a token\'s scope is a list'),
        ({"actions": ["read"], "projects": [1]}, '"projects" of a token\'s scope is a list'),
        ({"actions": ["read"], "project": ["demo"]}, 'has no "project"'),
        ({"actions": ["read"], "not_before": ["2030"]}, 'has no "not_before"'),
        ({"actions": ["read"], 5: []}, 'has no "5"'),
    ],
)
def test_json_that_is_not_understood_restricts_nothing_so_it_is_refused(
    document: object, message: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        from_json(document)

    assert message in caught.value.message


segments = st.text("abc-._@", min_size=1, max_size=5)
scopes = st.builds(
    scope,
    st.lists(st.sampled_from(["read", "upload"]), min_size=1),
    st.lists(st.one_of(st.just("*"), st.builds("{}/{}".format, segments, segments)), min_size=1),
    st.lists(st.from_regex(r"[a-zA-Z]([a-z._-]*[0-9])?", fullmatch=True)),
)
documents = st.recursive(
    st.one_of(st.none(), st.text(max_size=8), st.integers()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["actions", "indexes", "projects", "x"]), inner),
    ),
)


@given(scopes)
def test_any_scope_survives_json(one: Scope) -> None:
    assert from_json(json.loads(json.dumps(one.to_json()))) == one


@given(documents)
def test_any_document_is_a_scope_or_a_bad_request(document: object) -> None:
    try:
        found = from_json(document)
    except BadRequest:
        return
    assert found.actions
    assert found.indexes
