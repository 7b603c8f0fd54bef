"""Whatever is asked for, sent or searched: it is understood, or refused in our own words."""

from __future__ import annotations

import tempfile
import xmlrpc.client
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fakes import MemoryBlobs
from formdata import request
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.errors import BadRequest
from devpi_server.services import push_order, search
from devpi_server.services.push_order import Elsewhere, ToIndex
from devpi_server.upstream import xmlrpc as rpc
from devpi_server.upstream.publish import Attached, Outgoing
from devpi_server.web.forms import received

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
WORDS = ("name", "version", "targetindex", "posturl", "username", "password", "no_docs",
         "only_docs", "register_project")  # fmt: skip
LINES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
NAMES = st.from_regex(r"[a-z_:]{1,20}", fullmatch=True)


@given(VALUES | st.dictionaries(st.sampled_from(WORDS), VALUES))
def test_any_json_is_an_order_or_refused(body: object) -> None:
    with suppress(BadRequest):
        order, to = push_order.read(body, "alice/dev")
        assert order.project
        assert order.version
        assert isinstance(to, ToIndex | Elsewhere)


@given(
    st.lists(st.tuples(NAMES, LINES), max_size=10),
    st.from_regex(r"[A-Za-z0-9._+-]{1,50}", fullmatch=True),
    st.binary(max_size=2000),
    st.integers(1, 300),
)
def test_any_form_arrives_as_it_was(
    fields: list[tuple[str, str]], filename: str, content: bytes, size: int
) -> None:
    """However small the pieces are in which it is read, and as long as it says."""
    fields = [(name, value) for name, value in fields if name not in ("content", "gpg_signature")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "blob")
        path.write_bytes(content)
        files = [Attached("content", filename, path, len(content))]
        with closing(Outgoing(fields, files, "there")) as form:
            length = len(form)
            body = b"".join(iter(lambda: form.read(size), b""))
            content_type = form.content_type
    assert len(body) == length
    with received(request(body, content_type), MemoryBlobs()) as found:
        pairs = [(name, value) for name, values in found.fields.items() for value in values]
        sent = found.files["content"]
        assert sorted(pairs) == sorted(fields)
        assert sent.filename == filename
        with open(sent.incoming.reader(), "rb") as file:
            assert file.read() == content


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_question_or_refused(document: bytes) -> None:
    with suppress(BadRequest):
        search.query(*rpc.question(document))


@given(
    st.lists(
        st.sampled_from(
            [b"<methodCall>", b"</methodCall>", b"<params>", b"</params>", b"<param>", b"</param>",
             b"<value>", b"</value>", b"<struct>", b"</struct>", b"<member>", b"</member>",
             b"<name>", b"</name>", b"<array>", b"</array>", b"<data>", b"</data>", b"<int>",
             b"</int>", b"<methodName>search</methodName>", b"name", b"1", b"<fault>", b"</fault>",
             b"<dateTime.iso8601>", b"</dateTime.iso8601>", b"<base64>", b"</base64>", b"<nil/>"]
        )
    )
)  # fmt: skip
def test_any_heap_of_elements_is_a_question_or_refused(pieces: list[bytes]) -> None:
    with suppress(BadRequest):
        search.query(*rpc.question(b"<methodCall>" + b"".join(pieces) + b"</methodCall>"))


@given(st.lists(st.text()))
def test_any_answer_can_be_read(summaries: list[str]) -> None:
    answer = rpc.answer([{"summary": each, "_pypi_ordering": 1} for each in summaries])
    ((found,), _) = xmlrpc.client.loads(answer)

    assert isinstance(found, list)
    assert [len(hit["summary"]) for hit in found] == [
        len(each.replace("\r\n", "\n")) for each in summaries
    ]


@given(st.text())
def test_any_fault_can_be_read(text: str) -> None:
    with pytest.raises(xmlrpc.client.Fault):
        xmlrpc.client.loads(rpc.fault(text))
