"""The journal's words, and XML-RPC from whoever answers."""

from __future__ import annotations

import time
import tracemalloc
import xmlrpc.client

import pytest

from devpi_server.errors import Corrupt, Denied, Failed, Unsupported, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.upstream import xmlrpc as rpc
from devpi_server.upstream.changes import (
    Change,
    clearance_of,
    quarantine_of,
    removal_of,
    removed_file,
)

HOST = "index.test"


def change(action: str) -> Change:
    return Change(NormalizedName("demo"), 1, "1.0", action)


def answer(value: object) -> bytes:
    return xmlrpc.client.dumps((value,), methodresponse=True, allow_none=True).encode()  # type: ignore[arg-type]


def fault(code: int, text: str) -> bytes:
    return xmlrpc.client.dumps(xmlrpc.client.Fault(code, text), methodresponse=True).encode()


# Words


def test_quarantine_and_clearance() -> None:
    """Of a project, or of one release."""
    assert quarantine_of(change("project quarantined")) == "project"
    assert quarantine_of(change("release quarantined")) == "release"
    assert quarantine_of(change("project quarantine cleared")) is None
    assert clearance_of(change("project quarantine cleared")) == "project"
    assert clearance_of(change("release quarantine cleared")) == "release"
    assert clearance_of(change("project quarantined")) is None


def test_removals() -> None:
    """Of a project, a release, or a file, which is named."""
    assert removal_of(change("remove project")) == "project"
    assert removal_of(change("remove release")) == "release"
    assert removal_of(change("remove file demo-1.0.tar.gz")) == "file"
    assert removed_file(change("remove file demo-1.0.tar.gz")) == "demo-1.0.tar.gz"


@pytest.mark.parametrize(
    "action",
    [
        "create",
        "new release",
        "add py3 file demo-1.0-py3-none-any.whl",
        "yank release",
        "remove Owner somebody",
        "remove file ",
        "docdestroy",
        "",
    ],
)
def test_other_words_mean_changed(action: str) -> None:
    """Also those that nobody knows (protocol.md 3.1)."""
    found = change(action)
    assert (quarantine_of(found), clearance_of(found), removal_of(found)) == (None, None, None)


# Questions


def test_a_question_is_what_xml_rpc_says() -> None:
    """Real integers: Warehouse refuses others."""
    assert xmlrpc.client.loads(rpc.request("changelog_since_serial", 5)) == (
        (5,),
        "changelog_since_serial",
    )


def test_a_serial_beyond_xml_rpc_is_not_asked_for() -> None:
    """Upstream cannot have said it in this language."""
    with pytest.raises(Corrupt):
        rpc.request("changelog_since_serial", 2**31)


# Answers


@pytest.mark.parametrize(
    "value", [7, "x\u00e9&<>", None, True, [["demo", None, 1, "create", 2]], [], {"demo": 3}]
)
def test_an_answer_is_its_value(value: object) -> None:
    """What servers of XML-RPC write is read."""
    assert rpc.result(answer(value), HOST) == value


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (fault(-32601, "server error"), Unsupported),
        (fault(-32500, "RuntimeError: this method is no longer supported"), Unsupported),
        (fault(-32500, "HTTPTooManyRequests: reset in 12 seconds."), Denied),
        (fault(1, "KeyError"), Failed),
        (b"<!DOCTYPE html>\n<html><body>Welcome</body></html>", Unsupported),
        (b"<html><body>Welcome</body></html>", Unsupported),
    ],
)
def test_a_fault_is_one_of_ours(document: bytes, error: type[UpstreamError]) -> None:
    """No such call, not now, or broken: each has its own consequences."""
    with pytest.raises(error) as raised:
        rpc.result(document, HOST)
    assert type(raised.value) is error
    assert "\n" not in raised.value.message


BOMB = b"""<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">
]><methodResponse><params><param><value>&b;</value></param></params></methodResponse>"""


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"{}",
        b"<methodResponse>",
        b"<methodResponse/>",
        b"<rss/>",
        BOMB,
        BOMB.decode().replace('version="1.0"', "version='1.0' encoding='utf-16'").encode("utf-16"),
        BOMB.replace(b" [", b' SYSTEM "file:///etc/passwd" ['),
        answer(1).replace(b"<int>1<", b"<int>x<"),
        answer(1).replace(b"<int>1<", b"<int>" + b"9" * 10_000 + b"<"),
        answer(1).replace(b"<int>1</int>", b"<int></int>"),
        answer(1).replace(b"<int>1</int>", b"<dateTime.iso8601>x</dateTime.iso8601>"),
        answer(1).replace(b"<int>1</int>", b"<unheard-of>x</unheard-of>"),
        answer(1).replace(b"</params>", b"<param><value>2</value></param></params>"),
        answer(1).replace(b"<int>1</int>", b"&undefined;"),
        answer(1).replace(b"<int>1</int>", b"<array>" * 100 + b"</array>" * 100),
        answer(1)[:-20],
        b"<methodResponse><fault><value>1</value></fault></methodResponse>",
        b"<methodResponse><fault><value><struct/></value></fault></methodResponse>",
        b"\xff\xfe",
        b"\x00" * 100,
    ],
)
def test_garbage_is_an_error_of_ours(document: bytes) -> None:
    """U02: no declaration is obeyed, no depth and no number is a crash."""
    with pytest.raises(UpstreamError):
        rpc.result(document, HOST)


def test_masses_of_elements_are_refused_early() -> None:
    """U02: 30 MB of nothing cost neither minutes nor gigabytes."""
    many = answer([]).replace(b"<data>", b"<data>" + b"<value/>" * 3_000_000)
    tracemalloc.start()
    begin = time.process_time()
    with pytest.raises(Corrupt, match="masses"):
        rpc.result(many, HOST)
    assert time.process_time() - begin < 60
    assert tracemalloc.get_traced_memory()[1] < 200_000_000
    tracemalloc.stop()
