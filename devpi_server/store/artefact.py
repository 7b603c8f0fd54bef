"""What a distribution file says of itself."""

from __future__ import annotations

import logging
import os
import struct
import zipfile
import zlib
from typing import BinaryIO

log = logging.getLogger(__name__)

LARGEST_METADATA = 4 * 1024 * 1024  # bytes
# zipfile holds the whole central directory in memory; the largest wheels have some 30,000 members.
_LARGEST_DIRECTORY = 16 * 1024 * 1024
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_LONGEST_END = _END_RECORD.size + 65535


def wheel_metadata(file: BinaryIO) -> bytes | None:
    """The wheel's ``METADATA``, byte for byte (PEP 658).

    :param file: the wheel, seekable.
    :return: None if it is not a wheel from which all installers would read the same.
    """
    try:
        if not _is_modest(file):
            return None
        with zipfile.ZipFile(file) as wheel:
            found = [
                info
                for info in wheel.infolist()
                if info.filename.count("/") == 1 and info.filename.endswith(".dist-info/METADATA")
            ]
            # Two of them, or one of them twice: installers would not agree which counts.
            if len(found) != 1 or found[0].file_size > LARGEST_METADATA:
                return None
            with wheel.open(found[0]) as member:
                metadata = member.read(LARGEST_METADATA + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        log.info("no metadata can be read from a wheel: %s", error)
        return None
    return metadata if len(metadata) <= LARGEST_METADATA else None


def _is_modest(file: BinaryIO) -> bool:
    """Whether the zip file's central directory is of a size that we read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END_RECORD.size:
        return False
    directory: int = _END_RECORD.unpack_from(tail, at)[5]
    # 0xffffffff means zip64: only archives beyond 4 GB need that in this field.
    return directory <= _LARGEST_DIRECTORY
