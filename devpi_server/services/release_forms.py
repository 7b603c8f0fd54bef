"""A release as the upload forms in which it goes to another server; twine's, field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from devpi_server import names
from devpi_server.errors import InvalidArtefact
from devpi_server.services import artefact, distnames, metadata_fields, provenance
from devpi_server.services.picking import Picked
from devpi_server.services.push_order import Order
from devpi_server.store.blobs import Blob
from devpi_server.store.incoming import translated
from devpi_server.store.meta import StoredFile
from devpi_server.upstream.publish import Attached

_TWINE_SAYS = {"provides_extras": "provides_extra"}
_BLOCK = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Form:
    """One form. The attestations are apart, because not everybody takes them."""

    fields: Mapping[str, object]
    files: tuple[Attached, ...] = ()
    attestations: str | None = None

    def pairs(self, *, attested: bool = False) -> tuple[tuple[str, str], ...]:
        """Field and value; a list is sent value by value."""
        fields = {**self.fields, "attestations": self.attestations if attested else None}
        return tuple(
            (name, str(each))
            for name, value in fields.items()
            for each in (value if isinstance(value, list | tuple) else (value,))
            if each is not None
        )


@dataclass(frozen=True, slots=True)
class ReleaseForms:
    """Makes the forms of one release.

    :param blobs: everything that its files are made of, by sha256.
    """

    order: Order
    picked: Picked
    blobs: Mapping[str, Blob]

    def registration(self) -> Form:
        """Its metadata alone."""
        fields = {":action": "submit", "protocol_version": "1"}
        return Form({**fields, **self._named(self.picked.fields)})

    def documentation(self, file: StoredFile) -> Form:
        """A zip of pages."""
        content = self._attached("content", f"{self.order.project}.zip", file.sha256)
        return Form({":action": "doc_upload", **self._named({})}, (content,))

    def upload(self, file: StoredFile) -> Form:
        """A distribution file, with its own metadata.

        :raises InvalidArtefact: no distribution file has such a name.
        :raises StoreError: it cannot be read.
        """
        blob = self.blobs[file.sha256]
        filetype, pyversion, own = self._about(blob, file.filename)
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            **self._named(own),
            "filetype": filetype,
            "pyversion": pyversion,
            "sha256_digest": file.sha256,
            "blake2_256_digest": file.digests.get("blake2b_256") or _blake2b(blob),
        }
        files = [self._attached("content", file.filename, file.sha256)]
        if file.signature is not None:
            name = file.filename + names.SIGNATURE
            files.append(self._attached("gpg_signature", name, file.signature))
        return Form(fields, tuple(files), self._attestations(file))

    def _named(self, fields: Mapping[str, object]) -> dict[str, object]:
        """The metadata in the words of an upload form, with what no form is without."""
        named = {_TWINE_SAYS.get(name, name): value for name, value in fields.items()}
        least = {
            "metadata_version": "2.1",
            "name": self.order.name,
            "version": self.picked.version,
        }
        return {**least, **named}

    def _about(self, blob: Blob, filename: str) -> tuple[str, str, Mapping[str, object]]:
        """The kind of the file, the Python that it is for, and the metadata to send with it.

        Its own, where it has some: two files of a release may differ.
        """
        project, version = self.order.project, self.picked.version
        try:
            with translated("read an uploaded file"), blob.path.open("rb") as file:
                found = artefact.inspect(file, filename, name=project, version=version)
        except InvalidArtefact:  # it was taken as it was from a mirror
            dist = distnames.parse(filename)
            return dist.filetype, dist.pyversion, self.picked.fields
        own = metadata_fields.of_artefact(found) if "name" in found.fields else self.picked.fields
        return found.filetype, found.pyversion, own

    def _attached(self, field: str, filename: str, sha256: str) -> Attached:
        blob = self.blobs[sha256]
        return Attached(field, filename, blob.path, blob.size)

    def _attestations(self, file: StoredFile) -> str | None:
        if file.provenance is None:
            return None
        with translated("read attestations"):
            found = provenance.attestations(self.blobs[file.provenance].path.read_bytes())
        return orjson.dumps(found).decode() if found else None


def _blake2b(blob: Blob) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with translated("read an uploaded file"), blob.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
