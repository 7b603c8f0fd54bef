"""Which form and which encoding a client gets."""

from __future__ import annotations

import pytest

from devpi_server.simple.negotiate import Encoding, Form, encoding, form

JSON = "application/vnd.pypi.simple.v1+json"
HTML_V1 = "application/vnd.pypi.simple.v1+html"


@pytest.mark.parametrize(
    "accept",
    [
        f"{JSON}, {HTML_V1}; q=0.1, text/html; q=0.01",
        f"{JSON}, {HTML_V1};q=0.2, text/html;q=0.01",
        f"{JSON}, */*;q=0.1",
    ],
    ids=["pip", "uv", "poetry"],
)
def test_todays_installers_get_json(accept: str) -> None:
    """pip, PDM, uv and Poetry get JSON for the exact header that they send."""
    assert form(accept) is Form.JSON


@pytest.mark.parametrize("accept", [None, "", "*/*", "*/*;q=0.3", "text/*", "nonsense", ",;,=;q=1"])
def test_nothing_specific_gets_text_html(accept: str | None) -> None:
    """No Accept, */* and what nothing matches get text/html, as from PyPI."""
    assert form(accept) is Form.HTML


def test_a_browser_gets_text_html() -> None:
    """A browser's header names text/html, and that is what it gets."""
    assert form("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8") is Form.HTML


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"text/html;q=0.5, {JSON};q=0.4", Form.HTML),
        (f"text/html;q=0.4, {JSON};q=0.5", Form.JSON),
        (f"{HTML_V1};q=0.9, {JSON};q=0.899", Form.HTML_V1),
    ],
)
def test_the_highest_q_wins(accept: str, expected: Form) -> None:
    """q decides, not the order."""
    assert form(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"text/html, {HTML_V1}, {JSON}", Form.JSON),
        (f"text/html, {HTML_V1}", Form.HTML_V1),
        ("application/*", Form.JSON),
        ("text/*, application/*", Form.JSON),
    ],
)
def test_a_tie_goes_to_the_richer_form(accept: str, expected: Form) -> None:
    """On a tie JSON comes first and text/html last."""
    assert form(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*, text/html", Form.HTML),
        (f"*/*, {HTML_V1}", Form.HTML_V1),
        ("text/html;q=0.5, */*;q=0.8", Form.JSON),
        (f"application/*;q=0.9, {JSON};q=0.1, text/html;q=0.5", Form.HTML_V1),
        ("text/*;q=0.1, */*", Form.JSON),
    ],
)
def test_the_most_specific_range_sets_the_q_of_a_form(accept: str, expected: Form) -> None:
    """A named type overrides type/*, which overrides */*."""
    assert form(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{JSON};q=0, {HTML_V1}", Form.HTML_V1),
        (f"{JSON};q=0, application/*", Form.HTML_V1),
        ("text/html;q=0, */*", Form.JSON),
        (f"{JSON};q=0.000, text/html;q=0.001", Form.HTML),
    ],
)
def test_q_zero_means_never(accept: str, expected: Form) -> None:
    """A form with q=0 is not sent as long as another is acceptable."""
    assert form(accept) is expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/vnd.pypi.simple.latest+json", Form.JSON),
        ("application/vnd.pypi.simple.latest+html", Form.HTML_V1),
        ("Application/Vnd.PyPI.Simple.V1+JSON", Form.JSON),
        (f"{JSON};charset=utf-8;q=0.5, text/html;q=0.1", Form.JSON),
    ],
)
def test_latest_case_and_parameters_are_understood(accept: str, expected: Form) -> None:
    """ "latest" is version 1 today; case and unknown parameters mean nothing."""
    assert form(accept) is expected


@pytest.mark.parametrize("q", ["", ".", "x", "-1", "nan", "inf", "1e3", "0.5.5", "0" * 50, "٣"])
def test_an_element_with_a_malformed_q_is_left_out(q: str) -> None:
    """What has no readable q was not asked for."""
    assert form(f"{JSON};q={q}, text/html;q=0.1") is Form.HTML


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (JSON, Form.JSON),
        (JSON.replace("+", " "), Form.JSON),
        ("application/vnd.pypi.simple.latest json", Form.JSON),
        (HTML_V1, Form.HTML_V1),
        ("application/vnd.pypi.simple.latest+html", Form.HTML_V1),
        ("text/html", Form.HTML),
        ("text/html; charset=utf-8", Form.HTML),
    ],
)
def test_the_query_beats_the_header(wanted: str, expected: Form) -> None:
    """?format= decides, even where the query parser made a space of the plus."""
    opposite = "text/html" if expected is Form.JSON else JSON
    assert form(opposite, wanted) is expected


@pytest.mark.parametrize("wanted", ["", "json", "application/json", "\x00"])
def test_an_unknown_format_leaves_it_to_the_header(wanted: str) -> None:
    """A ?format= that names no form is as good as none."""
    assert form(JSON, wanted) is Form.JSON


def test_the_answer_names_the_real_type() -> None:
    """Each form says its own type, HTML with the charset that it is in."""
    assert [each.content_type for each in Form] == [JSON, HTML_V1, "text/html; charset=utf-8"]


@pytest.mark.parametrize(
    ("accept_encoding", "expected"),
    [
        (None, Encoding.IDENTITY),
        ("", Encoding.IDENTITY),
        ("br", Encoding.IDENTITY),
        ("identity", Encoding.IDENTITY),
        ("gzip, deflate", Encoding.GZIP),
        ("x-gzip", Encoding.GZIP),
        ("gzip, deflate, br, zstd", Encoding.ZSTD),
        ("GZIP;Q=0.5", Encoding.GZIP),
        ("zstd;q=0.5, gzip", Encoding.GZIP),
        ("zstd;q=0, gzip;q=0.1", Encoding.GZIP),
        ("gzip;q=0", Encoding.IDENTITY),
        ("*", Encoding.ZSTD),
        ("zstd;q=0, *", Encoding.GZIP),
        ("gzip, *;q=0.5", Encoding.GZIP),
        ("gzip, *;q=0", Encoding.GZIP),
        ("*;q=0", Encoding.IDENTITY),
        ("identity, gzip;q=0.5", Encoding.IDENTITY),
        ("identity;q=0.5, gzip;q=0.5", Encoding.GZIP),
        ("gzip;q=nonsense", Encoding.IDENTITY),
    ],
)
def test_the_best_encoding_that_is_acceptable(
    accept_encoding: str | None, expected: Encoding
) -> None:
    """q decides, zstd wins a tie, and what was not asked for is not encoded."""
    assert encoding(accept_encoding) is expected


def test_an_encoding_has_its_token() -> None:
    """The token is what Content-Encoding says."""
    assert [each.token for each in Encoding] == ["identity", "gzip", "zstd"]
