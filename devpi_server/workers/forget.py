"""What deleted mirrors have cached is deleted."""

from __future__ import annotations

import logging

from devpi_server.store.locks import Locks
from devpi_server.store.meta import MetaStore
from devpi_server.store.mirrorfolders import MirrorFolders
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)


class Forget:
    """A worker: lets go of folders whose mirror is no more.

    What a process writes that has not heard of the deletion yet, goes the next time.
    """

    name = "forget mirrors"
    every = 30.0

    def __init__(self, folders: MirrorFolders, meta: MetaStore, locks: Locks) -> None:
        self._folders = folders
        self._meta = meta
        self._leader = Leader(locks, self.name)

    def tick(self) -> None:
        if not self._leader.is_this_process():
            return
        self._folders.sweep()
        # The folders before the rows: a mirror that is made just now has its row first.
        found = list(self._folders.of_rows())
        with self._meta.reading() as tables:
            there = {row.id for row in tables.indexes.all()}
        for row_id, path in found:
            if row_id not in there:
                log.info("deleting what the mirror %s has cached", path.name)
                self._folders.remove(path)
