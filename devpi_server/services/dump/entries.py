"""The entries of files in ``dataindex.json``, together with the files that they are about."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from devpi_server import names
from devpi_server.errors import BadDump, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.services.dump import fields
from devpi_server.services.dump.below import opened, parts_of
from devpi_server.services.dump.fields import Fields, Warn, text_of
from devpi_server.services.dump.records import DumpedFile
from devpi_server.store.meta import FileKind

Versions: TypeAlias = Mapping[NormalizedName, Collection[str]]

_DOCS_ENDING = ".doc.zip"


def file_of(
    folder: Path, dumpversion: int, given: Fields, versions: Versions, warn: Warn
) -> DumpedFile | None:
    """The file that an entry of a dump is about.

    :param versions: the releases of its index that there is metadata of.
    :returns: None if it is of a project that no index can have.
    :raises BadDump: it cannot be used, or is not there.
    :raises StoreError: the disk fails.
    """
    relpath = text_of(given.get("relpath"), "relpath")
    parts = parts_of(relpath)
    filename = parts[-1]
    if not names.is_file_name(filename):
        raise BadDump(f"no file can be called {filename!r}")
    kind = _kind(given.get("type"))
    spelled = text_of(given.get("projectname"), "projectname")
    try:
        project = names.project(spelled)
    except InvalidName:
        warn(f"{relpath} is of a project that no index can have, and was left out")
        return None
    version = _version(given, dumpversion, project, filename, versions.get(project, ()))
    if version not in versions.get(project, ()):
        warn(f"of {project} {version} there is only {relpath}, and no metadata")
    mapping = fields.object_of(given.get("entrymapping") or {}, "entrymapping")
    digests = fields.digests(mapping)
    tested = None
    if kind is FileKind.TOX_RESULT:
        tested = fields.tested(given, parts)
        if digests == tested.digests:
            digests = {}  # from 6.5 to 6.9 they were by mistake those of the tested file
    log = fields.events(given.get("log"), lambda what: warn(f"{relpath}: {what}"))
    with opened(folder, parts) as fd:
        state = os.fstat(fd)
    return DumpedFile(
        project,
        version,
        kind,
        filename,
        folder / relpath,
        state.st_size,
        fields.uploaded(given, mapping, log)
        or datetime.fromtimestamp(int(state.st_mtime), timezone.utc),
        digests,
        log,
        tested,
        _text_or_none(mapping, "url"),
        _text_or_none(given, "yanked"),
        _companion(folder, given, "signature"),
        _companion(folder, given, "attestations"),
    )


def _kind(value: object) -> FileKind:
    try:
        return FileKind(value)
    except ValueError as error:
        raise BadDump(f"{value!r} is no type of file") from error


def _version(
    given: Fields,
    dumpversion: int,
    project: NormalizedName,
    filename: str,
    versions: Collection[str],
) -> str:
    """The version as the metadata spells it, if it has it."""
    if dumpversion == 1:  # there only the name of the file has it
        stem = filename.removesuffix(_DOCS_ENDING)
        version = names.version_of(stem + ".zip" if stem != filename else filename, project)
        if version is None:
            raise BadDump(f"the name {filename!r} does not tell the version")
    else:
        version = text_of(given.get("version"), "version")
    if version in versions:
        return version
    # The version 1.2-3 is 1.2_3 in names of files.
    alike = (each for each in versions if names.same_version(each, version.replace("_", "-")))
    return next(alike, version)


def _companion(folder: Path, given: Fields, key: str) -> Path | None:
    relpath = _text_or_none(given, key)
    if relpath is None:
        return None
    with opened(folder, parts_of(relpath)):
        return folder / relpath


def _text_or_none(given: Fields, key: str) -> str | None:
    value = given.get(key)
    return None if value is None else text_of(value, key)
