"""Laws of forms that hold however they are cut, and whatever is broken in them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from fakes import MemoryBlobs
from formdata import BOUNDARY, Sent, in_pieces, multipart, request
from hypothesis import example, given
from hypothesis import strategies as st

from devpi_server.errors import BadRequest, TooLarge
from devpi_server.web.forms import received

Found = tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, bytes]]]

BOUNDARIES = (BOUNDARY, "b", "-", "--", "a-b")
ENDS = (b"\r\n", b"\n")
# What a parser could take for a delimiter, or for a part of one.
BITS = (
    "\r",
    "\n",
    "-",
    "--",
    "\r\n--",
    "\n--",
    "b",
    "-b",
    "a-",
    ":",
    "x",
    "\r\n\r\n",
    BOUNDARY[:30],
)
texts = st.lists(st.sampled_from(BITS), max_size=8).map("".join)
names = st.sampled_from(["name", "version", ":action", "é"])
sent_parts = st.builds(Sent, names, texts.map(str.encode))
sent_files = st.builds(
    Sent, st.sampled_from(["content", "evil"]), texts.map(str.encode), st.just("f")
)


@st.composite
def forms(draw: st.DrawFn) -> tuple[list[Sent], bytes, str]:
    """Parts, and how they are to be put together."""
    boundary = draw(st.sampled_from(BOUNDARIES))
    end = draw(st.sampled_from(ENDS))
    parts = draw(st.lists(sent_parts, max_size=4))
    for file in draw(st.lists(sent_files, max_size=2, unique_by=lambda part: part.name)):
        parts.insert(draw(st.integers(0, len(parts))), file)
    delimiter = end + b"--" + boundary.encode()
    # No client sends a value with a delimiter in it, or one that only its own line end completes.
    sound = [part for part in parts if delimiter not in end + part.value + delimiter[:-1]]
    return [Sent("name", b"x"), *sound], end, boundary


cut_places = st.lists(st.integers(0, 400), max_size=12)


def found(body: bytes, boundary: str, cuts: list[int]) -> Found:
    kind = f'multipart/form-data; boundary="{boundary}"'
    environ = request(in_pieces(body, cuts), kind, CONTENT_LENGTH=str(len(body)))
    with received(environ, MemoryBlobs()) as form:
        files = {
            name: (file.filename, Path(file.incoming.commit().path).read_bytes())
            for name, file in form.files.items()
        }
        return dict(form.fields), files


@given(forms(), cut_places)
def test_a_form_is_the_same_however_it_is_cut(
    form: tuple[list[Sent], bytes, str], cuts: list[int]
) -> None:
    """Every value is what was sent, wherever one block ends and the next begins."""
    parts, end, boundary = form
    fields: dict[str, tuple[str, ...]] = {}
    for part in parts:
        if part.filename is None:
            fields[part.name] = (*fields.get(part.name, ()), part.value.decode())
    files = {part.name: ("f", part.value) for part in parts if part.name == "content"}

    assert found(multipart(parts, end, boundary), boundary, cuts) == (fields, files)


def outcome(body: bytes, boundary: str, cuts: list[int]) -> Found | None:
    try:
        return found(body, boundary, cuts)
    except (BadRequest, TooLarge):
        return None


@given(forms(), st.data())
def test_a_broken_form_is_refused_or_read_but_nothing_else(
    form: tuple[list[Sent], bytes, str], data: st.DataObject
) -> None:
    """No mutation raises anything but our own errors, and how it is cut still does not count."""
    parts, end, boundary = form
    body = bytearray(multipart(parts, end, boundary))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        until = data.draw(st.integers(at, min(at + 3, len(body))))
        body[at:until] = data.draw(st.sampled_from([b"", b"\r", b"\n", b"-", b"\xff", b'"', b"\0"]))

    whole = outcome(bytes(body), boundary, [])
    assert outcome(bytes(body), boundary, data.draw(cut_places)) == whole


@given(st.binary(max_size=200), st.text(max_size=20), st.text(max_size=20))
@example(b"--b--", "multipart/form-data; boundary=b", "")
def test_any_bytes_are_refused_or_read(body: bytes, kind: str, length: str) -> None:
    for content_type in (kind, f"multipart/form-data; {kind}", "application/x-www-form-urlencoded"):
        for changes in ({}, {"CONTENT_LENGTH": length}):
            environ = request(body, content_type, **changes)
            with suppress(BadRequest, TooLarge), received(environ, MemoryBlobs()):
                pass
