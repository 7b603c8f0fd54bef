"""Project, index and distribution-file names: the one user of ``packaging.utils``.

Every name below ``web/`` has been through here: a ``NormalizedName`` is a
project name in its PEP 503 form, never raw text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, unquote, urlsplit

from packaging.tags import Tag
from packaging.utils import (
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from devpi_server.errors import InvalidName

__all__ = [
    "METADATA",
    "PROVENANCE",
    "SIGNATURE",
    "NormalizedName",
    "file_path",
    "is_file_name",
    "is_final",
    "is_plain",
    "newest",
    "project",
    "projects_of",
    "same_version",
    "split_companion",
    "version_key",
    "version_of",
    "wheel_tags",
]

# PEP 508 with \Z: "$" would let a trailing newline through.
_PROJECT = re.compile(r"([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", re.IGNORECASE | re.ASCII)
_NORMAL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
_UNSAFE_IN_FILE = re.compile(r"[\x00-\x1f\x7f/\\]")
_NOT_PLAIN = re.compile(r"[\x00-,/:-?\[-^`{-\x7f\s]")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# Longest file name that common file systems take, less room for ".metadata".
_LONGEST_FILE = 240
_LONGEST_PROJECT = 200
_LONGEST_PLAIN = 100

METADATA = ".metadata"  # PEP 658
SIGNATURE = ".asc"  # PEP 503
PROVENANCE = ".provenance"  # PEP 740

_SDIST_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.z", ".tar")


def project(name: str) -> NormalizedName:
    """The normalised form of a project name (PEP 503).

    :raises InvalidName: the text is not a project name (PEP 508).
    """
    if len(name) > _LONGEST_PROJECT or not _PROJECT.match(name):
        raise InvalidName("not a valid project name")
    return canonicalize_name(name)


def is_normalized(name: str) -> bool:
    """Whether the text is a project name that needs no normalising."""
    return len(name) <= _LONGEST_PROJECT and _NORMAL.match(name) is not None


def is_file_name(name: str) -> bool:
    """Whether the text can be the last segment of a file URL and a name on disk."""
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= _LONGEST_FILE
        and name not in (".", "..")
        and not name.startswith((".", " "))
        and not name.endswith((" ", "."))
        and _UNSAFE_IN_FILE.search(name) is None
        and name.isprintable()
    )


def is_plain(name: str) -> bool:
    """Whether the text can be the name of a user or an index (devpi.md 1.4).

    It is a segment of URLs and a folder on disk; devpi's rule is that of the ASCII
    signs it may have ``-.@_`` only.
    """
    return (
        len(name) <= _LONGEST_PLAIN
        and is_file_name(name)
        and _NOT_PLAIN.search(name) is None
        and not name.startswith(("-", "_"))
    )


def split_companion(filename: str) -> tuple[str, str]:
    """``("x.whl", ".metadata")`` for ``x.whl.metadata``; the second part may be empty."""
    for ending in (METADATA, SIGNATURE, PROVENANCE):
        if filename.endswith(ending) and len(filename) > len(ending):
            return filename[: -len(ending)], ending
    return filename, ""


def file_path(filename: str, url: str, digests: Mapping[str, str]) -> str:
    """Where an index serves a file, relative to the index (devpi.md 1.9).

    ``+f/<sha256[:3]>/<sha256[3:16]>/<filename>`` when the sha256 is known,
    else ``+e/<scheme_host_path>/<filename>``, which no two URLs share; how they
    escape the name of the file does not count.  The path is not percent-encoded.
    """
    sha256 = digests.get("sha256", "")
    if _SHA256.match(sha256):
        return f"+f/{sha256[:3]}/{sha256[3:16]}/{filename}"
    parts = urlsplit(url)
    path, _, last = parts.path.rpartition("/")
    folder = f"{parts.scheme}/{parts.netloc.rpartition('@')[2]}{path}"
    if unquote(last) != filename:
        folder += f"/{last}#"  # no part of an address holds a "#"
    if parts.query:
        folder += f"?{parts.query}"
    return f"+e/{_flat(folder)}/{filename}"


def _flat(text: str) -> str:
    """One path segment for any text, without collisions: ``_`` stands for ``/`` only."""
    kept = quote(text, safe="/").replace("~", "%7E").replace("_", "%5F")
    return kept.replace("/", "_").replace("%", "~")


def version_of(filename: str, project_name: NormalizedName) -> str | None:
    """The version that a distribution's file name states, None where it states none."""
    if filename.endswith((".whl", ".egg")):
        parts = filename.split("-")
        return parts[1] if len(parts) > 2 else None
    stem = _stem(filename)
    if stem is None:
        return None
    for at, char in enumerate(stem):
        if char == "-" and canonicalize_name(stem[:at]) == project_name:
            rest = stem[at + 1 :]
            if rest[:1].isalnum():
                return rest
    return None


def wheel_tags(filename: str) -> tuple[int, frozenset[Tag]]:
    """The build number of a wheel, -1 without one, and what it can be installed on.

    Nothing, if no wheel has such a name.
    """
    try:
        _, _, build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return -1, frozenset()
    return (build[0] if build else -1), tags


def same_version(one: str, other: str) -> bool:
    """Whether two spellings are of one version, as ``1.0-rc1`` and ``1.0rc1`` (PEP 440)."""
    return version_key(one) == version_key(other)


def version_key(version: str) -> str:
    """The same for all spellings of one version (PEP 440); an old one is its own key."""
    return canonicalize_version(version)


def newest(versions: Iterable[str]) -> str:
    """The latest of the versions: one that is no pre-release, where there is one (PEP 440).

    :raises ValueError: there is none.
    """
    return max(versions, key=_age)


def is_final(version: str) -> bool:
    """Whether it is a version that can be read, and no pre-release."""
    return _age(version)[:2] == (True, True)


def _age(version: str) -> tuple[bool, bool, Version, str]:
    try:
        parsed = Version(version)
    except InvalidVersion:  # older than all that can be read
        return False, False, Version("0"), version
    return True, not parsed.is_prerelease, parsed, version


def projects_of(filename: str) -> Iterator[NormalizedName]:
    """The projects that a file of this name can belong to, likeliest first.

    A wheel's or egg's name says it; ``a-b-1.tar.gz`` may be release ``1`` of
    ``a-b`` or ``b-1`` of ``a``.
    """
    if filename.endswith((".whl", ".egg")):
        candidates = [filename.split("-", maxsplit=1)[0]]
    else:
        stem = _stem(filename) or filename.rpartition(".")[0] or filename
        dashes = [at for at, char in enumerate(stem) if char == "-"]
        # A version starts with a digit as a rule, so the first such dash first.
        dashes.sort(key=lambda at: (not stem[at + 1 : at + 2].isdigit(), at))
        candidates = [stem[:at] for at in dashes] or [stem]
    seen = set()
    for candidate in candidates:
        try:
            name = project(candidate)
        except InvalidName:
            continue
        if name not in seen:
            seen.add(name)
            yield name


def _stem(filename: str) -> str | None:
    """The file name without an sdist's ending."""
    lower = filename.lower()
    for ending in _SDIST_ENDINGS:
        if lower.endswith(ending):
            return filename[: -len(ending)]
    return None
