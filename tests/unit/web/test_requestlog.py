"""What ``pypi-server`` logs of requests: in the formats of its options."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from server import environ_of

from devpi_server.errors import ConfigError
from devpi_server.web.pypiserver.requestlog import Formats, logged

USUAL = Formats("%(bottle.request)s", "%(status)s", "%(body)s: %(exception)s \n%(traceback)s")


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("404 Not Found", [("X-Own", "yes")])
    return [b""]


def told(formats: Formats, caplog: pytest.LogCaptureFixture, **environ: str) -> list[str]:
    caplog.set_level(logging.INFO)
    request = environ_of("/simple/", {}, "GET") | environ
    list(logged(app, formats)(request, lambda *_: None))
    return caplog.messages


def test_a_request_its_answer_and_its_refusal_make_a_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    request, answer, refusal = told(USUAL, caplog)

    assert "GET http://127.0.0.1/simple/" in request
    assert answer == "404 Not Found"
    assert refusal.startswith("Not Found: None")


def test_a_format_names_what_it_wants_or_wants_all(caplog: pytest.LogCaptureFixture) -> None:
    formats = Formats("%(REQUEST_METHOD)s %(HTTP_X_MISSING)s", "%(headers)s", "%s")
    request, answer, refusal = told(formats, caplog)

    assert request == "GET -"
    assert answer == "{'X-Own': 'yes'}"
    assert "'status': '404 Not Found'" in refusal


def test_no_request_forges_a_line(caplog: pytest.LogCaptureFixture) -> None:
    formats = Formats("%(PATH_INFO)s", "", "")

    assert told(formats, caplog, PATH_INFO="/a\nINFO forged")[0] == "/a\\nINFO forged"


def test_nobody_listens_and_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    list(logged(app, USUAL)(environ_of("/", {}, "GET"), lambda *_: None))

    assert caplog.messages == []


def test_what_is_no_format_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"--log-req-frmt: .*; --log-err-frmt: "):
        Formats("%(a", "%s", "%(a)z")
