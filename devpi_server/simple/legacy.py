"""What installers of 2013 read out of a page: links to other sites, and what they found there.

The rules are those of pip 1.3 as devpi-server 0.8 had them (devpi.md 7.2).  The
regular expressions are not: pip's take quadratic time on a hostile page.
"""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import unquote

from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.errors import InvalidName
from devpi_server.names import NormalizedName
from devpi_server.records import Link, Page
from devpi_server.simple import fields

# Not wheels, not .exe: nobody put these on sites of their own.
_ARCHIVES = (".egg", ".tar.gz", ".tar.bz2", ".tar", ".tgz", ".zip")
_WANTED = frozenset({"homepage", "download"})

_HREF = re.compile(r"""href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^>\s]*))""", re.IGNORECASE)
_BASE = re.compile(r"""<base\s+href\s*=\s*['"]?([^'">]+)""", re.IGNORECASE)
_REL = re.compile(r"""\srel\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)'|([^\s"'<>]+))""", re.IGNORECASE)
# The rows of the table with which pages of old began.
_ROWS = (
    re.compile(r"<th>\s*home\s*page", re.IGNORECASE),
    re.compile(r"<th>\s*download\s+url", re.IGNORECASE),
)
_MAX_TAG = 2048
_MAX_RELS = 10_000
_MAX_LINKS = 20_000  # that are looked at: a hostile site is to cost little
_ROW = 4096  # characters within which a row has its link
_BEFORE_VERSION = re.compile(r"-(?=[0-9])")


def pages(document: str, url: str, page: Page) -> list[str]:
    """The addresses that a project's page wants to be visited, in order.

    :param page: what else the document says; what is a file of it is not visited.
    """
    base = _base(document, url)
    files = {link.url for link in page.links}
    found = (fields.address(href.partition("#")[0], base) for href in _wanted(document))
    return [
        address
        for address in dict.fromkeys(found)
        if address and address not in files and not address.lower().endswith(_ARCHIVES)
    ]


def eggs(document: str, url: str, project: NormalizedName) -> list[Link]:
    """The ``#egg=<project>-<version>`` links, the last one first, as pip had them.

    A link may lead to anything, so it gets the file name that its fragment
    stands for: clients of today read versions from file names only.
    """
    found: list[Link] = []
    for address, fragment in _links(document, url):
        values = [part[4:] for part in fragment.split("&") if part.startswith("egg=")]
        stem = unquote(values[0]) if values else ""
        filename = stem + _ending(address)
        if names.version_of(f"{stem}.zip", project) and names.is_file_name(filename):
            found.append(Link(filename, address, fields.fragment_digests(fragment)))
    return found[::-1]


def archives(document: str, url: str, project: NormalizedName) -> list[Link]:
    """The links to archives of the project that state a version, on any page."""
    found = fields.Collector()
    for address, fragment in _links(document, url):
        filename = unquote(address.partition("?")[0].rpartition("/")[2])
        if _is_release(filename, project) and names.is_file_name(filename):
            found.add(Link(filename, address, fields.fragment_digests(fragment)))
    return list(found.links)


def merged(page: Page, first: Iterable[Link], crawled: Iterable[Link]) -> Page:
    """The page with the links that were found besides.

    Egg links come first, then files, the newest version first.  Of two with
    one name the page's own counts, unless only the other has a digest.
    """
    eggs = {link.url: link for link in first}
    files = fields.Collector()
    for link in (*page.links, *crawled):
        if link.url not in eggs:
            files.add(link)
    found = fields.Collector()
    for link in eggs.values():
        found.add(link)
    for link in sorted(files.links, key=lambda link: _age(link, page.name), reverse=True):
        found.add(link)
    whole = found.page(page.name, versions=None, status=page.status, serial=page.serial)
    versions = tuple(dict.fromkeys((*page.versions, *whole.versions)))
    return dataclasses.replace(page, links=whole.links, versions=versions)


def _base(document: str, url: str) -> str:
    match = _BASE.search(document)
    return (match and fields.address(html.unescape(match[1]), url)) or url


def _links(document: str, url: str) -> Iterator[tuple[str, str]]:
    """Every link of a document, as its address and its fragment."""
    base = _base(document, url)
    for match in islice(_HREF.finditer(document), _MAX_LINKS):
        href, _, fragment = _text(match).partition("#")
        address = fields.address(href, base) if href.strip() else None
        if address is not None:
            yield address, fragment


def _wanted(document: str) -> Iterator[str]:
    for match in islice(_REL.finditer(document), _MAX_RELS):
        if _WANTED.isdisjoint(_text(match).lower().split()):
            continue
        start = document.rfind("<", max(0, match.start() - _MAX_TAG), match.start())
        if start < 0 or ">" in document[start : match.start()]:
            continue
        end = document.find(">", match.end(), match.end() + _MAX_TAG)
        href = _HREF.search(document, start, end if end >= 0 else match.end())
        if href is not None:
            yield _text(href)
    for row in _ROWS:
        heading = row.search(document)
        if heading is not None:
            href = _HREF.search(document, heading.end(), heading.end() + _ROW)
            if href is not None:
                yield _text(href)


def _text(match: re.Match[str]) -> str:
    """The value of an attribute, however it is quoted."""
    return html.unescape(next((group for group in match.groups() if group), ""))


def _is_release(filename: str, project: NormalizedName) -> bool:
    ending = next((each for each in _ARCHIVES if filename.lower().endswith(each)), None)
    if ending is None:
        return False
    parts = _BEFORE_VERSION.split(filename[: -len(ending)], maxsplit=1)
    try:
        return len(parts) > 1 and names.project(parts[0]) == project
    except InvalidName:
        return False


def _ending(address: str) -> str:
    path = address.partition("?")[0].lower()
    for ending in _ARCHIVES:
        if path.endswith(ending):
            return ending
    return ".zip" if "zip" in path else ".tar.gz"


def _age(link: Link, project: NormalizedName) -> tuple[bool, Version]:
    try:
        return True, Version(names.version_of(link.filename, project) or "")
    except InvalidVersion:
        return False, Version("0")
