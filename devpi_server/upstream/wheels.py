"""The metadata of wheels whose upstream does not offer it (PEP 658).

It is read out of the wheel: of a held one at once, of another by range
requests to upstream, so that resolving needs no download.  What was read from
afar has no digest that vouches for it; it is replaced by the real thing when
the wheel, whose digest was checked, is held.
"""

from __future__ import annotations

import hashlib
import logging
from typing import BinaryIO, cast

from devpi_server import names
from devpi_server.errors import StoreError, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.store import artefact
from devpi_server.store.heldfiles import Fact, HeldFile
from devpi_server.store.incoming import translated
from devpi_server.upstream.base import Absent, UpstreamClient
from devpi_server.upstream.remote import RemoteFile
from devpi_server.upstream.shelf import Shelf

log = logging.getLogger(__name__)

_SUFFIX = ".whl"


class WheelMetadata:
    """Makes what upstream lacks, for one mirror."""

    def __init__(self, client: UpstreamClient, shelf: Shelf) -> None:
        self._client = client
        self._shelf = shelf

    def of_held(self, wheel: HeldFile, promised: str | None = None) -> HeldFile | None:
        """Hold the metadata of a held wheel beside it.

        :param promised: the sha256 that its page states.
        :return: None if it has none that can be read, or other than was promised.
        :raises StoreError: the disk is sick.
        """
        blob = self._shelf.blobs.find(wheel.sha256)
        if blob is None:
            return None
        with translated("read a held wheel"), open(blob.path, "rb") as file:
            metadata = artefact.wheel_metadata(file)
        if metadata is None or promised not in (None, hashlib.sha256(metadata).hexdigest()):
            return None
        link = Link(wheel.filename, wheel.url)
        return self._put(wheel.path, wheel.project, link, wheel.sha256, wheel.size, metadata)

    def of_remote(
        self, path: str, project: NormalizedName, link: Link, deadline: float
    ) -> HeldFile | None:
        """Hold the metadata of a wheel that is not held, read in parts from upstream.

        :param path: of the wheel.
        :param deadline: of the monotonic clock; upstream is asked for no part after that.
        :return: None if upstream does not send parts, or it has none that can be read.
        :raises StoreError: the disk is sick.
        """
        try:
            size = link.size if link.size is not None else self._client.size(link.url)
            if size is None or isinstance(size, Absent):
                return None
            remote = RemoteFile(self._client, link.url, size, deadline)
            metadata = artefact.wheel_metadata(cast("BinaryIO", remote))
        except UpstreamError as error:
            log.info("cannot read the metadata of %s from afar: %s", link.filename, error.message)
            return None
        if metadata is None:
            return None
        sha256 = link.digests.get("sha256", "")
        return self._put(path, project, link, sha256, size, metadata)

    def complete(self, wheel: HeldFile, link: Link) -> None:
        """After a download: what upstream does not offer, the wheel itself does."""
        if not link.filename.endswith(_SUFFIX):
            return
        try:
            made = self._shelf.find(wheel.path + names.METADATA)
            from_afar = made is not None and made[0].url == link.url
            if link.core_metadata is None or from_afar:
                self.of_held(wheel)
        except StoreError as error:
            log.error("cannot keep the metadata of %s: %s", link.filename, error.message)

    def _put(
        self, path: str, project: str, link: Link, sha256: str, size: int, metadata: bytes
    ) -> HeldFile:
        made = self._shelf.put_metadata(path, project, link, metadata)
        digest = hashlib.sha256(metadata).hexdigest()
        self._shelf.teach(project, Fact(link.filename, link.url, sha256, size, digest))
        return made


def lacks_metadata(link: Link) -> bool:
    """Whether the link is of a wheel whose metadata nobody offers yet."""
    return link.filename.endswith(_SUFFIX) and link.core_metadata is None
