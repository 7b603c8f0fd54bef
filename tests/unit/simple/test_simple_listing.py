"""Which projects an upstream's root page names."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import pytest

from devpi_server.errors import Corrupt
from devpi_server.simple import listing, render

JSON = "application/vnd.pypi.simple.v1+json"


def names(document: bytes, content_type: str = "") -> list[str]:
    return list(listing.names([document], content_type))


def test_names_in_json() -> None:
    """The name of each project, as upstream spells it, in its order."""
    document = b"""{"meta": {"api-version": "1.4", "_last-serial": 3}, "projects": [
        {"name": "Foo.Bar", "_last-serial": 3}, {"_last-serial": 1, "name": "b"} , {"name":"c"}]}
        """
    assert names(document) == ["Foo.Bar", "b", "c"]


def test_only_the_projects_of_the_document_count() -> None:
    """A "name" or a "projects" elsewhere is not a project."""
    document = rb"""{"name": "a", "x": {"projects": [{"name": "b"}]}, "y": [{"name": "c"}],
        "z": "projects", "\"projects\":[{": "}]", "projects": ["d", 3, null, ["e"], [{"name": "f"}],
        {"name": {"name": "g"}}, {"x": {"name": "h"}, "name": "i"}, {"x": "}]", "name": "\u006a"},
        {"x": [{"name": "k"}]}, {}, {"name": null}], "more": [{"name": "l"}]}"""
    assert names(document) == ["i", "j"]


def test_names_in_html() -> None:
    """The text of an anchor where it says the same as the link, else the link."""
    document = b"""<!DOCTYPE html><html><head><title>Simple index</title></head><body>
        <a href="/simple/foo-bar/">Foo.Bar</a><br/>
        <A CLASS=x HREF='b/' >b</A> <a href=c>C</a>
        <a href="https://index.example/simple/d/?x#y">d</a>
        <a href="/simple/e/">e/</a> <a href="long-name/">long-na..&gt;</a>
        <a href="f&#45;g/">f&#45;g</a> <a href="h%2Di/"><b>H.i</b></a>
        </body></html>"""
    expected = ["Foo.Bar", "b", "C", "d", "e", "long-name", "f-g", "h-i"]
    assert names(document) == expected


def test_what_is_no_project_name_is_left_out() -> None:
    """Only what PEP 508 calls a name gets through, in both forms."""
    assert names(b'{"projects":[{"name":"../x"},{"name":""},{"name":"a b"},{"name":"-a"}]}') == []
    document = b"""<title>Index of /</title><a href="../">../</a><a href="?C=N">Name</a>
        <a href="#top">top</a><a href="mailto:x">x</a><a href="https://index.example">home</a>
        <a name="z">z</a><a href="">y</a><a href="/">root</a><a href=>w</a><a href="v>v</a>
        <abbr href="u/">u</abbr><!-- <a href="t/">t</a> --></body>"""
    assert names(document) == []


def test_the_document_beats_its_content_type() -> None:
    """The form is seen from the beginning, not from the header."""
    for content_type in ("", "binary/octet-stream", "text/html", JSON):
        assert names(b'{"projects":[{"name":"a"}]}', content_type) == ["a"]
        assert names(b'<html><a href="a/">a</a></html>', content_type) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        b'{"projects":[{"name":"a"}]',
        b'{"projects":[{"name":"a"}',
        b'{"projects":[{"name":"a"},{"name":"b',
        b'{"projects":[{"name":"a"}],"x":"',
        b'{"projects":[',
        b'<html><a href="a/">a</a><a href="b',
        b'<html><a href="a/">a</a><a href="b/">b',
        b'<html><a href="a/">a</a><!-- ',
        b'<html><a href="a/">a</a></bod',
    ],
)
def test_a_document_that_ends_too_early_is_corrupt(document: bytes) -> None:
    """The names before the break arrive, and then the iteration fails."""
    found = listing.names([document], "")
    with pytest.raises(Corrupt, match="too early"):
        list(found)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"Not found",
        b"{}",
        b"[]",
        b'{"message":"not found"}',
        b'{"projects":null}',
        b'{"projects":{"name":"a"}}',
        b'{"projects":[{"name":a}]}',
        b'{"projects":[{"name":"\xff"}]}',
        b"<html><title>Sign in</title></html>",
        b"<html><title>Simple index</title>",
    ],
)
def test_what_is_no_list_of_projects_is_corrupt(document: bytes) -> None:
    """An answer without a list must not mean "no projects"."""
    for content_type in ("", JSON, "text/html"):
        with pytest.raises(Corrupt):
            names(document, content_type)


def test_a_list_may_be_empty() -> None:
    """A new index has no projects, and says so in a whole document."""
    assert names(b'{"meta":{},"projects":[]}') == []
    assert names(b"".join(render.listing_json([]))) == []
    assert names(b"".join(render.listing_html([], "list of accessed projects"))) == []
    assert names(b"<html><title>Simple index</title></html>") == []


@pytest.mark.parametrize(
    "ending", [b"", b"</body>", b"</body></html>\n<!--SERIAL 3-->", b"<br/>\n"]
)
def test_html_with_names_needs_no_end_tags(ending: bytes) -> None:
    """PEP 503 pages by hand stop after the last link."""
    assert names(b'<html><a href="a/">a</a>' + ending) == ["a"]


@pytest.mark.parametrize(
    "document",
    [
        b'{"projects":[{"name":"' + b"a" * 300_000,
        b'{"projects":[{"x":[' + b"1," * 300_000,
        b'{"' + b"a" * 300_000,
        b"{" + b" " * 300_000,
        b'<html><a href="' + b"a" * 300_000,
        b'<html><a href="a/">' + b"a" * 300_000,
        b"<html><!-- " + b"a" * 300_000,
    ],
)
def test_an_endless_element_is_corrupt(document: bytes) -> None:
    """What does not end within the limit is refused, not collected."""
    with pytest.raises(Corrupt, match="endless"):
        names(document)


def test_memory_is_bounded() -> None:
    """A list of any length passes through a few blocks of memory."""

    def document() -> Iterator[bytes]:
        yield b'{"projects":['
        for _ in range(200):
            yield b'{"name":"some-project","_last-serial":12345678},' * 1000
        yield b'{"name":"z"}]}'

    tracemalloc.start()
    count = sum(1 for _ in listing.names(document(), JSON))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200_001
    assert peak < 2_000_000


@pytest.mark.parametrize(
    "document",
    [
        b'<html><a href="' * 200_000,
        b"<html>" + b"<a " * 500_000,
        b"<html><a" + b" href" * 500_000 + b">",
        b"<html>" + b"<a href='>" * 200_000,
        b'{"projects":[' + b'{"a":' * 500_000,
        b'{"projects":[' + b'{"a":[],"b":"}"},' * 100_000,
        b"{" * 1_000_000,
        b'{"' + b'\\"' * 500_000,
    ],
    ids=lambda document: document[:24].decode(),
)
def test_a_list_made_to_be_slow_is_not(document: bytes) -> None:
    """Time grows with the length of a list, not with its square."""
    start = time.process_time()
    with pytest.raises(Corrupt):
        names(document)
    assert time.process_time() - start < 5


def test_nothing_is_read_beyond_what_was_asked_for() -> None:
    """The first names are there while upstream still sends."""
    asked = 0

    def document() -> Iterator[bytes]:
        nonlocal asked
        yield b'{"projects":['
        while True:
            asked += 1
            yield b'{"name":"a"},' * 10_000

    found = listing.names(document(), JSON)
    assert [next(found) for _ in range(3)] == ["a", "a", "a"]
    assert asked == 1
