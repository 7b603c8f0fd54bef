"""API tokens: their form, and what is stored of them."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.services import apitokens
from devpi_server.services.apitokens import looks_like, matches, new, parse

LETTERS = string.ascii_letters + string.digits


def test_a_new_token_is_found_by_its_id_and_proved_by_its_hash() -> None:
    token = new()

    assert parse(token.text) == (token.id, token.text[17:60])
    assert matches(token.hash, token.text[17:60])
    assert not matches(token.hash, new().text[17:60])


def test_no_two_tokens_are_alike() -> None:
    tokens = [new() for _ in range(50)]

    for part in zip(*tokens, strict=True):
        assert len(set(part)) == 50


def test_what_is_stored_leads_to_no_token() -> None:
    token = new()

    assert re.fullmatch("[0-9a-f]{64}", token.hash)
    assert not matches(token.hash, token.hash)


def test_the_text_is_not_in_the_representation() -> None:
    """X07: what lands in a log or a traceback."""
    token = new()

    assert token.text[17:60] not in repr(token)


def test_a_scanner_for_secrets_finds_it_by_the_documented_expression() -> None:
    (expression,) = re.findall(r"^    (\(\?.*)$", apitokens.__doc__ or "", re.MULTILINE)
    text = new().text

    for around in (f"password = {text}", f"https://__token__:{text}@host/", f'"{text}"'):
        assert re.search(expression, around)
    assert not re.search(expression, f"{text}0")
    assert not re.search(expression, f"x{text}")


def test_devpi_client_does_not_take_it_for_a_macaroon() -> None:
    assert not new().text.startswith(("devpi-", "pypi-"))


def test_the_checksum_is_a_crc_in_base_62() -> None:
    """As GitHub does it; the CRC-32 of 55 noughts is 0xFF201A6."""
    assert parse("dpsv_" + "0" * 55 + "0I6TkU") == ("0" * 12, "0" * 43)


@pytest.mark.parametrize("cut", [0, 4, 5, 17, 60, 65])
def test_a_token_that_was_cut_off_is_none(cut: int) -> None:
    text = new().text

    assert parse(text[:cut]) is None
    assert parse(text[cut:]) is None or cut == 0


@pytest.mark.parametrize(
    "text", ["", "secret", "dpsv_", "dpsv_" + "0" * 61, "devpi-AgEI", "\ud800"]
)
def test_what_was_never_issued_is_none(text: str) -> None:
    assert parse(text) is None


def test_what_is_meant_to_be_a_token_is_no_password() -> None:
    """A broken token is not tried as one, which would cost an argon2."""
    text = new().text

    assert looks_like(text)
    assert looks_like(text[:30])
    assert not looks_like("secret")


@given(st.text(st.characters(), max_size=80))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert parse(text) is None
    assert parse(f"dpsv_{text}") is None
    assert not matches(text.encode("utf-8", "replace").hex(), text)


@given(st.data())
def test_one_other_character_breaks_the_checksum(data: st.DataObject) -> None:
    text = new().text
    at = data.draw(st.integers(5, len(text) - 1))
    other = data.draw(st.sampled_from(LETTERS))

    changed = text[:at] + other + text[at + 1 :]

    assert changed == text or parse(changed) is None
