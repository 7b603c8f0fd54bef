"""Write a dump of everything, as of one moment.

All rows come out of one reading transaction, so the server may go on meanwhile; blobs
that it lets go of stay for a day (``workers.reclaim``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from devpi_server import __version__, names
from devpi_server.errors import CorruptBlob, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.records import Digests
from devpi_server.services.dump.records import (
    DumpedEvent,
    DumpedFile,
    DumpedIndex,
    DumpedRelease,
    DumpedUser,
    Subject,
)
from devpi_server.services.dump.write import Contents, write_dump
from devpi_server.services.index_options import DIRECTORY, MIRROR
from devpi_server.services.passwords import Passwords
from devpi_server.store.blobs import BlobStore
from devpi_server.store.heldfiles import HeldFile, HeldFiles
from devpi_server.store.meta import (
    FileKind,
    IndexRow,
    LogEntry,
    MetaStore,
    StoredFile,
    Tables,
    User,
)

# What either server can check.
_DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class Exported:
    """What is in the dump."""

    users: int
    indexes: int
    files: int
    size: int  # bytes


class Exporter:
    """Exports.

    :param rows: all indexes with their whole configuration, of those in the database.
    :param held: the files that a mirror holds.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        passwords: Passwords,
        rows: Callable[[list[IndexRow]], Iterable[IndexRow]],
        held: Callable[[IndexRow], HeldFiles],
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._passwords = passwords
        self._rows = rows
        self._held = held

    def export(
        self,
        folder: Path,
        *,
        with_mirrored: bool = False,
        hard_links: bool = False,
        saw: Callable[[DumpedFile], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Exported:
        """Write everything there; when this returns, the dump is whole.

        :param folder: new, empty, or with the beginnings of a dump.
        :param with_mirrored: the files that mirrors hold, too.
        :param hard_links: link files instead of copying them.
        :param saw: is called with each file, before it is copied.
        :raises BadDump: there is something else in the folder.
        :raises StoreError: the disk fails, or a file is missing or not what it was.
        """
        files = size = 0

        def counted(found: Iterable[DumpedFile]) -> Iterator[DumpedFile]:
            nonlocal files, size
            for file in found:
                saw(file)
                yield file
                files += 1
                size += file.size

        with self._meta.reading() as tables:
            users = [self._user(user) for user in tables.users.all()]
            rows = _of_users(self._rows(tables.indexes.all()), users, warn)
            write_dump(
                folder,
                users,
                (
                    (index, releases, counted(found))
                    for index, releases, found in self._contents(
                        tables, rows, with_mirrored=with_mirrored
                    )
                ),
                written_by=__version__,
                hard_links=hard_links,
            )
        return Exported(len(users), len(rows), files, size)

    def _user(self, user: User) -> DumpedUser:
        # The empty password of a new root stands for no hash here; there it has to be one.
        pwhash = self._passwords.hash("") if user.pwhash == "" else user.pwhash
        modified = None if user.modified is None else _time(user.modified)
        return DumpedUser(user.name, pwhash, _time(user.created), modified, user.details)

    def _contents(
        self, tables: Tables, rows: Iterable[IndexRow], *, with_mirrored: bool
    ) -> Iterator[Contents]:
        for row in rows:
            if row.type != MIRROR:
                yield _index(row), _releases(tables, row), self._files(tables, row)
            elif with_mirrored:
                yield _index(row), self._mirrored_releases(row), self._mirrored_files(row)
            else:
                yield _index(row), (), ()

    def _files(self, tables: Tables, row: IndexRow) -> Iterator[DumpedFile]:
        for file in tables.files.all(row.id):
            if file.kind is not FileKind.TOX_RESULT:
                yield self._file(row, file, None)
        for file in tables.files.all(row.id):
            if file.kind is FileKind.TOX_RESULT:
                tested = tables.files.find(row.id, file.for_file or "")
                digests = {"sha256": tested.sha256} if tested is not None else {}
                yield self._file(row, file, Subject(file.for_file or file.filename, digests))

    def _file(self, row: IndexRow, file: StoredFile, tested: Subject | None) -> DumpedFile:
        def path(sha256: str | None) -> Path | None:
            if sha256 is None:
                return None
            blob = self._blobs.find(sha256)
            if blob is None:
                raise CorruptBlob(
                    f"{row.full_name} has lost the bytes of {file.filename}; see devpi-fsck"
                )
            return blob.path

        content = path(file.sha256)
        assert content is not None  # noqa: S101 - it has a digest
        return DumpedFile(
            project=file.project,
            version=file.version,
            kind=file.kind,
            filename=file.filename,
            path=content,
            size=file.size,
            uploaded=_time(file.uploaded),
            digests=_digests({"sha256": file.sha256, **file.digests}),
            log=tuple(map(_event, file.log)),
            tested=tested,
            yanked=file.yanked,
            signature=path(file.signature),
            attestations=path(file.provenance),
        )

    def _mirrored_releases(self, row: IndexRow) -> Iterator[DumpedRelease]:
        found = {(held.project, version) for held, version in _cached(self._held(row))}
        for project, version in sorted(found):
            metadata = {"name": project, "version": version}
            yield DumpedRelease(NormalizedName(project), version, metadata)

    def _mirrored_files(self, row: IndexRow) -> Iterator[DumpedFile]:
        seen = set()
        for held, version in _cached(self._held(row)):
            blob = self._blobs.find(held.sha256)
            kept_at = self._blobs.kept_at(held.sha256)
            name = (held.project, held.filename)
            if blob is None or kept_at is None or name in seen:
                continue  # it has just been dropped, or has two addresses
            seen.add(name)
            yield DumpedFile(
                project=NormalizedName(held.project),
                version=version,
                kind=FileKind.RELEASE,
                filename=held.filename,
                path=blob.path,
                size=blob.size,
                uploaded=_time(int(kept_at)),
                digests={"sha256": held.sha256},
                url=held.url,
            )


def _of_users(
    rows: Iterable[IndexRow], users: Iterable[DumpedUser], warn: Callable[[str], None]
) -> list[IndexRow]:
    """The indexes that a dump can have: a mirror of the configuration may be nobody's.

    Folders are not copied: they are their owner's.
    """
    known = {user.name for user in users}
    found = []
    for row in rows:
        if row.type == DIRECTORY:
            warn(f"{row.full_name} is a folder of the server, and was left out: copy that")
        elif row.user in known:
            found.append(row)
        else:
            warn(f"the mirror {row.full_name} is of the configuration only, and was left out")
    return found


def _index(row: IndexRow) -> DumpedIndex:
    options = {key: value for key, value in row.options.items() if key != "bases"}
    bases = row.options.get("bases", ())
    return DumpedIndex(row.user, row.name, row.type, tuple(map(str, _listed(bases))), options)


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else ()


def _releases(tables: Tables, row: IndexRow) -> Iterator[DumpedRelease]:
    for project in tables.releases.projects(row.id):
        for release in tables.releases.of(row.id, project):
            required = {"name": project, "version": release.version}
            yield DumpedRelease(project, release.version, {**required, **release.fields})


def _cached(held: HeldFiles) -> Iterator[tuple[HeldFile, str]]:
    """The distribution files among those that are held, with their versions."""
    for file in held.all():
        if names.split_companion(file.filename)[1]:
            continue
        try:
            version = names.version_of(file.filename, names.project(file.project))
        except InvalidName:
            continue
        if version is not None:
            yield file, version


def _digests(digests: Digests) -> Digests:
    return {name: digests[name] for name in _DIGESTS if name in digests}


def _event(entry: LogEntry) -> DumpedEvent:
    return DumpedEvent(
        entry.what, entry.who, _time(int(entry.when)), entry.dst, entry.src, entry.count
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
