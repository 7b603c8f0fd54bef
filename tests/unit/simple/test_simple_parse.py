"""What an upstream's project page means, however it is written."""

from __future__ import annotations

import time
import tracemalloc
from datetime import datetime, timezone
from typing import Any

import orjson
import pytest

from devpi_server.errors import Corrupt
from devpi_server.names import project
from devpi_server.records import Link, Page, ProjectStatus
from devpi_server.simple import fields, parse

URL = "https://index.example/simple/foo/"
FOO = project("foo")
SHA = "a" * 64
JSON = "application/vnd.pypi.simple.v1+json"


def json_page(
    document: dict[str, Any] | bytes, *, url: str = URL, content_type: str = JSON, **arguments: Any
) -> Page:
    if isinstance(document, dict):
        document = orjson.dumps(document)
    return parse.page(document, content_type, url, FOO, **arguments)


def json_link(**keys: Any) -> Link:
    file = {"filename": "foo-1.tar.gz", "url": "https://files.example/foo-1.tar.gz", "hashes": {}}
    (link,) = json_page({"files": [{**file, **keys}]}).links
    return link


def html_page(
    body: str, *, url: str = URL, content_type: str = "text/html", **arguments: Any
) -> Page:
    document = f"<!DOCTYPE html><html><title>Links for foo</title>{body}</html>"
    return parse.page(document.encode(), content_type, url, FOO, **arguments)


def html_link(attributes: str, href: str = "foo-1.tar.gz") -> Link:
    (link,) = html_page(f'<a href="{href}" {attributes}>foo</a>').links
    return link


# --- both forms


def test_a_json_page_is_read_in_full() -> None:
    """Every key of the standards arrives in its field."""
    page = json_page(
        {
            "meta": {"api-version": "1.4", "_last-serial": 7, "x": 1},
            "name": "Foo",
            "versions": ["1", "2"],
            "project-status": {"status": "archived", "reason": "old"},
            "namespaces": [],
            "files": [
                {
                    "filename": "foo-1-py3-none-any.whl",
                    "url": "https://files.example/foo-1-py3-none-any.whl",
                    "hashes": {"sha256": SHA},
                    "size": 10,
                    "upload-time": "2024-01-02T03:04:05.000006Z",
                    "requires-python": ">=3",
                    "yanked": "broken",
                    "core-metadata": {"sha256": SHA},
                    "gpg-sig": True,
                    "provenance": "https://index.example/p",
                    "new": {"a": 1},
                }
            ],
        }
    )
    assert page == Page(
        name=FOO,
        links=(
            Link(
                filename="foo-1-py3-none-any.whl",
                url="https://files.example/foo-1-py3-none-any.whl",
                digests={"sha256": SHA},
                size=10,
                uploaded=datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc),
                requires_python=">=3",
                yanked="broken",
                core_metadata={"sha256": SHA},
                gpg_sig=True,
                provenance="https://index.example/p",
                extra={"new": {"a": 1}},
            ),
        ),
        versions=("1", "2"),
        status=ProjectStatus("archived", "old"),
        serial=7,
        api_minor=4,
        extra={"namespaces": []},
        meta_extra={"x": 1},
    )


def test_an_html_page_is_read_in_full() -> None:
    """Every attribute of the standards, and the two that uv reads, arrive in their fields."""
    page = parse.page(
        f"""<!DOCTYPE html><html><head>
        <meta name="pypi:repository-version" content="1.4">
        <meta name="pypi:project-status" content="deprecated">
        <meta name="pypi:project-status-reason" content="use &quot;bar&quot;">
        </head><body>
        <a href="../../f/foo-1%2Bl-py3-none-any.whl#sha256={SHA}" data-requires-python="&gt;=3"
           data-core-metadata="sha256={SHA}" data-yanked="" data-gpg-sig="false"
           data-provenance="https://index.example/p" data-size="10"
           data-upload-time="2024-01-02T03:04:05Z">foo</a><br>
        </body></html>
        <!--SERIAL 7-->""".encode(),
        "text/html",
        URL,
        FOO,
    )
    assert page == Page(
        name=FOO,
        links=(
            Link(
                filename="foo-1+l-py3-none-any.whl",
                url="https://index.example/f/foo-1%2Bl-py3-none-any.whl",
                digests={"sha256": SHA},
                size=10,
                uploaded=datetime(2024, 1, 2, 3, 4, 5, 0, timezone.utc),
                requires_python=">=3",
                yanked=True,
                core_metadata={"sha256": SHA},
                gpg_sig=False,
                provenance="https://index.example/p",
            ),
        ),
        versions=("1+l",),
        status=ProjectStatus("deprecated", 'use "bar"'),
        serial=7,
        api_minor=None,
    )


@pytest.mark.parametrize(
    "content_type", ["", "binary/octet-stream", "text/plain", "text/html", JSON, "image/png;;=;"]
)
def test_the_beginning_of_a_document_beats_its_content_type(content_type: str) -> None:
    """A document is what it looks like, not what the header says."""
    data = b' \n{"files": [], "meta": {"api-version": "1.1"}}'
    assert json_page(data, content_type=content_type).api_minor == 1
    assert html_page('<a href="foo-1.zip">x</a>', content_type=content_type).links


@pytest.mark.parametrize("document", [b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"Not found", b"[]"])
def test_what_is_neither_json_nor_html_is_corrupt(document: bytes) -> None:
    """Bytes in no known form are no page, whatever they claim to be."""
    for content_type in ("", JSON, "text/html"):
        with pytest.raises(Corrupt):
            parse.page(document, content_type, URL, FOO)


def test_a_byte_order_mark_does_no_harm() -> None:
    """Both forms may start with a byte order mark."""
    assert json_page(b'\xef\xbb\xbf{"files":[]}').links == ()
    page = parse.page(b"\xef\xbb\xbf<title>Links for foo</title>", "", URL, FOO)
    assert page.links == ()


def test_the_serial_of_the_header_beats_the_documents() -> None:
    """The argument wins; the document fills in where there is none."""
    document = {"meta": {"_last-serial": 1}, "files": []}
    assert json_page(document).serial == 1
    assert json_page(document, serial=2).serial == 2
    html = b"<title>Links for foo</title><!--SERIAL 1-->\n"
    assert parse.page(html, "", URL, FOO).serial == 1
    assert parse.page(html, "", URL, FOO, 2).serial == 2


def test_a_serial_counts_at_the_end_of_html_only() -> None:
    """A comment further up is not upstream's serial."""
    html = b"<title>Links for foo</title><!--SERIAL 1--><p>"
    assert parse.page(html, "", URL, FOO).serial is None


def test_the_same_file_twice_counts_once() -> None:
    """Of two links with one name the first wins, unless only the second has a digest."""
    page = html_page(
        f'<a href="a/foo-1.zip">1</a><a href="foo-2.zip">2</a>'
        f'<a href="b/foo-1.zip#sha256={SHA}">3</a><a href="c/foo-1.zip#sha256={"b" * 64}">4</a>'
    )
    assert [(link.filename, link.url) for link in page.links] == [
        ("foo-1.zip", URL + "b/foo-1.zip"),
        ("foo-2.zip", URL + "foo-2.zip"),
    ]


def test_a_quarantined_project_offers_nothing() -> None:
    """PEP 792: no link and no version of a quarantined project gets through."""
    file = {"filename": "foo-1.zip", "url": "foo-1.zip", "hashes": {}}
    for keys in (
        {"project-status": {"status": "Quarantined"}},
        {"project-status": "quarantined"},
        {"meta": {"project-status": "quarantined"}},
    ):
        page = json_page({"files": [file], "versions": ["1"], **keys})
        assert (page.links, page.versions) == ((), ())
        assert page.status == ProjectStatus("quarantined")
    html = '<meta name="pypi:project-status" content="quarantined"><a href="foo-1.zip">foo</a>'
    assert html_page(html).links == ()


def test_versions_come_from_the_names_where_upstream_lists_none() -> None:
    """Without a usable list the file names tell, each version once and in order."""
    files = [
        {"filename": name, "url": name}
        for name in ("foo-2.tar.gz", "foo-1.zip", "foo-2-py3-none-any.whl", "bar.txt")
    ]
    unusable: tuple[dict[str, Any], ...] = (
        {},
        {"versions": None},
        {"versions": ["1", 2]},
        {"versions": "12"},
    )
    for versions in unusable:
        assert json_page({"files": files, **versions}).versions == ("2", "1")
    assert json_page({"files": files, "versions": ["3", "3", ""]}).versions == ("3",)


@pytest.mark.parametrize("version", ["2.0", "2", "0.9", 2.0, 3])
def test_another_major_version_is_corrupt(version: object) -> None:
    """PEP 629: a greater major version cannot be read, and there was none before 1."""
    with pytest.raises(Corrupt, match="version"):
        json_page({"meta": {"api-version": version}, "files": []})
    with pytest.raises(Corrupt, match="version"):
        html_page(f'<meta name="pypi:repository-version" content="{version}">')


@pytest.mark.parametrize("version", ["", "x", "1.x", "1.4\n", True, [], {"a": []}, "9" * 5000])
def test_an_unreadable_version_is_corrupt(version: object) -> None:
    """An api-version that is no version says nothing about what follows."""
    with pytest.raises(Corrupt, match="version"):
        json_page({"meta": {"api-version": version}, "files": []})


@pytest.mark.parametrize(
    ("meta", "minor"),
    [({}, 0), ({"meta": None}, 0), ({"meta": {"api-version": 1.1}}, 1), ({"meta": "x"}, 0)],
)
def test_a_missing_version_is_the_first(meta: dict[str, Any], minor: int) -> None:
    """A hand-made page without an api-version is taken for 1.0."""
    assert json_page({**meta, "files": []}).api_minor == minor


# --- links


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)//foo-1.zip",
        "data:text/plain,foo-1.zip",
        "file:///etc/foo-1.zip",
        "ftp://files.example/foo-1.zip",
        "https:///foo-1.zip",
        "https://:80/foo-1.zip",
        "https://user@/foo-1.zip",
        "https://a b/foo-1.zip",
        "https://[::1/foo-1.zip",
        "https://files.example:99999/foo-1.zip",
        "https://files.example:x/foo-1.zip",
        "https://files.example/" + "x" * 5000 + "/foo-1.zip",
    ],
)
def test_a_link_that_no_client_could_follow_safely_is_left_out(url: str) -> None:
    """Only http and https with a sane host are kept; the page itself stands."""
    file = {"filename": "foo-1.zip", "url": url, "hashes": {}}
    assert json_page({"files": [file]}).links == ()
    assert html_page(f'<a href="{url}#sha256={SHA}">foo</a>').links == ()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user:secret@files.example/foo-1.zip", "https://files.example/foo-1.zip"),
        ("HTTPS://files.example:8080/foo-1.zip#x", "https://files.example:8080/foo-1.zip"),
        ("//files.example/foo-1.zip", "https://files.example/foo-1.zip"),
        ("/f/foo-1.zip", "https://index.example/f/foo-1.zip"),
        ("../../foo-1.zip?a=b", "https://index.example/foo-1.zip?a=b"),
        (" foo 1.zip\n", "https://index.example/simple/foo/foo%201.zip"),
        ("https://files.example/é%20+/foo-1.zip", "https://files.example/%C3%A9%20+/foo-1.zip"),
        ("http://[::1]:80/foo-1.zip", "http://[::1]:80/foo-1.zip"),
        ("https://my_host/foo-1.zip", "https://my_host/foo-1.zip"),
    ],
)
def test_an_address_is_absolute_encoded_and_without_secrets(url: str, expected: str) -> None:
    """Relative links start at the page; userinfo and fragment go."""
    assert json_link(url=url).url == expected


def test_the_credentials_of_the_page_do_not_leak_into_its_links() -> None:
    """An upstream URL with a password gives links without it."""
    secret = "https://user:secret@index.example/simple/foo/"
    file = {"filename": "foo-1.zip", "url": "foo-1.zip", "hashes": {}}
    (link,) = json_page({"files": [file]}, url=secret).links
    assert link.url == URL + "foo-1.zip"


@pytest.mark.parametrize(
    "filename", ["", "..", ".hidden", "a/b.zip", "a\\b.zip", "a\nb.zip", 3, None]
)
def test_a_name_that_is_no_file_name_is_left_out(filename: object) -> None:
    """What cannot be a name on disk is not offered."""
    file = {"filename": filename, "url": "https://files.example/x", "hashes": {}}
    assert json_page({"files": [file, None, 1, [], {}]}).links == ()


def test_json_says_the_file_name_not_the_url() -> None:
    """A file served under another name than the URL's last part is fine."""
    link = json_link(url="https://files.example/download?id=3")
    assert (link.filename, link.url) == ("foo-1.tar.gz", "https://files.example/download?id=3")


def test_only_digests_that_can_be_checked_are_kept() -> None:
    """Unknown algorithms, wrong lengths and wrong types go; case is folded."""
    hashes = {
        "SHA256": SHA.upper(),
        "md5": "a" * 31,
        "sha1": "g" * 40,
        "sha512": None,
        "sha3_256": 1,
        "blake2b": "b" * 128,
        "blake2b_256": "b" * 64,
        "x": "y",
    }
    assert json_link(hashes=hashes).digests == {"sha256": SHA, "blake2b": "b" * 128}
    for junk in (None, "sha256", 3, ["sha256"]):
        assert json_link(hashes=junk).digests == {}


@pytest.mark.parametrize("size", [None, True, -1, 1.5, "10", 2**63, 10**30, []])
def test_a_size_is_a_sane_whole_number(size: Any) -> None:
    """What is no number of bytes is not known."""
    text = b'{"files":[{"filename":"f.zip","url":"f.zip","size":%s}]}'
    encoded = str(size).encode() if type(size) is int else orjson.dumps(size)
    (link,) = json_page(text % encoded).links
    assert link.size is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-02T03:04:05Z", (2024, 1, 2, 3, 4, 5)),
        ("2024-01-02T03:04:05.1Z", (2024, 1, 2, 3, 4, 5, 100000)),
        ("2024-01-02T03:04:05.123456789Z", (2024, 1, 2, 3, 4, 5, 123456)),
        ("2024-01-02T03:04:05+02:00", (2024, 1, 2, 1, 4, 5)),
        ("2024-01-01T23:04:05.5-0230", (2024, 1, 2, 1, 34, 5, 500000)),
        ("2024-01-02 03:04:05", (2024, 1, 2, 3, 4, 5)),
    ],
)
def test_a_time_is_converted_to_utc(value: str, expected: tuple[int, ...]) -> None:
    """The fraction may be missing, offsets are converted, and no offset means UTC."""
    uploaded = json_link(**{"upload-time": value}).uploaded
    assert uploaded is not None
    assert uploaded.tzinfo is timezone.utc
    assert uploaded.timetuple()[:6] == expected[:6]
    assert uploaded.microsecond == sum(expected[6:])
    assert html_link(f'data-upload-time="{value}"').uploaded == uploaded


@pytest.mark.parametrize(
    "value",
    ["", "yesterday", "2024-01-02", "2024-13-02T03:04:05Z", "0001-01-01T00:00:00+23:59", 1, None,
     "2024-01-02T03:04:05Z\n", "٢٠٢٤-01-02T03:04:05Z", "2024-01-02T03:04:60Z"],
)  # fmt: skip
def test_what_is_no_time_is_not_known(value: object) -> None:
    """An unreadable time is left out, and the link stays."""
    assert json_link(**{"upload-time": value}).uploaded is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True),
        (False, False),
        ("why", "why"),
        ("", False),
        (None, False),
        (1, True),
        ([], False),
    ],
)
def test_yanked_in_json_is_what_is_truthy(value: object, expected: bool | str) -> None:
    """PEP 691: a boolean or a non-empty text; a truthy value is a yank."""
    assert json_link(yanked=value).yanked == expected


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [("", False), ("data-yanked", True), ('data-yanked=""', True), ('data-yanked="a&lt;b"', "a<b")],
)
def test_yanked_in_html_is_the_presence_of_the_attribute(
    attributes: str, expected: bool | str
) -> None:
    """PEP 592: the attribute yanks, its value is the reason."""
    assert html_link(attributes).yanked == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, None),
        ({"core-metadata": True}, {}),
        ({"core-metadata": False}, None),
        ({"core-metadata": {"sha256": SHA, "x": "y"}}, {"sha256": SHA}),
        ({"core-metadata": "true"}, None),
        ({"dist-info-metadata": True}, {}),
        ({"data-dist-info-metadata": {"sha256": SHA}}, {"sha256": SHA}),
        ({"core-metadata": None, "dist-info-metadata": True}, {}),
        ({"core-metadata": False, "dist-info-metadata": True}, None),
    ],
)
def test_the_new_name_of_core_metadata_decides(
    keys: dict[str, Any], expected: dict[str, str] | None
) -> None:
    """PEP 714: the aliases count only where the new name is absent."""
    link = json_link(**keys)
    assert link.core_metadata == expected
    assert link.extra == {}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", None),
        ('data-core-metadata="true"', {}),
        ('data-core-metadata="false"', None),
        (f'data-core-metadata="sha256={SHA}"', {"sha256": SHA}),
        ('data-core-metadata="sha256=zz"', {}),
        ('data-dist-info-metadata="true"', {}),
        ('data-core-metadata="false" data-dist-info-metadata="true"', None),
    ],
)
def test_core_metadata_in_html(attributes: str, expected: dict[str, str] | None) -> None:
    """The attribute says true, false or a digest."""
    assert html_link(attributes).core_metadata == expected


@pytest.mark.parametrize("value", ["http://x.example/p", "p", "javascript:x", "https://", 1, None])
def test_provenance_is_an_https_url(value: object) -> None:
    """PEP 740: anything but an https URL is left out."""
    assert json_link(provenance=value).provenance is None


def test_wrong_types_are_left_out() -> None:
    """A field of the wrong type is not known, and the link stays."""
    link = json_link(**{"requires-python": 3, "gpg-sig": "true", "extra": None})
    assert (link.requires_python, link.gpg_sig, link.extra) == (None, None, {})


# --- JSON


def test_unknown_keys_ride_along() -> None:
    """What we do not know is kept as it came, but never a null and no dead key."""
    page = json_page(
        {
            "files": [{"filename": "f.zip", "url": "f.zip", "a": [None], "b": None, "_c": 1}],
            "meta": {"d": {"e": 1}, "f": None, "tracks": ["https://x.example/"]},
            "namespaces": None,
            "g": False,
            "alternate-locations": ["https://x.example/"],
        }
    )
    assert page.links[0].extra == {"a": [None], "_c": 1}
    assert page.meta_extra == {"d": {"e": 1}}
    assert page.extra == {"g": False}


def test_what_could_not_be_written_again_is_left_out() -> None:
    """An unknown value nested without end is dropped, not served as an error for ever."""
    deep = b"[" * 300 + b"]" * 300
    assert json_page(b'{"files":[],"a":%s,"b":[[1]]}' % deep).extra == {"b": [[1]]}


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b'{"files":[NaN]}',
        b'{"files":[1e999]}',
        b'{"files":["\xff"]}',
        b'{"files":["\\ud800"]}',
        b'{"files":' + b"[" * 100_000,
        b"{}",
        b'{"files":null}',
        b'{"files":{}}',
        b'{"files":[]}x',
        b'{"message":"no such index"}',
    ],
)
def test_a_json_document_that_is_no_page_is_corrupt(document: bytes) -> None:
    """Broken JSON, or JSON without a list of files, is no page."""
    with pytest.raises(Corrupt):
        json_page(document)


@pytest.mark.parametrize("name", ["bar", "foo-bar", "", "../foo", "f" * 100_000])
def test_the_page_of_another_project_is_corrupt(name: str) -> None:
    """A page that names another project must not be served as this one's."""
    with pytest.raises(Corrupt, match="another project"):
        json_page({"name": name, "files": []})


@pytest.mark.parametrize("name", ["foo", "Foo", "FOO", None, 3])
def test_another_spelling_of_the_name_is_the_same_project(name: object) -> None:
    """Names are compared normalised; a name of the wrong type says nothing."""
    assert json_page({"name": name, "files": []}).name == "foo"


def test_of_duplicate_keys_the_last_counts() -> None:
    """As every JSON reader has it."""
    document = b'{"files":3,"files":[{"filename":"a.zip","filename":"b.zip","url":"b.zip"}]}'
    assert [link.filename for link in json_page(document).links] == ["b.zip"]


def test_too_many_links_are_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page beyond the limits is refused as a whole, not cut."""
    monkeypatch.setattr(fields, "MAX_LINKS", 2)
    file = {"filename": "foo-1.zip", "url": "foo-1.zip"}
    assert json_page({"files": [file] * 2}).links
    with pytest.raises(Corrupt, match="more than 2"):
        json_page({"files": [file] * 3})
    with pytest.raises(Corrupt, match="more than 2"):
        json_page({"files": [], "versions": ["1", "2", "3"]})
    with pytest.raises(Corrupt, match="more than 2"):
        html_page('<a href="foo-1.zip">foo</a>' * 3)


def test_too_many_bytes_are_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is too large is not even looked at."""
    monkeypatch.setattr(parse, "MAX_BYTES", 10)
    with pytest.raises(Corrupt, match="larger"):
        json_page(b'{"files":[]}')


# --- HTML


def test_the_first_base_counts() -> None:
    """Relative links start at the first base, which itself may be relative."""
    page = html_page(
        '<base target="x"><base href="/files/"><base href="/other/"><a href="foo-1.zip">foo</a>'
    )
    assert page.links[0].url == "https://index.example/files/foo-1.zip"


def test_a_base_that_cannot_be_is_ignored() -> None:
    """A base that is no http address leaves the page's own."""
    page = html_page('<base href="javascript:x"><a href="foo-1.zip">foo</a>')
    assert page.links[0].url == URL + "foo-1.zip"


def test_the_links_of_a_directory_listing_that_are_no_files_are_left_out() -> None:
    """Sort links, the parent, folders and notes are no files; odd endings are."""
    names = ["foo-1.exe", "foo-1.rpm", "foo-1.egg", "foo-1.deb", "foo-1.dmg", "foo-1.MSI"]
    other = [
        "../",
        "?C=N;O=D",
        "/",
        "sub/",
        "index.html",
        "README.txt",
        "#top",
        "",
        "foo-1.zip.asc",
    ]
    page = html_page("".join(f'<a href="{href}">x</a>' for href in other + names))
    assert [link.filename for link in page.links] == names


def test_a_digest_makes_any_link_a_file() -> None:
    """A link with a hash is a file whatever its ending (PEP 825: variants.json)."""
    link = html_link("", f"foo-1-variants.json#sha256={SHA}")
    assert (link.filename, link.digests) == ("foo-1-variants.json", {"sha256": SHA})


def test_a_fragment_may_say_more_than_one_thing() -> None:
    """Old pages join the hash and the egg; every known hash is taken."""
    md5 = "b" * 32
    link = html_link("", f"foo-1.zip#MD5={md5.upper()}&amp;egg=foo-1&amp;sha256={SHA}")
    assert link.digests == {"md5": md5, "sha256": SHA}


def test_a_file_name_is_decoded_once() -> None:
    """%2B is a plus, and %252B is %2B."""
    assert html_link("", "foo-1%2Bl.zip").filename == "foo-1+l.zip"
    assert html_link("", "foo-1%252Bl.zip").filename == "foo-1%2Bl.zip"
    assert html_page('<a href="a%2Ffoo-1.zip">foo</a>').links == ()


def test_tags_may_be_written_in_every_way_that_html_allows() -> None:
    """Case, quotes, order, line breaks, a > in a value and missing end tags mean nothing."""
    page = html_page(
        """<UL><LI><A CLASS=x
        HREF='foo-1.zip'>1<li><a data-requires-python=">=3,<4" href = foo-2.zip >2
        <p><a title="a 'b' > c" href="foo-3.zip">3</p><h1><a href="foo-4.zip">4</a></h1>"""
    )
    assert [link.filename[4] for link in page.links] == ["1", "2", "3", "4"]
    assert page.links[1].requires_python == ">=3,<4"


def test_what_is_not_shown_is_not_a_link() -> None:
    """Comments, scripts, styles and other text hold no links."""
    page = html_page(
        '<!-- <a href="foo-1.zip">1</a> --><script>"<a href=foo-2.zip>"</script>'
        '<style><a href="foo-3.zip"></style><textarea><a href=foo-4.zip></textarea>'
        '<abbr href="foo-5.zip"><a href="foo-6.zip">6</a>'
    )
    assert [link.filename for link in page.links] == ["foo-6.zip"]


def test_the_charset_of_the_header_counts() -> None:
    """HTML is UTF-8 unless the header says otherwise; a charset that is none does no harm."""
    document = '<title>Links for foo</title><a href="x.zip" data-yanked="é">'
    for charset in ("latin-1", "ISO-8859-1", '"windows-1252"'):
        page = parse.page(document.encode("latin-1"), f"text/html; charset={charset}", URL, FOO)
        assert page.links[0].yanked == "é"
    for charset in ("utf-8", "zlib", "idna", "nonsense", "", "x" * 999, "iso-8859-99"):
        page = parse.page(document.encode(), f"text/html; Charset={charset}", URL, FOO)
        assert page.links[0].yanked == "é"


@pytest.mark.parametrize(
    "document",
    [
        "<title>Links for foo</title>",
        "<TITLE>Index of /</TITLE>",
        "<h1>The Simple index</h1>",
        "<h1>All of <b>Foo</b></h1>",
        '<meta name="pypi:repository-version" content="1.0">',
        '<meta name="pypi:project-status" content="active">',
    ],
)
def test_a_page_without_links_may_look_like_a_project_page(document: str) -> None:
    """A project without files is an answer."""
    assert parse.page(document.encode(), "text/html", URL, FOO) == Page(
        FOO, status=ProjectStatus("active") if "status" in document else None
    )


@pytest.mark.parametrize(
    "document",
    [
        "<html></html>",
        "<title>Service unavailable</title><h1>503</h1>",
        "<title>Sign in</title><a href='/login'>Log in</a>",
        "<title>Food is up</title>",
        "<h1></h1><h1></h1>",
    ],
)
def test_an_error_page_is_corrupt(document: str) -> None:
    """An error page or a login page that comes with 200 must not mean "no files"."""
    with pytest.raises(Corrupt, match="not a project page"):
        parse.page(document.encode(), "text/html", URL, FOO)


@pytest.mark.parametrize(
    "document",
    [
        "<div>" * 1_000_000,
        "<a><b><p>" * 60_000,
        "<font a>" * 100_000 + "<p>x" * 100_000,
        "<h1>" * 500_000,
        "<title>" * 500_000,
        "<a " * 1_000_000,
        "<a href='\">" * 60_000,
        "<a href=x.zip" + " b=c" * 1_000_000 + ">",
        "<!--" * 500_000,
        "<script>" * 500_000,
    ],
    ids=lambda document: document[:12],
)
def test_a_page_made_to_be_slow_is_not(document: str) -> None:
    """Time grows with the length of a page, not with its square."""
    start = time.process_time()
    with pytest.raises(Corrupt):
        parse.page(b"<html>" + document.encode(), "text/html", URL, FOO)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("value", [b"[]", b"{}", b'""', b"1.5"])
def test_a_page_made_to_take_memory_does_not(value: bytes) -> None:
    """U02: a few bytes of JSON can be a hundred in memory, so values are counted before."""
    head = b'{"meta":{"api-version":"1.4"},"name":"foo","files":[],"junk":['
    document = head + (value + b",") * 2_000_000 + b"1]}"
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="values"):
            parse.page(document, JSON, URL, FOO)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig", "utf-8", "latin-1"])
def test_a_page_saved_by_any_editor_is_read(codec: str) -> None:
    """Also with a mark at its start, and whatever the header says."""
    document = '<html><h1>Links for f\xf6\xf6</h1><a href="foo-1.tar.gz">foo</a></html>'

    page = parse.page(document.encode(codec), "text/html; charset=iso-8859-1", URL, FOO)

    assert [link.url for link in page.links] == [URL + "foo-1.tar.gz"]
