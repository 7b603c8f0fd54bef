"""Releases go to other servers, form by form, as twine sends them.

What has gone out cannot be taken back, so nothing is hidden: each form has its
line in the result, also the ones that were not sent because an earlier one
failed.  A push that failed can be done again: servers take the same file twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from devpi_server import names
from devpi_server.concurrency import Blocking
from devpi_server.errors import (
    CorruptBlob,
    InvalidArtefact,
    OffLimits,
    Unauthenticated,
    UpstreamError,
)
from devpi_server.services import artefact, distnames, metadata_fields, provenance
from devpi_server.services.access import ROOT, Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.indexes import Index
from devpi_server.services.picking import Picked
from devpi_server.services.push_order import Elsewhere, Order
from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.incoming import translated
from devpi_server.store.meta import Actor, FileKind, MetaStore, StoredFile
from devpi_server.upstream.addresses import host_of
from devpi_server.upstream.publish import Attached, Publisher, Said

log = logging.getLogger(__name__)

Action = tuple[object, ...]  # status, what was done, with what, what was said to it

_UNSENT = -1  # in place of a status, where there was no answer
_NOT_TRIED = HTTPStatus.FAILED_DEPENDENCY
# What is said of one file; whatever else goes wrong would go wrong with the next file, too.
_OF_THE_FILE = {400, 409, 410, 413, 415, 422}
# Of forms that are a courtesy: PyPI takes neither registrations nor documentation any more.
_TOLERATED = {HTTPStatus.GONE}
_TWINE_SAYS = {"provides_extras": "provides_extra"}
_BLOCK = 1024 * 1024  # bytes


class Publishing:
    """Takes releases to other servers.

    :param places: each push takes one, as long as it goes on.
    """

    def __init__(
        self, meta: MetaStore, blobs: BlobStore, publisher: Publisher, places: Blocking
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._publisher = publisher
        self._places = places

    def expect_allowed(self, principal: Principal) -> None:
        """:raises Unauthenticated: nobody known sends from our address to others."""
        if principal.user is None:
            raise Unauthenticated("log in first to push to another server")

    def publish(
        self,
        principal: Principal,
        origin: Origin,
        source: Index,
        order: Order,
        picked: Picked,
        to: Elsewhere,
    ) -> tuple[list[Action], bool]:
        """Send the release.

        :return: what was done and said, and whether all of it went well.
        :raises CorruptBlob: a file is missing; nothing has been sent.
        :raises Overloaded: too many requests wait already.
        """
        sent = [file for file in picked.files if file.kind is not FileKind.TOX_RESULT]
        blobs = {file.filename: self._blob(file.filename, file.sha256) for file in sent}
        sending = _Sending(self._publisher, self._blobs, blobs, source, order, picked, to)
        where = to.target.url.partition("?")[0]
        what = f"{source.name}/{order.project}/{picked.version}"
        trusted = principal.user == ROOT and principal.scope is None
        actor = Actor(principal.name, origin.address)
        with self._places.place():
            with self._meta.writing(actor) as tables:
                tables.note("publish", what, {"to": where})
            actions = list(sending.all(trusted=trusted))
            ok = all(_is_fine(action) for action in actions)
            with self._meta.writing(actor) as tables:
                tables.note("published", what, {"to": where, "ok": ok, "done": actions})
        return actions, ok

    def _blob(self, filename: str, sha256: str) -> Blob:
        blob = self._blobs.find(sha256)
        if blob is None:
            raise CorruptBlob(f"{filename} is missing from the store, run devpi-fsck")
        return blob


@dataclass(frozen=True, slots=True)
class _Sending:
    """One release on its way out."""

    publisher: Publisher
    store: BlobStore
    blobs: Mapping[str, Blob]  # by the names of files
    source: Index
    order: Order
    picked: Picked
    to: Elsewhere

    def all(self, *, trusted: bool) -> Iterator[Action]:
        """Send all forms, until one fails in a way that the next ones would fail, too."""
        failed = False
        for line, form in self._forms():
            if failed:
                yield (int(_NOT_TRIED), *line, "not sent, because of what failed before")
                continue
            said = self._post(form, trusted=trusted)
            log.info("pushing to %s: %s %s", host_of(self.to.target.url), said.status, line)
            # Without a text, devpi's lines of these are shorter.
            is_short = not said.text and line[0] != "upload"
            action = (said.status, *line) if is_short else (said.status, *line, said.text)
            failed = not _is_fine(action) and said.status not in _OF_THE_FILE
            yield action

    def _forms(self) -> Iterator[tuple[tuple[str, ...], _Form]]:
        """What the result says of each form, and the form."""
        order, picked = self.order, self.picked
        if self.to.registers:
            fields = {":action": "submit", "protocol_version": "1", **self._named(picked.fields)}
            yield ("register", order.name, order.version), _Form(fields)
        for file in picked.files:
            if file.kind is FileKind.RELEASE:
                path = names.file_path(file.filename, "", {"sha256": file.sha256})
                yield ("upload", f"{self.source.name}/{path}"), self._upload(file)
        for file in picked.files:
            if file.kind is FileKind.DOCS:
                fields = {":action": "doc_upload", **self._named({})}
                content = self._attached("content", f"{order.project}.zip", file.filename)
                yield ("docfile", order.name), _Form(fields, (content,))

    def _named(self, fields: Mapping[str, object]) -> dict[str, object]:
        """The metadata in the words of an upload form, with what no form is without."""
        named = {_TWINE_SAYS.get(name, name): value for name, value in fields.items()}
        least = {
            "metadata_version": "2.1",
            "name": self.order.name,
            "version": self.picked.version,
        }
        return {**least, **named}

    def _upload(self, file: StoredFile) -> _Form:
        blob = self.blobs[file.filename]
        filetype, pyversion, own = _about(blob, file.filename, self.order, self.picked)
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            **self._named(own),
            "filetype": filetype,
            "pyversion": pyversion,
            "sha256_digest": file.sha256,
            "blake2_256_digest": file.digests.get("blake2b_256") or _blake2b(blob),
        }
        files = [self._attached("content", file.filename, file.filename)]
        signature = self._companion(file.signature)
        if signature is not None:
            name = file.filename + names.SIGNATURE
            files.append(Attached("gpg_signature", name, signature.path, signature.size))
        return _Form(fields, tuple(files), self._attestations(file))

    def _attached(self, field: str, sent_as: str, filename: str) -> Attached:
        blob = self.blobs[filename]
        return Attached(field, sent_as, blob.path, blob.size)

    def _companion(self, sha256: str | None) -> Blob | None:
        return None if sha256 is None else self.store.find(sha256)

    def _attestations(self, file: StoredFile) -> str | None:
        blob = self._companion(file.provenance)
        if blob is None:
            return None
        with translated("read attestations"):
            found = provenance.attestations(blob.path.read_bytes())
        return orjson.dumps(found).decode() if found else None

    def _post(self, form: _Form, *, trusted: bool) -> Said:
        target = self.to.target
        try:
            if form.attestations is None:
                return self.publisher.post(target, form.pairs(), form.files, trusted=trusted)
            attested = (*form.pairs(), ("attestations", form.attestations))
            said = self.publisher.post(target, attested, form.files, trusted=trusted)
            if said.status != HTTPStatus.BAD_REQUEST or "attestation" not in said.text.lower():
                return said
            # Of PyPI, for one: it takes them from its trusted publishers only.
            again = self.publisher.post(target, form.pairs(), form.files, trusted=trusted)
            without = f"without its attestations, because: {said.text}"
            return Said(again.status, f"{again.text} {without}".strip())
        except OffLimits:
            return Said(
                int(HTTPStatus.FORBIDDEN),
                f"{host_of(target.url)} is in a private network, where only root may push, "
                "or whoever --push-networks lets",
            )
        except UpstreamError as error:
            return Said(_UNSENT, error.message)


@dataclass(frozen=True, slots=True)
class _Form:
    fields: Mapping[str, object]
    files: tuple[Attached, ...] = ()
    attestations: str | None = None

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Field and value; a list is sent value by value."""
        return tuple(
            (name, str(each))
            for name, value in self.fields.items()
            for each in (value if isinstance(value, list | tuple) else (value,))
            if each is not None
        )


def _is_fine(action: Action) -> bool:
    status, what = action[0], action[1]
    if status in _TOLERATED and what != "upload":
        return True
    return isinstance(status, int) and 200 <= status < 300


def _about(
    blob: Blob, filename: str, order: Order, picked: Picked
) -> tuple[str, str, Mapping[str, object]]:
    """The kind of the file, the Python that it is for, and the metadata to send with it.

    Its own, where it has some: two files of a release may differ.
    """
    try:
        with translated("read an uploaded file"), blob.path.open("rb") as file:
            found = artefact.inspect(file, filename, name=order.project, version=order.version)
    except InvalidArtefact:  # it was taken as it was from a mirror
        dist = distnames.parse(filename)
        return dist.filetype, dist.pyversion, picked.fields
    own = metadata_fields.of_artefact(found) if "name" in found.fields else picked.fields
    return found.filetype, found.pyversion, own


def _blake2b(blob: Blob) -> str:
    digest = hashlib.blake2b(digest_size=32)
    with translated("read an uploaded file"), blob.path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
