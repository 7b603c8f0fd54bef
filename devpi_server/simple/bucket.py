"""Read the listing of a bucket, as S3 and its like write it: the files of many projects.

Why no XML parser: the listing is flat, its elements have no attributes, and
cutting text takes linear time and no entities but the five of XML.

The ``ETag`` of an object is no digest: with encryption, or in parts, it is
something else that looks like an MD5.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from urllib.parse import quote

from devpi_server import names
from devpi_server.records import NO_DIGESTS, Link
from devpi_server.simple import fields

ROOT = b"<ListBucketResult"


def links(document: str, url: str) -> Iterator[Link]:
    """The files whose names are those of archives.

    :param url: of the bucket, where the keys start.
    """
    for part in document.split("<Contents>")[1:]:
        item = part.partition("</Contents>")[0]
        key = _text(item, "Key")
        filename = key.rpartition("/")[2]
        if not filename.lower().endswith(fields.ARCHIVES) or not names.is_file_name(filename):
            continue
        address = fields.address(_root(url) + quote(key, safe="/~"), url)
        if address is not None:
            size = _text(item, "Size")
            yield Link(
                filename,
                address,
                NO_DIGESTS,
                fields.whole(int(size)) if size.isascii() and size.isdigit() else None,
                # PEP 700: when the file came to the index, which here is the bucket.
                fields.moment(_text(item, "LastModified")),
            )


def next_url(document: str, url: str) -> str | None:
    """Where the listing goes on, if this is not all of it."""
    head, *items = document.split("<Contents>")
    if not items or _text(head + items[-1].partition("</Contents>")[2], "IsTruncated") != "true":
        return None
    marker = _text(head, "NextMarker") or _text(items[-1], "Key")
    return f"{_root(url)}?marker={quote(marker, safe='')}"


def _root(url: str) -> str:
    return url.partition("?")[0]


def _text(item: str, name: str) -> str:
    _, found, rest = item.partition(f"<{name}>")
    return html.unescape(rest.partition(f"</{name}>")[0]) if found else ""
