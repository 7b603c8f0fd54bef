"""Errors as clients see them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import bottle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from devpi_server import errors
from devpi_server.errors import DevpiError
from devpi_server.web.plugins import STATUS, ErrorsPlugin, failure, reason, status_of

PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)


def kinds(root: type[DevpiError] = DevpiError) -> Iterator[type[DevpiError]]:
    """Every class of the tree."""
    for kind in root.__subclasses__():
        if kind.__module__.startswith("devpi_server"):
            yield kind
            yield from kinds(kind)


def made(kind: type[DevpiError]) -> DevpiError:
    """An error of this class, whatever its constructor wants."""
    error = kind.__new__(kind)
    error.message = "no"
    if issubclass(kind, errors.UpstreamError):
        error.retry_after = None  # type: ignore[attr-defined]
    return error


def asked_with(accept: str | None) -> None:
    """Let the current request be one with this Accept."""
    environ = {"PATH_INFO": "/x", "wsgi.input": io.BytesIO()}
    if accept is not None:
        environ["HTTP_ACCEPT"] = accept
    bottle.request.bind(environ)


@pytest.mark.parametrize("kind", sorted(kinds(), key=lambda kind: kind.__name__))
def test_every_error_has_a_status(kind: type[DevpiError]) -> None:
    """Each class is in the table, or has a parent there that is not the root."""
    assert any(parent in STATUS for parent in kind.__mro__)
    assert 400 <= status_of(made(kind)) < 600


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.NoSuchProject("x"), 404),
        (errors.NoSuchIndex("x"), 404),
        (errors.NoSuchFile("x"), 404),
        (errors.InvalidName("x"), 404),
        (errors.Refused("x"), 400),
        (errors.TooManyAttempts("x", retry_after=2), 429),
        (errors.InvalidForm("x"), 400),
        (errors.InvalidArtefact("x"), 400),
        (errors.DigestMismatch("x"), 400),
        (errors.TooLarge("x"), 413),
        (errors.Unreachable("x"), 502),
        (errors.Corrupt("x"), 502),
        (errors.Failed("x"), 502),
        (errors.Failed("x", retry_after=3), 503),
        (errors.Denied("x"), 502),
        (errors.Denied("x", retry_after=3), 503),
        (errors.TimedOut("x"), 504),
        (errors.Overloaded("x", retry_after=2), 503),
        (errors.StoreError("x"), 503),
        (errors.Full("x"), 507),
        (errors.ConfigError(["x"]), 503),
        (DevpiError("x"), 503),
    ],
)
def test_the_status_says_whose_fault_it_is(error: DevpiError, status: int) -> None:
    """ "Not there" is 404, "cannot tell" is never."""
    assert status_of(error) == status


def test_an_upstream_error_is_never_an_absence() -> None:
    """ARCHITECTURE 1.6, for every class of the branch."""
    for kind in kinds(errors.UpstreamError):
        assert status_of(made(kind)) >= 500


@pytest.mark.parametrize(
    ("message", "phrase"),
    [
        ("no project x", "no project x"),
        ("a\r\nSet-Cookie: b", "a Set-Cookie: b"),
        ("a\0b\x7fc\td", "a b c d"),
        ("größer", "gr er"),
        ("\u4f60", ""),
        ("x" * 500, "x" * 200),
        ("", ""),
    ],
)
def test_a_reason_is_one_line_of_ascii(message: str, phrase: str) -> None:
    """S07: what pip and twine show splits no header."""
    assert reason(message) == phrase


@given(st.text(max_size=300))
def test_any_message_makes_a_status_line(message: str) -> None:
    """Printable ASCII, no blank at its ends, of bounded length."""
    phrase = reason(message)
    assert phrase.isascii()
    assert phrase.isprintable()
    assert phrase == phrase.strip()
    assert len(phrase) <= 200


@example("\ud800", None)
@example("\ud800", "application/json")
@given(st.text(st.characters(), max_size=50), st.sampled_from([None, PIP, "application/json"]))
def test_any_message_makes_an_answer(message: str, accept: str | None) -> None:
    """Whatever a name or a URL in it looks like; the length is that of the body."""
    asked_with(accept)
    response = failure(404, message)
    assert response.status_code == 404
    assert int(response.get_header("Content-Length")) == len(response.body)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
        (PIP, "text/plain; charset=utf-8"),
        ("text/html", "text/plain; charset=utf-8"),
        ("application/json", "application/json"),
        ("application/json; q=0.5, */*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        (f"{PIP}, application/problem+json;q=0.001", "application/problem+json"),
    ],
)
def test_the_body_is_in_the_form_that_the_client_reads(
    accept: str | None, content_type: str
) -> None:
    """A line for pip and people, ``message`` for devpi-client, a problem for uv."""
    asked_with(accept)
    response = failure(404, "no project größer", 7)
    assert response.get_header("Content-Type") == content_type
    assert response.status_line == "404 no project gr er"
    body = response.body.decode()
    if content_type == "application/json":
        assert json.loads(body) == {"message": "no project größer"}
    elif content_type == "application/problem+json":
        problem = {"status": 404, "title": "Not Found", "detail": "no project größer"}
        assert json.loads(body) == problem
    else:
        assert body == "no project größer\n"


def test_an_error_is_kept_by_nobody_and_sniffed_by_none() -> None:
    """C05: ``no-store``; and Retry-After only where there is one."""
    asked_with(None)
    response = failure(503, "busy", 7)
    assert response.get_header("Cache-Control") == "no-store"
    assert response.get_header("X-Content-Type-Options") == "nosniff"
    assert response.get_header("Retry-After") == "7"
    assert failure(503, "busy").get_header("Retry-After") is None


def test_the_plugin_turns_our_errors_into_answers(caplog: pytest.LogCaptureFixture) -> None:
    """With status, reason and Retry-After; the log has faults, not absences."""
    asked_with(None)

    def answer(error: Exception) -> object:
        def handler() -> object:
            raise error

        return ErrorsPlugin().apply(handler, None)()

    with caplog.at_level(logging.WARNING):
        absent = answer(errors.NoSuchProject("no project x"))
        assert caplog.text == ""
        busy = answer(errors.Overloaded("too many", retry_after=2))
        assert "too many" in caplog.text
    assert isinstance(absent, bottle.HTTPResponse)
    assert isinstance(busy, bottle.HTTPResponse)
    assert (absent.status_line, busy.status_line) == ("404 no project x", "503 too many")
    assert busy.get_header("Retry-After") == "2"
    with pytest.raises(ZeroDivisionError):
        answer(ZeroDivisionError())


def test_the_plugin_leaves_good_answers_alone() -> None:
    """What a handler returns is what the client gets."""
    handler = ErrorsPlugin().apply(lambda name: f"hello {name}", None)
    assert handler(name="you") == "hello you"
