"""A file of upstream's that is read in parts, as if it lay here.

For the metadata of wheels: it stands near the end of the archive, so one part
of a few dozen kilobytes is mostly all that is fetched of hundreds of megabytes.
"""

from __future__ import annotations

import io
import os
import time

from devpi_server.errors import Corrupt, TimedOut
from devpi_server.upstream.base import UpstreamClient

_FIRST = 128 * 1024  # bytes from the end that are fetched at once
_BLOCK = 256 * 1024
_MOST = 32  # parts of one file: an archive whose directory leads all over is given up


class RemoteFile(io.RawIOBase):
    """Reads by range requests; seekable, and keeps the parts that it has.

    :param size: of the file in bytes.
    :param deadline: of the monotonic clock; no part is asked for after that.
    :raises UpstreamError: from ``read``, also when too many parts would be needed.
    """

    def __init__(self, client: UpstreamClient, url: str, size: int, deadline: float) -> None:
        super().__init__()
        self._client = client
        self._url = url
        self._size = size
        self._deadline = deadline
        self._position = 0
        self._parts: dict[int, bytes] = {}  # start → bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")  # as a file does it
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        wanted = left if size < 0 else min(size, left)
        found = bytearray()
        while len(found) < wanted:
            found += self._at(self._position + len(found), wanted - len(found))
        self._position += len(found)
        return bytes(found)

    def _at(self, position: int, size: int) -> bytes:
        """Some bytes from the position, at least one."""
        for start, part in self._parts.items():
            if start <= position < start + len(part):
                return part[position - start : position - start + size]
        if len(self._parts) >= _MOST:
            raise Corrupt("an archive is laid out so that reading its metadata takes too long")
        if time.monotonic() > self._deadline:
            raise TimedOut("reading the metadata of an archive in parts takes too long")
        if position >= self._size - _FIRST:
            start, stop = max(0, self._size - _FIRST), self._size
        else:
            start, stop = position, min(self._size, position + _BLOCK)
        self._parts[start] = self._client.part(self._url, start, stop)
        return self._at(position, size)
