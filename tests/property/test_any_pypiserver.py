"""``pypi-server`` takes what it gets, or says what is wrong with it: whatever it is."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devpi_server.errors import BadRequest, ConfigError
from devpi_server.pypiserver_options import WORDS
from devpi_server.pypiserver_settings import RunSettings, UpdateSettings, read
from devpi_server.upstream import xmlrpc
from devpi_server.web.pypiserver import answers

FLAGS = [flag for word in WORDS for flag in word.flags]
TEXTS = ["", ".", "run", "update", "-U", "-Ux", "-vv", "8080", "x", "update,list", "--", "off", "é"]
PIECES = (
    *("<methodName>", "</methodName>", "<string>", "</string>", "<a>", "</a>", "search", "&amp;"),
    *("<!DOCTYPE a>", "<?xml version='1.0'?>", "\0", "&x;"),
)
XML = st.lists(st.sampled_from(PIECES)).map(lambda parts: "".join(parts).encode())


@given(words=st.lists(st.sampled_from(FLAGS + TEXTS), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_command_line_means_something_or_is_faulty(words: list[str], tmp_path: Path) -> None:
    with suppress(ConfigError):
        found = read([*words, "--fallback-url=http://h/", "-r", str(tmp_path)])
        assert isinstance(found, RunSettings | UpdateSettings)


@pytest.mark.parametrize("question", [xmlrpc.question, xmlrpc.loose_question])
@given(document=st.binary(max_size=200) | XML)
def test_any_document_is_a_question_or_none(question: object, document: bytes) -> None:
    assert callable(question)
    with suppress(BadRequest):
        method, _ = question(document)
        assert isinstance(method, str)


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_whatever_a_front_server_says_links_stay_paths(host: str, script: str) -> None:
    environ = {"HTTP_X_FORWARDED_HOST": host, "SCRIPT_NAME": script, "PATH_INFO": "/simple"}

    for path in (answers.prefix(environ), answers.here(environ)):
        assert re.fullmatch(r"/[A-Za-z0-9._~%/!@:+-]*", path)
    assert answers.prefix(environ).endswith("/")
