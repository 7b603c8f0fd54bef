"""A stage: the source whose releases were uploaded here.

The database is the truth.  What the hot path needs of it, the serials of
projects and the places of files, is remembered until anybody writes to it,
which ``MetaStore.generation`` tells in microseconds.
"""

from __future__ import annotations

from datetime import datetime, timezone

from devpi_server import names
from devpi_server.errors import CorruptBlob, Gone, NoSuchFile, NoSuchProject
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Listing, Page, View
from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.meta import FileKind, IndexRow, MetaStore, Release, StoredFile, Tables
from devpi_server.store.remembered import UntilWritten


class Stage:
    """The releases of one index.

    :param row: of a type that takes uploads.
    """

    def __init__(self, row: IndexRow, meta: MetaStore, blobs: BlobStore) -> None:
        self.name = row.full_name
        self._id = row.id
        self._meta = meta
        self._blobs = blobs
        self._serials: UntilWritten[int | None] = UntilWritten(meta)
        self._files: UntilWritten[tuple[str, Blob] | None] = UntilWritten(meta)

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        serial = self._serials.get(project, lambda: self._serial(project))
        if serial is None:
            raise NoSuchProject(f"{self.name} has no project {project}")
        return View((self._id, serial), lambda: self._page(project))

    def holds(self, project: NormalizedName) -> bool:
        """Whether the project has a release here."""
        return self._serials.get(project, lambda: self._serial(project)) is not None

    def listing(self) -> Listing:
        with self._meta.reading() as tables:
            row = tables.indexes.get(self.name)
            found = tables.releases.projects(self._id)
        return Listing((self._id, row.serial if row is not None else 0), lambda: iter(found))

    def find(self, path: str) -> tuple[str, Blob]:
        """The name and the bytes of the file at this path of the index, or of its companion.

        :raises Gone: it was removed.
        :raises NoSuchFile: it was never there.
        :raises CorruptBlob: it is missing from the store.
        """
        found = self._files.get(path, lambda: self._find(path))
        if found is None:
            raise NoSuchFile(f"{self.name} has no file {path.rpartition('/')[2]} at this address")
        return found

    def stored(self, path: str) -> StoredFile:
        """What is known of the file at this path of the index.

        :raises Gone: it was removed.
        :raises NoSuchFile: it was never there.
        """
        with self._meta.reading() as tables:
            file = _at(tables, self._id, path)
            if file is None:
                self._expect_never_there(tables, path)
                raise NoSuchFile(f"{self.name} has no file {path.rpartition('/')[2]}")
        return file

    def contents(self, project: NormalizedName) -> tuple[list[Release], list[StoredFile]]:
        """The releases of the project, and their files of all kinds; both oldest first."""
        with self._meta.reading() as tables:
            return tables.releases.of(self._id, project), tables.files.of(self._id, project)

    def _expect_never_there(self, tables: Tables, path: str) -> None:
        """Raise Gone for a file that was removed."""
        filename = path.rpartition("/")[2]
        start = "".join(path.split("/")[1:3])
        if path.startswith("+f/") and tables.files.was_removed(self._id, filename, start):
            raise Gone(f"{filename} was removed from {self.name}")

    def _serial(self, project: NormalizedName) -> int | None:
        with self._meta.reading() as tables:
            return tables.releases.project_serial(self._id, project)

    def _page(self, project: NormalizedName) -> Page:
        releases, files = self.contents(project)
        links = tuple(_link(file) for file in files if file.kind is FileKind.RELEASE)
        return Page(project, links, tuple(release.version for release in releases))

    def _find(self, path: str) -> tuple[str, Blob] | None:
        base, ending = names.split_companion(path)
        filename = base.rpartition("/")[2]
        with self._meta.reading() as tables:
            file = _at(tables, self._id, base)
            if file is None:
                self._expect_never_there(tables, base)
                return None
        sha256 = _companions(file)[ending]
        if sha256 is None:
            raise NoSuchFile(f"there is no {ending} of {filename}")
        blob = self._blobs.find(sha256)
        if blob is None:
            raise CorruptBlob(f"{filename}{ending} is missing from the store, run devpi-fsck")
        return filename + ending, blob


def _at(tables: Tables, index_id: int, path: str) -> StoredFile | None:
    filename = path.rpartition("/")[2]
    file = tables.files.find(index_id, filename)
    if file is not None and path == names.file_path(filename, "", {"sha256": file.sha256}):
        return file
    return None


def _companions(file: StoredFile) -> dict[str, str | None]:
    """Ending → digest of what is served there."""
    return {
        "": file.sha256,
        names.METADATA: file.metadata,
        names.SIGNATURE: file.signature,
        names.PROVENANCE: file.provenance,
    }


def _link(file: StoredFile) -> Link:
    yanked: bool | str = False if file.yanked is None else file.yanked or True
    return Link(
        filename=file.filename,
        url="",
        digests={"sha256": file.sha256},
        size=file.size,
        uploaded=datetime.fromtimestamp(file.uploaded, timezone.utc),
        requires_python=file.requires_python,
        yanked=yanked,
        core_metadata={"sha256": file.metadata} if file.metadata is not None else None,
        gpg_sig=file.signature is not None,
        provenance=names.PROVENANCE if file.provenance is not None else None,
    )
