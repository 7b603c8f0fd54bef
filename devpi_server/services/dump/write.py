"""Write a dump as a stream; one that was interrupted goes on where it was."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from email.utils import format_datetime
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import orjson

from devpi_server import names
from devpi_server.errors import BadDump
from devpi_server.records import Digests
from devpi_server.services.dump.copies import Copies
from devpi_server.services.dump.read import DATAINDEX
from devpi_server.services.dump.records import (
    DumpedEvent,
    DumpedFile,
    DumpedIndex,
    DumpedRelease,
    DumpedUser,
)
from devpi_server.store.incoming import Incoming, translated
from devpi_server.store.meta import FileKind

# Releases by project, each project and each version of it once.
Contents: TypeAlias = tuple[DumpedIndex, Iterable[DumpedRelease], Iterable[DumpedFile]]

_INCOMING = ".incoming"  # is there until the dump is done
_BESIDE = "+"  # the folder of what is no file of the release itself


def write_dump(
    folder: Path,
    users: Iterable[DumpedUser],
    indexes: Iterable[Contents],
    *,
    written_by: str,
    hard_links: bool = False,
) -> None:
    """Write everything; when this returns, the dump is whole and on disk.

    :param folder: new, empty, or with the beginnings of a dump, whose files are not
        copied again.  What is made in it is for its owner's eyes only.
    :param indexes: may be made as they are asked for, and so may be what is in them.
    :param written_by: the version of this server.
    :param hard_links: link files instead of copying them; they are not read then.
    :raises BadDump: there is something else in the folder.
    :raises StoreError: the disk fails, or a file is not what it was.
    """
    with translated(f"make {folder}"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / _INCOMING).is_dir():
            raise BadDump(f"{folder} is not empty, and no dump was begun there")
        (folder / DATAINDEX).unlink(missing_ok=True)
    incoming = Incoming(folder / _INCOMING)
    incoming.sweep()
    copies = Copies(folder, incoming, hard_links=hard_links)
    text = _object(
        (
            ("dumpversion", _value("2")),
            ("devpi_server", _value(written_by)),
            ("pythonversion", _value(list(sys.version_info))),
            ("users", _object((user.name, _value(_user(user))) for user in users)),
            ("indexes", _object(_index(*contents, copies) for contents in indexes)),
        )
    )
    part = incoming.part()
    try:
        with translated(f"make {folder / DATAINDEX}"):
            part.path.chmod(0o600)  # it has the hashes of passwords
        for chunk in text:
            part.write(chunk)
        os.sync()  # the copies, all at once
        part.commit(folder / DATAINDEX, durable=True)
    finally:
        part.abandon()
    with translated(f"finish {folder}"):
        (folder / _INCOMING).rmdir()


def _index(
    index: DumpedIndex,
    releases: Iterable[DumpedRelease],
    files: Iterable[DumpedFile],
    copies: Copies,
) -> tuple[str, Iterator[bytes]]:
    config = {**index.options, "type": index.type}
    if index.type != "mirror":
        config["bases"] = list(index.bases)
    by_project = groupby(releases, key=attrgetter("project"))
    projects = (
        (project, _object((each.version, _value(each.metadata)) for each in versions))
        for project, versions in by_project
    )
    entries = (_value(_entry(index.full_name, file, copies)) for file in files)
    parts = (
        ("indexconfig", _value(config)),
        ("projects", _object(projects)),
        ("files", _array(entries)),
    )
    return index.full_name, _object(parts)


def _user(user: DumpedUser) -> Mapping[str, object]:
    times = {"created": user.created, "modified": user.modified}
    return {
        **user.details,
        **{key: f"{when:%Y-%m-%dT%H:%M:%SZ}" for key, when in times.items() if when},
        **({"pwhash": user.pwhash} if user.pwhash is not None else {}),
        "username": user.name,
    }


def _entry(index: str, file: DumpedFile, copies: Copies) -> Mapping[str, object]:
    """What is said of the file, which is in the dump then."""
    release = (*index.split("/"), file.project, file.version)
    sha256 = file.digests.get("sha256")
    extra: dict[str, object] = {"yanked": file.yanked}
    if file.uploaded.microsecond:
        extra["uploaded"] = file.uploaded.isoformat()
    for key, path, ending in (
        ("signature", file.signature, ".asc"),
        ("attestations", file.attestations, ".attestations.json"),
    ):
        if path is not None:
            name = file.filename + ending
            extra[key] = copies.keep(path, _path(*release, _BESIDE, name), None)
    if file.kind is FileKind.RELEASE:
        relpath = _path(*release, file.filename)
    elif file.tested is None:
        relpath = _path(*release, _BESIDE, file.filename)
    else:
        spec = _hash_spec(file.tested.digests)
        digest = spec.partition("=")[2]
        where = f"{index}/+f/{digest[:3]}/{digest[3:16]}"
        extra["for_entrypath"] = f"{where}/{file.tested.filename}"
        relpath = _path(*release[:3], spec, file.filename)
    return {
        "type": file.kind.value,
        "projectname": file.project,
        "version": file.version,
        "relpath": copies.keep(file.path, relpath, sha256),
        "entrymapping": _mapping(file),
        "log": [_event(event) for event in file.log],
        **{key: value for key, value in extra.items() if value is not None},
    }


def _mapping(file: DumpedFile) -> Mapping[str, object]:
    mapping: dict[str, object] = {
        "project": file.project,
        "version": file.version,
        "last_modified": _http_date(file.uploaded),
    }
    if file.digests:
        mapping |= {"hash_spec": _hash_spec(file.digests), "hashes": dict(file.digests)}
    if file.url is not None:
        mapping["url"] = file.url
    return mapping


def _event(event: DumpedEvent) -> Mapping[str, object]:
    rest = {"src": event.src, "dst": event.dst, "count": event.count}
    return {
        "what": event.what,
        "who": event.who,
        "when": list(event.when.timetuple()[:6]),
        **{key: value for key, value in rest.items() if value is not None},
    }


def _hash_spec(digests: Digests) -> str:
    """The best that there is."""
    for name in ("sha256", *digests):
        if name in digests:
            return f"{name}={digests[name]}"
    return ""


def _http_date(when: datetime) -> str:
    return format_datetime(when, usegmt=True)


def _path(*parts: str) -> str:
    """The path of a file in the dump; no two of different parts are one."""
    safe = (
        part if names.is_file_name(part) and "%" not in part else _quoted(part) for part in parts
    )
    return "/".join(safe)


def _quoted(part: str) -> str:
    return quote(part, safe="").replace(".", "%2E") or "%"


# JSON, in chunks


def _value(value: object) -> Iterator[bytes]:
    yield orjson.dumps(value, default=dict)


def _object(members: Iterable[tuple[str, Iterator[bytes]]]) -> Iterator[bytes]:
    before = b"{\n"
    for name, value in members:
        yield before + orjson.dumps(name) + b": "
        yield from value
        before = b",\n"
    yield b"\n}" if before == b",\n" else b"{}"


def _array(elements: Iterable[Iterator[bytes]]) -> Iterator[bytes]:
    before = b"[\n"
    for value in elements:
        yield before
        yield from value
        before = b",\n"
    yield b"\n]" if before == b",\n" else b"[]"
