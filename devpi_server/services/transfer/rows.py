"""The rows that an import makes, each within a transaction of its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from devpi_server.errors import Conflict
from devpi_server.services import founding
from devpi_server.services.dump.records import DumpedRelease
from devpi_server.store.meta import FileKind, IndexRow, Release, StoredFile, Tables, User


def put_user(tables: Tables, user: User) -> None:
    """Add the user, or make root what it is to be."""
    there = tables.users.get(user.name)
    user = replace(user, password_serial=tables.serial)
    if there is not None and founding.is_root_as_founded(there):
        tables.users.change(replace(user, id=there.id))
        tables.note("user_modify", user.name)
    else:
        tables.users.add(user)
        tables.note("user_create", user.name)


def put_index(tables: Tables, row: IndexRow) -> IndexRow:
    """Add the index, or make root/pypi what it is to be."""
    there = tables.indexes.get(row.full_name)
    if there is not None and founding.is_pypi_as_founded(there):
        row = replace(there, options=row.options)
        tables.indexes.change(row)
        tables.note("index_modify", row.full_name, {"type": row.type})
        return row
    row = tables.indexes.add(row)
    tables.note("index_create", row.full_name, {"type": row.type})
    return row


def put_release(
    tables: Tables, row: IndexRow, dumped: DumpedRelease, warn: Callable[[str], None]
) -> bool:
    """Have the release with all of its metadata. Returns whether anything is new.

    What is here counts more: it may be another spelling of the version.
    """
    there = tables.releases.get(row.id, dumped.project, dumped.version)
    if there is None:
        made = Release(dumped.project, dumped.version, dumped.metadata)
    else:
        made = replace(there, fields={**dumped.metadata, **there.fields})
        if there.version != dumped.version:
            known = f"{row.full_name} has {dumped.project} {dumped.version}"
            warn(f"{known} as version {there.version}")
        if made == there:
            return False
    tables.releases.put(row.id, made)
    return True


def put_file(tables: Tables, row: IndexRow, file: StoredFile) -> None:
    """Add the file to its release, which is made if it is not there.

    :raises Conflict: there is one of its name with other bytes.
    """
    before = tables.files.find(row.id, file.filename)
    if before is not None:
        if before.sha256 != file.sha256:
            raise Conflict(f"{row.full_name} has got a {file.filename} with other bytes")
        return
    release = tables.releases.get(row.id, file.project, file.version)
    if release is None:
        fields = {"name": file.project, "version": file.version}
        release = tables.releases.put(row.id, Release(file.project, file.version, fields))
    tables.files.put(row.id, _with_required(file, release))
    detail = {"sha256": file.sha256, "size": file.size}
    tables.note("import", f"{row.full_name}/{file.filename}", detail)


def _with_required(file: StoredFile, release: Release) -> StoredFile:
    """With the Pythons that its release is for, if it does not say itself."""
    required = release.fields.get("requires_python")
    if file.requires_python is None and file.kind is FileKind.RELEASE and required:
        return replace(file, requires_python=str(required))
    return file
