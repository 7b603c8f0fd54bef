"""The objects of ``dataindex.json`` as records: old spellings, missing parts, nonsense.

Each function takes what was decoded, and says in ``BadDump`` what cannot be used;
where it is, its caller knows.  ``warn`` is told in a sentence what is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TypeAlias

from devpi_server.errors import BadDump
from devpi_server.names import NormalizedName, is_file_name
from devpi_server.records import Digests
from devpi_server.services.dump.records import (
    DumpedEvent,
    DumpedIndex,
    DumpedRelease,
    DumpedUser,
    Subject,
)
from devpi_server.services.passwords import is_usable

Fields: TypeAlias = Mapping[str, object]
Warn: TypeAlias = Callable[[str], None]

# The other server refuses the rest of ASCII, too.
_NOT_IN_NAMES = re.compile(r"""[\x00-\x20!"#$%&'()*+,/:;<=>?\[\\\]^`{|}~\x7f]""")
_HEX = MappingProxyType(
    {
        name: re.compile(f"[0-9a-f]{{{2 * hashlib.new(name, usedforsecurity=False).digest_size}}}")
        for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "blake2b")
    }
)
_MD5_FOLDER = _HEX["md5"]


def object_of(value: object, what: str) -> Fields:
    """The value, which is to be an object."""
    if not isinstance(value, dict):
        raise BadDump(f"{what} is not an object")
    return value


def text_of(value: object, what: str) -> str:
    """The value, which is to be a text."""
    if not isinstance(value, str):
        raise BadDump(f"{what} is not a text")
    return value


def is_name(value: str) -> bool:
    """Whether a user or an index can have this name."""
    return (
        value not in ("", ".", "..")
        and len(value) <= 200
        and value.isprintable()
        and not _NOT_IN_NAMES.search(value)
    )


def user(name: str, given: Fields, warn: Warn) -> DumpedUser:
    """A user of this name."""
    known = ("username", "pwhash", "pwsalt", "created", "modified", "indexes")
    return DumpedUser(
        name,
        _password(name, given, warn),
        _iso(given.get("created")),
        _iso(given.get("modified")),
        {key: value for key, value in given.items() if key not in known and value is not None},
    )


def _password(name: str, given: Fields, warn: Warn) -> str | None:
    pwhash = given.get("pwhash")
    if pwhash is None:
        return None
    if not isinstance(pwhash, str) or given.get("pwsalt") or not is_usable(pwhash):
        warn(f"user {name}: the password is kept in a way that is not checked; set a new one")
        return None
    return pwhash


def index(full_name: str, given: Fields) -> DumpedIndex:
    """An index, with its bases as they stand there."""
    owner, _, name = full_name.partition("/")
    options = {key: value for key, value in given.items() if value is not None}
    kind = text_of(options.pop("type", None), "type")
    bases = options.pop("bases", ())
    if not isinstance(bases, list | tuple):
        raise BadDump("bases is not an array")
    # The name until 3.0.
    whitelist = options.pop("pypi_whitelist", None)
    if whitelist is not None:
        options.setdefault("mirror_whitelist", whitelist)
    return DumpedIndex(
        owner,
        name,
        kind,
        # Mirrors had bases once, which meant nothing.
        () if kind == "mirror" else tuple(text_of(base, "a base") for base in bases),
        options,
    )


def release(project: NormalizedName, version: str, given: Fields, warn: Warn) -> DumpedRelease:
    """A release; what is missing in the metadata is made up."""
    if not 0 < len(version) <= 200 or not version.isprintable():
        raise BadDump("no release can have this version")
    # The rest are notes of old servers.
    metadata = {key: value for key, value in given.items() if key[:1] not in ("+", ":")}
    for key, value in (("name", project), ("version", version)):
        if not metadata.get(key):
            warn(f"the metadata has no {key}; it is {value} now")
            metadata[key] = value
    return DumpedRelease(project, version, metadata)


def digests(mapping: Fields) -> Digests:
    """All that is said of the file's bytes; of servers since 1.2."""
    found = {
        name: value
        for name, value in object_of(mapping.get("hashes") or {}, "hashes").items()
        if value is not None
    }
    if mapping.get("md5") is not None:
        found["md5"] = mapping["md5"]
    name, _, value = text_of(mapping.get("hash_spec") or "", "hash_spec").partition("=")
    if value:
        # The file was replaced, and only this was kept up to date.
        stale = name in found and found[name] != value
        found = {name: value} if stale else {**found, name: value}
    checked = {}
    for name, digest in found.items():
        pattern = _HEX.get(name)
        if pattern is None:
            continue
        if not isinstance(digest, str) or not pattern.fullmatch(digest):
            raise BadDump(f"{digest!r} is no {name} digest")
        checked[name] = digest
    return checked


def tested(given: Fields, parts: tuple[str, ...]) -> Subject:
    """Which file a result of tox is about; it lies in a folder named after its bytes.

    :param parts: of the path of the result.
    """
    path = text_of(given.get("for_entrypath"), "for_entrypath").partition("#")[0]
    spec: Fields = {}
    if len(parts) == 5:
        folder = parts[3]
        spec = {"md5": folder} if _MD5_FOLDER.fullmatch(folder) else {"hash_spec": folder}
    filename = path.rpartition("/")[2]
    if not is_file_name(filename):
        raise BadDump(f"no file can be called {filename!r}")
    return Subject(filename, digests(spec))


def events(given: object, warn: Warn) -> tuple[DumpedEvent, ...]:
    """What happened to the file; what has no time is left out."""
    found = []
    for each in given if isinstance(given, list) else ():
        event = each if isinstance(each, dict) else {}
        what, when = event.get("what"), _time(event.get("when"))
        if not isinstance(what, str) or when is None:
            warn("a part of the history cannot be read, and was left out")
            continue
        who, dst, src = (
            value if isinstance(value, str) else None
            for value in map(event.get, ("who", "dst", "src"))
        )
        count = event.get("count")
        found.append(
            DumpedEvent(what, who, when, dst, src, count if isinstance(count, int) else None)
        )
    return tuple(found)


def uploaded(given: Fields, mapping: Fields, log: tuple[DumpedEvent, ...]) -> datetime | None:
    """When the file came, as exactly as it is known."""
    exact = _iso(given.get("uploaded"))
    if exact is not None:
        return exact
    try:
        return _utc(parsedate_to_datetime(str(mapping.get("last_modified"))))
    except (ValueError, TypeError, OverflowError):
        return log[0].when if log else None


def _time(value: object) -> datetime | None:
    """``[2026, 11, 21, 7, 4, 46]``, or what the coming devpi-server 7 writes."""
    if not isinstance(value, list):
        return _iso(value)
    try:
        year, month, day, hour, minute, second = value[:6]
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except (ValueError, TypeError, OverflowError):
        return None


def _iso(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        # Python 3.10 does not know the Z.
        return _utc(datetime.fromisoformat(re.sub(r"Z\Z", "+00:00", value)))
    except (ValueError, OverflowError):
        return None


def _utc(when: datetime) -> datetime:
    """The same moment; without a zone it is in UTC already."""
    if when.tzinfo is None:
        return when.replace(tzinfo=timezone.utc)
    return when.astimezone(timezone.utc)
