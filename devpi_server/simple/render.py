"""Write project pages and lists of projects, as JSON and as HTML.

PEP 833: the HTML form is frozen at version 1.4.  It carries the two attributes
beyond it that uv reads.  JSON omits what is not known and never says null:
uv refuses the whole page over one (protocol.md 0.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

import orjson

from devpi_server import names as names_of
from devpi_server.records import Digests, Link, Page

_HTML_START = (
    '<!DOCTYPE html>\n<html>\n  <head>\n    <meta name="pypi:repository-version" content="1.4">\n'
)
_JSON_MINOR = 4
_NAMES_A_CHUNK = 2000

_UNQUOTED = re.compile(r"[A-Za-z0-9._~/-]*\Z")

# ">" as well: clients of old cut pages with regular expressions.  A control
# character cannot be said in HTML.
_ESCAPES = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd")
_ESCAPES.update(str.maketrans({
    "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;",
    "\t": "&#9;", "\n": "&#10;", "\r": "&#13;",
}))  # fmt: skip
_SPECIAL = re.compile("[&<>\"'\x00-\x1f\x7f-\x9f]")

# sha256 first, because every client knows it; then the strongest.
_BEST_DIGESTS = (
    "sha256", "sha512", "sha384", "sha3_512", "blake2b", "sha3_384", "sha3_256", "blake2s",
    "sha3_224", "sha224", "sha1", "md5",
)  # fmt: skip


def json_page(page: Page, prefix: str) -> bytes:
    """A project page as PEP 691 has it.

    :param prefix: the way from the page to its index: ``../../``.
    """
    ways = _Ways.of(prefix)
    return _json(page, [_file(link, _href(link, ways)) for link in page.links])


def document(page: Page) -> bytes:
    """The page with its links leading to upstream, as ``parse.page`` reads it again."""
    return _json(page, [_file(link, link.url) for link in page.links])


def _json(page: Page, files: list[dict[str, object]]) -> bytes:
    # PEP 700 makes the size mandatory: claim no version that is not filled.
    if all(link.size is not None for link in page.links):
        minor = max(_JSON_MINOR, page.api_minor or 0)
    else:
        minor = 0
    meta: dict[str, object] = {"api-version": f"1.{minor}"}
    if page.serial is not None:
        meta["_last-serial"] = page.serial
    _add(meta, page.meta_extra)
    data: dict[str, object] = {"meta": meta, "name": page.name, "versions": page.versions}
    data["files"] = files
    if page.status is not None:
        status = {"status": page.status.status}
        if page.status.reason is not None:
            status["reason"] = page.status.reason
        data["project-status"] = status
    _add(data, page.extra)
    return orjson.dumps(data, option=orjson.OPT_UTC_Z)


def html_page(page: Page, prefix: str) -> bytes:
    """A project page as PEP 503 has it, in ASCII so that no charset can spoil it."""
    ways = _Ways.of(prefix)
    return _html(
        page, [_anchor(link, _href(link, ways), _best(link.digests)) for link in page.links]
    )


def html_document(page: Page) -> bytes:
    """The same with its links as they are: to their own addresses, with the first digest."""
    return _html(page, [_anchor(link, link.url, _first(link.digests)) for link in page.links])


def _html(page: Page, anchors: list[str]) -> bytes:
    parts = [_HTML_START]
    if page.status is not None:
        parts.append(
            f'    <meta name="pypi:project-status" content="{_escape(page.status.status)}">\n'
        )
        if page.status.reason is not None:
            parts.append(
                '    <meta name="pypi:project-status-reason"'
                f' content="{_escape(page.status.reason)}">\n'
            )
    name = _escape(page.name)
    parts.append(
        f"    <title>links for {name}</title>\n  </head>\n  <body>\n    <h1>links for {name}</h1>\n"
    )
    parts.extend(anchors)
    parts.append("  </body>\n</html>\n")
    if page.serial is not None:
        parts.append(f"<!--SERIAL {page.serial}-->")
    return _encode("".join(parts))


def listing_json(names: Iterable[str]) -> Iterator[bytes]:
    """The list of projects as PEP 691 has it, in pieces."""
    yield b'{"meta":{"api-version":"1.4"},"projects":['
    separator = b""
    remaining = iter(names)
    while batch := [{"name": name} for name in islice(remaining, _NAMES_A_CHUNK)]:
        yield separator + orjson.dumps(batch)[1:-1]
        separator = b","
    yield b"]}"


def listing_html(names: Iterable[str], title: str) -> Iterator[bytes]:
    """The list of projects as PEP 503 has it, in pieces.

    :param names: valid project names, as they are to be shown.
    """
    heading = _escape(title)
    yield _encode(
        f"{_HTML_START}    <title>{heading}</title>\n  </head>\n  <body>\n    <h1>{heading}</h1>\n"
    )
    remaining = iter(names)
    while batch := [_project_anchor(name) for name in islice(remaining, _NAMES_A_CHUNK)]:
        yield _encode("".join(batch))
    yield b"  </body>\n</html>\n"


def _project_anchor(name: str) -> str:
    # A valid project name has nothing to escape.
    normal = name if names_of.is_normalized(name) else names_of.project(name)
    return f'    <a href="{normal}/">{name}</a><br/>\n'


def _file(link: Link, url: str) -> dict[str, object]:
    data: dict[str, object] = {
        "filename": link.filename,
        "url": url,
        "hashes": dict(link.digests),
    }
    if link.requires_python is not None:
        data["requires-python"] = link.requires_python
    if link.size is not None:
        data["size"] = link.size
    if link.uploaded is not None:
        data["upload-time"] = link.uploaded
    data["yanked"] = link.yanked
    if link.core_metadata is not None:
        # PEP 714: not by its first name, too, at which pip 23.0 breaks, that of Debian 12.
        data["core-metadata"] = dict(link.core_metadata) or True
    if link.gpg_sig is not None:
        data["gpg-sig"] = link.gpg_sig
    if link.provenance is not None:
        data["provenance"] = _provenance(link, url)
    if link.extra:
        _add(data, link.extra)
    return data


def _add(data: dict[str, object], extra: Mapping[str, object]) -> None:
    for key, value in extra.items():
        if value is not None:
            data.setdefault(key, value)


def _anchor(link: Link, href: str, digest: str) -> str:
    attributes = ""
    if link.requires_python is not None:
        attributes = f' data-requires-python="{_escape(link.requires_python)}"'
    if link.core_metadata is not None:
        offered = _best(link.core_metadata) or "true"
        attributes += f' data-core-metadata="{offered}" data-dist-info-metadata="{offered}"'
    if link.yanked is not False:
        reason = "" if link.yanked is True else _escape(link.yanked)
        attributes += f' data-yanked="{reason}"'
    if link.gpg_sig is not None:
        attributes += ' data-gpg-sig="true"' if link.gpg_sig else ' data-gpg-sig="false"'
    if link.provenance is not None:
        where = _provenance(link, href)
        attributes += f' data-provenance="{_escape(where)}"'
    if link.uploaded is not None:
        # Always UTC, so the offset is always "+00:00".
        attributes += f' data-upload-time="{link.uploaded.isoformat()[:-6]}Z"'
    if link.size is not None:
        attributes += f' data-size="{link.size}"'
    fragment = f"#{digest}" if digest else ""
    return (
        f'    <a href="{_escape(href)}{fragment}"{attributes}>{_escape(link.filename)}</a><br/>\n'
    )


class _Ways(NamedTuple):
    """From a page to its own index, and to where all indexes are."""

    own: str
    all: str

    @classmethod
    def of(cls, prefix: str) -> _Ways:
        parts = prefix.split("/")
        if parts[-2] in (".", ".."):
            return cls(prefix, f"{prefix}../../")
        return cls(prefix, "".join(f"{part}/" for part in parts[:-3]))  # it ends in user/index/


def _href(link: Link, ways: _Ways) -> str:
    """The way from the page to the file, which may belong to another index."""
    if link.index:
        return f"{ways.all}{link.index}/{path(link)}"
    return ways.own + path(link)


def _provenance(link: Link, href: str) -> str:
    beside = link.provenance == names_of.PROVENANCE
    return href + names_of.PROVENANCE if beside else link.provenance or ""


def path(link: Link) -> str:
    """Where the index serves a file, percent-encoded after the ``+f`` or ``+e``."""
    return quoted(names_of.file_path(link.filename, link.url, link.digests))


def quoted(file_path: str) -> str:
    """The path of a file within its index, percent-encoded after the ``+f`` or ``+e``."""
    if _UNQUOTED.match(file_path, 2):
        return file_path
    return file_path[:2] + quote(file_path[2:], safe="/~")


def _best(digests: Digests) -> str:
    """``sha256=…``, or the strongest there is; empty where there is none."""
    sha256 = digests.get("sha256")
    if sha256 is not None:
        return f"sha256={sha256}"
    for algorithm in _BEST_DIGESTS:
        if algorithm in digests:
            return f"{algorithm}={digests[algorithm]}"
    return ""


def _first(digests: Digests) -> str:
    return next((f"{algorithm}={digest}" for algorithm, digest in digests.items()), "")


def _escape(text: str) -> str:
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


def _encode(text: str) -> bytes:
    return text.encode("ascii", "xmlcharrefreplace")
