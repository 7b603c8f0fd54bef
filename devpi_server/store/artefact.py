"""What a distribution file says of itself."""

from __future__ import annotations

import io
import logging
import struct
import zipfile
import zlib
from typing import BinaryIO

from devpi_server.store.incoming import translated

log = logging.getLogger(__name__)

LARGEST_METADATA = 4 * 1024 * 1024  # bytes
# zipfile holds the whole central directory in memory; the largest wheels have some 30,000 members.
_LARGEST_DIRECTORY = 16 * 1024 * 1024
# What every installer can unpack. LZMA would take the memory that the archive asks for.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# zipfile lets through whatever a damaged archive leads it into.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def wheel_metadata(file: BinaryIO) -> bytes | None:
    """The wheel's ``METADATA``, byte for byte (PEP 658).

    :param file: the wheel, seekable.
    :return: None if it is not a wheel from which all installers would read the same.
    :raises StoreError: the file cannot be read, so this says nothing of the wheel.
    """
    try:
        with zipfile.ZipFile(_Modest(file)) as wheel:
            found = [
                info
                for info in wheel.infolist()
                if info.filename.count("/") == 1 and info.filename.endswith(".dist-info/METADATA")
            ]
            # Two of them, or one of them twice: installers would not agree which counts.
            if len(found) != 1 or found[0].file_size > LARGEST_METADATA:
                return None
            if found[0].compress_type not in _METHODS:
                return None
            with wheel.open(found[0]) as member:
                metadata = member.read(LARGEST_METADATA + 1)
    except _UNREADABLE as error:
        log.info("no metadata can be read from a wheel: %s", error)
        return None
    return metadata if len(metadata) <= LARGEST_METADATA else None


class _Modest(io.RawIOBase):
    """The file as zipfile gets to read it: not in pieces that are too large.

    Why not look at the size of the directory before: archives have two records
    that tell it, and zipfile has its own rules which one it believes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile("its directory is too large")
        with translated("read a wheel"):
            return self._file.read(size if size >= 0 else _LARGEST_DIRECTORY)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
