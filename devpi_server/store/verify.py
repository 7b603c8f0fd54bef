"""Whether blobs are there with the bytes that they are called by."""

from __future__ import annotations

import hashlib

from devpi_server.errors import StoreError
from devpi_server.store.blobs import Blob, BlobStore
from devpi_server.store.incoming import translated

_BLOCK = 1 << 20


class Verifier:
    """Reads a blob once, however often it is asked about it.

    :param checksums: read all bytes; else a look at their number has to do.
    """

    def __init__(self, blobs: BlobStore, *, checksums: bool) -> None:
        self._blobs = blobs
        self._checksums = checksums
        self._sound: set[bytes] = set()  # digests, in 32 bytes each

    def wrong(self, sha256: str, size: int | None = None) -> str | None:
        """What is wrong with a blob, as the end of a sentence; None: it is sound.

        :param size: that it should have; None: not known.
        """
        key = bytes.fromhex(sha256)
        try:
            blob = self._blobs.find(sha256)
            if blob is None:
                return "its bytes are missing"
            if size not in (None, blob.size):
                return f"it has {blob.size} bytes instead of {size}"
            if self._checksums and key not in self._sound:
                if _digest(blob) != sha256:
                    return "its bytes are not what they were"
                self._sound.add(key)
        except StoreError as error:
            return error.message
        return None


def _digest(blob: Blob) -> str:
    found = hashlib.sha256()
    with translated("read its bytes"), blob.path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
