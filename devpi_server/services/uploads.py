"""Uploads: from a form that has been received whole to a file that everybody sees.

Truth first: everything that can be refused is refused before anything is kept;
then the bytes are made durable, then one transaction makes them a file of a
release.  What a crash leaves between the two is bytes that nobody names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import (
    BadRequest,
    Forbidden,
    InvalidForm,
    InvalidName,
    NoSuchVersion,
)
from devpi_server.names import NormalizedName
from devpi_server.services import artefact, metadata_fields, provenance, room
from devpi_server.services.access import Principal, may_upload
from devpi_server.services.accounts import Origin
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.received import Form, ReceivedFile, expect_digests
from devpi_server.store import zips
from devpi_server.store.blobs import BlobStore, expect_held, keep
from devpi_server.store.incoming import translated
from devpi_server.store.meta import (
    Actor,
    FileKind,
    LogEntry,
    MetaStore,
    Release,
    StoredFile,
)

_LONGEST_SIGNATURE = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What became of an upload."""

    file: StoredFile
    is_new: bool  # False: the same bytes were there


class Uploads:
    """Takes what clients send."""

    def __init__(self, meta: MetaStore, blobs: BlobStore, indexes: Indexes, clock: Clock) -> None:
        self._meta = meta
        self._blobs = blobs
        self._indexes = indexes
        self._clock = clock

    def submit(self, principal: Principal, origin: Origin, index: str, form: Form) -> None:
        """Register a release, or replace its metadata, without a file.

        :raises InvalidForm: it names no project or version.
        """
        target = room.taker(self._indexes, index)
        project, version = _named(form)
        _expect_allowed(principal, target, project)
        fields = metadata_fields.of_form(form)
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            tables.releases.put(target.row.id, Release(project, version, fields))
            tables.note("submit", f"{index}/{project}/{version}")

    def upload(self, principal: Principal, origin: Origin, index: str, form: Form) -> Uploaded:
        """Add a distribution file to a release, which is made if it is not there.

        :raises InvalidForm: a field is missing.
        :raises InvalidArtefact: the file is not sound, or not what the form says.
        :raises DigestMismatch: other bytes arrived than the client has.
        :raises Conflict: a file of this name is there, and may not be replaced.
        """
        target = room.taker(self._indexes, index)
        project, version = _named(form)
        _expect_allowed(principal, target, project)
        content = _content(form)
        expect_digests(form, content)
        with os.fdopen(content.incoming.reader(), "rb") as file:
            found = artefact.inspect(file, content.filename, name=form.one("name"), version=version)
        attestations = provenance.of_form(form)
        with self._meta.reading() as tables:
            room.expect_room(tables, target, project, content.filename, content.sha256)
        now = self._clock()
        stored = StoredFile(
            project=project,
            version=found.version,
            kind=FileKind.RELEASE,
            filename=content.filename,
            sha256=content.incoming.commit().sha256,
            size=content.size,
            uploaded=now,
            digests={"md5": content.md5, "blake2b_256": content.blake2b_256},
            requires_python=found.requires_python or form.one("requires_python"),
            metadata=self._kept(found.metadata),
            signature=self._kept(_signature(form)),
            provenance=self._kept(attestations),
            log=(LogEntry("upload", principal.name, now, dst=index),),
        )
        fields = metadata_fields.of_artefact(found) | metadata_fields.of_form(form)
        return self._add(principal, origin, target, stored, fields)

    def upload_docs(self, principal: Principal, origin: Origin, index: str, form: Form) -> Uploaded:
        """Add the documentation of a release: a zip with an ``index.html``.

        :raises NoSuchVersion: no version is given, and the project has none.
        """
        target = room.taker(self._indexes, index)
        name = form.one("name")
        if name is None:
            raise InvalidForm("the form has no name")
        project = _project(name)
        _expect_allowed(principal, target, project)
        content = _content(form)
        expect_digests(form, content)
        version = form.one("version") or self._latest(target, project)
        with translated("read a zip"), os.fdopen(content.incoming.reader(), "rb") as file:
            zips.members(file)
        filename = f"{project}-{version}.doc.zip"
        with self._meta.reading() as tables:
            room.expect_room(tables, target, project, filename, content.sha256)
        now = self._clock()
        stored = StoredFile(
            project=project,
            version=version,
            kind=FileKind.DOCS,
            filename=filename,
            sha256=content.incoming.commit().sha256,
            size=content.size,
            uploaded=now,
            log=(LogEntry("upload", principal.name, now, dst=index),),
        )
        return self._add(principal, origin, target, stored, {})

    def _add(
        self,
        principal: Principal,
        origin: Origin,
        target: Index,
        stored: StoredFile,
        fields: Mapping[str, object],
    ) -> Uploaded:
        """Make it a file of its release, in one transaction."""
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            room.expect_there(tables, target)
            expect_held(self._blobs, stored.blobs)
            release = tables.releases.get(target.row.id, stored.project, stored.version)
            known = release.fields if release is not None else {"version": stored.version}
            put = Release(stored.project, stored.version, {**known, **fields})
            tables.releases.put(target.row.id, put)
            kept, before = room.place(tables, target, stored, principal.name, stored.uploaded)
            is_new = before is None or before.sha256 != stored.sha256
            if kept != before:
                detail = {"sha256": stored.sha256, "size": stored.size}
                tables.note("upload", f"{target.name}/{stored.filename}", detail)
        return Uploaded(kept, is_new)

    def _latest(self, target: Index, project: NormalizedName) -> str:
        with self._meta.reading() as tables:
            releases = tables.releases.of(target.row.id, project)
        if not releases:
            raise NoSuchVersion(f"there is no version of {project} to document")
        return names.newest(release.version for release in releases)

    def _kept(self, data: bytes | None) -> str | None:
        return None if data is None else keep(self._blobs, data).sha256


def _named(form: Form) -> tuple[NormalizedName, str]:
    name, version = form.one("name"), form.one("version")
    if name is None or version is None:
        raise InvalidForm(f"the form has no {'name' if name is None else 'version'}")
    if len(version) > 200 or not version.isprintable() or "/" in version or version[:1] == "+":
        raise InvalidForm("invalid metadata: the version is none")
    return _project(name), version


def _project(name: str) -> NormalizedName:
    try:
        return names.project(name)
    except InvalidName as error:
        raise BadRequest(f"invalid metadata: {name[:100]!r} is not a valid project name") from error


def _expect_allowed(principal: Principal, target: Index, project: NormalizedName) -> None:
    """What the form names counts, too, where a token is for some projects only."""
    if not may_upload(principal, target.options, (project,)):
        raise Forbidden(f"no permission to submit {project}")


def _content(form: Form) -> ReceivedFile:
    content = form.files.get("content")
    if content is None:
        raise InvalidForm("content file field not found")
    return content


def _signature(form: Form) -> bytes | None:
    signature = form.files.get("gpg_signature")
    if signature is None:
        return None
    if signature.size > _LONGEST_SIGNATURE:
        raise InvalidForm("the signature is too large")
    with os.fdopen(signature.incoming.reader(), "rb") as file:
        return file.read()
