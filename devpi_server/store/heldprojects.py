"""Which projects have files that are held, known without reading each record again and again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from devpi_server.concurrency import Clock
from devpi_server.store.heldfiles import entries, record_at
from devpi_server.store.incoming import translated

# Time stamps are coarse: a folder that has just been changed may change again unseen.
_RESTED = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class _Known:
    modified: int  # nanoseconds since the epoch
    is_rested: bool
    projects: frozenset[str]


class HeldProjects:
    """The projects of one mirror.

    :param folder: with the records, as ``HeldFiles`` has it.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._known: dict[str, _Known] = {}  # by the name of a folder of records

    def names(self) -> set[str]:
        """Their names, normalised. Only folders of records that have changed are read.

        :raises StoreError: the disk is sick.
        """
        found: set[str] = set()
        for folder in entries(self._folder):
            found |= self._of(folder)
        return found

    def _of(self, folder: Path) -> frozenset[str]:
        now = self._clock()
        with translated("list the held files"):
            modified = os.stat(folder).st_mtime_ns
        known = self._known.get(folder.name)
        if known is None or not known.is_rested or known.modified != modified:
            records = filter(None, map(record_at, entries(folder)))
            projects = frozenset(record.project for record in records)
            known = _Known(modified, now - modified / 1e9 > _RESTED, projects)
            self._known[folder.name] = known
        return known.projects
