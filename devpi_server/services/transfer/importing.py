"""Make of a dump what is not here yet.

Blobs first, then rows, some files a transaction: whoever kills it at any moment has an
index without the last few files, and the next run brings them.  What is here already,
with the same bytes, is passed over; a file that cannot be used does not keep the others
from coming.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from devpi_server import names
from devpi_server.errors import BadDump, Conflict, InvalidArtefact
from devpi_server.records import Link
from devpi_server.services import artefact
from devpi_server.services.access import ROOT
from devpi_server.services.dump.read import Dump
from devpi_server.services.dump.records import DumpedEvent, DumpedFile, DumpedRelease
from devpi_server.services.index_options import MIRROR
from devpi_server.services.transfer import rows
from devpi_server.services.transfer.placing import Clash, Place, Placing
from devpi_server.services.transfer.plan import Plan, Target
from devpi_server.store.blobs import Blob, BlobStore, IncomingBlob, expect_held, keep
from devpi_server.store.meta import (
    Actor,
    FileKind,
    IndexRow,
    LogEntry,
    MetaStore,
    StoredFile,
)
from devpi_server.upstream.shelf import Shelf

_ACTOR = Actor(ROOT, "devpi-import")
# Of a transaction, at most.
_RELEASES, _FILES = 200, 50
_BYTES = 256 * 1024 * 1024  # of its files, about


@dataclass(slots=True)
class Imported:
    """What an import has brought."""

    users: int = 0
    indexes: int = 0
    releases: int = 0
    files: int = 0
    size: int = 0  # bytes of the files
    files_there: int = 0
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # files that are not in the dump as they were


class Importer:
    """Imports.

    :param shelf: where a mirror holds its files.
    :param saw: is called with the size of each file that is dealt with.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        shelf: Callable[[IndexRow], Shelf],
        *,
        hard_links: bool = False,
        saw: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._shelf = shelf
        self._hard_links = hard_links
        self._saw = saw

    def run(self, dump: Dump, plan: Plan) -> Imported:
        """Do what the plan says.

        :param plan: one without faults.
        :raises Conflict: since it was made, something has come in its way.
        :raises StoreError: the disk fails.
        """
        done = Imported()
        targets = self._found(plan, done)
        for target in targets:
            if target.row.type == MIRROR:
                self._fill_mirror(dump, target, done)
            else:
                self._fill_stage(dump, target, done)
        return done

    def _found(self, plan: Plan, done: Imported) -> list[Target]:
        """Make users and indexes; return the indexes as they are in the database."""
        targets = []
        with self._meta.writing(_ACTOR) as tables:
            for user in plan.users:
                rows.put_user(tables, user)
            for target in plan.targets:
                row = rows.put_index(tables, target.row) if target.is_new else target.row
                targets.append(replace(target, row=row))
        done.users = len(plan.users)
        done.indexes = len(plan.new_indexes)
        return targets

    # Stages

    def _fill_stage(self, dump: Dump, target: Target, done: Imported) -> None:
        releases: list[DumpedRelease] = []
        for release in dump.releases(target.origin):
            releases.append(release)
            if len(releases) == _RELEASES:
                self._put_releases(target.row, releases, done)
                releases = []
        self._put_releases(target.row, releases, done)
        with self._meta.reading() as tables:
            there = {file.filename: file.sha256 for file in tables.files.all(target.row.id)}
        places = Placing(dump, target.origin, target.row.full_name, there)
        stored: list[StoredFile] = []
        for place in self._missing(places, done):
            stored.extend(self._stored(dump, target.row.full_name, place, done))
            if len(stored) == _FILES or sum(file.size for file in stored) >= _BYTES:
                self._put(target.row, stored, done)
                stored = []
        self._put(target.row, stored, done)

    def _put_releases(self, row: IndexRow, releases: list[DumpedRelease], done: Imported) -> None:
        with self._meta.writing(_ACTOR) as tables:
            warn = done.warnings.append
            count = sum(rows.put_release(tables, row, each, warn) for each in releases)
            if count:
                tables.note("import", row.full_name, {"releases": count})
        done.releases += count

    def _missing(self, places: Placing, done: Imported) -> Iterator[Place]:
        for place in places:
            if isinstance(place, Clash):
                if place.is_fault:
                    raise Conflict(place.sentence)
            elif place.is_there:
                done.files_there += 1
            else:
                yield place

    def _put(self, row: IndexRow, files: list[StoredFile], done: Imported) -> None:
        """Rows for files whose blobs are committed."""
        with self._meta.writing(_ACTOR) as tables:
            for file in files:
                expect_held(self._blobs, file.blobs)
                rows.put_file(tables, row, file)
        done.files += len(files)
        done.size += sum(file.size for file in files)

    def _stored(self, dump: Dump, name: str, place: Place, done: Imported) -> Iterator[StoredFile]:
        """The file with its bytes in the store; nothing, if the dump does not have them.

        :param name: of the index.
        """
        file = place.file
        try:
            blob = self._blob(dump, file)
            signature = _companion(dump, file.signature)
            attestations = _companion(dump, file.attestations)
        except BadDump as error:
            done.faults.append(error.message)
            self._saw(file.size)
            return
        required, metadata = self._said_by(name, file, blob, done)
        self._saw(blob.size)
        yield StoredFile(
            project=file.project,
            version=file.version,
            kind=file.kind,
            filename=place.filename,
            sha256=blob.sha256,
            size=blob.size,
            uploaded=file.uploaded.timestamp(),
            digests={name: digest for name, digest in file.digests.items() if name != "sha256"},
            requires_python=required,
            metadata=self._kept(metadata),
            signature=self._kept(signature),
            provenance=self._kept(_provenance(file, attestations, done)),
            yanked=file.yanked,
            for_file=file.tested.filename if file.tested is not None else None,
            log=tuple(map(_entry, file.log)),
        )

    def _said_by(
        self, name: str, file: DumpedFile, blob: Blob, done: Imported
    ) -> tuple[str | None, bytes | None]:
        """What a distribution file says of itself: the Pythons that it is for, and METADATA."""
        if file.kind is not FileKind.RELEASE:
            return None, None
        try:
            with blob.path.open("rb") as content:
                found = artefact.inspect(
                    content, file.filename, name=file.project, version=file.version
                )
        except InvalidArtefact as error:
            done.warnings.append(f"{name}: {error.message}; it is there without metadata")
            return None, None
        return found.requires_python, found.metadata

    # Mirrors

    def _fill_mirror(self, dump: Dump, target: Target, done: Imported) -> None:
        shelf = self._shelf(target.row)
        for file in dump.files(target.origin):
            if file.url is None or file.kind is not FileKind.RELEASE:
                done.warnings.append(f"nobody knows where {file.filename} is from, it is left out")
                continue
            path = names.file_path(file.filename, file.url, file.digests)
            if shelf.find(path) is not None:
                done.files_there += 1
                continue
            try:
                blob = self._blob(dump, file)
            except BadDump as error:
                done.faults.append(error.message)
                continue
            shelf.put(path, file.project, Link(file.filename, file.url, file.digests), blob)
            self._saw(blob.size)
            done.files += 1
            done.size += blob.size

    # Bytes

    def _blob(self, dump: Dump, file: DumpedFile) -> Blob:
        """The bytes of the file, once they are a blob.

        :raises BadDump: they are not those that were dumped.
        """
        sha256 = file.digests.get("sha256")
        held = self._blobs.find(sha256) if sha256 is not None else None
        if held is not None and held.size == file.size:
            return held
        incoming = self._linked(dump, file) if self._hard_links else self._blobs.incoming()
        try:
            for block in dump.blocks(file):  # which checks them
                if not self._hard_links:
                    incoming.write(block)
            if sha256 not in (None, incoming.sha256):
                raise BadDump(f"{file.path} has changed since the dump was opened")
            return incoming.commit()
        finally:
            incoming.abandon()

    def _linked(self, dump: Dump, file: DumpedFile) -> IncomingBlob:
        return self._blobs.adopt(lambda path: dump.link(file, path))

    def _kept(self, data: bytes | None) -> str | None:
        """The digest of the data, once it is a blob."""
        return None if data is None else keep(self._blobs, data).sha256


def _companion(dump: Dump, path: Path | None) -> bytes | None:
    return None if path is None else dump.companion(path)


def _provenance(file: DumpedFile, attestations: bytes | None, done: Imported) -> bytes | None:
    try:
        if attestations is not None:
            orjson.loads(attestations)
    except orjson.JSONDecodeError:
        done.warnings.append(f"the attestations of {file.filename} are no JSON, and were left out")
        return None
    return attestations


def _entry(event: DumpedEvent) -> LogEntry:
    return LogEntry(
        event.what, event.who, event.when.timestamp(), event.dst, event.src, event.count
    )
