"""Laws of the simple API on the wire that hold for any page and any bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import timezone
from itertools import pairwise
from urllib.parse import urljoin

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from devpi_server.errors import Corrupt
from devpi_server.names import is_file_name, project, version_of
from devpi_server.records import Link, Page, ProjectStatus
from devpi_server.simple import listing, parse, render
from devpi_server.simple.negotiate import Encoding, Form, encoding, form

FOO = project("foo")
URL = "https://index.example/root/pypi/+simple/foo/"
INDEX = "https://index.example/root/pypi/"

LENGTHS = {"md5": 32, "sha256": 64, "sha512": 128, "blake2b": 128, "sha3_256": 64}

# What HTML can carry: no control characters, and no surrogates.
texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\"'<>&\n\r\t;="),
    min_size=1,
    max_size=20,
)
wild_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def digests_of(algorithms: Sequence[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.fixed_dictionaries(
        {},
        optional={
            algorithm: st.text("0123456789abcdef", min_size=length, max_size=length)
            for algorithm, length in LENGTHS.items()
            if algorithm in algorithms
        },
    )


file_names = (
    st.tuples(
        st.sampled_from(["foo-", "Foo-", "foo-bar-", ""]),
        st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12),
        st.sampled_from([".zip", ".tar.gz", "-py3-none-any.whl", ".exe"]),
    )
    .map("".join)
    .filter(is_file_name)
)
paths = st.text("abc/-_.~+%20:@", max_size=12).map(lambda path: "/" + path)
urls = st.builds("{}://{}{}/f.zip".format, st.sampled_from(["http", "https"]),
                 st.sampled_from(["h.example", "h.example:8080"]), paths)  # fmt: skip
moments = st.datetimes(timezones=st.just(timezone.utc))
json_values: st.SearchStrategy[object] = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | wild_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(wild_texts, inner, max_size=3),
    max_leaves=5,
)
extras = st.dictionaries(wild_texts.map("x-{}".format), json_values, max_size=2)
sizes = st.integers(0, 2**63 - 1)


def links_of(
    text: st.SearchStrategy[str],
    algorithms: Sequence[str],
    extra: st.SearchStrategy[Mapping[str, object]],
) -> st.SearchStrategy[tuple[Link, ...]]:
    link = st.builds(
        Link,
        filename=file_names,
        url=urls,
        digests=digests_of(algorithms),
        size=st.none() | sizes,
        uploaded=st.none() | moments,
        requires_python=st.none() | text,
        yanked=st.booleans() | text,
        core_metadata=st.none() | digests_of(algorithms),
        gpg_sig=st.none() | st.booleans(),
        provenance=st.none() | st.just("https://index.example/p?a=b&c"),
        extra=extra,
    )
    return st.lists(link, max_size=4, unique_by=lambda link: link.filename).map(tuple)


def statuses(text: st.SearchStrategy[str]) -> st.SearchStrategy[ProjectStatus | None]:
    marker = st.sampled_from(["active", "archived", "deprecated"])
    return st.none() | st.builds(ProjectStatus, marker, st.none() | text)


json_pages = st.builds(
    Page,
    name=st.just(FOO),
    links=links_of(wild_texts, tuple(LENGTHS), extras),
    versions=st.lists(wild_texts, unique=True, max_size=3).map(tuple),
    status=statuses(wild_texts),
    serial=st.none() | sizes,
    api_minor=st.integers(4, 99),
    extra=extras,
    meta_extra=extras,
)
html_pages = st.builds(
    Page,
    name=st.just(FOO),
    links=links_of(texts, ("sha256",), st.just({})),
    status=statuses(texts),
    serial=st.none() | sizes,
)


def served(page: Page, document: str) -> Page:
    """The page, with the addresses under which we serve its links."""
    return dataclasses.replace(
        page,
        links=tuple(
            dataclasses.replace(link, url=again.url)
            for link, again in zip(page.links, parse_as(document, page).links, strict=True)
        ),
    )


def parse_as(name: str, page: Page) -> Page:
    if name == "json":
        return parse.page(render.json_page(page, "../../"), "", URL, FOO)
    return parse.page(render.html_page(page, "../../"), "", URL, FOO)


@given(json_pages)
@settings(deadline=None)
def test_json_carries_everything(page: Page) -> None:
    """A page that is rendered as JSON and parsed again is the same page."""
    if any(link.size is None for link in page.links):
        page = dataclasses.replace(page, api_minor=0)
    assert parse_as("json", page) == served(page, "json")


@given(html_pages)
@settings(deadline=None)
def test_html_carries_all_that_it_can_say(page: Page) -> None:
    """But for further digests, versions and unknown keys, HTML is as good as JSON."""
    versions = dict.fromkeys(version_of(link.filename, FOO) for link in page.links)
    page = dataclasses.replace(page, versions=tuple(filter(None, versions)))
    assert parse_as("html", page) == served(page, "html")


@given(json_pages)
@settings(deadline=None)
def test_both_forms_lead_to_the_same_addresses(page: Page) -> None:
    """Each link leads below the index, to the same place in both forms."""
    from_json, from_html = parse_as("json", page), parse_as("html", page)
    by_name = {link.filename: link.url for link in from_html.links}
    assert by_name == {link.filename: link.url for link in from_json.links}
    assert all(urljoin(INDEX, url).startswith((INDEX + "+f/", INDEX + "+e/"))
               for url in by_name.values())  # fmt: skip


@given(json_pages)
@settings(deadline=None)
def test_html_is_ascii_and_one_line_a_link(page: Page) -> None:
    """No charset and no line-wise reader can misread a page."""
    lines = render.html_page(page, "../../").decode("ascii").splitlines()
    anchors = [line.strip() for line in lines if "<a" in line]
    assert len(anchors) == len(page.links)
    assert all(a.startswith("<a href=") and a.endswith("</a><br/>") for a in anchors)
    assert all(a.count(">") == 3 for a in anchors)


headers = st.text(max_size=60) | st.lists(
    st.sampled_from(
        [*"*/;=,q .01+", "text/html", "application/*", "vnd.pypi.simple", "gzip", "zstd", "q=", "1"]
    ),
    max_size=20,
).map("".join)


@given(st.none() | headers, st.none() | headers)
def test_negotiation_never_raises(header: str | None, wanted: str | None) -> None:
    """Whatever a client sends, there is a form and an encoding for it."""
    assert form(header, wanted) in Form
    assert encoding(header) in Encoding


@given(st.permutations(["text/html;q=0.4", "*/*;q=0.1", "application/*;q=0.3",
                        "application/vnd.pypi.simple.v1+json;q=0.2"]))  # fmt: skip
def test_the_order_of_a_header_means_nothing(elements: list[str]) -> None:
    """PEP 691: only q decides."""
    assert form(",".join(elements)) is Form.HTML


json_junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["meta", "files", "name", "versions", "filename", "url", "hashes", "yanked",
                         "api-version", "size", "upload-time", "core-metadata", "project-status",
                         "status", "provenance", "projects"]) | st.text(max_size=5),
        inner, max_size=6),
    max_leaves=30,
)  # fmt: skip
html_junk = st.lists(
    st.sampled_from(["<a ", "href=", '"', "'", ">", "</a>", "<base ", "<meta name=", "<title>",
                     "</title>", "index", "data-yanked", "&#x0;", "<h1>", "data-size=", "9" * 30,
                     "foo-1.zip", "#sha256=", "a" * 64, "<!--", "-->", "<script>",
                     "https://", "h/", "[", "@", ":", "\x00",
                     "{", "}", "]", '"projects"', '{"name":"a"}', ","]) | st.text(max_size=3),
    max_size=40,
).map("".join)  # fmt: skip


def encoded(value: object) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


documents = (
    st.binary(max_size=200)
    | st.builds(lambda text: text.encode("utf-8", "surrogatepass"), html_junk)
    | st.builds(lambda text: b"<html>" + text.encode("utf-8", "surrogatepass"), html_junk)
    | json_junk.map(encoded)
    | st.builds(lambda files: encoded({"files": files}), st.lists(json_junk, max_size=3))
)


@given(documents, st.text(max_size=30), st.sampled_from([URL, "", "//", "http://[", "x"]))
@settings(deadline=None, max_examples=400)
def test_any_bytes_are_a_page_or_corrupt(document: bytes, content_type: str, url: str) -> None:
    """The parser raises Corrupt and nothing else, and what it returns can be rendered."""
    try:
        page = parse.page(document, content_type, url, FOO)
    except Corrupt:
        return
    for link in page.links:
        assert is_file_name(link.filename)
        assert link.url.startswith(("http://", "https://"))
    render.json_page(page, "../../")
    render.html_page(page, "../../")


def outcome(chunks: Sequence[bytes], content_type: str) -> tuple[list[str], str | None]:
    found: list[str] = []
    try:
        for name in listing.names(chunks, content_type):
            found.append(name)  # noqa: PERF402 - what came before the error counts
    except Corrupt as error:
        return found, error.message
    return found, None


@given(documents, st.lists(st.integers(0, 200), max_size=8), st.sampled_from(["", "text/html"]))
@settings(deadline=None, max_examples=300)
def test_the_cuts_of_the_network_do_not_matter(
    document: bytes, cuts: list[int], content_type: str
) -> None:
    """A list of projects gives the same names, or the same fault, however it arrives."""
    edges = [0, *sorted(cuts), len(document)]
    chunks = [document[start:end] for start, end in pairwise(edges)]
    assume(b"".join(chunks) == document)
    assert outcome(chunks, content_type) == outcome([document], content_type)


names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@given(st.lists(names, min_size=1, max_size=30), st.integers(0, 400), st.booleans())
@settings(deadline=None)
def test_a_name_across_the_edge_of_a_block_arrives(
    spelled: list[str], before: int, in_json: bool
) -> None:
    """Whatever stands at the edge of an inner block, every name arrives, as it was spelled."""
    pieces = render.listing_json(spelled) if in_json else render.listing_html(spelled, "Index")
    document = b"".join(pieces)
    at = document.index(b"[" if in_json else b"<h1>")
    padding = b" " * (64 * 1024 - at - before)
    whole = document[:at] + padding + document[at:]
    assert list(listing.names([whole], "")) == spelled
