"""Stream the names of projects out of an upstream's root page.

Why by hand: PyPI's root has 45 MB and 900,000 names, and no JSON or HTML parser
among our libraries works in bounded memory.  The scanners only find where an
element of ``projects`` ends, or an anchor; orjson and ``html`` read it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import unquote

import orjson

from devpi_server.errors import Corrupt, InvalidName
from devpi_server.names import is_normalized, project
from devpi_server.simple import sniff

MAX_TOKEN = 64 * 1024

# Of one size, so that the outcome does not depend on how the network cut the document.
_BLOCK = 64 * 1024


def names(chunks: Iterable[bytes], content_type: str) -> Iterator[str]:
    """The names of projects as upstream spells them, in its order; each one is valid.

    Only the end of the iteration says that the document was whole: do not act
    on a part of it.

    :raises Corrupt: no list of projects, or not all of it.
    """
    cut = blocks(chunks)
    block = next(cut, b"")
    scanner: _Scanner = (
        JsonScanner() if sniff.kind(block, content_type) is sniff.Kind.JSON else _HtmlScanner()
    )
    rest = b""
    while block:
        buffer = rest + block
        found: list[str] = []
        rest = buffer[scanner.scan(buffer, found) :]
        yield from found
        if len(rest) > MAX_TOKEN:
            raise Corrupt("upstream's list of projects has an endless element")
        block = next(cut, b"")
    scanner.finish(rest)


class _Scanner(Protocol):
    def scan(self, buffer: bytes, found: list[str]) -> int:
        """Add the names in the buffer; return from where on it has to be seen again."""

    def finish(self, rest: bytes) -> None:
        """Raise ``Corrupt`` unless the document was whole."""


class JsonScanner:
    """Finds the elements of ``projects``; ``serials`` reads them in another way."""

    # One token of JSON.  A flat object is one too, as nearly all projects are flat.
    _TOKEN = re.compile(
        rb"""[\s,]*(?:"""
        rb"""(?P<flat>\{[^{}\[\]"\\]*(?:"[^"\\]*"[^{}\[\]"\\]*)*\})"""
        rb"""|(?P<string>"[^"\\]*(?:\\.[^"\\]*)*")"""
        rb"""|(?P<open>[{\[])|(?P<close>[}\]])|(?P<colon>:)|(?P<other>[^\s{}\[\]:,"]+))""",
        re.DOTALL,
    )

    def __init__(self) -> None:
        self._depth = 0
        self._key = b""  # the last text in the outermost object
        self._value_of = b""  # the key whose value comes next
        self._listing = False  # within the array of projects
        self._seen = False

    def scan(self, buffer: bytes, found: list[str]) -> int:
        match_token = self._TOKEN.match
        at = element = 0
        while (match := match_token(buffer, at)) is not None:
            kind = match.lastgroup
            if self._depth == 0 and (self._seen or kind == "flat"):
                return len(buffer)  # whatever follows the document
            at = match.end()
            if kind == "flat":
                if self._listing and self._depth == 2:
                    self.element(match["flat"], found)
            elif kind == "open":
                if self._listing and self._depth == 2:
                    element = match.start("open")
                self._open(match["open"])
            elif kind == "close":
                self._depth -= 1
                if self._listing and self._depth == 2:
                    self.element(buffer[element:at], found)
                elif self._depth == 1:
                    self._listing = False
            elif kind == "string" and self._depth == 1:
                self._key = match["string"]
            if self._depth == 1:
                self._value_of = self._key if kind == "colon" else b""
        if self._listing and self._depth > 2:
            # Within an element: read it again from its start when there is more.
            self._depth = 2
            return element
        return at

    def finish(self, rest: bytes) -> None:
        if not self._seen:
            raise Corrupt("upstream's answer has no list of projects")
        if self._depth > 0 or rest.strip():
            raise Corrupt("upstream's list of projects ends too early")

    def _open(self, bracket: bytes) -> None:
        if self._depth == 1 and bracket == b"[" and self._value_of == b'"projects"':
            self._listing = self._seen = True
        self._depth += 1

    def element(self, text: bytes, found: list[str]) -> None:
        """Read one element."""
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Corrupt("upstream's list of projects is not valid JSON") from None
        name = data.get("name") if isinstance(data, dict) else None
        if isinstance(name, str) and _is_project(name):
            found.append(name)


class _HtmlScanner:
    _MARK = re.compile(
        rb"<(?:(?P<anchor>a)(?=\s)|(?P<comment>!--)|(?P<end>/(?:html|body)(?=[\s>])))",
        re.IGNORECASE,
    )
    _LONGEST_MARK = len(b"</html>")
    _HREF = re.compile(rb"\shref\s*=\s*", re.IGNORECASE)
    # A list without projects has to look like a list: an error page has none either.
    _LISTING = re.compile(
        rb"pypi:repository-version|<(?:title|h1)[^<>]{0,200}>[^<]{0,200}(?:links for|simple|index)",
        re.IGNORECASE,
    )

    def __init__(self) -> None:
        self._started = False
        self._acceptable = False
        self._closed = False
        self._any = False

    def scan(self, buffer: bytes, found: list[str]) -> int:
        if not self._started:
            self._started = True
            self._acceptable = self._LISTING.search(buffer) is not None
        at = 0
        while (match := self._MARK.search(buffer, at)) is not None:
            if match.lastgroup == "end":
                self._closed = True
                at = match.end()
                continue
            if match.lastgroup == "comment":
                at = buffer.find(b"-->", match.start() + 2)
            else:
                close = buffer.find(b">", match.end())
                at = buffer.find(b"<", close) if close >= 0 else -1
                if at >= 0:
                    name = self._name(buffer[match.end() : close], buffer[close + 1 : at])
                    if name is not None:
                        found.append(name)
            if at < 0:
                self._any = self._any or bool(found)
                return match.start()
        self._any = self._any or bool(found)
        cut = buffer.rfind(b"<", max(at, len(buffer) - self._LONGEST_MARK))
        return cut if cut >= 0 else len(buffer)

    def finish(self, rest: bytes) -> None:
        if not self._any and not (self._closed and self._acceptable):
            raise Corrupt("upstream's answer is not a list of projects")
        if not self._closed and (self._MARK.match(rest) or (rest.strip() and b">" not in rest)):
            raise Corrupt("upstream's list of projects ends too early")

    def _name(self, tag: bytes, text: bytes) -> str | None:
        """The project that an anchor leads to, as its text spells it."""
        match = self._HREF.search(tag)
        if match is None:
            return None
        start = match.end()
        quote = tag[start : start + 1]
        if quote in (b'"', b"'"):
            end = tag.find(quote, start + 1)
            href = tag[start + 1 : end] if end >= 0 else b""
        else:
            href = tag[start:].split(None, 1)[0] if tag[start:].strip() else b""
        segment = _last_segment(_unescape(href))
        if segment is None or not _is_project(segment):
            return None
        shown = _unescape(text).strip().rstrip("/")
        if shown != segment and _is_project(shown) and project(shown) == project(segment):
            return shown
        return segment


def _last_segment(href: str) -> str | None:
    if "?" in href or "#" in href:
        href = href.partition("#")[0].partition("?")[0]
    if "://" in href:  # the host is no project
        href = href.partition("://")[2].partition("/")[2]
    segment = href.strip().rstrip("/").rpartition("/")[2]
    return unquote(segment) if "%" in segment else segment


def _unescape(text: bytes) -> str:
    # A project name is ASCII, so any charset that extends ASCII will do.
    decoded = text.decode("latin-1")
    return html.unescape(decoded) if "&" in decoded else decoded


def _is_project(name: str) -> bool:
    if is_normalized(name):
        return True
    try:
        project(name)
    except InvalidName:
        return False
    return True


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut into pieces of one size."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= _BLOCK:
            yield bytes(waiting[:_BLOCK])
            del waiting[:_BLOCK]
    if waiting:
        yield bytes(waiting)
