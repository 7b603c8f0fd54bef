"""Uploads into a folder of packages, and removals: what is there is whole, or not there.

The name of a file alone says what it is: the project and version that the form names, and
what is in the file, are not looked at, as little as when somebody copies it there.
"""

from __future__ import annotations

from devpi_server import names
from devpi_server.errors import BadRequest, Conflict, InvalidName, NoSuchFile, NoSuchVersion
from devpi_server.names import SIGNATURE
from devpi_server.services.received import Form, expect_digests
from devpi_server.sources.directory import Directory
from devpi_server.store import filenames, folderwrites
from devpi_server.store.folderwrites import FolderWrites
from devpi_server.store.locks import Locks


class FolderUploads:
    """What is put into the first of the folders, and removed from all of them.

    :param overwrites: a file that is there gives way.
    """

    def __init__(self, directory: Directory, locks: Locks, *, overwrites: bool = False) -> None:
        self._directory = directory
        self._folder = FolderWrites(directory.first, locks)
        self._overwrites = overwrites

    def upload(self, form: Form) -> str:
        """Put the file of the form, and its signature if it has one, into the folder.

        :return: its name.
        :raises BadRequest: there is no file, its name is not one of a distribution file, or
            the signature is one of another file.
        :raises DigestMismatch: other bytes arrived than the client has.
        :raises Conflict: a file of this name is there.
        :raises StoreError: the disk is sick, or the folder may not be written to.
        """
        content, signature = form.files.get("content"), form.files.get("gpg_signature")
        if content is None:
            raise BadRequest("Missing 'content' file-field!")
        filename = content.filename
        if filename.endswith(SIGNATURE) or filenames.parse(filename) is None:
            raise BadRequest(f"Bad filename: {filename[:200]}")
        if signature is not None and signature.filename != filename + SIGNATURE:
            raise BadRequest(f"Unrelated signature {signature.filename[:200]!r} for {filename!r}!")
        expect_digests(form, content)
        signed = signature.incoming if signature is not None else None
        if self._overwrites:
            with self._folder.alone(filename):
                self._folder.replace(filename, content.incoming, signed)
        else:
            self._expect_free(filename)
            with self._folder.alone(filename):
                self._folder.put(filename, content.incoming, signed)
        return filename

    def remove(self, project: str, version: str) -> list[str]:
        """Remove all files of the version, with their signatures, and the files that they hide.

        :return: their names.
        :raises NoSuchVersion: there are none.
        :raises StoreError: the disk is sick, or a folder may not be written to.
        """
        missing = f"{project[:100]} ({version[:100]}) not found"
        try:
            places = self._directory.folders.places(names.project(project))
        except InvalidName:
            raise NoSuchVersion(missing) from None
        found = [place for place in places if _is_of(place.name, version)]
        if not found:
            raise NoSuchVersion(missing)
        folderwrites.remove(found)
        return sorted({place.name for place in found})

    def sweep(self) -> None:
        """Remove what is left of uploads that were killed.

        :raises StoreError: the folder may not be written to.
        """
        self._folder.sweep()

    def _expect_free(self, filename: str) -> None:
        """Raise Conflict for a name that is in any of the folders."""
        try:
            self._directory.folders.locate(filename)
        except NoSuchFile:
            return
        raise Conflict(f"File already exists: {filename}")


def _is_of(filename: str, version: str) -> bool:
    said = filenames.parse(filename)
    if said is None:
        return False
    return said.version == version or names.same_version(said.version, version)
