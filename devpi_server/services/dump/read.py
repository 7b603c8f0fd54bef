"""Open a dump, check it, and take out of it what it has, one record at a time."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from devpi_server import names
from devpi_server.errors import BadDump, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.services.dump import fields
from devpi_server.services.dump.below import blocks, link, opened
from devpi_server.services.dump.config import indexes_of, users_of
from devpi_server.services.dump.entries import file_of
from devpi_server.services.dump.outline import Outline, outline
from devpi_server.services.dump.records import (
    DumpedFile,
    DumpedRelease,
    Survey,
)
from devpi_server.services.dump.scan import Cursor, Span, decode, place, plain
from devpi_server.store.incoming import translated
from devpi_server.store.meta import FileKind

DATAINDEX = "dataindex.json"
_LARGEST_COMPANION = 16 << 20  # bytes of a signature or of attestations

_Record = TypeVar("_Record", DumpedRelease, DumpedFile)
_Spans = Mapping[NormalizedName, Mapping[str, Span]]


def open_dump(
    folder: Path, known: Collection[str] = (), skipped_types: Collection[str] = ()
) -> Dump:
    """The dump in the folder; its users and the settings of its indexes are checked already.

    :param known: full names of indexes that can be bases without being in the dump.
    :param skipped_types: types of indexes that are not looked at.
    :raises BadDump: it is no dump, or users or indexes of it cannot be used.
    :raises StoreError: the disk fails.
    """
    with translated(f"read {folder}"):
        if not (folder / DATAINDEX).exists():
            raise BadDump(f"{folder} has no {DATAINDEX}: it is no dump, or an unfinished one")
    with place(f"{folder / DATAINDEX}"):
        with opened(folder, (DATAINDEX,)) as fd, translated(f"read {DATAINDEX}"):
            size = os.fstat(fd).st_size
            # It is freed with the dump, and takes no memory that others want.
            text = mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b""
        return Dump(folder, text, outline(text), known, skipped_types)


class Dump:
    """What is in a dump. Made by ``open_dump``.

    All iterators raise ``BadDump`` where something cannot be used, and ``StoreError``
    where the disk fails.  ``survey`` finds all such places beforehand.
    """

    def __init__(
        self,
        folder: Path,
        text: bytes | mmap.mmap,
        where: Outline,
        known: Collection[str],
        skipped_types: Collection[str],
    ) -> None:
        self._folder = folder
        self._text = text
        self._outline = where
        self._warnings: dict[str, None] = {}
        #: by name
        self.users = users_of(text, where.users, self._warn)
        #: bases come before what builds on them
        self.indexes = indexes_of(text, where, known, skipped_types, self._warn)

    @property
    def written_by(self) -> str:
        """The version of the server that wrote it."""
        return self._outline.written_by

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out or made up so far, a sentence each."""
        return tuple(self._warnings)

    def releases(self, index: str) -> Iterator[DumpedRelease]:
        """The releases of an index, by project.

        :param index: its full name.
        """
        return _unless_bad(self._releases(index))

    def files(self, index: str) -> Iterator[DumpedFile]:
        """The files of an index; results of tox come last.

        One can be of a release that ``releases`` does not have.

        :param index: its full name.
        """
        return _unless_bad(self._files(index))

    def blocks(self, file: DumpedFile) -> Iterator[bytes]:
        """The bytes of the file; ``BadDump`` at the end if they are not the right ones."""
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in file.digests}
        size = 0
        for block in blocks(self._folder, file.path):
            for each in hashes.values():
                each.update(block)
            size += len(block)
            yield block
        if size != file.size:
            raise BadDump(f"{file.path} has changed since the dump was opened")
        for name, each in hashes.items():
            if each.hexdigest() != file.digests[name]:
                raise BadDump(f"{file.path} is not the file that was dumped: its {name} differs")

    def link(self, file: DumpedFile, target: Path) -> None:
        """Give the file, as it is, another name outside of the dump."""
        link(self._folder, file.path, target)

    def companion(self, path: Path) -> bytes:
        """The content of a ``signature`` or of ``attestations``."""
        content = bytearray()
        for block in blocks(self._folder, path):
            content += block
            if len(content) > _LARGEST_COMPANION:
                raise BadDump(f"{path} is larger than {_LARGEST_COMPANION >> 20} MiB")
        return bytes(content)

    def survey(self) -> Survey:
        """Look at everything but the bytes of the files, and count."""
        releases = files = size = 0
        faults: dict[str, None] = {}
        for index in self.indexes:
            for release in self._releases(index.full_name):
                if isinstance(release, BadDump):
                    faults[release.message] = None
                else:
                    releases += 1
            for file in self._files(index.full_name):
                if isinstance(file, BadDump):
                    faults[file.message] = None
                else:
                    files += 1
                    size += file.size
        return Survey(len(self.users), len(self.indexes), releases, files, size, tuple(faults))

    def _warn(self, sentence: str) -> None:
        self._warnings[plain(sentence)] = None

    def _fields(self, span: Span, what: str) -> fields.Fields:
        return fields.object_of(decode(self._text, span), what)

    def _releases(self, index: str) -> Iterator[DumpedRelease | BadDump]:
        for project, versions in self._versions(index, self._warn).items():
            for version, span in versions.items():
                where = f"index {index}, {project} {version}"
                found: DumpedRelease | BadDump
                try:
                    with self._place(where):
                        metadata = self._fields(span, "the metadata")
                        found = fields.release(project, version, metadata, self._warn_of(where))
                except BadDump as error:
                    found = error
                yield found

    def _files(self, index: str) -> Iterator[DumpedFile | BadDump]:
        versions = self._versions(index, lambda _: None)
        later = []
        for number in range(len(self._outline.indexes[index].files)):
            found = self._file(index, number, versions)
            if isinstance(found, DumpedFile) and found.kind is FileKind.TOX_RESULT:
                later.append(number)
            elif found is not None:
                yield found
        for number in later:
            found = self._file(index, number, versions)
            if found is not None:
                yield found

    def _file(self, index: str, number: int, versions: _Spans) -> DumpedFile | BadDump | None:
        where = f"index {index}, file {number + 1}"
        try:
            with self._place(where):
                entry = self._fields(self._outline.indexes[index].files[number], "it")
                version = self._outline.dumpversion
                return file_of(self._folder, version, entry, versions, self._warn_of(where))
        except BadDump as error:
            return error

    def _versions(self, index: str, warn: fields.Warn) -> _Spans:
        """Where the metadata is; what is one project under several names is one."""
        found: dict[NormalizedName, dict[str, Span]] = {}
        for spelled, start in self._outline.indexes[index].projects:
            try:
                project = names.project(spelled)
            except InvalidName:
                warn(f"index {index}: no project can be called {spelled!r}; it was left out")
                continue
            versions = found.setdefault(project, {})
            cursor = Cursor(self._text, start)
            with self._place(f"index {index}, {spelled}"):
                for version in cursor.members():
                    if version in versions:
                        warn(f"index {index}: of {project} {version} the later metadata was taken")
                    versions[version] = cursor.skip()
        return found

    def _place(self, where: str) -> AbstractContextManager[None]:
        return place(f"{self._folder / DATAINDEX}: {where}")

    def _warn_of(self, where: str) -> fields.Warn:
        return lambda sentence: self._warn(f"{where}: {sentence}")


def _unless_bad(found: Iterator[_Record | BadDump]) -> Iterator[_Record]:
    for each in found:
        if isinstance(each, BadDump):
            raise each
        yield each
