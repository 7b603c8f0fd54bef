"""Read the page of an upstream, JSON, HTML or the XML of a bucket, as a value.

Whatever upstream sends, the outcome is a ``Page``, links, or ``Corrupt``.  A link that
cannot be served is left out; a page that cannot be trusted as a whole is
refused, because an empty page would say "no such files" (ARCHITECTURE 1.6).
"""

from __future__ import annotations

from devpi_server.errors import Corrupt
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Page
from devpi_server.simple import bucket, parse_html, parse_json, sniff

MAX_BYTES = 160 * 1024 * 1024


def page(
    document: bytes,
    content_type: str,
    url: str,
    project: NormalizedName,
    serial: int | None = None,
) -> Page:
    """Parse a project page.

    :param content_type: upstream's header, which may lie.
    :param url: where the document came from in the end; relative links start there.
    :param serial: upstream's ``X-PyPI-Last-Serial``; it beats what the document says.
    :raises Corrupt: this is no page of this project.
    """
    if len(document) > MAX_BYTES:
        raise Corrupt(f"upstream's page is larger than {MAX_BYTES} bytes")
    kind = sniff.kind(document, content_type)
    if kind is sniff.Kind.JSON:
        return parse_json.page(sniff.without_bom(document), url, project, serial)
    if kind is sniff.Kind.BUCKET:
        raise Corrupt("upstream lists a bucket, which needs mirror_flat")
    return parse_html.page(sniff.text(document, content_type), url, project, serial)


def flat(document: bytes, content_type: str, url: str) -> tuple[tuple[Link, ...], str | None]:
    """Parse a page that lists the files of any projects.

    :return: its links, and where the list goes on, if this is not all of it.
    :raises Corrupt: this is no such page.
    """
    if len(document) > MAX_BYTES:
        raise Corrupt(f"upstream's page is larger than {MAX_BYTES} bytes")
    kind = sniff.kind(document, content_type)
    if kind is sniff.Kind.JSON:
        raise Corrupt("upstream's page is JSON, and no list of files")
    text = sniff.text(document, content_type)
    if kind is sniff.Kind.BUCKET:
        return tuple(bucket.links(text, url)), bucket.next_url(text, url)
    return parse_html.flat(text, url), None
