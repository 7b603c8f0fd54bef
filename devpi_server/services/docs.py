"""Documentation of releases, served out of the zip that was uploaded.

Nothing is unpacked to disk, so no name in a zip ever becomes a path.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from devpi_server import names
from devpi_server.errors import CorruptBlob, NoSuchFile, NoSuchProject, NoSuchVersion
from devpi_server.names import NormalizedName
from devpi_server.services.indexes import Indexes
from devpi_server.store.blobs import BlobStore
from devpi_server.store.meta import FileKind, MetaStore, StoredFile

LATEST, STABLE = "latest", "stable"
_LARGEST = 64 * 1024 * 1024  # bytes of one page of documentation
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class DocPage:
    """One file of a documentation."""

    path: str
    content: bytes
    tag: str  # equal tags: equal content


class Docs:
    """The documentation of what was uploaded."""

    def __init__(self, meta: MetaStore, blobs: BlobStore, indexes: Indexes) -> None:
        self._meta = meta
        self._blobs = blobs
        self._indexes = indexes

    def page(self, index: str, project: NormalizedName, version: str, path: str) -> DocPage:
        """One file of the documentation.

        :param version: also ``latest`` or ``stable``: the newest version that has any.
        :param path: within the documentation; the name of a folder leads to its index.html.
        :raises NotFound: there is none.
        :raises CorruptBlob: it cannot be read any more.
        """
        docs = self._find(index, project, version)
        blob = self._blobs.find(docs.sha256)
        if blob is None:
            raise CorruptBlob(f"{docs.filename} is missing from the store, run devpi-fsck")
        try:
            with zipfile.ZipFile(blob.path) as archive:
                info = archive.NameToInfo.get(path)
                if info is None or info.is_dir():
                    raise NoSuchFile(f"the documentation has no {path}")
                if info.file_size > _LARGEST:
                    raise NoSuchFile(f"{path} of the documentation is too large to be shown")
                content = archive.read(info)
        except _UNREADABLE as error:
            raise CorruptBlob(f"{docs.filename} cannot be read: {error}") from error
        return DocPage(path, content, f"{docs.sha256[:32]}-{info.CRC:08x}")

    def _find(self, index: str, project: NormalizedName, version: str) -> StoredFile:
        row = self._indexes.find(index).row
        with self._meta.reading() as tables:
            releases = tables.releases.of(row.id, project)
            found = [
                file for file in tables.files.of(row.id, project) if file.kind is FileKind.DOCS
            ]
        if not releases:
            raise NoSuchProject(f"no project {project!r}")
        if version in (LATEST, STABLE):
            newest = _newest((file.version for file in found), stable=version == STABLE)
            matching = [file for file in found if file.version == newest]
        else:
            matching = [file for file in found if names.same_version(file.version, version)]
        if not matching:
            raise NoSuchVersion(f"there is no documentation of {project} {version}")
        return matching[0]


def _newest(versions: Iterable[str], *, stable: bool) -> str | None:
    found = list(versions)
    if not stable:
        return names.newest(found) if found else None
    finals = [version for version in found if names.is_final(version)]
    return names.newest(finals) if finals else None
