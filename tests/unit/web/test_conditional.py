"""Conditional and range requests, example by example (RFC 9110)."""

from __future__ import annotations

import pytest

from devpi_server.web.conditional import UNSATISFIABLE, Span, is_held_by_client, span

TAG = "abc"
SIZE = 1000


@pytest.mark.parametrize(
    ("header", "held"),
    [
        (None, False),
        ("", False),
        ('"abc"', True),
        ('"xyz"', False),
        ('W/"abc"', True),
        ('"xyz", "abc"', True),
        ('"xyz","abc"', True),
        ('W/"xyz", W/"abc"', True),
        ('  "abc"  ', True),
        ("*", True),
        (" * ", True),
        ('"*"', False),
        ("abc", False),
        ('"abc', False),
        ('abc"', False),
        ('"ab"', False),
        ('"abcd"', False),
        ('"ABC"', False),
        ('""', False),
        ('"xyz, abc"', False),
        (',,, "abc",,', True),
    ],
)
def test_if_none_match(header: str | None, held: bool) -> None:
    """13.1.2: any of the tags, compared weakly, or the star."""
    assert is_held_by_client(header, TAG) is held


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-499", Span(0, 500)),
        ("bytes=500-999", Span(500, 1000)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=999-999", Span(999, 1000)),
        ("bytes=500-", Span(500, 1000)),
        ("bytes=0-", Span(0, 1000)),
        ("bytes=-1", Span(999, 1000)),
        ("bytes=-500", Span(500, 1000)),
        ("bytes=-1000", Span(0, 1000)),
        ("bytes=-5000", Span(0, 1000)),
        ("bytes=500-5000", Span(500, 1000)),
        ("bytes=0-999999999999999", Span(0, 1000)),
        ("BYTES=0-1", Span(0, 2)),
        ("  bytes=0-1  ", Span(0, 2)),
        ("bytes= 0-1", Span(0, 2)),
        ("bytes=007-008", Span(7, 9)),
        ("bytes=1000-", UNSATISFIABLE),
        ("bytes=1000-2000", UNSATISFIABLE),
        ("bytes=5000-6000", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE),
    ],
)
def test_one_range_is_that_part(header: str, expected: Span) -> None:
    """14.1.2: absolute, open-ended and suffix; what starts behind the end cannot be had."""
    assert span(header, None, TAG, SIZE) == expected


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-1",
        "bytes=0-1,5-6",
        "bytes=0-1, -1",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=1.0-2",
        "bytes=0x1-0x2",
        "bytes=1_0-2_0",
        "bytes=\u0661-\u0662",
        "bytes=\u00b2-5",
        "bytes=--5",
        "bytes=0-1\nX: y",
        "bytes=" + "9" * 16 + "-",
        "bytes=0-" + "9" * 5000,
        "lines=0-1",
        "items=0-1",
        "0-1",
    ],
)
def test_any_other_range_is_ignored(header: str | None) -> None:
    """14.2: several, invalid, of another unit, unreadable: the whole is a good answer (X05)."""
    assert span(header, None, TAG, SIZE) is None


@pytest.mark.parametrize(
    ("if_range", "counts"),
    [
        (None, True),
        ('"abc"', True),
        (' "abc" ', True),
        ('W/"abc"', False),
        ('"xyz"', False),
        ("abc", False),
        ("", False),
        ('"xyz", "abc"', False),
        ("Wed, 21 Oct 2015 07:28:00 GMT", False),
    ],
)
def test_if_range(if_range: str | None, counts: bool) -> None:
    """13.1.5: the range counts only for the very same version, compared strongly."""
    expected = Span(0, 2) if counts else None
    assert span("bytes=0-1", if_range, TAG, SIZE) == expected


def test_a_file_without_a_tag_has_no_version_to_compare() -> None:
    """Where no ETag was sent, none that a client sends is right."""
    assert span("bytes=0-1", '""', "", SIZE) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=5-9"])
def test_of_an_empty_file_there_is_no_part(header: str) -> None:
    """No first byte, no range."""
    assert span(header, None, TAG, 0) is UNSATISFIABLE
