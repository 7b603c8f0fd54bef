"""The rules of 2013, case by case: what is visited, and what counts as a file of the project."""

from __future__ import annotations

import time

import pytest

from devpi_server.names import project
from devpi_server.records import Link, Page
from devpi_server.simple import legacy, parse

URL = "https://index.example/simple/foo/"
SITE = "https://foo.example/download/"
FOO = project("foo")
MD5 = "0" * 32


def page_of(document: str) -> Page:
    return parse.page(f"<h1>Links for foo</h1>{document}".encode(), "text/html", URL, FOO)


# What a page of the index holds, and which addresses it wants to be visited.
VISITED = {
    'rel="homepage"': ('<a rel="homepage" href="http://a/">x</a>', ["http://a/"]),
    'rel="download"': ('<a href="http://a/dl" rel="download">x</a>', ["http://a/dl"]),
    "rel in single quotes": ("<a rel='homepage' href='http://a/'>x</a>", ["http://a/"]),
    "rel without quotes": ("<a rel=homepage href=http://a/>x</a>", ["http://a/"]),
    "rel of several words, in any case": (
        '<a rel="nofollow HomePage" href="http://a/">x</a>',
        ["http://a/"],
    ),
    "any tag": ('<link rel="download" href="http://a/">', ["http://a/"]),
    "another rel": ('<a rel="internal" href="http://a/">x</a>', []),
    "no rel": ('<a href="http://a/">x</a>', []),
    "rel without href": ('<a rel="homepage">x</a> <a href="http://a/">y</a>', []),
    "text that looks like rel": ('<p>x</p> rel="homepage" <a href="http://a/">y</a>', []),
    "the row Home Page": (
        '<tr><th>Home Page:</th><td><a href="http://a/">x</a><a href="http://b/">y</a>',
        ["http://a/"],
    ),
    "the row Download URL": (
        '<tr><th> download  url</th><td><a href="http://a/">x</a></td></tr>',
        ["http://a/"],
    ),
    "each row once": (
        '<th>Home Page<td><a href="http://a/">x</a><th>Home Page<td><a href="http://b/">y</a>',
        ["http://a/"],
    ),
    "rel before rows, each address once": (
        ('<th>Home Page<td><a href="http://a/"></a>'
        '<a rel="download" href="http://b/"></a><a rel="homepage" href="http://a/"></a>'),
        ["http://b/", "http://a/"],
    ),
    "relative to the page": ('<a rel="homepage" href="../bar/">x</a>', [
        "https://index.example/simple/bar/",
    ]),
    "relative to the base": (
        '<base href="http://b/c/"><a rel="homepage" href="d">x</a>',
        ["http://b/c/d"],
    ),
    "entities": ('<a rel="homepage" href="http://a/?b=1&amp;c=2">x</a>', ["http://a/?b=1&c=2"]),
    "without the fragment": ('<a rel="homepage" href="http://a/#top">x</a>', ["http://a/"]),
    "unsafe characters": ('<a rel="homepage" href="http://a/b c">x</a>', ["http://a/b%20c"]),
    "ftp": ('<a rel="homepage" href="ftp://a/">x</a>', []),
    "file": ('<a rel="homepage" href="file:///etc/passwd">x</a>', []),
    "a file of the project": ('<a rel="download" href="http://a/foo-1.0.tar.gz">x</a>', []),
    "an archive of anything": ('<a rel="download" href="http://a/latest.zip">x</a>', []),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), VISITED.values(), ids=list(VISITED))
def test_what_is_visited(document: str, expected: list[str]) -> None:
    """Home and download pages, however they are named; http and https only; no files."""
    assert legacy.pages(document, URL, page_of(document)) == expected


# What a visited page holds, and what of it is a file of foo.
FOUND = {
    "double quotes": ('<a href="foo-1.0.tar.gz">x</a>', ["foo-1.0.tar.gz"]),
    "single quotes": ("<a href='foo-1.0.zip'>x</a>", ["foo-1.0.zip"]),
    "no quotes": ("<a href=foo-1.0.tgz >x</a>", ["foo-1.0.tgz"]),
    "any tag": ('<area href = "foo-1.0.tar.bz2">', ["foo-1.0.tar.bz2"]),
    "every ending of old": (
        "".join(f'<a href="foo-{n}{end}">' for n, end in enumerate((".egg", ".tar", ".zip"))),
        ["foo-0.egg", "foo-1.tar", "foo-2.zip"],
    ),
    "no wheel": ('<a href="foo-1.0-py3-none-any.whl">x</a>', []),
    "no installer": ('<a href="foo-1.0.win32.exe">x</a>', []),
    "no version": ('<a href="foo.zip">x</a>', []),
    "no version after the dash": ('<a href="foo-latest.zip">x</a>', []),
    "another project": ('<a href="bar-1.0.zip">x</a>', []),
    "a longer name": ('<a href="foo-bar-1.0.zip">x</a>', []),
    "another case": ('<a href="Foo-1.0.zip">x</a>', ["Foo-1.0.zip"]),
    "a version with dashes": ('<a href="foo-1.0-beta-2.zip">x</a>', ["foo-1.0-beta-2.zip"]),
    "a query after the name": ('<a href="foo-1.0.zip?download">x</a>', ["foo-1.0.zip"]),
    "egg links are not looked at": ('<a href="http://a/x.zip#egg=foo-1.0">x</a>', []),
    "ftp": ('<a href="ftp://a/foo-1.0.zip">x</a>', []),
    "no page of a project": ("hello", []),
    "the same name twice": (
        '<a href="http://a/foo-1.0.zip">x</a><a href="http://b/foo-1.0.zip">y</a>',
        ["foo-1.0.zip"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("document", "expected"), FOUND.values(), ids=list(FOUND))
def test_what_is_found(document: str, expected: list[str]) -> None:
    """Archives of exactly this project, with a version."""
    assert [link.filename for link in legacy.archives(document, SITE, FOO)] == expected


def test_what_is_found_is_relative_to_its_page_or_base() -> None:
    """A found link leads where a browser would go."""
    plain = legacy.archives('<a href="foo-1.0.zip">', SITE, FOO)
    based = legacy.archives('<base href="/x/"><a href="foo-1.0.zip">', SITE, FOO)

    assert [link.url for link in plain + based] == [
        "https://foo.example/download/foo-1.0.zip",
        "https://foo.example/x/foo-1.0.zip",
    ]


@pytest.mark.parametrize(("algorithm", "length"), [("md5", 32), ("sha1", 40), ("sha256", 64)])
def test_a_fragment_with_a_digest_is_one(algorithm: str, length: int) -> None:
    """``#md5=…`` is what the file will be checked against."""
    (link,) = legacy.archives(f'<a href="foo-1.0.zip#{algorithm}={"A" * length}">', SITE, FOO)

    assert link.digests == {algorithm: "a" * length}


# What a page of the index holds, and the egg links of foo: file name and address.
EGGS = {
    "a tip": (
        '<a href="http://a/tarball/master#egg=foo-dev">x</a>',
        [("foo-dev.tar.gz", "http://a/tarball/master")],
    ),
    "an archive of another name": (
        '<a href="http://a/archive/v1.zip#egg=foo-1.0">x</a>',
        [("foo-1.0.zip", "http://a/archive/v1.zip")],
    ),
    "a zip by its address": (
        '<a href="http://a/zipball/v1#egg=foo-1.0">x</a>',
        [("foo-1.0.zip", "http://a/zipball/v1")],
    ),
    "in any case, with any dash": (
        '<a href="http://a/x#egg=FOO-1.0">x</a>',
        [("FOO-1.0.tar.gz", "http://a/x")],
    ),
    "the last one first": (
        '<a href="http://a/1#egg=foo-1">x</a><a href="http://a/2#egg=foo-2">x</a>',
        [("foo-2.tar.gz", "http://a/2"), ("foo-1.tar.gz", "http://a/1")],
    ),
    "another project": ('<a href="http://a/x#egg=bar-1.0">x</a>', []),
    "no version": ('<a href="http://a/x#egg=foo">x</a>', []),
    "no archive at all": ('<a href="svn://a/x#egg=foo-dev">x</a>', []),
    "a path as a name": ('<a href="http://a/x#egg=foo-1/../../x">x</a>', []),
}


@pytest.mark.parametrize(("document", "expected"), EGGS.values(), ids=list(EGGS))
def test_what_egg_links_stand_for(document: str, expected: list[tuple[str, str]]) -> None:
    """``#egg=<project>-<version>`` names what is behind an address that does not."""
    assert [(link.filename, link.url) for link in legacy.eggs(document, URL, FOO)] == expected


def test_an_egg_link_may_have_a_digest() -> None:
    """Both parts of a fragment count."""
    (link,) = legacy.eggs(f'<a href="http://a/x#md5={MD5}&egg=foo-1.0">', URL, FOO)

    assert link.digests == {"md5": MD5}


def test_egg_links_come_first_and_then_the_newest_version() -> None:
    """Installers of then took the first of what they could not tell apart."""
    page = page_of('<a href="foo-1.9.zip"></a><a href="foo-1.10.zip"></a><a href="foo-old.zip">')
    egg = Link("foo-dev.tar.gz", "http://a/x")
    crawled = [Link("foo-2.0.zip", "http://b/foo-2.0.zip")]

    merged = legacy.merged(page, [egg], crawled)

    assert [link.filename for link in merged.links] == [
        "foo-dev.tar.gz", "foo-2.0.zip", "foo-1.10.zip", "foo-1.9.zip", "foo-old.zip",
    ]  # fmt: skip
    assert set(merged.versions) == {"dev", "2.0", "1.10", "1.9", "old"}


def test_of_two_with_one_name_the_index_has_the_word() -> None:
    """A site cannot take the place of a file of the index."""
    page = page_of('<a href="foo-1.zip">')

    (link,) = legacy.merged(page, [], [Link("foo-1.zip", "http://b/foo-1.zip")]).links

    assert link.url == URL + "foo-1.zip"


def test_of_two_with_one_name_a_digest_has_the_word() -> None:
    """What can be checked is better than what cannot."""
    page = page_of('<a href="foo-1.zip">')

    (link,) = legacy.merged(page, [], [Link("foo-1.zip", "http://b/1.zip", {"md5": MD5})]).links

    assert link.url == "http://b/1.zip"


def test_what_an_egg_link_renames_is_not_listed_twice() -> None:
    """``archive/v1.zip#egg=foo-1`` is one file, under the name that says its version."""
    document = '<a href="http://a/v1.zip#egg=foo-1">'
    page = page_of(document)

    merged = legacy.merged(page, legacy.eggs(document, URL, FOO), [])

    assert [link.filename for link in merged.links] == ["foo-1.zip"]


@pytest.mark.parametrize(
    "document",
    ["<" * 10**6, '<a rel="homepage" ' * 10**5, "href=" * 10**5, ' rel="download"' * 10**5,
     "<th>" + " " * 10**6, "href='" * 10**5 + 'href="' * 10**5],
    ids=lambda document: document[:12],
)  # fmt: skip
def test_a_hostile_page_takes_no_time(document: str) -> None:
    """pip's own expressions take quadratic time for these."""
    page = Page(FOO)
    start = time.process_time()

    legacy.pages(document, URL, page)
    legacy.eggs(document, URL, FOO)
    legacy.archives(document, URL, FOO)

    assert time.process_time() - start < 5
