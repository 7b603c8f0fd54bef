"""Read a project page in its HTML form (PEP 503 and what followed), or a directory listing.

Why two steps: an HTML5 tree builder needs quadratic time and memory for
misnested tags (300 kB of ``<div>`` take seconds, with the interpreter locked).
So the few tags that matter are cut out in linear time, and the tree builder
gets nothing but these, which cannot nest; it does attributes and entities.
"""

from __future__ import annotations

import html
import re
from urllib.parse import unquote

from selectolax.lexbor import LexborHTMLParser

from devpi_server import names
from devpi_server.errors import Corrupt
from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, Digests, Link, Page
from devpi_server.simple import fields

Attributes = dict[str, str | None]

_OPEN = re.compile(
    r"<(?:(?P<comment>!--)|(?P<name>a|base|meta|title|h1|script|style|textarea)(?=[\s/>]))",
    re.IGNORECASE,
)
_CLOSE = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("title", "h1", "script", "style", "textarea")
}
_RAW = frozenset({"title", "script", "style", "textarea"})  # no tags within
_QUOTES_CLOSED = re.compile(r"""[^"']*(?:"[^"]*"[^"']*|'[^']*'[^"']*)*\Z""")
_TAG = re.compile(r"<[^<>]*>")
_SERIAL = re.compile(r"<!--\s?SERIAL ([0-9]{1,19})\s?-->\s*\Z")
_DIGITS = re.compile(r"[0-9]{1,19}\Z")

_MAX_TAG = 16 * 1024
_MAX_HEADING = 1024
_MAX_HEADINGS = 8
_END_OF_PAGE = 256  # where the serial stands


def page(document: str, url: str, project: NormalizedName, serial: int | None) -> Page:
    """Parse a project page; see ``parse.page``."""
    tags, headings = _cut(document)
    tree = LexborHTMLParser("".join(tags))
    metas: dict[str, str] = {}
    for node in tree.css("meta"):
        name, content = node.attributes.get("name"), node.attributes.get("content")
        if name and content:
            metas.setdefault(name.lower(), content)
    version = metas.get("pypi:repository-version")
    if version is not None:
        fields.api_minor(version.strip())
    links = _collect(tree, url)
    status = fields.status(
        metas.get("pypi:project-status"), metas.get("pypi:project-status-reason")
    )
    said = links.links or version is not None or status is not None
    if not said and not _is_listing(headings, project):
        raise Corrupt("upstream's answer is not a project page")
    if serial is None:
        match = _SERIAL.search(document[-_END_OF_PAGE:])
        serial = fields.whole(int(match[1])) if match else None
    return links.page(project, versions=None, status=status, serial=serial)


def flat(document: str, url: str) -> tuple[Link, ...]:
    """Parse a page with the files of any projects; see ``parse.flat``."""
    links = _collect(LexborHTMLParser("".join(_cut(document)[0])), url).links
    if not links:
        raise Corrupt("upstream's page has no links to files")
    return links


def _collect(tree: LexborHTMLParser, url: str) -> fields.Collector:
    base = url
    for node in tree.css("base"):
        href = node.attributes.get("href")
        if href is not None:
            base = fields.address(href, url) or url
            break  # HTML: the first one counts
    links = fields.Collector()
    for node in tree.css("a"):
        link = _link(node.attributes, base)
        if link is not None:
            links.add(link)
    return links


def _cut(document: str) -> tuple[list[str], list[str]]:
    """The tags that matter, and the texts of title and h1."""
    tags: list[str] = []
    headings: list[str] = []
    count = at = 0
    while match := _OPEN.search(document, at):
        if match["comment"]:
            at = document.find("-->", match.start() + 2)
            if at < 0:
                break
            continue
        end = _end_of_tag(document, match.end())
        if end < 0:
            break
        at = end + 1
        name = match["name"].lower()
        if name == "a":
            count += 1
            if count > fields.MAX_LINKS:
                raise Corrupt(f"upstream's page has more than {fields.MAX_LINKS} links")
        if name in ("title", "h1") and len(headings) < _MAX_HEADINGS:
            closing = _CLOSE[name].search(document, at, at + _MAX_HEADING)
            headings.append(document[at : closing.start() if closing else at + _MAX_HEADING])
        if name in _RAW:
            closing = _CLOSE[name].search(document, at)
            if closing is None:
                break
            at = closing.start()
        elif name != "h1" and end - match.start() <= _MAX_TAG:
            tag = document[match.start() : at]
            if _is_closed(tag):
                tags.append(tag)
                if name == "a":
                    tags.append("</a>")
    return tags, headings


def _end_of_tag(document: str, start: int) -> int:
    """Where the ``>`` of a tag is; one within quotes does not count."""
    first = end = document.find(">", start)
    for _ in range(8):
        if end < 0 or end - start > _MAX_TAG:
            break
        if _is_closed(document[start:end]):
            return end
        end = document.find(">", end + 1)
    return first


def _is_closed(tag: str) -> bool:
    if "'" not in tag and tag.count('"') % 2 == 0:
        return True
    return _QUOTES_CLOSED.match(tag) is not None


def _is_listing(headings: list[str], project: NormalizedName) -> bool:
    """Whether a page without links is at least headed like one.

    An error page, or the login page of a proxy, comes with 200 as well.
    """
    for heading in headings:
        text = html.unescape(_TAG.sub("", heading)).lower()
        if "links for" in text or "simple" in text or "index" in text:
            return True
        if re.search(rf"(?<![a-z0-9]){project}(?![a-z0-9])", re.sub(r"[-_.]+", "-", text)):
            return True
    return False


def _link(attributes: Attributes, base: str) -> Link | None:
    href = attributes.get("href")
    if not href:
        return None
    href, _, fragment = href.partition("#")
    url = fields.address(href, base) if href.strip() else None
    if url is None:
        return None
    filename = unquote(url.partition("?")[0].rpartition("/")[2])
    digests = fields.fragment_digests(fragment)
    if not digests and not filename.lower().endswith(fields.ARCHIVES):
        return None
    if not names.is_file_name(filename):
        return None
    size = attributes.get("data-size")
    return Link(
        filename,
        url,
        digests,
        fields.whole(int(size)) if size and _DIGITS.match(size) else None,
        fields.moment(attributes.get("data-upload-time")),
        fields.text(attributes.get("data-requires-python")),
        _yanked(attributes),
        _core_metadata(attributes),
        {"true": True, "false": False}.get(attributes.get("data-gpg-sig") or ""),
        fields.provenance(attributes.get("data-provenance")),
    )


def _yanked(attributes: Attributes) -> bool | str:
    # PEP 592: "the presence of a data-yanked attribute"; the reason may be empty.
    if "data-yanked" not in attributes:
        return False
    reason = attributes["data-yanked"]
    return reason[: fields.MAX_TEXT] if reason else True


def _core_metadata(attributes: Attributes) -> Digests | None:
    # PEP 714: the new name decides where it is present.
    for key in ("data-core-metadata", "data-dist-info-metadata"):
        value = attributes.get(key)
        if value:
            if "=" in value:
                return fields.fragment_digests(value)
            return NO_DIGESTS if value.strip().lower() == "true" else None
    return None
