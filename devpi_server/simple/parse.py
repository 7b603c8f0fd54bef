"""Read the project page of an upstream, JSON or HTML, as a value.

Whatever upstream sends, the outcome is a ``Page`` or ``Corrupt``.  A link that
cannot be served is left out; a page that cannot be trusted as a whole is
refused, because an empty page would say "no such files" (ARCHITECTURE 1.6).
"""

from __future__ import annotations

from devpi_server.errors import Corrupt
from devpi_server.names import NormalizedName
from devpi_server.records import Page
from devpi_server.simple import parse_html, parse_json, sniff
from devpi_server.simple.fields import MAX_LINKS

__all__ = ["MAX_BYTES", "MAX_LINKS", "page"]

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
    if sniff.kind(document, content_type) is sniff.Kind.JSON:
        return parse_json.page(sniff.without_bom(document), url, project, serial)
    return parse_html.page(sniff.text(document, content_type), url, project, serial)
