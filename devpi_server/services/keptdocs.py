"""Documentation that is uploaded to folders of packages, which have no place for it: it is kept."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from devpi_server import names
from devpi_server.errors import InvalidForm, InvalidName
from devpi_server.services.received import Form, expect_digests
from devpi_server.store.incoming import Incoming, translated

_INDEX = "index.html"
_LATEST = "latest"
_BLOCK = 1024 * 1024
_UNREADABLE = (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, OSError, ValueError)


class KeptDocs:
    """Zips of documentation, by project and version.

    :param folder: where they lie.
    """

    def __init__(self, folder: Path, incoming: Incoming) -> None:
        self._folder = folder
        self._incoming = incoming

    def keep(self, form: Form) -> Path:
        """Keep the documentation in the form: a zip with an ``index.html``; return its place.

        :raises InvalidForm: there is none, or it does not say of what.
        :raises DigestMismatch: other bytes arrived than the client has.
        :raises StoreError: it cannot be kept.
        """
        content = form.files.get("content")
        if content is None:
            raise InvalidForm("Missing 'content' file-field!")
        try:
            with (
                os.fdopen(content.incoming.reader(), "rb") as file,
                zipfile.ZipFile(file) as zipped,
            ):
                zipped.getinfo(_INDEX)
        except _UNREADABLE:
            raise InvalidForm("not a zip file") from None
        expect_digests(form, content)
        place = self._folder / _project(form) / f"{_version(form)}.zip"
        part = self._incoming.part()
        try:
            with (
                translated("keep documentation"),
                os.fdopen(content.incoming.reader(), "rb") as file,
            ):
                while block := file.read(_BLOCK):
                    part.write(block)
            part.commit(place, durable=True)
        finally:
            part.abandon()
        return place


def _project(form: Form) -> str:
    try:
        return names.project(form.one("name") or "")
    except InvalidName:
        raise InvalidForm("Missing 'name' field!") from None


def _version(form: Form) -> str:
    version = form.one("version") or _LATEST
    if not names.is_file_name(version):
        raise InvalidForm("the version cannot be a part of a file's name")
    return version
