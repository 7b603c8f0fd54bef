"""The records of zip archives, as bytes say them: the end, the directory, the headers.

A zip archive says everything twice: in its directory, at the end, and in a
header in front of each member.  Installers that unpack while they download read
the latter, pip the former; so a record is taken only if both say the same.

Why not ``zipfile``: it believes the directory alone, overlooks what is between
the members, and fails in a dozen ways on damaged archives.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from devpi_server.errors import InvalidArtefact
from devpi_server.store.archives import check_count, shown

DEFLATED = 8
_STORED = 0
_METHODS = {_STORED, DEFLATED}  # what every installer can unpack

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")

_LARGEST_DIRECTORY = 32 * 2**20  # bytes; it is held in memory
_LONGEST_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # the number is in a record of zip64
_LONGEST_DESCRIPTOR = 24

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_PATCHED = 0x0020
_DESCRIBED = 0x0008
_UTF8 = 0x0800

_ZIP64 = 0x0001
_UNICODE_PATH = 0x7075
_ONCE = {_ZIP64, _UNICODE_PATH}


@dataclass(frozen=True, slots=True)
class Record:
    """What the directory and a member's own header say alike.

    :param offset: of the header.
    :param start: of the data.
    :param packed: bytes of the data.
    :param described: whether the header leaves it to the end of the data to say how much it is.
    """

    name: str
    offset: int
    start: int
    packed: int
    size: int
    crc: int
    deflated: bool
    described: bool


def read(file: BinaryIO, at: int, size: int) -> bytes:
    """The bytes there, all of them.

    :raises InvalidArtefact: there are fewer.
    """
    if at < 0:
        raise InvalidArtefact("is not a zip file, or cut off")
    file.seek(at)
    data = file.read(size)
    if len(data) != size:
        raise InvalidArtefact("is not a zip file, or cut off")
    return data


def may_be(file: BinaryIO) -> bool:
    """Whether a tool that does not look at names could take the file for a zip archive."""
    end = _end(file, file.seek(0, os.SEEK_END))
    if end is None:
        return False
    at, (_, _, _, count, size, _, _) = end
    return (
        count == 0 or size == _FULL32 or (size <= at and read(file, at - size, 4) == b"PK\x01\x02")
    )


def bounds(file: BinaryIO) -> tuple[int, int, int]:
    """Where the directory starts and ends, and how many records it has.

    :raises InvalidArtefact: it is no zip archive, or readers would not agree.
    """
    length = file.seek(0, os.SEEK_END)
    found = _end(file, length)
    if found is None:
        raise InvalidArtefact("is not a zip file, or cut off")
    end, (*said, comment) = found
    if end + _END.size + comment != length:
        raise InvalidArtefact("has data behind its end")
    if end >= _LOCATOR.size:
        locator = read(file, end - _LOCATOR.size, _LOCATOR.size)
        if locator.startswith(b"PK\x06\x07"):
            end, said = _bounds64(file, end - _LOCATOR.size, locator, said)
    disk, first_disk, here, count, size, start = said
    if disk or first_disk or here != count:
        raise InvalidArtefact("is one of several parts of a zip file")
    if size > _LARGEST_DIRECTORY:
        raise InvalidArtefact("has too large a directory")
    check_count(count)
    if start + size != end:
        raise InvalidArtefact("has a directory that is not where its end says")
    return start, end, count


def _end(file: BinaryIO, length: int) -> tuple[int, list[int]] | None:
    """The last record and where it is."""
    room = min(length, _END.size + _LONGEST_COMMENT)
    tail = read(file, length - room, room)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or room - at < _END.size:
        return None
    return length - room + at, list(_END.unpack_from(tail, at)[1:])


def _bounds64(file: BinaryIO, end: int, locator: bytes, said: list[int]) -> tuple[int, list[int]]:
    """The same of zip64: where the directory ends, and the numbers that count."""
    _, disk, at, disks = _LOCATOR.unpack(locator)
    if disk or disks > 1 or at + _END64.size != end:
        raise InvalidArtefact("has records of zip64 that are not where they say")
    signature, size, _, _, *really = _END64.unpack(read(file, at, _END64.size))
    if signature != b"PK\x06\x06" or size != _END64.size - 12:
        raise InvalidArtefact("has records of zip64 that are not where they say")
    full = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)
    if any(each not in (other, mark) for each, other, mark in zip(said, really, full, strict=True)):
        raise InvalidArtefact("has two ends that differ")
    return at, really


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the directory says of a member."""

    raw: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def records(file: BinaryIO, directory: bytes, count: int) -> Iterator[Record]:
    """What the directory lists, each compared with the header in front of its data.

    :raises InvalidArtefact: they differ, or nobody could unpack it.
    """
    at = 0
    for _ in range(count):
        if len(directory) - at < _CENTRAL.size:
            raise InvalidArtefact("has a damaged directory")
        signature, *numbers = _CENTRAL.unpack_from(directory, at)
        _, _, flags, method, _, _, crc, packed, size, name, extra, comment = numbers[:12]
        disk, offset = numbers[12], numbers[15]
        at += _CENTRAL.size
        raw = directory[at : at + name]
        fields = _fields(directory[at + name : at + name + extra])
        at += name + extra + comment
        if signature != b"PK\x01\x02" or at > len(directory):
            raise InvalidArtefact("has a damaged directory")
        wide = iter(_wide(fields))
        size = next(wide, size) if size == _FULL32 else size
        packed = next(wide, packed) if packed == _FULL32 else packed
        offset = next(wide, offset) if offset == _FULL32 else offset
        if disk not in (0, _FULL16):
            raise InvalidArtefact("is one of several parts of a zip file")
        entry = _Entry(raw, _name(raw, flags, fields), flags, method, crc, packed, size, offset)
        yield _compared(file, entry)
    if at != len(directory):
        raise InvalidArtefact("has a directory with more than it says")


def _compared(file: BinaryIO, entry: _Entry) -> Record:
    header = read(file, entry.offset, _LOCAL.size)
    signature, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack(header)
    rest = read(file, entry.offset + _LOCAL.size, name + extra)
    fields = _fields(rest[name:])
    wide = iter(_wide(fields))
    described = bool(flags & _DESCRIBED)
    if (
        signature != b"PK\x03\x04"
        or rest[:name] != entry.raw
        or _name(entry.raw, flags, fields) != entry.name
        or method != entry.method
        or not _agrees(crc, None, entry.crc, described=described)
        or not _agrees(size, next(wide, None), entry.size, described=described)
        or not _agrees(packed, next(wide, None), entry.packed, described=described)
    ):
        raise InvalidArtefact(f"says different things of one member, {shown(entry.name)}")
    if (flags | entry.flags) & _ENCRYPTED:
        raise InvalidArtefact(f"has an encrypted member, {shown(entry.name)}")
    if method not in _METHODS or (flags | entry.flags) & _PATCHED:
        raise InvalidArtefact(
            f"has a member that not every installer can unpack, {shown(entry.name)}"
        )
    if method == _STORED and entry.size != entry.packed:
        raise InvalidArtefact(f"has a damaged member, {shown(entry.name)}")
    return Record(
        name=entry.name,
        offset=entry.offset,
        start=entry.offset + _LOCAL.size + name + extra,
        packed=entry.packed,
        size=entry.size,
        crc=entry.crc,
        deflated=method == DEFLATED,
        described=described,
    )


def _agrees(stated: int, wide: int | None, right: int, *, described: bool) -> bool:
    """Whether a number of a header, and what zip64 puts in its place, are right.

    :param described: the right one comes behind the data, so here may be none.
    """
    none = described and stated == 0
    if wide is None:
        return stated == right or none
    if wide == right:
        return stated in (right, _FULL32) or none
    return wide == 0 and (stated == right or none or (described and stated == _FULL32))


def _fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields; what is too short for one is padding."""
    found: dict[int, bytes] = {}
    at = 0
    while len(extra) - at >= 4:
        kind, size = struct.unpack_from("<HH", extra, at)
        at += 4 + size
        if at > len(extra) or (kind in _ONCE and kind in found):
            raise InvalidArtefact("has a damaged extra field")
        found[kind] = extra[at - size : at]
    return found


def _wide(fields: Mapping[int, bytes]) -> Iterable[int]:
    """The numbers of 64 bits that a header puts into its extra field."""
    field = fields.get(_ZIP64, b"")
    return struct.unpack_from(f"<{len(field) // 8}Q", field)


def _name(raw: bytes, flags: int, fields: Mapping[int, bytes]) -> str:
    """The name of a member; two spellings of it must be of one name."""
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437")
        field = fields.get(_UNICODE_PATH)
        if field is None:
            return name
        other = field[5:].decode()
    except UnicodeDecodeError as error:
        raise InvalidArtefact("has a member whose name is not the UTF-8 that it claims") from error
    stale = field[1:5] != zlib.crc32(raw).to_bytes(4, "little")
    if other != name and (raw.isascii() or stale):
        raise InvalidArtefact(f"has a member with two names, {shown(name)}")
    return other


def check_end(file: BinaryIO, record: Record, following: int) -> None:
    """Refuse what is between the data of a member and what follows.

    :raises InvalidArtefact: there is something, or the two overlap.
    """
    end = record.start + record.packed
    right = list(_descriptors(record)) if record.described else [b""]
    behind = read(file, end, min(max(following - end, 0), _LONGEST_DESCRIPTOR))
    if end + len(behind) != following or behind not in right:
        raise InvalidArtefact(f"has something behind a member, {shown(record.name)}")


def _descriptors(record: Record) -> Iterator[bytes]:
    """The forms of what may follow the data."""
    for layout in ("<LLL", "<LQQ"):
        with suppress(struct.error):  # too large for the short one
            plain = struct.pack(layout, record.crc, record.packed, record.size)
            yield plain
            yield b"PK\x07\x08" + plain
