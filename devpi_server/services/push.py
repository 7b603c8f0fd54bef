"""Push: a release goes from one index to another, or to another server (devpi.md 1.8).

Into an index of this server a release goes as a whole or not at all: what can be
refused is found before anything is written, and all of it is one transaction.
The bytes are there already; only rows are new.  A file keeps the time at which it
was uploaded first: it is as old as it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import CorruptBlob, Forbidden, Unauthenticated
from devpi_server.services import picking, push_order, room
from devpi_server.services.access import Access, Principal, may_read
from devpi_server.services.accounts import Origin
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.picking import Fetching, Picked
from devpi_server.services.publishing import Action, Publishing
from devpi_server.services.push_order import Order, ToIndex
from devpi_server.store.blobs import BlobStore, expect_held
from devpi_server.store.meta import (
    Actor,
    FileKind,
    LogEntry,
    MetaStore,
    Release,
    StoredFile,
    Tables,
)

_WHAT = {
    FileKind.RELEASE: "store_releasefile",
    FileKind.TOX_RESULT: "store_toxresult",
    FileKind.DOCS: "store_doczip",
}
_DONE = 200


@dataclass(frozen=True, slots=True)
class Pushed:
    """What was done, step by step."""

    actions: list[Action]
    ok: bool  # all of it


class Push:
    """Pushes releases."""

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        indexes: Indexes,
        access: Access,
        fetching: Fetching,
        publishing: Publishing,
        clock: Clock,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._indexes = indexes
        self._access = access
        self._fetching = fetching
        self._publishing = publishing
        self._clock = clock

    def push(self, principal: Principal, origin: Origin, index: str, body: object) -> Pushed:
        """Push a release.

        :param index: to push from, which the principal may read.
        :param body: in JSON: what, and where to.
        :raises BadRequest: it cannot be understood, or there is no such release.
        :raises NotFound: the release has no files, or there is no such target.
        :raises Unauthenticated: the principal may not push there.
        :raises Conflict: another file of a name is in the target; nothing has been pushed.
        :raises UpstreamError: files of a mirror could not be fetched.
        """
        order, to = push_order.read(body, index)
        source = self._indexes.find(index)
        if not may_read(principal, source.options, (order.project,)):
            raise picking.no_files(order)
        if isinstance(to, ToIndex):
            return Pushed(self._to_index(principal, origin, source, order, to.index), ok=True)
        self._publishing.expect_allowed(principal)
        picked = self._fetched(source, order)
        if picked is None:
            with self._meta.reading() as tables:
                picked = picking.stored(tables, source, order)
        actions, ok = self._publishing.publish(principal, origin, source, order, picked, to)
        return Pushed(actions, ok)

    def _fetched(self, source: Index, order: Order) -> Picked | None:
        """The release of a mirror or a folder; None: it is in the database."""
        return self._fetching.picked(source, order) if source.stage is None else None

    def _to_index(
        self, principal: Principal, origin: Origin, source: Index, order: Order, name: str
    ) -> list[Action]:
        self._expect_may_upload(principal, name, order)
        target = room.taker(self._indexes, name)
        fetched = self._fetched(source, order)
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            room.expect_there(tables, target)
            if fetched is not None:
                expect_held(self._blobs, fetched.blobs())
            picked = fetched or picking.stored(tables, source, order)
            pushing = _Pushing(tables, self._blobs, principal, source, target, self._clock())
            return list(pushing.all_of(picked, order))

    def _expect_may_upload(self, principal: Principal, name: str, order: Order) -> None:
        try:
            self._access.require(principal, "upload", index=name, projects=(order.project,))
        except (Forbidden, Unauthenticated) as error:
            raise Unauthenticated(f"user {principal.user!r} cannot upload to {name!r}") from error


@dataclass(frozen=True, slots=True)
class _Pushing:
    """One push, within its transaction."""

    tables: Tables
    blobs: BlobStore
    principal: Principal
    source: Index
    target: Index
    now: float

    def all_of(self, picked: Picked, order: Order) -> Iterator[Action]:
        """Put the release there; yields what is done."""
        target = self.target
        before = self.tables.releases.get(target.row.id, order.project, picked.version)
        fields = {**(before.fields if before is not None else {}), **picked.fields}
        self.tables.releases.put(target.row.id, Release(order.project, picked.version, fields))
        named = (order.name, order.version, "->", target.name)
        yield (_DONE, "register", *named)
        placed: dict[str, str] = {}
        for file in picked.files:
            kept = self._place(replace(file, version=picked.version))
            placed[kept.filename] = kept.sha256
            if kept.kind is FileKind.DOCS:
                yield (_DONE, _WHAT[kept.kind], *named)
            else:
                path = names.file_path(kept.filename, "", {"sha256": kept.sha256})
                yield (_DONE, _WHAT[kept.kind], f"{target.name}/{path}")
        detail: Mapping[str, object] = {"from": self.source.name, "files": placed}
        self.tables.note("push", f"{target.name}/{order.project}/{picked.version}", detail)

    def _place(self, file: StoredFile) -> StoredFile:
        if self.blobs.find(file.sha256) is None:
            raise CorruptBlob(f"{file.filename} is missing from the store, run devpi-fsck")
        if file.kind is FileKind.TOX_RESULT:
            file = replace(file, filename=self._free_name(file))
        entry = LogEntry(
            "push", self.principal.name, self.now, dst=self.target.name, src=self.source.name
        )
        log = tuple(each for each in file.log if each.what != "overwrite")
        file = replace(file, log=(*log, entry))
        return room.place(self.tables, self.target, file, self.principal.name, self.now)[0]

    def _free_name(self, result: StoredFile) -> str:
        """A name under which no other test result is there."""
        of_project = self.tables.files.of(self.target.row.id, result.project)
        taken = {file.filename: file.sha256 for file in of_project}
        stem = result.filename.rpartition("-")[0]
        counted = (f"{stem}-{count}" for count in itertools.count())
        candidates = itertools.chain([result.filename], counted)
        return next(name for name in candidates if taken.get(name, result.sha256) == result.sha256)
