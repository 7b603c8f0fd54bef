"""What is pushed: the files of a release in one index, and what is known of them.

An index gives what it has itself, as devpi's does; what its bases have is pushed
from there.  From a mirror, files are fetched first, and verified as for any
client; from a folder they are copied.  Their metadata is read from the files
themselves, because what a page tells of a release is thin.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import BadRequest, InvalidArtefact, NoSuchFile, NoSuchProject, NotFound
from devpi_server.records import NOTHING, Link
from devpi_server.services import artefact, distnames, metadata_fields, provenance
from devpi_server.services.artefact import Artefact
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Index
from devpi_server.services.push_order import Order
from devpi_server.store.blobs import Blob, BlobStore, keep
from devpi_server.store.incoming import translated
from devpi_server.store.meta import FileKind, StoredFile, Tables

log = logging.getLogger(__name__)

# What is not there by then goes on arriving, and the next try finds it. Below the patience
# of the proxies that stand in front of servers.
_FETCHED_WITHIN = 240.0  # seconds, all files together
_LARGEST_COMPANION = 1024 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Picked:
    """A release as one index has it, as far as it is to be pushed."""

    version: str  # as it is spelled there
    fields: Mapping[str, object]  # its metadata
    # By name; after each distribution file the results of its tests, then the documentation.
    files: tuple[StoredFile, ...]

    def blobs(self) -> Iterator[str]:
        """The sha256 of all that the files are made of."""
        for file in self.files:
            found = (file.sha256, file.metadata, file.signature, file.provenance)
            yield from filter(None, found)


def stored(tables: Tables, index: Index, order: Order) -> Picked:
    """The release, of an index that takes uploads.

    :raises BadRequest: the index has no such release.
    :raises NotFound: the release has nothing that is to be pushed.
    """
    release = tables.releases.get(index.row.id, order.project, order.version)
    if release is None:
        raise _no_release(index, order)
    of_project = tables.files.of(index.row.id, order.project)
    found = [each for each in of_project if each.version == release.version]
    files = tuple(_in_order([each for each in found if each.kind in order.kinds]))
    if not files:
        raise no_files(order)
    return Picked(release.version, release.fields, files)


def no_files(order: Order) -> NotFound:
    """What is said of a release without files, or one that somebody may not see."""
    return NotFound(f"no release/files found for {order.name} {order.version}")


def _no_release(index: Index, order: Order) -> BadRequest:
    return BadRequest(f"there are no files for {order.name} {order.version} on stage {index.name}")


def _in_order(files: list[StoredFile]) -> Iterator[StoredFile]:
    by_name = sorted(files, key=lambda file: file.filename)
    for file in by_name:
        if file.kind is FileKind.RELEASE:
            yield file
            for other in by_name:
                if other.kind is FileKind.TOX_RESULT and other.for_file == file.filename:
                    yield other
    yield from (file for file in by_name if file.kind is FileKind.DOCS)


class Fetching:
    """Picks from mirrors and folders."""

    def __init__(self, downloads: Downloads, blobs: BlobStore, clock: Clock) -> None:
        self._downloads = downloads
        self._blobs = blobs
        self._clock = clock

    def picked(self, index: Index, order: Order) -> Picked:
        """The release, once all of its files are held.

        :raises BadRequest: the index has no such release.
        :raises NotFound: it has nothing that is to be pushed.
        :raises BlockedByPolicy: upstream has put it into quarantine.
        :raises UpstreamError: cannot tell, or not all files have come in time.
        """
        deadline = time.monotonic() + _FETCHED_WITHIN
        try:
            page = index.own_source.view(order.project).load()
        except NoSuchProject as error:
            raise _no_release(index, order) from error
        links = sorted(
            (link for link in page.links if _is_of(link.filename, order)),
            key=lambda link: link.filename,
        )
        if not links:
            raise _no_release(index, order)
        if FileKind.RELEASE not in order.kinds:
            raise no_files(order)
        found = [self._file(index, order, link, deadline) for link in links]
        # A wheel's metadata is what an installer goes by.
        found.sort(key=lambda pair: pair[0].metadata is None)
        fields = next((fields for _, fields in found if fields), NOTHING)
        version = str(fields.get("version", order.version))
        named = {"name": order.name, "version": version, **fields}
        return Picked(version, named, tuple(_in_order([file for file, _ in found])))

    def _file(
        self, index: Index, order: Order, link: Link, deadline: float
    ) -> tuple[StoredFile, Mapping[str, object]]:
        path = names.file_path(link.filename, link.url, link.digests)
        held = self._fetched(index, path, deadline)
        found = _inspected(held, link.filename, order)
        yanked = None if link.yanked is False else "" if link.yanked is True else link.yanked
        file = StoredFile(
            project=order.project,
            version=order.version,
            kind=FileKind.RELEASE,
            filename=link.filename,
            sha256=held.sha256,
            size=held.size,
            uploaded=link.uploaded.timestamp() if link.uploaded else self._clock(),
            digests={name: text for name, text in link.digests.items() if name != "sha256"},
            requires_python=link.requires_python or (found.requires_python if found else None),
            metadata=keep(self._blobs, found.metadata).sha256 if found and found.metadata else None,
            signature=self._signature(index, path, link, deadline),
            provenance=self._provenance(index, path, link, deadline),
            yanked=yanked,
        )
        return file, metadata_fields.of_artefact(found) if found is not None else NOTHING

    def _signature(self, index: Index, path: str, link: Link, deadline: float) -> str | None:
        if not link.gpg_sig:
            return None
        held = self._companion(index, path + names.SIGNATURE, deadline)
        return held.sha256 if held is not None else None

    def _provenance(self, index: Index, path: str, link: Link, deadline: float) -> str | None:
        if link.provenance is None:
            return None
        held = self._companion(index, path + names.PROVENANCE, deadline)
        if held is None or not provenance.attestations(_bytes(held)):
            return None
        return held.sha256

    def _companion(self, index: Index, path: str, deadline: float) -> Blob | None:
        """What stands beside a file, if upstream has it still."""
        try:
            held = self._fetched(index, path, deadline)
        except NoSuchFile:
            return None
        if held.size > _LARGEST_COMPANION:
            log.warning("%s is not pushed with its file: it is too large", path)
            return None
        return held

    def _fetched(self, index: Index, path: str, deadline: float) -> Blob:
        return self._downloads.fetch(index.name, path, max(0.0, deadline - time.monotonic()))


def _is_of(filename: str, order: Order) -> bool:
    try:
        dist = distnames.parse(filename)
    except InvalidArtefact:
        return False
    return any(distnames.states(each, order.version) for each in dist.versions(order.project))


def _inspected(held: Blob, filename: str, order: Order) -> Artefact | None:
    """What the file says of itself; None if it cannot be believed.

    Upstream serves it as it is, and so do we: it is no upload of ours to refuse.
    """
    try:
        with translated("read a held file"), held.path.open("rb") as file:
            return artefact.inspect(file, filename, name=order.project, version=order.version)
    except InvalidArtefact as error:
        log.warning("pushing a file as it is: %s", error.message)
        return None


def _bytes(held: Blob) -> bytes:
    with translated("read a held file"):
        return held.path.read_bytes()
