"""Whether a file has room in an index: nothing that is there may be taken for it, or lost."""

from __future__ import annotations

from dataclasses import replace

from devpi_server.errors import Conflict, Forbidden, NotFound
from devpi_server.names import NormalizedName
from devpi_server.services.indexes import Index, Indexes
from devpi_server.store.meta import LogEntry, StoredFile, Tables


def taker(indexes: Indexes, name: str) -> Index:
    """The index, which takes uploads.

    :raises NoSuchIndex: there is none.
    :raises NotFound: it is a mirror; with the status that devpi's client knows.
    :raises Forbidden: it is a directory.
    """
    index = indexes.find(name)
    if index.mirrored is not None:
        raise NotFound("cannot submit to mirror index")
    if index.stage is None:
        raise Forbidden(f"{name} is a folder of the server: files are copied there, not submitted")
    return index


def expect_there(tables: Tables, target: Index) -> None:
    """:raises NotFound: the index has been removed meanwhile."""
    row = tables.indexes.get(target.name)
    if row is None or row.id != target.row.id:
        raise NotFound(f"The stage {target.name} could not be found.")


def expect_room(
    tables: Tables, target: Index, project: NormalizedName, filename: str, sha256: str
) -> StoredFile | None:
    """The file that is there under this name, which may be replaced or has the same bytes.

    :raises Conflict: it has others, or one of nearly this name is there.
    """
    key = _twin_key(filename)
    for file in tables.files.of(target.row.id, project):
        if file.filename == filename:
            if file.sha256 != sha256 and not target.options.volatile:
                raise Conflict(f"File already exists: {filename} in non-volatile index")
            return file
        if _twin_key(file.filename) == key:
            raise Conflict(f"File already exists: {filename}, spelled {file.filename}")
    other = tables.files.find(target.row.id, filename)
    if other is not None:
        raise Conflict(f"File already exists: {filename}, of project {other.project}")
    return None


def place(
    tables: Tables, target: Index, file: StoredFile, who: str, when: float
) -> tuple[StoredFile, StoredFile | None]:
    """Make it a file of its release, which is there; what was there of its name gives way.

    :param file: with the log that it is to have.
    :return: what is there now, and what was there before.
    :raises Conflict: it may not.
    """
    before = expect_room(tables, target, file.project, file.filename, file.sha256)
    if before is not None and before.sha256 == file.sha256:
        refreshed = _refreshed(before, file)
        if refreshed == before:
            return before, before
        return tables.files.put(target.row.id, refreshed), before
    logged = replace(file, log=_overwritten(before, who, when) + file.log)
    return tables.files.put(target.row.id, logged), before


def _refreshed(before: StoredFile, again: StoredFile) -> StoredFile:
    """A file that has come again with the same bytes: with the companions of both."""
    return replace(
        before,
        signature=again.signature or before.signature,
        provenance=again.provenance or before.provenance,
    )


def _overwritten(before: StoredFile | None, who: str, when: float) -> tuple[LogEntry, ...]:
    """What the log of a file begins with that takes the place of another (devpi.md 1.6)."""
    if before is None:
        return ()
    counts = [entry.count or 0 for entry in before.log if entry.what == "overwrite"]
    return (LogEntry("overwrite", who, when, count=max(counts, default=0) + 1),)


def _twin_key(filename: str) -> str:
    """Equal for names that an installer takes for one file."""
    return filename.lower().replace("_", "-").replace(".", "-")
