"""Credentials in headers: what is read, and what is none (A08, S07)."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.web.credentials import Credentials, Unreadable, credentials


def encoded(text: str | bytes) -> str:
    return b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def devpi(text: str | bytes) -> dict[str, object]:
    return {"HTTP_X_DEVPI_AUTH": encoded(text)}


def basic(text: str | bytes) -> dict[str, object]:
    return {"HTTP_AUTHORIZATION": f"Basic {encoded(text)}"}


def standard(header: str) -> dict[str, object]:
    return {"HTTP_AUTHORIZATION": header}


ALICE = Credentials("alice", "secret")


def test_a_request_without_such_headers_has_no_credentials() -> None:
    assert credentials({}) is None
    assert credentials({"HTTP_AUTHORIZATION": "", "HTTP_X_DEVPI_AUTH": " "}) is None


@pytest.mark.parametrize("header", [devpi, basic])
@pytest.mark.parametrize(
    ("text", "user", "password"),
    [
        ("alice:secret", "alice", "secret"),
        ("alice:", "alice", ""),
        (":secret", "", "secret"),
        ("alice:a:b:", "alice", "a:b:"),
        ("alice: x ", "alice", " x "),
        ("größe:pässwörd", "größe", "pässwörd"),
        ("a:你好😀", "a", "你好😀"),
        ("größe:pässwörd".encode("latin-1"), "größe", "pässwörd"),
    ],
)
def test_user_and_password_are_on_both_sides_of_the_first_colon(
    header: object, text: str | bytes, user: str, password: str
) -> None:
    """In UTF-8, as RFC 7617 would have it, or in Latin-1, as pip sends it."""
    assert callable(header)
    assert credentials(header(text)) == Credentials(user, password)


def test_what_devpi_client_sends_goes_before_the_standard_header() -> None:
    both = devpi("alice:secret") | basic("bob:other")

    assert credentials(both) == ALICE
    assert isinstance(credentials(both | {"HTTP_X_DEVPI_AUTH": "?"}), Unreadable)


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic ", "  Basic"])
def test_the_scheme_may_be_written_in_any_way(scheme: str) -> None:
    assert credentials(standard(f"{scheme} {encoded('alice:secret')} ")) == ALICE


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token", "token", "token  "])
def test_a_token_without_a_name_is_that_of_the_user_for_tokens(scheme: str) -> None:
    """Warehouse takes both words."""
    assert credentials(standard(f"{scheme} dpsv_x")) == Credentials("__token__", "dpsv_x")


UNREADABLE = [
    standard("Basic"),
    standard("Basic alice:secret"),
    standard(f"Basic {encoded('alice:secret')}!"),
    standard(f"Basic {encoded('alice:secret').rstrip('=')[:-1]}"),
    standard(f"Basic {encoded('alice:secret')}, Basic {encoded('bob:x')}"),
    standard("Basic YWxp\nY2U6c2VjcmV0"),
    standard("Basic ééé"),
    standard("Bearer"),
    standard("Bearer a b"),
    standard("Bearer a\0b"),
    standard("Bearer ü"),
    standard("Negotiate YII="),
    standard("Digest username=alice"),
    standard("\ud800"),
    standard("x" * 9000),
    basic("alice"),
    basic(""),
    basic("x" * 9000 + ":"),
    basic("al\0ice:x"),
    basic("alice:x\r\nSet-Cookie: a"),
    basic("alice:x\x7f"),
    basic(b"alice:\xc2\x85"),
    basic(b"alice:\xff\x85"),
    devpi("alice"),
    devpi("alice:\t"),
    {"HTTP_X_DEVPI_AUTH": "alice:secret"},
    {"HTTP_X_DEVPI_AUTH": "Basic " + encoded("alice:secret")},
]


@pytest.mark.parametrize("environ", UNREADABLE, ids=repr)
def test_what_cannot_be_read_is_told_from_what_was_not_given(environ: dict[str, object]) -> None:
    found = credentials(environ)

    assert isinstance(found, Unreadable)
    assert found.reason.isascii()
    assert "secret" not in found.reason


def test_the_longest_password_fits() -> None:
    assert credentials(basic("alice:" + "x" * 4096)) == Credentials("alice", "x" * 4096)


def test_a_password_is_not_in_the_representation() -> None:
    """X07: what lands in a log or a traceback."""
    assert "secret" not in repr(credentials(basic("alice:secret")))
    assert "dpsv_x" not in repr(credentials(standard("Bearer dpsv_x")))


printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=50)


@given(printable.filter(lambda user: ":" not in user), printable, st.sampled_from([devpi, basic]))
def test_any_name_and_password_come_back(user: str, password: str, header: object) -> None:
    assert callable(header)
    assert credentials(header(f"{user}:{password}")) == Credentials(user, password)


headers = st.one_of(
    st.text(st.characters(), max_size=60),
    st.builds("{} {}".format, st.sampled_from(["Basic", "Bearer", "token"]), st.text(max_size=60)),
    st.binary(max_size=60).map(lambda content: f"Basic {encoded(content)}"),
)


@given(headers, headers)
def test_any_header_is_read_or_is_not(one: str, other: str) -> None:
    found = credentials({"HTTP_X_DEVPI_AUTH": one, "HTTP_AUTHORIZATION": other})

    assert found is None or isinstance(found, Credentials | Unreadable)
