"""Is an uploaded distribution file what its name and the form say, and is it sound?

Pure: it looks at a file on disk and asks nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from devpi_server import names
from devpi_server.errors import InvalidArtefact, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.services import coremetadata, distnames
from devpi_server.services.coremetadata import Fields
from devpi_server.services.distnames import DUMB, EGG, SDIST, WHEEL, DistName
from devpi_server.store import decompress, tars, ziprecords, zips
from devpi_server.store.archives import shown
from devpi_server.store.artefact import LARGEST_METADATA
from devpi_server.store.incoming import translated

_COMPRESSIONS = {
    ".tar.gz": "gzip",
    ".tgz": "gzip",
    ".tar.bz2": "bzip2",
    ".bz2": "bzip2",
    ".tar.xz": "xz",
    ".tar": None,
}
# Of these only how they begin is looked at.
_BEGINNINGS = {
    ".tar.z": b"\x1f\x9d",
    ".exe": b"MZ",
    ".msi": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    ".rpm": b"\xed\xab\xee\xdb",
    ".deb": b"!<arch>\n",
    ".dmg": b"",
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 250  # characters

Release = tuple[NormalizedName, str]  # the version as the file's name writes it


@dataclass(frozen=True, slots=True)
class Artefact:
    """What a distribution file is.

    :param version: as its metadata spells it, else as the form does, else as its name does.
    :param filetype: as upload forms call it.
    :param pyversion: ``source``; the Python tag of a wheel; empty if it does not say.
    :param metadata: the ``METADATA`` of a wheel, byte for byte (PEP 658).
    :param fields: of its core metadata, as ``coremetadata`` names them.
    """

    project: NormalizedName
    version: str
    filetype: str
    pyversion: str
    metadata: bytes | None
    fields: Mapping[str, object]
    requires_python: str | None


def inspect(
    file: BinaryIO, filename: str, *, name: str | None = None, version: str | None = None
) -> Artefact:
    """Look into a file that is to be called ``filename``.

    :param file: seekable, at its beginning.
    :param name: the project that it is declared to be of, if anybody says.
    :param version: the version likewise.
    :raises InvalidArtefact: it is not sound, or name, metadata and what is declared differ.
    :raises StoreError: it cannot be read.
    """
    dist = distnames.parse(filename)
    wheel = dist.filetype == WHEEL
    projects = dist.projects if name is None else _declared(dist, filename, name)
    versions = [(each, written) for each in projects for written in dist.versions(each)]
    if version is not None:
        version = version.strip()
        versions = [pair for pair in versions if distnames.states(pair[1], version)]
    if not versions:
        missing = "a version" if version is None else f"version {shown(version)}"
        raise InvalidArtefact(f"filename {shown(filename)} does not contain {missing}")
    try:
        with translated("read a distribution file"):
            data = _metadata(file, dist, versions)
        fields = coremetadata.parse(data or b"", forgiving=not wheel)
        (project, written), fields = _agreed(versions, fields, version, binding=wheel)
    except InvalidArtefact as error:
        raise InvalidArtefact(f"{shown(filename)} {error.message}") from error
    built = dist.filetype == SDIST and not dist.stem.endswith(f"-{written}")
    return Artefact(
        project=project,
        version=str(fields.get("version") or version or written),
        filetype=DUMB if built else dist.filetype,
        pyversion="" if built else dist.pyversion,
        metadata=data if wheel else None,
        fields=fields,
        requires_python=str(fields["requires_python"]) if "requires_python" in fields else None,
    )


def _declared(dist: DistName, filename: str, name: str) -> tuple[NormalizedName, ...]:
    try:
        project = names.project(name)
    except InvalidName as error:
        raise InvalidArtefact(f"invalid metadata: {shown(name)} is {error.message}") from error
    if project not in dist.projects:
        raise InvalidArtefact(
            f"filename {shown(filename)} does not match project name {shown(name)}"
        )
    return (project,)


def _agreed(
    versions: list[Release], fields: Fields, declared: str | None, *, binding: bool
) -> tuple[Release, Fields]:
    """Of what the file's name may mean, that which its metadata means too.

    :param binding: whether they have to be about this file.
    :return: with the fields; or without, if they are about another.
    """
    name, version = fields.get("name"), fields.get("version")
    if binding and not (name and version):
        raise InvalidArtefact("has metadata without a name or a version")
    agreed = [
        (project, written)
        for project, written in versions
        if (not isinstance(name, str) or project == _project(name))
        and (not isinstance(version, str) or distnames.states(written, version))
    ]
    if isinstance(version, str) and declared and not distnames.states(declared, version):
        agreed = []
    if agreed:
        return agreed[0], fields
    if binding or _is_binding(fields):
        raise InvalidArtefact(f"has metadata of {shown(str(name))} {shown(str(version))}")
    return versions[0], {}


def _is_binding(fields: Fields) -> bool:
    """Whether a ``PKG-INFO`` has to be about the file that it is in: since 2.2 (PEP 643).

    What was built before was renamed at times, and installers do not read it.
    """
    stated = re.match(r"(\d{1,3})\.(\d{1,3})\Z", str(fields.get("metadata_version")))
    return stated is not None and (int(stated[1]), int(stated[2])) >= (2, 2)


def _project(name: str) -> NormalizedName | None:
    """The project that metadata means; uploads escape old names so."""
    old = name.isascii() and name.isprintable()
    try:
        return names.project(_UNSAFE.sub("-", name) if old else name)
    except InvalidName:
        return None


def _metadata(file: BinaryIO, dist: DistName, versions: list[Release]) -> bytes | None:
    """The ``METADATA`` or ``PKG-INFO`` of a sound file; None if it has none."""
    if dist.ending in _BEGINNINGS:
        beginning = _BEGINNINGS[dist.ending]
        if file.read(len(beginning)) != beginning:
            raise InvalidArtefact("is not what its name says")
        return None
    if dist.filetype == WHEEL:
        return _of_wheel(file, *versions[0])
    if dist.ending in _COMPRESSIONS:
        if ziprecords.may_be(file):
            raise InvalidArtefact("could be taken for a zip file")
        pieces = decompress.unpacked(file, _COMPRESSIONS[dist.ending])
        found = tars.contents(pieces, _is_pkg_info, LARGEST_METADATA)
        path = _the_one(found, dist)
        return found[path] if path else None
    members = zips.members(file, script=dist.filetype == EGG)
    path = _the_one([each for each in members if _is_pkg_info(each)], dist)
    return zips.content(file, members[path], LARGEST_METADATA) if path else None


def _of_wheel(file: BinaryIO, project: NormalizedName, written: str) -> bytes:
    members = zips.members(file)
    folders = {path.partition("/")[0] for path in members}
    infos = [each for each in folders if each.lower().endswith(".dist-info")]
    if len(infos) != 1:
        raise InvalidArtefact(f"has {len(infos)} folders .dist-info instead of one")
    info = infos[0]
    said = distnames.behind(info[: -len(".dist-info")], project) if len(info) < _LONGEST else None
    if said is None or not (distnames.states(said, written) or distnames.states(written, said)):
        raise InvalidArtefact(f"has a {shown(info)} instead of its own")
    for name in ("METADATA", "WHEEL", "RECORD"):
        own = f"{info}/{name}"
        # Where case does not count, one of two would take the place of the other.
        if [path for path in members if path.lower() == own.lower()] != [own]:
            raise InvalidArtefact(f"does not have one {name}")
        if members[own].name.endswith("/"):
            raise InvalidArtefact(f"has a folder {name}")
    return zips.content(file, members[f"{info}/METADATA"], LARGEST_METADATA)


def _is_pkg_info(path: str) -> bool:
    return path.count("/") == 1 and path.endswith("/PKG-INFO")


def _the_one(paths: Iterable[str], dist: DistName) -> str | None:
    """The ``PKG-INFO`` that counts; None if one cannot tell."""
    found = list(paths)
    for own in (f"{dist.stem}/PKG-INFO", "EGG-INFO/PKG-INFO"):
        if own in found:
            return own
    return found[0] if len(found) == 1 else None
