"""Forms come in as clients send them, whole or not at all, and take no memory."""

from __future__ import annotations

import hashlib
import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from fakes import MemoryBlobs
from formdata import BOUNDARY, Sent, Stream, in_pieces, multipart, request

from devpi_server.errors import BadRequest, DevpiError, Full, InvalidForm, StoreError, TooLarge
from devpi_server.services.received import Form
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.incoming import Incoming
from devpi_server.web.forms import received

WHEEL = b"PK\x05\x06\r\n--\n\n\r\n\0\xff" * 100
UPLOAD = (
    Sent(":action", b"file_upload"),
    Sent("name", "größer".encode()),
    Sent("classifiers", b"A"),
    Sent("classifiers", b"B"),
    Sent("content", WHEEL, "x-1-py3-none-any.whl"),
    Sent("attestations", b"[]"),
)
ENDS = {"crlf": b"\r\n", "lf": b"\n"}
REGISTER = "multipart/form-data; boundary=%s; charset=utf-8"


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


def fields_of(environ: dict[str, Any], limit: int | None = None) -> dict[str, tuple[str, ...]]:
    with received(environ, MemoryBlobs(), limit) as form:
        return dict(form.fields)


def refused(environ: dict[str, Any], limit: int | None = None) -> DevpiError:
    blobs = MemoryBlobs()
    with pytest.raises(DevpiError) as caught, received(environ, blobs, limit):
        pytest.fail("it was taken for a form")
    assert blobs.under_way("") is None
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_fields_and_files_arrive_as_they_were_sent(blobs: MemoryBlobs, end: bytes) -> None:
    """Values in their order, every byte of a file, and its three digests."""
    with received(request(multipart(UPLOAD, end)), blobs) as form:
        file = form.files["content"]
        kept = file.incoming.commit()

    assert form.fields == {
        ":action": ("file_upload",),
        "name": ("größer",),
        "classifiers": ("A", "B"),
        "attestations": ("[]",),
    }
    assert (file.filename, file.size) == ("x-1-py3-none-any.whl", len(WHEEL))
    assert kept.path.read_bytes() == WHEEL
    assert file.sha256 == kept.sha256 == hashlib.sha256(WHEEL).hexdigest()
    assert file.md5 == hashlib.md5(WHEEL).hexdigest()
    assert file.blake2b_256 == hashlib.blake2b(WHEEL, digest_size=32).hexdigest()


@pytest.mark.parametrize(
    ("head", "filename"),
    [
        # distutils, requests_toolbelt and urllib3, reqwest, an old curl, a browser's escape.
        (b'form-data; name="content";filename="a.zip"', "a.zip"),
        (b'form-data; name="content"; filename="a.zip"\r\nContent-Type: application/zip', "a.zip"),
        (b'form-data; filename="a.zip"; name="content"', "a.zip"),
        (b"form-data; name=content; filename=a.zip", "a.zip"),
        (b'form-data; name="content"; filename="a%22.zip"', 'a".zip'),
        (b'form-data; name="content"; filename="../a.zip"', "../a.zip"),
    ],
)
def test_every_way_to_name_a_file(blobs: MemoryBlobs, head: bytes, filename: str) -> None:
    """The name is handed on as it is: who uses it looks at it."""
    body = b"--b\r\ncontent-disposition: %b\r\n\r\nx\r\n--b--" % head
    with received(request(body, "multipart/form-data; boundary=b"), blobs) as form:
        assert form.files["content"].filename == filename


@pytest.mark.parametrize(
    "kind", ['Multipart/Form-Data; Boundary="b b"', "multipart/form-data;boundary=b"]
)
@pytest.mark.parametrize("before", [b"", b"\r\n", b"what no client shows\r\n"])
@pytest.mark.parametrize("behind", [b"", b"\r\n", b"\n", b"\r\n--b\r\nnothing that counts"])
def test_what_stands_around_the_parts_does_not_count(
    kind: str, before: bytes, behind: bytes
) -> None:
    boundary = b"b b" if '"' in kind else b"b"
    body = b'%b--%b\r\nContent-Disposition: form-data; name="n"\r\n\r\n v \r\n--%b--%b'

    assert fields_of(request(body % (before, boundary, boundary, behind), kind)) == {"n": (" v ",)}


def test_setup_register_is_understood() -> None:
    """It sends LF, an empty line first, and values with whatever line ends their author used."""
    description = b"one\ntwo\r\nthree\n\n--four\r"
    body = multipart([Sent("description", description + b"\n"), Sent("name", b"x")], b"\n")

    assert fields_of(request(body, REGISTER % BOUNDARY)) == {
        "description": ("one\ntwo\r\nthree\n\n--four\r\n",),
        "name": ("x",),
    }


def test_values_from_a_shell_are_understood() -> None:
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    body = b"%3Aaction=submit&name=a+b&name=gr%C3%B6%C3%9Fer&empty="

    assert fields_of(request(body, kind)) == {
        ":action": ("submit",),
        "name": ("a b", "größer"),
        "empty": ("",),
    }


def test_unknown_files_are_not_stored(blobs: MemoryBlobs) -> None:
    with received(request(multipart([Sent("evil", b"x" * 1000, "x")])), blobs) as form:
        assert (form.fields, form.files) == ({}, {})
        assert blobs.under_way("") is None


@pytest.mark.parametrize("failure", [None, InvalidForm("no"), KeyError("bug")])
def test_what_is_not_committed_is_abandoned(tmp_path: Path, failure: Exception | None) -> None:
    """Whatever becomes of the request, nothing stays behind."""
    blobs = LocalBlobs(tmp_path / "files", Incoming(tmp_path / "incoming"))
    sent = [Sent("content", WHEEL, "x"), Sent("gpg_signature", b"signed", "x.asc")]
    end = pytest.raises(type(failure)) if failure else nullcontext()
    with end, received(request(multipart(sent)), blobs) as form:
        kept = form.files["gpg_signature"].incoming.commit()
        if failure:
            raise failure

    assert list(blobs.digests()) == [kept.sha256]
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_full_disk_is_told(blobs: MemoryBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise Full("no space left to write a file")

    incoming = blobs.incoming()
    monkeypatch.setattr(type(incoming), "write", fail)
    with pytest.raises(Full), received(request(multipart(UPLOAD)), blobs):
        pass


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ConnectionResetError(104, "reset"), BadRequest),
        (TimeoutError(), BadRequest),
        (OSError(5, "I/O error"), StoreError),
    ],
)
def test_a_body_that_cannot_be_read_says_whose_fault_it_is(
    failure: OSError, kind: type[DevpiError]
) -> None:
    """Other servers read from the socket, waitress from a disk."""

    def broken() -> Iterator[bytes]:
        yield multipart(UPLOAD)[:100]
        raise failure

    assert isinstance(refused(request(broken(), CONTENT_LENGTH="1000")), kind)


BODY = multipart(UPLOAD)
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="%s"\r\n\r\n'


@pytest.mark.parametrize(
    "environ",
    [
        lambda: request(b""),
        lambda: request(BODY[: BODY.rindex(b"--")]),
        lambda: request(BODY[: len(BODY) // 2]),
        lambda: request(BODY, CONTENT_LENGTH=str(len(BODY) + 1)),
        lambda: request(BODY, CONTENT_LENGTH=str(len(BODY) // 2)),
        lambda: request(BODY, CONTENT_LENGTH=None),
        lambda: request(BODY, CONTENT_LENGTH="-1"),
        lambda: request(BODY, CONTENT_LENGTH="²"),
        lambda: request(BODY, CONTENT_LENGTH="9" * 5000),
        lambda: request(BODY, "multipart/form-data"),
        lambda: request(BODY, "multipart/form-data; boundary="),
        lambda: request(BODY, "multipart/form-data; boundary=another"),
        lambda: request(BODY, f"multipart/form-data; boundary={'b' * 201}"),
        lambda: request(BODY, 'multipart/form-data; boundary="\u20ac"'),
        lambda: request(BODY, 'multipart/form-data; boundary="a\nb"'),
        lambda: request(BODY, "application/json"),
        lambda: request(BODY, CONTENT_TYPE=None),
        lambda: request(b"name=%FF", "application/x-www-form-urlencoded"),
        lambda: request(b"name=\xff", "application/x-www-form-urlencoded"),
        lambda: request(b"name=%00", "application/x-www-form-urlencoded"),
        lambda: request(multipart([Sent("name", b"\xff")])),
        lambda: request(multipart([Sent("name", b"a\0b")])),
        lambda: request(multipart([Sent("content", b"x")])),
        lambda: request(multipart([Sent("content", b"x", "")])),
        lambda: request(multipart([Sent("content", b"x", "a"), Sent("content", b"y", "b")])),
        lambda: request(BODY.replace(b"form-data; name", b"attachment; name", 1)),
        lambda: request(BODY.replace(b'name="name"', b'name="\xff"')),
    ],
)
def test_what_is_no_sound_form_is_refused(environ: Callable[[], dict[str, Any]]) -> None:
    """With one line that says why, and nothing left behind."""
    assert isinstance(refused(environ()), BadRequest)


def test_an_answer_names_the_field_that_cannot_be_read() -> None:
    assert "author" in refused(request(multipart([Sent("author", b"\xe9")]))).message


def _fields(count: int, size: int) -> Iterator[bytes]:
    for _ in range(count):
        yield (HEAD % "f").encode()
        yield bytes(size).replace(b"\0", b"x")
        yield b"\r\n"
    yield f"--{BOUNDARY}--".encode()


def _heads(end: bytes) -> Iterator[bytes]:
    yield b"--" + BOUNDARY.encode() + end
    yield from itertools.repeat(b"A: b" + end)


MB = 1024 * 1024
ENDLESS = {"CONTENT_LENGTH": str(1 << 40)}


@pytest.mark.parametrize(
    "environ",
    [
        lambda: request(_fields(10_001, 1), **ENDLESS),
        lambda: request(_fields(1, 8 * MB + 1), **ENDLESS),
        lambda: request(_fields(3, 6 * MB), **ENDLESS),
        lambda: request(iter([(HEAD % ("n" * 5000)).encode()]), **ENDLESS),
        lambda: request(iter([f"--{BOUNDARY}\r\n".encode(), b"A: b\r\n" * 9]), **ENDLESS),
        lambda: request(
            itertools.chain([f"--{BOUNDARY}\n".encode()], itertools.repeat(b"A: b\n" * 1000)),
            **ENDLESS,
        ),
        lambda: request(b"a&" * 10_000, "application/x-www-form-urlencoded"),
        lambda: request(
            itertools.repeat(b"x" * MB), "application/x-www-form-urlencoded", **ENDLESS
        ),
    ],
)
def test_what_would_fill_the_memory_is_refused(environ: Callable[[], dict[str, Any]]) -> None:
    """Fields are held in memory, so their number, size and sum have limits."""
    assert isinstance(refused(environ()), TooLarge)


def test_the_largest_fields_of_real_releases_are_taken() -> None:
    """bottle's own limit of 100 KiB is not for descriptions and attestations."""
    sent = [Sent("description", b"x" * 8 * MB), *(Sent("requires_dist", b"r") for _ in range(5000))]
    found = fields_of(request(multipart(sent)))

    assert len(found["description"][0]) == 8 * MB
    assert len(found["requires_dist"]) == 5000


@pytest.mark.parametrize("told", [True, False])
def test_a_body_beyond_the_limit_is_refused(told: bool) -> None:
    """Whether it says its length before, or is just long."""
    changes: dict[str, Any] = (
        {} if told else {"CONTENT_LENGTH": None, "wsgi_input_terminated": True}
    )

    assert isinstance(refused(request(BODY, **changes), limit=len(BODY) - 1), TooLarge)
    assert fields_of(request(BODY, **changes), limit=len(BODY))["attestations"] == ("[]",)


def test_a_body_of_any_size_takes_no_memory(tmp_path: Path) -> None:
    """200 MB, and not 2 MB of memory for it."""
    blobs = LocalBlobs(tmp_path / "files", Incoming(tmp_path / "incoming"))
    before, _, after = multipart([Sent("content", b"|", "big.whl")]).partition(b"|")
    block = os.urandom(MB)
    body = itertools.chain([before], itertools.repeat(block, 200), [after])
    environ = request(body, CONTENT_LENGTH=str(len(before) + 200 * MB + len(after)))
    tracemalloc.start()
    try:
        with received(environ, blobs) as form:
            _, peak = tracemalloc.get_traced_memory()
            assert form.files["content"].size == 200 * MB
    finally:
        tracemalloc.stop()

    assert peak < 2 * MB


@pytest.mark.parametrize("end", ENDS.values(), ids=list(ENDS))
def test_a_form_that_comes_byte_by_byte_is_the_same(blobs: MemoryBlobs, end: bytes) -> None:
    body = multipart(UPLOAD, end)
    pieces = Stream(in_pieces(body, range(len(body))))
    with received(request(body, wsgi_input=pieces), blobs) as form:
        assert form.files["content"].size == len(WHEEL)
        assert form.fields["attestations"] == ("[]",)


def test_a_field_has_one_value_or_nobody_knows_which_counts() -> None:
    """Several that are the same are one; what is empty is not there."""
    form = Form({"a": (" x\n", "x"), "b": ("x", "y"), "c": ("", " ")}, {})

    assert (form.one("a"), form.one("c"), form.one("missing")) == ("x", None, None)
    assert form.many("b") == ("x", "y")
    with pytest.raises(InvalidForm, match="several values for b"):
        form.one("b")
