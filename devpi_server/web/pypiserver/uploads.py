"""``POST /``: files, signatures and documentation, and what is to be removed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import bottle

from devpi_server.errors import BadRequest, Conflict, InvalidForm
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.keptdocs import KeptDocs
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.services.received import Form, ReceivedFile
from devpi_server.store.blobs import BlobStore
from devpi_server.web.credentials import Credentials, credentials
from devpi_server.web.forms import received
from devpi_server.web.pypiserver import answers

log = logging.getLogger("devpi_server.pypiserver")

_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_NO_ACTION = "Missing ':action' field!"


class FolderForms:
    """The handler.

    :param blobs: where files are received.
    """

    def __init__(
        self, folder: PackageFolder, uploads: FolderUploads, docs: KeptDocs, blobs: BlobStore
    ) -> None:
        self._folder = folder
        self._uploads = uploads
        self._docs = docs
        self._blobs = blobs
        self._actions: dict[str, Callable[[Form], None]] = {
            "file_upload": self._upload,
            "doc_upload": self._keep_docs,
            "remove_pkg": self._remove,
            "submit": _ignored,
            "verify": _ignored,
        }

    def post(self) -> bottle.HTTPResponse:
        """A form, whose field ``:action`` says what it is."""
        environ = bottle.request.environ
        if not (environ.get("CONTENT_TYPE") or "").lower().startswith(_FORMS):
            raise InvalidForm(_NO_ACTION)
        with received(environ, self._blobs) as form:
            name = form.one(":action")
            if name is None:
                raise InvalidForm(_NO_ACTION)
            action = self._actions.get(name)
            if action is None:
                raise InvalidForm(f"Unsupported ':action' field: {name[:200]}")
            action(form)
        return answers.done()

    def _upload(self, form: Form) -> None:
        try:
            filename = self._uploads.upload(form)
        except Conflict:
            name = form.files["content"].filename
            said = (
                f"Package {name!r} already exists!\n  The server may be started with --overwrite."
            )
            if "twine" in bottle.request.headers.raw("User-Agent", ""):
                # twine --skip-existing looks for these words in a 400 only.
                raise BadRequest(said) from None
            raise Conflict(said) from None
        log.info("User %r stored %r.", _user(), filename)
        content = form.files["content"]
        known = {"sha256": content.sha256, "md5": content.md5}
        self._folder.learn(filename, _inode(content), known)

    def _remove(self, form: Form) -> None:
        name, version = (form.one(field) for field in ("name", "version"))
        if name is None or version is None:
            sent = {field: form.fields.get(field, (None,))[0] for field in ("name", "version")}
            raise InvalidForm(
                f"Missing 'name'/'version' fields: name={sent['name']}, version={sent['version']}"
            )
        removed = self._uploads.remove(name, version)
        log.info("User %r removed %s.", _user(), ", ".join(removed))

    def _keep_docs(self, form: Form) -> None:
        log.info("User %r stored documentation at %s.", _user(), self._docs.keep(form))


def _inode(received: ReceivedFile) -> int:
    """Of the file that was received, which is the one in the folder if both are on one disk."""
    fd = received.incoming.reader()
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def _user() -> str:
    sent = credentials(bottle.request.environ)
    return sent.user if isinstance(sent, Credentials) else "anon"


def _ignored(_form: Form) -> None:
    """Projects need no registering here."""
