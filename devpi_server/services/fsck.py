"""Is everything there that the rows speak of, and what is there that they do not speak of?

Bytes that are missing or not what they were are an error where they were uploaded, and
none where a mirror holds them: it fetches them again.  Nothing here keeps a transaction
open while bytes are read, so a server may be running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import ConfigError, InvalidArtefact
from devpi_server.mirror_settings import MirrorSettings, with_options
from devpi_server.services import artefact
from devpi_server.services.access import ROOT
from devpi_server.services.index_options import MIRROR, options_of
from devpi_server.services.passwords import is_usable
from devpi_server.store.blobs import BlobStore, keep
from devpi_server.store.heldfiles import HeldFiles
from devpi_server.store.meta import Actor, FileKind, IndexRow, MetaStore, StoredFile, User
from devpi_server.store.verify import Verifier

_ACTOR = Actor(ROOT, "devpi-fsck")
_YOUNG = 86400.0  # seconds; the row of an upload may be about to come


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it should be."""

    where: str
    what: str
    is_error: bool = True  # else nothing is lost
    is_repaired: bool = False

    @property
    def sentence(self) -> str:
        """All of it, for people."""
        return f"{self.where}: {self.what}{', repaired' if self.is_repaired else ''}"


class Fsck:
    """Checks a data directory.

    :param rows: all indexes with their whole configuration, of those in the database.
    :param held: the files that a mirror holds.
    :param checksums: read all bytes, too.
    :param repair: drop what can be fetched again and what nothing names, make metadata anew.
    :param saw: is called with the size of each file that was looked at.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        rows: Callable[[list[IndexRow]], Sequence[IndexRow]],
        held: Callable[[IndexRow], HeldFiles],
        clock: Clock,
        *,
        checksums: bool = True,
        repair: bool = False,
        saw: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._rows = rows
        self._held = held
        self._clock = clock
        self._repair = repair
        self._saw = saw
        self._verifier = Verifier(blobs, checksums=checksums)

    def faults(self) -> Iterator[Fault]:
        """Look at everything; what is wrong, as it is found.

        :raises StoreError: the database cannot be read.
        """
        for sentence in self._meta.faults():
            yield Fault("the database", sentence)
        with self._meta.reading() as tables:
            users = tables.users.all()
            indexes = self._rows(tables.indexes.all())
        yield from _users(users)
        yield from _indexes(indexes)
        for row in indexes:
            if row.type != MIRROR:
                yield from self._files(row)
        mirrored: set[bytes] = set()
        for row in indexes:
            if row.type == MIRROR:
                yield from self._mirrored(row, mirrored)
        yield from self._orphans(mirrored)

    # What was uploaded

    def _files(self, row: IndexRow) -> Iterator[Fault]:
        with self._meta.reading() as tables:
            projects = tables.releases.projects(row.id)
        for project in projects:
            with self._meta.reading() as tables:
                files = tables.files.of(row.id, project)
            known = {file.filename for file in files}
            for file in files:
                yield from self._file(row, file)
                if file.for_file is not None and file.for_file not in known:
                    where = f"{row.full_name}/{file.filename}"
                    yield Fault(
                        where, f"{file.for_file}, which it is about, is gone", is_error=False
                    )

    def _file(self, row: IndexRow, file: StoredFile) -> Iterator[Fault]:
        where = f"{row.full_name}/{file.filename}"
        wrong = self._verifier.wrong(file.sha256, file.size)
        if wrong is not None and self._is_there(row, file):
            yield Fault(where, wrong)
        if file.metadata is not None and (bad := self._verifier.wrong(file.metadata)) is not None:
            repaired = wrong is None and self._repair and self._make_metadata(row, file)
            yield Fault(f"{where}{names.METADATA}", bad, is_repaired=repaired)
        for ending, sha256 in (
            (names.SIGNATURE, file.signature),
            (names.PROVENANCE, file.provenance),
        ):
            if sha256 is not None and (bad := self._verifier.wrong(sha256)) is not None:
                yield Fault(f"{where}{ending}", bad)
        self._saw(file.size)

    def _is_there(self, row: IndexRow, file: StoredFile) -> bool:
        """Whether the file has not been removed meanwhile."""
        with self._meta.reading() as tables:
            now = tables.files.find(row.id, file.filename)
        return now is not None and now.sha256 == file.sha256

    def _make_metadata(self, row: IndexRow, file: StoredFile) -> bool:
        """Extract the metadata of a wheel anew. Returns whether it could be."""
        blob = self._blobs.find(file.sha256)
        if blob is None or file.kind is not FileKind.RELEASE:
            return False
        try:
            with blob.path.open("rb") as content:
                found = artefact.inspect(
                    content, file.filename, name=file.project, version=file.version
                )
        except InvalidArtefact:
            return False
        if found.metadata is None:
            return False
        made = keep(self._blobs, found.metadata).sha256
        if made != file.metadata:
            with self._meta.writing(_ACTOR) as tables:
                now = tables.files.find(row.id, file.filename)
                if now is not None and now.sha256 == file.sha256:
                    tables.files.put(row.id, replace(now, metadata=made))
                    tables.note("repair", f"{row.full_name}/{file.filename}")
        return True

    # What mirrors hold

    def _mirrored(self, row: IndexRow, named: set[bytes]) -> Iterator[Fault]:
        """Adds the digests of all blobs that it names."""
        records = self._held(row)
        for held in records.all():
            kept_at = self._blobs.kept_at(held.sha256)
            wrong = self._verifier.wrong(held.sha256, held.size)
            if wrong is None:
                named.add(bytes.fromhex(held.sha256))
            else:
                if self._repair:
                    records.forget(held.path)
                    self._drop(held.sha256, kept_at)
                where = f"{row.full_name}/{held.filename}"
                yield Fault(
                    where,
                    f"{wrong}, it is fetched again",
                    is_error=False,
                    is_repaired=self._repair,
                )
            self._saw(held.size)

    def _drop(self, sha256: str, kept_at: float | None) -> None:
        """Delete a blob, unless somebody has just brought the bytes anew.

        In a transaction that writes, for the reason that ``workers.reclaim`` gives.  Where
        it was uploaded, too, the mirror will mend it.
        """
        with self._meta.writing(_ACTOR):
            if self._blobs.kept_at(sha256) == kept_at:
                self._blobs.remove(sha256)

    def _drop_orphan(self, sha256: str, before: float) -> bool:
        """Delete a blob, unless something names it now, or is about to."""
        with self._meta.writing(_ACTOR) as tables:
            kept_at = self._blobs.kept_at(sha256)
            if tables.files.names_blob(sha256) or kept_at is None or kept_at >= before:
                return False
            self._blobs.remove(sha256)
        return True

    # What nothing names

    def _orphans(self, mirrored: Iterable[bytes]) -> Iterator[Fault]:
        before = self._clock() - _YOUNG
        for sha256 in self._blobs.digests():
            if bytes.fromhex(sha256) in mirrored:
                continue
            with self._meta.reading() as tables:
                if tables.files.names_blob(sha256):
                    continue
            kept_at = self._blobs.kept_at(sha256)
            if kept_at is not None and kept_at < before:
                repaired = self._repair and self._drop_orphan(sha256, before)
                yield Fault(
                    f"the bytes {sha256}",
                    "nothing names them",
                    is_error=False,
                    is_repaired=repaired,
                )


def _users(users: Iterable[User]) -> Iterator[Fault]:
    for user in users:
        if user.pwhash and not is_usable(user.pwhash):
            what = "no password can be checked; see devpi-passwd"
            yield Fault(f"user {user.name}", what, is_error=False)


def _indexes(indexes: Sequence[IndexRow]) -> Iterator[Fault]:
    known = {row.full_name for row in indexes}
    for row in indexes:
        where = f"index {row.full_name}"
        for base in options_of(row).bases:
            if base not in known:
                yield Fault(where, f"its base {base} is gone", is_error=False)
        if row.type == MIRROR:
            try:
                with_options(MirrorSettings(row.full_name, urls=()), row.options)
            except ConfigError as error:
                yield Fault(where, error.message)
