"""What is held of a mirror's files: finding it, and putting something new there.

Truth first: the blob is committed, then the record that leads to it, then the
fact that changes the page.
"""

from __future__ import annotations

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.store.blobs import Blob, BlobStore, keep
from devpi_server.store.heldfiles import Fact, Facts, HeldFile, HeldFiles


class Shelf:
    """The held files of one mirror. Every method raises StoreError for a sick disk."""

    def __init__(self, blobs: BlobStore, held: HeldFiles, facts: Facts) -> None:
        self.blobs = blobs
        self._held = held
        self._facts = facts

    def find(self, path: str) -> tuple[HeldFile, Blob] | None:
        """The file at this path of the index, if it is held."""
        held = self._held.find(path)
        if held is None:
            return None
        blob = self.blobs.find(held.sha256)
        if blob is None or blob.size != held.size:
            self._held.forget(path)
            return None
        return held, blob

    def put(self, path: str, project: str, link: Link, blob: Blob) -> HeldFile:
        """Record that a file is held, and what that teaches us about its link."""
        held = self.record(path, project, link.url, blob)
        if "sha256" not in link.digests or link.size is None:
            # The digest is known from now on, so pages will show another path.
            digests = {"sha256": blob.sha256, **link.digests}
            known = names.file_path(link.filename, link.url, digests)
            if known != path and not names.split_companion(link.filename)[1]:
                self.record(known, project, link.url, blob)
            self.teach(project, Fact(link.filename, link.url, blob.sha256, blob.size))
        return held

    def put_metadata(self, path: str, project: str, link: Link, metadata: bytes) -> HeldFile:
        """Hold the metadata of a wheel.

        :param path: of the wheel.
        """
        blob = keep(self.blobs, metadata)
        return self.record(path + names.METADATA, project, link.url, blob)

    def drop(self, path: str) -> HeldFile | None:
        """Hold the file at this path no longer; return what was held. The bytes are another's."""
        held = self._held.find(path)
        self._held.forget(path)
        return held

    def record(self, path: str, project: str, url: str, blob: Blob) -> HeldFile:
        """Lead from the path to the blob."""
        filename = path.rpartition("/")[2]
        held = HeldFile(path, filename, project, url, blob.sha256, blob.size)
        self._held.put(held)
        return held

    def teach(self, project: str, fact: Fact) -> None:
        """Note a fact about a link that a page lists."""
        if not names.split_companion(fact.filename)[1]:
            self._facts.add(NormalizedName(project), fact)
