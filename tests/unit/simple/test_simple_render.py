"""What a project page and a list of projects look like on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from devpi_server.names import project
from devpi_server.records import Link, Page, ProjectStatus
from devpi_server.simple import parse, render

FOO = project("foo")
SHA = "0123456789abcdef" * 4
URL = "https://files.example/foo-1.zip"
WHEEL = Link(
    filename="foo-1-py3-none-any.whl",
    url="https://files.example/foo-1-py3-none-any.whl",
    digests={"md5": "a" * 32, "sha256": SHA},
    size=10,
    uploaded=datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc),
    requires_python=">=3,<4",
    yanked='"a" > b',
    core_metadata={"sha256": SHA},
    gpg_sig=False,
    provenance="https://index.example/p",
    extra={"new": [1], "size": 3, "nothing": None},
)


def json_of(page: Page) -> Any:
    return orjson.loads(render.json_page(page, "../../"))


def html_of(page: Page) -> str:
    return render.html_page(page, "../../").decode("ascii")


def file_of(**fields: Any) -> Any:
    (file,) = json_of(Page(FOO, (Link("foo-1.zip", URL, **fields),)))["files"]
    return file


def anchor_of(**fields: Any) -> str:
    fields = {"filename": "foo-1.zip", "url": URL, **fields}
    (line,) = (text for text in html_of(Page(FOO, (Link(**fields),))).splitlines() if "<a" in text)
    return line.strip()


def test_a_page_in_json() -> None:
    """Every field has its key, and both names of core metadata are there."""
    page = Page(
        FOO,
        (WHEEL,),
        ("1",),
        ProjectStatus("archived", "old"),
        serial=7,
        api_minor=5,
        extra={"namespaces": [], "name": "bar", "nothing": None},
        meta_extra={"x": 1, "nothing": None},
    )
    assert json_of(page) == {
        "meta": {"api-version": "1.5", "_last-serial": 7, "x": 1},
        "name": "foo",
        "versions": ["1"],
        "files": [
            {
                "filename": "foo-1-py3-none-any.whl",
                "url": f"../../+f/{SHA[:3]}/{SHA[3:16]}/foo-1-py3-none-any.whl",
                "hashes": {"md5": "a" * 32, "sha256": SHA},
                "requires-python": ">=3,<4",
                "size": 10,
                "upload-time": "2024-01-02T03:04:05.000006Z",
                "yanked": '"a" > b',
                "core-metadata": {"sha256": SHA},
                "gpg-sig": False,
                "provenance": "https://index.example/p",
                "new": [1],
            }
        ],
        "project-status": {"status": "archived", "reason": "old"},
        "namespaces": [],
    }


def test_a_page_in_html() -> None:
    """The whole page, as frozen at version 1.4."""
    page = Page(FOO, (WHEEL,), ("1",), ProjectStatus("archived", 'a "b"'), serial=7)
    assert html_of(page) == (
        "<!DOCTYPE html>\n"
        "<html>\n"
        "  <head>\n"
        '    <meta name="pypi:repository-version" content="1.4">\n'
        '    <meta name="pypi:project-status" content="archived">\n'
        '    <meta name="pypi:project-status-reason" content="a &quot;b&quot;">\n'
        "    <title>links for foo</title>\n"
        "  </head>\n"
        "  <body>\n"
        "    <h1>links for foo</h1>\n"
        f'    <a href="../../+f/{SHA[:3]}/{SHA[3:16]}/foo-1-py3-none-any.whl#sha256={SHA}"'
        ' data-requires-python="&gt;=3,&lt;4"'
        f' data-core-metadata="sha256={SHA}" data-dist-info-metadata="sha256={SHA}"'
        ' data-yanked="&quot;a&quot; &gt; b" data-gpg-sig="false"'
        ' data-provenance="https://index.example/p"'
        ' data-upload-time="2024-01-02T03:04:05.000006Z" data-size="10"'
        ">foo-1-py3-none-any.whl</a><br/>\n"
        "  </body>\n"
        "</html>\n"
        "<!--SERIAL 7-->"
    )


def test_what_is_not_known_is_omitted() -> None:
    """uv refuses a page with a null in it: a key is there with a value or not at all."""
    assert json_of(Page(FOO, (Link("foo-1.zip", URL),), status=ProjectStatus("active"))) == {
        "meta": {"api-version": "1.0"},
        "name": "foo",
        "versions": [],
        "files": [
            {
                "filename": "foo-1.zip",
                "url": "../../+e/https_files.example/foo-1.zip",
                "hashes": {},
                "yanked": False,
            }
        ],
        "project-status": {"status": "active"},
    }
    assert anchor_of() == ('<a href="../../+e/https_files.example/foo-1.zip">foo-1.zip</a><br/>')
    assert "SERIAL" not in html_of(Page(FOO))


@pytest.mark.parametrize(
    ("sizes", "minor", "version"),
    [
        ([], None, "1.4"),
        ([0, 1], None, "1.4"),
        ([1], 1, "1.4"),
        ([1], 7, "1.7"),
        ([1, None], 7, "1.0"),
    ],
)
def test_a_page_claims_only_the_version_that_it_fills(
    sizes: list[int | None], minor: int | None, version: str
) -> None:
    """PEP 700: without the size of every file it is version 1.0."""
    links = tuple(Link(f"foo-{n}.zip", URL, size=size) for n, size in enumerate(sizes))
    assert json_of(Page(FOO, links, api_minor=minor))["meta"]["api-version"] == version


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("foo-1+l.zip", "foo-1%2Bl.zip"),
        ("foo-1!2.zip", "foo-1%212.zip"),
        ("foo 1.zip", "foo%201.zip"),
        ("foo~1.zip", "foo~1.zip"),
        ("foo%2B.zip", "foo%252B.zip"),
        ("foo#?.zip", "foo%23%3F.zip"),
        ('"><x>.zip', "%22%3E%3Cx%3E.zip"),
        ("é.zip", "%C3%A9.zip"),
    ],
)
def test_a_path_is_encoded_but_for_the_plus_of_the_route(filename: str, expected: str) -> None:
    """The file name is percent-encoded; +f, +e and ~ stay as devpi has them."""
    page = Page(FOO, (Link(filename, URL, {"sha256": SHA}),))
    route = f"../../+f/{SHA[:3]}/{SHA[3:16]}/"
    assert json_of(page)["files"][0]["url"] == route + expected
    assert f'href="{route}{expected}#' in html_of(page)


def test_a_tilde_of_the_route_stays() -> None:
    """The +e route of a URL with a port holds a ~, and keeps it."""
    link = Link("foo-1.zip", "http://h:80/a_b/foo-1.zip")
    assert json_of(Page(FOO, (link,)))["files"][0]["url"] == "../../+e/http_h~3A80_a~5Fb/foo-1.zip"


def test_a_time_has_a_fraction_only_where_upstream_had_one() -> None:
    """A whole second is written as one, in both forms."""
    uploaded = datetime(2024, 1, 2, 3, 4, 5, 0, timezone.utc)
    assert file_of(uploaded=uploaded)["upload-time"] == "2024-01-02T03:04:05Z"
    assert 'data-upload-time="2024-01-02T03:04:05Z"' in anchor_of(uploaded=uploaded)


def test_metadata_without_a_digest_is_offered_as_true() -> None:
    """An empty set of digests means: there, but unchecked."""
    file = file_of(core_metadata={})
    assert file["core-metadata"] is True
    assert 'data-core-metadata="true" data-dist-info-metadata="true"' in anchor_of(core_metadata={})


def test_json_does_not_offer_metadata_by_its_first_name() -> None:
    """pip 23.0, that of Debian 12, fails on what stands there."""
    assert not any("info-metadata" in key for key in file_of(core_metadata={"sha256": SHA}))


@pytest.mark.parametrize(("yanked", "attribute"), [(True, ' data-yanked=""'), (False, "")])
def test_yanked_without_a_reason(yanked: bool, attribute: str) -> None:
    """True is an empty attribute, False is none."""
    assert file_of(yanked=yanked)["yanked"] is yanked
    assert anchor_of(yanked=yanked) == (
        f'<a href="../../+e/https_files.example/foo-1.zip"{attribute}>foo-1.zip</a><br/>'
    )


@pytest.mark.parametrize(
    ("digests", "expected"),
    [
        ({"md5": "a", "sha256": "b", "sha512": "c"}, "sha256=b"),
        ({"md5": "a", "sha512": "c", "sha1": "d"}, "sha512=c"),
        ({"md5": "a", "sha1": "d"}, "sha1=d"),
        ({"md5": "a"}, "md5=a"),
    ],
)
def test_the_fragment_has_the_best_digest(digests: dict[str, str], expected: str) -> None:
    """sha256, or else the strongest; HTML has room for one."""
    assert f'/foo-1.zip#{expected}"' in anchor_of(digests=digests)


def test_foreign_text_cannot_break_out_of_html() -> None:
    """Quotes, brackets, line breaks and control characters are escaped or replaced."""
    line = anchor_of(
        filename="a<b>&'\".zip", requires_python="\"><script>\n\r\t\x00\x85'&é", yanked="&amp;"
    )
    assert ' data-requires-python="&quot;&gt;&lt;script&gt;&#10;&#13;&#9;&#65533;&#65533;' in line
    assert '&#x27;&amp;&#233;"' in line
    assert 'data-yanked="&amp;amp;"' in line
    assert line.endswith(">a&lt;b&gt;&amp;&#x27;&quot;.zip</a><br/>")


def test_a_list_of_projects_in_json() -> None:
    """Each name once, and nothing between the pieces."""
    names = [f"p{n}" for n in range(5000)]
    data = orjson.loads(b"".join(render.listing_json(names)))
    assert data == {
        "meta": {"api-version": "1.4"},
        "projects": [{"name": name} for name in names],
    }
    assert orjson.loads(b"".join(render.listing_json([])))["projects"] == []


def test_a_list_of_projects_in_html() -> None:
    """The link is normalised, the text is not; the title is the caller's."""
    document = b"".join(render.listing_html(["Foo.Bar", "b"], "list of <accessed> projects"))
    assert document.decode() == (
        "<!DOCTYPE html>\n"
        "<html>\n"
        "  <head>\n"
        '    <meta name="pypi:repository-version" content="1.4">\n'
        "    <title>list of &lt;accessed&gt; projects</title>\n"
        "  </head>\n"
        "  <body>\n"
        "    <h1>list of &lt;accessed&gt; projects</h1>\n"
        '    <a href="foo-bar/">Foo.Bar</a><br/>\n'
        '    <a href="b/">b</a><br/>\n'
        "  </body>\n"
        "</html>\n"
    )


def test_a_list_of_projects_is_a_stream() -> None:
    """The beginning is there before the names have ended."""

    def endless() -> Iterator[str]:
        while True:
            yield "foo"

    for pieces in (render.listing_json(endless()), render.listing_html(endless(), "x")):
        assert all(len(next(pieces)) < 200_000 for _ in range(3))


def test_a_document_is_read_again_as_the_page_that_it_was_made_of() -> None:
    """Nothing that a page says is lost on the way through a document."""
    page = Page(
        project("foo"),
        (
            Link(
                "foo-1.0+x-py3-none-any.whl",
                "https://files.example/a/foo-1.0%2Bx-py3-none-any.whl",
                {"sha256": "a" * 64},
                size=1,
                uploaded=datetime(2024, 1, 2, tzinfo=timezone.utc),
                requires_python=">=3",
                yanked="broken",
                core_metadata={"sha256": "b" * 64},
                gpg_sig=True,
                provenance="https://index.example/p",
            ),
            Link("foo-0.zip", "https://other.example/foo-0.zip?x=1", size=2),
        ),
        versions=("1.0+x", "0"),
        serial=7,
        api_minor=4,
    )

    again = parse.page(render.document(page), "application/json", "https://x.example/", page.name)

    assert again == page
