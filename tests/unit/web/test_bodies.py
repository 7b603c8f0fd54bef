"""JSON comes in whole, or is refused in one line."""

from __future__ import annotations

from collections.abc import Iterator

import bottle
import pytest
from formdata import request

from devpi_server.errors import BadRequest, DevpiError, TooLarge
from devpi_server.web import bodies


def sent(body: object, **environ: object) -> object:
    """What is found in a request with this body."""
    bottle.request.bind(request(body, "application/json", **environ))  # type: ignore[arg-type]
    return bodies.json_body(limit=1000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"{}", {}),
        (b' {"a": ["\xc3\xa4"]}\n', {"a": ["ä"]}),
        (b'["bases=a/b"]', ["bases=a/b"]),
        (b"null", None),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_json_is_read_whatever_it_is(text: bytes, value: object) -> None:
    assert sent(text) == value


def test_the_content_type_is_not_asked() -> None:
    """curl -d calls everything a form."""
    assert sent(b"{}", CONTENT_TYPE="application/x-www-form-urlencoded") == {}


@pytest.mark.parametrize("body", [b"", b" \n", b"{", b"{'a': 1}", b'"\xff"', b"[NaN]", b"{}{}"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(body)

    assert "\n" not in caught.value.message


@pytest.mark.parametrize("length", ["11", "-1", "²", None])
def test_a_body_that_is_not_as_long_as_it_says_is_refused(length: str | None) -> None:
    with pytest.raises(BadRequest):
        sent(b'{"a": "b"}', CONTENT_LENGTH=length)


@pytest.mark.parametrize("told", [True, False])
def test_a_body_beyond_the_limit_is_not_read_to_its_end(told: bool) -> None:
    def endless() -> Iterator[bytes]:
        yield b'["' + b"x" * 998
        yield b"x"
        pytest.fail("it goes on reading")

    ends = {"CONTENT_LENGTH": "1001"} if told else {"wsgi_input_terminated": True}
    with pytest.raises(TooLarge):
        sent(endless(), **ends)


def test_a_bomb_of_brackets_is_refused() -> None:
    with pytest.raises(DevpiError):
        sent(b"[" * 1000)
