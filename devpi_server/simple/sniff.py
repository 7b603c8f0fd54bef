"""Whether a document is JSON, HTML or a bucket's XML, whatever its ``Content-Type`` claims.

Static mirrors on object stores say ``binary/octet-stream``, and proxies say
``text/html`` of everything, so the first bytes decide.
"""

from __future__ import annotations

import enum
import re

from devpi_server.errors import Corrupt
from devpi_server.simple import bucket

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # how some editors save a page
_TAG = re.compile(rb"<(?:!doctype|html|head|body|title|meta|h1|pre|a)[\s>]", re.IGNORECASE)
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
# Not every codec that Python knows: some are slow, some are no text at all.
_SANE_CHARSET = re.compile(
    r"utf-?8|(?:us-)?ascii|latin-?1|iso-?8859-[0-9]{1,2}|(?:windows-|cp)125[0-9]|koi8-[ru]"
    r"|gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)",
    re.IGNORECASE,
)
_LOOK_AT = 64 * 1024
_XML_HEAD = 512  # the declaration, and the root element


class Kind(enum.Enum):
    """What a document is."""

    JSON = enum.auto()
    HTML = enum.auto()
    BUCKET = enum.auto()  # the XML of S3


def kind(document: bytes, content_type: str) -> Kind:
    """What a document is: by its beginning, and failing that by what it claims to be.

    :raises Corrupt: it is neither.
    """
    start = document[:_LOOK_AT].removeprefix(_BOM).lstrip()
    if start.startswith(b"{"):
        return Kind.JSON
    if start.startswith(_UTF16):
        start = start.replace(b"\0", b"")  # ASCII, but for the mark
    if bucket.ROOT in start[:_XML_HEAD]:
        return Kind.BUCKET
    if _TAG.search(start):
        return Kind.HTML
    claimed = content_type.partition(";")[0].strip().lower()
    if claimed.endswith(("/json", "+json")):
        return Kind.JSON
    if claimed.endswith(("/html", "+html")):
        return Kind.HTML
    raise Corrupt("upstream's answer is neither JSON nor HTML")


def without_bom(document: bytes) -> bytes:
    """The document as orjson takes it."""
    return document.removeprefix(_BOM)


def text(document: bytes, content_type: str) -> str:
    """An HTML or XML document as text; no byte of it can make this raise."""
    if document.startswith(_UTF16):  # beats the header, as in browsers
        return document.decode("utf-16", "replace")
    match = _CHARSET.search(content_type)
    charset = match[1] if match and _SANE_CHARSET.fullmatch(match[1]) else "utf-8"
    try:
        return document.removeprefix(_BOM).decode(charset, "replace")
    except LookupError:
        return document.decode("utf-8", "replace")
