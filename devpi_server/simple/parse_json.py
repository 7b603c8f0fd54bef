"""Read a project page in its JSON form (PEP 691 and what followed)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import orjson

from devpi_server import names
from devpi_server.errors import Corrupt, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, NOTHING, Digests, Link, Page, ProjectStatus
from devpi_server.simple import fields

Object = dict[str, object]

_MAX_VALUES = 1_000_000  # three times as many as the largest project on PyPI has
# orjson reads deeper than it writes; what it could not write again is left out.
_MAX_DEPTH = 64

# PyPI itself spells the alias with "data-" (protocol.md 1.3).
_METADATA_KEYS = ("core-metadata", "dist-info-metadata", "data-dist-info-metadata")

_FILE_KEYS = frozenset(
    {"filename", "url", "hashes", "size", "upload-time", "requires-python", "yanked", "gpg-sig",
     "provenance", *_METADATA_KEYS}
)  # fmt: skip
# PEP 708 was rejected: its keys go.
_DEAD_KEYS = frozenset({"tracks", "alternate-locations"})
_PAGE_KEYS = frozenset({"meta", "name", "files", "versions", "project-status"}) | _DEAD_KEYS
_META_KEYS = (
    frozenset({"api-version", "_last-serial", "project-status", "project-status-reason"})
    | _DEAD_KEYS
)


def page(document: bytes, url: str, project: NormalizedName, serial: int | None) -> Page:
    """Parse a project page; see ``parse.page``."""
    # Each value takes many times the memory of its text.
    if sum(map(document.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise Corrupt(f"upstream's page has more than {_MAX_VALUES} values")
    data = _loads(document)
    if not isinstance(data, dict):
        raise Corrupt("upstream's page is not a JSON object")
    meta = data.get("meta")
    if not isinstance(meta, dict):
        meta = {}
    minor = _api_minor(meta)
    _check_name(data.get("name"), project)
    files = data.get("files")
    if not isinstance(files, list):
        raise Corrupt("upstream's page has no list of files")
    versions = _versions(data.get("versions"))
    if len(files) > fields.MAX_LINKS:
        raise Corrupt(f"upstream's page has more than {fields.MAX_LINKS} files")
    links = fields.Collector()
    for file in files:
        link = _link(file, url) if isinstance(file, dict) else None
        if link is not None:
            links.add(link)
    if serial is None:
        serial = fields.whole(meta.get("_last-serial"))
    status = _status(data, meta)
    return dataclasses.replace(
        links.page(project, versions=versions, status=status, serial=serial),
        api_minor=minor,
        extra=_unknown(data, _PAGE_KEYS),
        meta_extra=_unknown(meta, _META_KEYS),
    )


def _loads(document: bytes) -> object:
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        pass  # it has the whole document in it, so nothing is to refer to it
    raise Corrupt("upstream's page is not valid JSON")


def _api_minor(meta: Object) -> int:
    version = meta.get("api-version")
    if version is None:
        return 0
    # Hand-made indexes write 1.0 without the quotes.
    return fields.api_minor(str(version) if isinstance(version, (str, int, float)) else "")


def _check_name(name: object, project: NormalizedName) -> None:
    if not isinstance(name, str):
        return
    try:
        same = names.project(name) == project
    except InvalidName:
        same = False
    if not same:
        raise Corrupt(f"upstream's page is of another project than {project}")


def _versions(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    if len(value) > fields.MAX_LINKS:
        raise Corrupt(f"upstream's page has more than {fields.MAX_LINKS} versions")
    if not all(isinstance(version, str) for version in value):
        return None
    return tuple(dict.fromkeys(version for version in value if version))


def _status(data: Object, meta: Object) -> ProjectStatus | None:
    status = data.get("project-status")
    if isinstance(status, dict):
        return fields.status(status.get("status"), status.get("reason"))
    # The living standard's own example has flat keys within meta (protocol.md 1.3).
    return fields.status(status or meta.get("project-status"), meta.get("project-status-reason"))


def _link(file: Object, base: str) -> Link | None:
    filename, url = file.get("filename"), file.get("url")
    if not isinstance(filename, str) or not isinstance(url, str):
        return None
    if not names.is_file_name(filename):
        return None
    address = fields.address(url, base)
    if address is None:
        return None
    hashes = file.get("hashes")
    gpg_sig = file.get("gpg-sig")
    return Link(
        filename,
        address,
        fields.digests(hashes.items() if isinstance(hashes, dict) else ()),
        fields.whole(file.get("size")),
        fields.moment(file.get("upload-time")),
        fields.text(file.get("requires-python")),
        _yanked(file.get("yanked")),
        _core_metadata(file),
        gpg_sig if isinstance(gpg_sig, bool) else None,
        fields.provenance(file.get("provenance")),
        _unknown(file, _FILE_KEYS),
    )


def _yanked(value: object) -> bool | str:
    # PEP 592, 691: "a boolean, or a non empty string"; a truthy value is a yank.
    if isinstance(value, str):
        return fields.text(value[: fields.MAX_TEXT]) or False
    return bool(value)


def _core_metadata(file: Object) -> Digests | None:
    # PEP 714: the new name decides where it is present.
    for key in _METADATA_KEYS:
        value = file.get(key)
        if value is not None:
            if isinstance(value, dict):
                return fields.digests(value.items())
            return NO_DIGESTS if value is True else None
    return None


def _unknown(data: Object, known: frozenset[str]) -> Mapping[str, object]:
    """The keys that we do not know, as they came; never null, as uv dislikes that."""
    found = {
        key: value
        for key, value in data.items()
        if key not in known and value is not None and _is_shallow(value)
    }
    return found or NOTHING


def _is_shallow(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return True
    return False
