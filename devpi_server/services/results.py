"""Test results: what ``devpi test`` says of a file (devpi.md 1.9)."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import NoSuchFile
from devpi_server.names import NormalizedName
from devpi_server.services.access import Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.indexes import Indexes
from devpi_server.store.blobs import BlobStore, expect_held, keep
from devpi_server.store.meta import Actor, FileKind, LogEntry, MetaStore, StoredFile

LARGEST = 16 * 1024 * 1024  # bytes of one result


class Results:
    """Takes and keeps test results."""

    def __init__(self, meta: MetaStore, blobs: BlobStore, indexes: Indexes, clock: Clock) -> None:
        self._meta = meta
        self._blobs = blobs
        self._indexes = indexes
        self._clock = clock

    def add(
        self, principal: Principal, origin: Origin, index: str, path: str, result: bytes
    ) -> StoredFile:
        """Keep a result of testing the file at this path of the index.

        :param result: JSON, as tox wrote it.
        :raises NoSuchFile: it is not there, or was not uploaded here.
        """
        target = self._indexes.find(index)
        filename = path.rpartition("/")[2]
        if target.stage is None:
            raise NoSuchFile("no such file")
        target.stage.find(path)
        blob = keep(self._blobs, result)
        now = self._clock()
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            expect_held(self._blobs, [blob.sha256])
            tested = tables.files.find(target.row.id, filename)
            if tested is None or tested.kind is not FileKind.RELEASE:
                raise NoSuchFile("no such file")
            others = tables.files.of(target.row.id, tested.project)
            taken = {file.filename for file in others}
            stamp = datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%d%H%M%S")
            candidates = (f"{filename}.toxresult-{stamp}-{count}" for count in itertools.count())
            kept = tables.files.put(
                target.row.id,
                StoredFile(
                    project=tested.project,
                    version=tested.version,
                    kind=FileKind.TOX_RESULT,
                    filename=next(name for name in candidates if name not in taken),
                    sha256=blob.sha256,
                    size=blob.size,
                    uploaded=now,
                    for_file=filename,
                    log=(LogEntry("upload", principal.name, now, dst=index),),
                ),
            )
            tables.note("toxresult_upload", f"{index}/{kept.filename}")
        return kept

    def find(
        self, index: str, project: NormalizedName, filename: str, name: str | None = None
    ) -> StoredFile:
        """A result of testing the file.

        :param name: of the result; None: the newest.
        :raises NoSuchFile: there is none.
        """
        row = self._indexes.find(index).row
        with self._meta.reading() as tables:
            found = [
                file
                for file in tables.files.of(row.id, project)
                if file.kind is FileKind.TOX_RESULT
                and file.for_file == filename
                and name in (None, file.filename)
            ]
        if not found:
            raise NoSuchFile(f"there is no test result of {filename}")
        return found[-1]

    def path(self, result: StoredFile) -> str:
        """Where the index serves it."""
        return names.file_path(result.filename, "", {"sha256": result.sha256})
