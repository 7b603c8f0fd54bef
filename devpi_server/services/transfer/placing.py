"""Under which names the files of a dump are, or will be, in an index.

An index has a name once, and a dump of old servers may have it twice.  Results of tox
and documentation get another name then.  What an installer asks for by its name cannot:
if the bytes differ, nothing is imported until somebody has decided.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devpi_server.names import NormalizedName
from devpi_server.services.dump.read import Dump
from devpi_server.services.dump.records import DumpedFile
from devpi_server.store.meta import FileKind


@dataclass(frozen=True, slots=True)
class Place:
    """A file of the dump, and its name in the index."""

    file: DumpedFile
    filename: str
    is_there: bool  # with these bytes


@dataclass(frozen=True, slots=True)
class _Before:
    """What has to be remembered of a file."""

    project: NormalizedName
    content: DumpedFile | str  # its sha256, where it is known


@dataclass(frozen=True, slots=True)
class Clash:
    """Two files want one name."""

    sentence: str
    is_fault: bool  # else one of them is as good as both


class Placing:
    """The files of one index, each once; each time in the same order and by the same names.

    :param origin: the name of the index in the dump.
    :param name: its name here.
    :param there: name → sha256 of the files that it has here.
    """

    def __init__(self, dump: Dump, origin: str, name: str, there: Mapping[str, str]) -> None:
        self._dump = dump
        self._origin = origin
        self._name = name
        self._there = there

    def __iter__(self) -> Iterator[Place | Clash]:
        placed: dict[str, _Before] = {}
        for file in self._dump.files(self._origin):
            found = self._place(file, placed)
            if isinstance(found, Place):
                sha256 = file.digests.get("sha256")
                placed[found.filename] = _Before(file.project, sha256 or file)
            if found is not None:
                yield found

    def _place(self, file: DumpedFile, placed: Mapping[str, _Before]) -> Place | Clash | None:
        before = placed.get(file.filename)
        there = self._there.get(file.filename)
        if before is not None and self._sha256(before.content) == self._sha256(file):
            if before.project == file.project:
                return None
            sentence = f"{file.filename} is of {before.project} and of {file.project} in the dump"
            return Clash(f"{self._name}: {sentence}, it stays with the first", is_fault=False)
        if file.kind is FileKind.TOX_RESULT or (before is not None and file.kind is FileKind.DOCS):
            return self._first_free(file, placed)
        if before is not None:
            return Clash(
                f"the dump has two different {file.filename} for {self._name}; "
                "remove one of them on the old server, and export again",
                is_fault=True,
            )
        if there is not None and there != self._sha256(file):
            return Clash(f"{self._name} has a {file.filename} with other bytes", is_fault=True)
        return Place(file, file.filename, there is not None)

    def _first_free(self, file: DumpedFile, placed: Mapping[str, _Before]) -> Place:
        """By the first of its names that no other file has, here or in the dump."""
        names = (
            name
            for name in _names(file)
            if name not in placed and self._there.get(name) in (None, self._sha256(file))
        )
        name = next(names)
        return Place(file, name, name in self._there)

    def _sha256(self, file: DumpedFile | str) -> str:
        if isinstance(file, str):
            return file
        known = file.digests.get("sha256")
        if known is not None:
            return known
        found = hashlib.sha256()
        for block in self._dump.blocks(file):
            found.update(block)
        return found.hexdigest()


def _names(file: DumpedFile) -> Iterator[str]:
    """The name, and others like it."""
    yield file.filename
    ending = ".doc.zip" if file.kind is FileKind.DOCS else ""
    stem = file.filename.removesuffix(ending)
    for number in itertools.count(1):
        yield f"{stem}-{number}{ending}"
