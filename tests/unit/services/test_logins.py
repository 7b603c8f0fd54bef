"""Login tokens: whose they are, and when they are over."""

from __future__ import annotations

import string

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.services import apitokens
from devpi_server.services.logins import Login, LoginTokens, looks_like

SECRET = b"s" * 32
NOW = 1_700_000_000.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def tokens(clock: FakeClock) -> LoginTokens:
    return LoginTokens(SECRET, 36000.0, clock)


def test_a_token_says_what_it_was_issued_for(tokens: LoginTokens) -> None:
    mark = tokens.mark("2026-11-01", "$argon2id$x")

    assert tokens.read(tokens.issue("alice", mark)) == Login("alice", mark, NOW, NOW + 36000)


def test_a_token_is_over_when_its_lifetime_is(tokens: LoginTokens, clock: FakeClock) -> None:
    token = tokens.issue("alice", "m")

    clock.advance(35999)
    assert tokens.read(token) is not None
    clock.advance(1)
    assert tokens.read(token) is None


def test_a_lifetime_that_was_shortened_counts_for_old_tokens(clock: FakeClock) -> None:
    token = LoginTokens(SECRET, 36000.0, clock).issue("alice", "m")
    shortened = LoginTokens(SECRET, 60.0, clock)

    login = shortened.read(token)
    assert login is not None
    assert login.expires == NOW + 60
    clock.advance(60)
    assert shortened.read(token) is None


def test_a_lifetime_that_was_made_longer_brings_no_token_back(clock: FakeClock) -> None:
    token = LoginTokens(SECRET, 60.0, clock).issue("alice", "m")
    clock.advance(60)

    assert LoginTokens(SECRET, 36000.0, clock).read(token) is None


def test_a_token_from_the_future_is_none(tokens: LoginTokens, clock: FakeClock) -> None:
    """Issued while the clock was wrong, it would live for years; a little ahead is fine."""
    clock.advance(300)
    slightly = tokens.issue("alice", "m")
    clock.advance(1)
    far = tokens.issue("alice", "m")
    clock.now = NOW

    assert tokens.read(slightly) is not None
    assert tokens.read(far) is None


def test_another_process_with_the_same_secret_reads_it(clock: FakeClock) -> None:
    one, other = LoginTokens(SECRET, 60.0, clock), LoginTokens(SECRET, 60.0, clock)

    assert one.mark("a", "b") == other.mark("a", "b")
    assert other.read(one.issue("alice", "m")) is not None


def test_another_secret_reads_nothing(tokens: LoginTokens, clock: FakeClock) -> None:
    other = LoginTokens(b"t" * 32, 36000.0, clock)

    assert other.read(tokens.issue("alice", "m")) is None
    assert other.mark("a") != tokens.mark("a")


def test_a_mark_is_another_for_every_other_state(tokens: LoginTokens) -> None:
    """A05: another password, or a user made anew, ends the tokens; also where parts are shifted."""
    states = [("made", "hash"), ("made", "hash2"), ("made2", "hash"), ("madeh", "ash"), ("made",)]

    marks = {tokens.mark(*state) for state in states}

    assert len(marks) == len(states)
    assert {len(mark) for mark in marks} == {20}


def test_a_token_tells_nothing_of_the_password_or_its_hash(tokens: LoginTokens) -> None:
    assert "argon2" not in tokens.issue("alice", tokens.mark("2026", "$argon2id$secret"))


@pytest.mark.parametrize(
    "text", ["", "secret", "dpsl_", "dpsl_x", "dpsl_ü.x", "devpi-x", "a.b.c", "\ud800", "\0"]
)
def test_a_password_is_no_token(text: str, tokens: LoginTokens) -> None:
    assert not looks_like(text)
    assert tokens.read(text) is None


def test_tokens_of_both_kinds_and_macaroons_are_told_apart(tokens: LoginTokens) -> None:
    """devpi-client takes what starts with "devpi-" or "pypi-" for a macaroon."""
    login, api = tokens.issue("alice", "m"), apitokens.new().text

    assert (looks_like(login), looks_like(api)) == (True, False)
    assert (apitokens.looks_like(login), apitokens.looks_like(api)) == (False, True)
    assert apitokens.parse(login) is None
    assert tokens.read(api) is None
    assert not login.startswith(("devpi-", "pypi-"))


def test_a_token_can_stand_in_a_header_and_a_url(tokens: LoginTokens) -> None:
    token = tokens.issue("grün " * 30, "m")

    assert set(token) <= set(string.ascii_letters + string.digits + "-_.")


def test_megabytes_are_not_even_looked_at(tokens: LoginTokens) -> None:
    assert tokens.read("dpsl_" + "a" * 10**6 + "." + "a" * 43) is None


any_text = st.text(st.characters(), max_size=100)
# No name has the half of a pair of surrogates, which no UTF-8 can say.
any_name = st.text(st.characters(codec="utf-8"), max_size=100)
TOKENS = LoginTokens(SECRET, 36000.0, FakeClock(NOW))


@given(any_name, st.lists(any_text.filter(str.isprintable), max_size=3))
def test_any_user_comes_back(user: str, state: list[str]) -> None:
    mark = TOKENS.mark(*state)
    token = TOKENS.issue(user, mark)

    assert looks_like(token)
    assert TOKENS.read(token) == Login(user, mark, NOW, NOW + 36000)


@given(st.one_of(any_text, any_text.map("dpsl_{}".format)))
def test_garbage_is_no_token_and_no_error(text: str) -> None:
    assert TOKENS.read(text) is None


@given(st.data())
def test_a_token_with_one_other_character_is_none(data: st.DataObject) -> None:
    token = TOKENS.issue("alice", "mark")
    at = data.draw(st.integers(0, len(token) - 2))  # the last one has bits that mean nothing
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_."))

    changed = token[:at] + other + token[at + 1 :]

    assert changed == token or TOKENS.read(changed) is None
