"""Pages that list the files of many projects: of a site, or of a bucket."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from devpi_server.errors import Corrupt
from devpi_server.names import project
from devpi_server.records import Link
from devpi_server.simple import flat, parse

URL = "https://bucket.example/"
FOO = project("foo")


@pytest.mark.parametrize(
    ("filename", "owner"),
    [
        ("foo-1.0-py3-none-any.whl", "foo"),
        ("foo_bar-1.0-py3-none-any.whl", "foo-bar"),
        ("foo-1.0.tar.gz", "foo"),
        ("Foo.Bar-1.0.tar.gz", "foo-bar"),
        ("foo-bar-1.0.tar.gz", "foo-bar"),
        ("foo-2bar-1.0.tar.gz", "foo-2bar"),
        ("foo-1.0-1.tar.gz", "foo"),
        ("foo-1.0+cu130.zip", "foo"),
        ("foo-1.0.win32.exe", "foo"),
        ("foo-1.0-py2.7.egg", "foo"),
        ("foo-master.zip", "foo"),
    ],
)
def test_a_file_belongs_to_the_project_that_its_name_tells(filename: str, owner: str) -> None:
    """Where a name can be read in two ways, the version decides."""
    assert flat.owner(filename) == owner


def test_a_page_of_one_project_has_its_files_only() -> None:
    """The files of others are on the pages of others."""
    links = [Link(name, URL + name) for name in ("foo-1.zip", "bar-1.zip", "foo-2.zip")]

    page = flat.page(links, FOO)

    assert [link.filename for link in page.links] == ["foo-1.zip", "foo-2.zip"]
    assert page.versions == ("1", "2")
    assert flat.projects(links) == ["bar", "foo"]


def test_a_find_links_page_is_read_with_all_that_it_says() -> None:
    """It is a project page, but of many projects."""
    document = b'<a href="x/foo-1.zip#md5=' + b"0" * 32 + b'">a</a><a href="about.html">b</a>'

    links, further = parse.flat(document, "text/html", URL)

    assert links == (Link("foo-1.zip", URL + "x/foo-1.zip", {"md5": "0" * 32}),)
    assert further is None


@pytest.mark.parametrize("document", [b"<html>log in</html>", b'{"files": []}', b"\0"])
def test_what_lists_no_files_is_not_believed(document: bytes) -> None:
    """Else a broken upstream would look like one without projects."""
    with pytest.raises(Corrupt):
        parse.flat(document, "text/html", URL)


def bucket(*items: str, rest: str = "<IsTruncated>false</IsTruncated>") -> bytes:
    contents = "".join(f"<Contents>{item}</Contents>" for item in items)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<ListBucketResult xmlns="http://s3.example/doc/"><Name>b</Name>{rest}{contents}'
        "</ListBucketResult>"
    ).encode()


def test_a_bucket_lists_files_by_their_keys() -> None:
    """Size and time are what the index states; an ETag is no digest."""
    document = bucket(
        "<Key>whl/foo-1.0+cu130-py3-none-any.whl</Key><Size>12</Size>"
        f"<LastModified>2024-01-02T03:04:05.000Z</LastModified><ETag>&quot;{'0' * 32}&quot;</ETag>",
        "<Key>whl/index.html</Key><Size>1</Size>",
        "<Key>a&amp;b/foo-1.zip</Key>",
    )

    links, further = parse.flat(document, "application/xml", URL + "?marker=x")

    assert links == (
        Link(
            "foo-1.0+cu130-py3-none-any.whl",
            URL + "whl/foo-1.0%2Bcu130-py3-none-any.whl",
            size=12,
            uploaded=datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone.utc),
        ),
        Link("foo-1.zip", URL + "a%26b/foo-1.zip"),
    )
    assert further is None


@pytest.mark.parametrize(
    ("rest", "marker"),
    [
        ("<IsTruncated>true</IsTruncated>", "b%2Ffoo%202.zip"),
        ("<IsTruncated>true</IsTruncated><NextMarker>a&amp;z</NextMarker>", "a%26z"),
    ],
)
def test_a_bucket_that_lists_in_parts_says_where_it_goes_on(rest: str, marker: str) -> None:
    """Where no marker is stated, the last key is one."""
    document = bucket("<Key>a/foo-1.zip</Key>", "<Key>b/foo 2.zip</Key>", rest=rest)

    assert parse.flat(document, "application/xml", URL)[1] == f"{URL}?marker={marker}"


def test_a_bucket_is_no_project_page() -> None:
    """The message says what to do."""
    with pytest.raises(Corrupt, match="mirror_flat"):
        parse.page(bucket("<Key>foo-1.zip</Key>"), "application/xml", URL, FOO)
