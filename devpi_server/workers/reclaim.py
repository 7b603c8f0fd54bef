"""Delete the blobs that nobody names any more.

Rows note the blobs that they let go of.  A day later, what still has no row is deleted:
until then a download, an export or a backup may be reading it.

Why within a transaction that writes: who makes a row does so in one, too, and looks there
whether its blobs are still held (``blobs.expect_held``).  So either the row is first, and
the blob stays, or the blob is gone first, and the row is not made.  Bytes that were kept
anew since are left alone all the same: their row is about to come.

A mirror's file that loses its bytes so is fetched again when somebody asks for it.
"""

from __future__ import annotations

import logging

from devpi_server.concurrency import Clock
from devpi_server.store.blobs import BlobStore
from devpi_server.store.locks import Locks
from devpi_server.store.meta import Actor, MetaStore, Tables
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)

GRACE = 86400.0  # seconds
_AT_ONCE = 50  # blobs in a transaction


class Reclaim:
    """A worker."""

    name = "reclaim"
    every = 3600.0

    def __init__(self, meta: MetaStore, blobs: BlobStore, locks: Locks, clock: Clock) -> None:
        self._meta = meta
        self._blobs = blobs
        self._leader = Leader(locks, self.name)
        self._clock = clock

    def tick(self) -> None:
        if not self._leader.is_this_process():
            return
        before = self._clock() - GRACE
        with self._meta.reading() as tables:
            due = tables.orphans.since(before)
        for start in range(0, len(due), _AT_ONCE):
            with self._meta.writing(Actor("", self.name)) as tables:
                for sha256 in due[start : start + _AT_ONCE]:
                    self._reclaim(tables, sha256, before)

    def _reclaim(self, tables: Tables, sha256: str, before: float) -> None:
        if not tables.files.names_blob(sha256):
            kept_at = self._blobs.kept_at(sha256)
            if kept_at is not None and kept_at >= before:
                return
            self._blobs.remove(sha256)
            log.info("deleted the bytes %s, which nothing names any more", sha256)
        tables.orphans.forget(sha256)
