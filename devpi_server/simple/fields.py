"""The fields of a link, cleaned: what the JSON and the HTML form have in common.

Everything here comes from outside and is hostile until it has been through one
of these functions.  None means that the value is not worth keeping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from urllib.parse import quote, urljoin, urlsplit

from devpi_server.errors import Corrupt
from devpi_server.names import NormalizedName, version_of
from devpi_server.records import NO_DIGESTS, Digests, Link, Page, ProjectStatus

MAX_LINKS = 200_000  # five times the largest project on PyPI
MAX_URL = 4096
MAX_TEXT = 64 * 1024  # of one field
MAX_WHOLE = 2**63 - 1

# What counts as a file where a link has no hash that would say so.
ARCHIVES = (
    ".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.z", ".tar", ".tbz", ".tbz2",
    ".txz", ".tar.lz", ".tar.lzma", ".tar.zst", ".7z", ".egg", ".exe", ".msi", ".rpm", ".deb",
    ".dmg", ".pybundle",
)  # fmt: skip

QUARANTINED = "quarantined"  # PEP 792

# The names that hashlib guarantees, with the length of their hex form.
_LENGTHS = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_224": 56,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
    "blake2b": 128,
    "blake2s": 64,
}
_HEX = re.compile(r"[0-9a-f]+\Z")

_URL_CHARS = r"!$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~"
# What needs no work at all: absolute, no userinfo, no fragment, all encoded.
_PORT = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}"  # as far as a number of digits tells
_PLAIN_URL = re.compile(rf"https?://[A-Za-z0-9._-]+(?::(?:{_PORT}))?/[{_URL_CHARS}]*\Z")
_NETLOC = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_KEPT_IN_URL = "!$%&'()*+,-./:;=?@[]_~"

_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:[.,]([0-9]{1,18}))?(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?\Z"
)
_VERSION = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?\Z")


def digests(pairs: Iterable[tuple[str, object]]) -> Digests:
    """The digests that hashlib can check; a client may refuse a page over others."""
    found = {}
    for algorithm, value in pairs:
        known = algorithm.lower()
        if isinstance(value, str) and len(value) == _LENGTHS.get(known):
            digest = value.lower()
            if _HEX.match(digest):
                found[known] = digest
    return found or NO_DIGESTS


def fragment_digests(fragment: str) -> Digests:
    """The digests of ``#sha256=…``, or of ``#md5=…&egg=…`` from older times."""
    if not fragment:
        return NO_DIGESTS
    parts = (part.strip().partition("=") for part in fragment.split("&"))
    return digests((algorithm, value) for algorithm, _, value in parts)


def address(url: str, base: str) -> str | None:
    """An absolute http URL without userinfo and fragment, percent-encoded throughout."""
    if len(url) > MAX_URL:
        return None
    if _PLAIN_URL.match(url):
        return url
    try:
        parts = urlsplit(url.strip())
        if not parts.scheme:  # urljoin would lend its host to "https:///x" as well
            parts = urlsplit(urljoin(base, url.strip()))
        netloc = parts.netloc.rpartition("@")[2]
        if parts.scheme not in ("http", "https") or not _NETLOC.match(netloc):
            return None
        if parts.port == 0:  # and raises for one that is too large
            return None
        path = quote(parts.path or "/", safe=_KEPT_IN_URL)
        query = f"?{quote(parts.query, safe=_KEPT_IN_URL)}" if parts.query else ""
    except ValueError:
        return None
    return f"{parts.scheme}://{netloc}{path}{query}"


def moment(value: object) -> datetime | None:
    """PEP 700: upload-time, in UTC.  A time without an offset is taken for UTC."""
    match = _MOMENT.match(value) if isinstance(value, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    try:
        when = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micros,
            tzinfo=timezone.utc,
        )  # fmt: skip
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            when = when - offset if sign == "+" else when + offset
    except (ValueError, OverflowError):
        return None
    return when


def whole(value: object) -> int | None:
    """A number of bytes, or a serial."""
    # bool is an int to isinstance.
    if type(value) is int and 0 <= value <= MAX_WHOLE:
        return value
    return None


def text(value: object) -> str | None:
    """A text that says something."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT else None


def provenance(value: object) -> str | None:
    """PEP 740: it must be an https URL."""
    if isinstance(value, str) and value[:8].lower() == "https://":
        return address(value, "")
    return None


def status(value: object, reason: object) -> ProjectStatus | None:
    """PEP 792: the status marker of a project."""
    marker = text(value)
    if marker is None or not marker.strip():
        return None
    return ProjectStatus(marker.strip().lower(), text(reason))


def api_minor(version: str) -> int:
    """PEP 629: the minor version; the major one has to be ours.

    :raises Corrupt: another major version, or no version at all.
    """
    match = _VERSION.match(version)
    if match is None:
        raise Corrupt("upstream's api-version is not a version")
    if int(match[1]) != 1:
        raise Corrupt(f"upstream speaks version {int(match[1])} of the simple API, not 1")
    return int(match[2] or 0)


class Collector:
    """The links of a page under way: one a file name, in order of appearance."""

    __slots__ = ("_links",)

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    def add(self, link: Link) -> None:
        """Take a link; of two with one name the first, unless only the second can be checked."""
        first = self._links.setdefault(link.filename, link)
        if first is not link and link.digests and not first.digests:
            self._links[link.filename] = link

    @property
    def links(self) -> tuple[Link, ...]:
        """All of them."""
        return tuple(self._links.values())

    def page(
        self,
        name: NormalizedName,
        *,
        versions: tuple[str, ...] | None,
        status: ProjectStatus | None,
        serial: int | None,
    ) -> Page:
        """The page, without what only JSON has.

        PEP 792: nothing of a quarantined project may be offered.
        """
        if status is not None and status.status == QUARANTINED:
            return Page(name, status=status, serial=serial)
        if versions is None:
            stated = (version_of(filename, name) for filename in self._links)
            versions = tuple(dict.fromkeys(version for version in stated if version))
        return Page(name, self.links, versions, status, serial)
