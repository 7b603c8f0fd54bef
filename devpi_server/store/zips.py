"""Zip archives that all readers understand alike.

One is sound if each byte of it belongs to one member or to the one directory,
and if both say the same (``ziprecords``): then it does not matter from which
end it is read.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from devpi_server.errors import InvalidArtefact
from devpi_server.store import ziprecords
from devpi_server.store.archives import CHUNK, check_content, safe_path, shown
from devpi_server.store.ziprecords import Record

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def members(file: BinaryIO, *, script: bool = False) -> Mapping[str, Record]:
    """The members of a sound archive by their paths; folders, too.

    :param file: seekable.
    :param script: a shell script may stand in front of the archive, as in old eggs.
    :raises InvalidArtefact: readers could see different things in it, or it is a bomb.
    """
    start, end, count = ziprecords.bounds(file)
    found: dict[str, Record] = {}
    for record in ziprecords.records(file, ziprecords.read(file, start, end - start), count):
        path = _path(record)
        if path in found:
            raise InvalidArtefact(f"has two members named {shown(path)}")
        found[path] = record
    if not found:
        raise InvalidArtefact("is empty")
    check_content(sum(each.size for each in found.values()), file.seek(0, os.SEEK_END))
    ordered = sorted(found.values(), key=lambda record: record.offset)
    offsets = [record.offset for record in ordered] + [start]
    if offsets[0] and not (script and ziprecords.read(file, 0, 2) == b"#!"):
        raise InvalidArtefact("has data in front of its first member")
    for record, following in zip(ordered, offsets[1:], strict=True):
        ziprecords.check_end(file, record, following)
        if record.described and record.deflated:
            # Who unpacks while downloading finds the end of it by unpacking only.
            for _ in _unpacked(file, record):
                pass
    return found


def content(file: BinaryIO, record: Record, largest: int) -> bytes:
    """The bytes of one member.

    :raises InvalidArtefact: it is larger than that, or damaged.
    """
    if record.size > largest:
        raise InvalidArtefact(f"has too large a {shown(record.name)}")
    return b"".join(_unpacked(file, record))


def _path(record: Record) -> str:
    path = safe_path(record.name)
    if not path or "\\" in record.name or _CONTROL.search(record.name):
        raise InvalidArtefact(f"has a member with an impossible name, {shown(record.name)}")
    if record.name.endswith("/") and record.size:
        raise InvalidArtefact(f"has a folder with content, {shown(record.name)}")
    return path


def _unpacked(file: BinaryIO, record: Record) -> Iterator[bytes]:
    """The bytes of a member, checked; piece by piece."""
    packed = _packed(file, record)
    size = crc = 0
    try:
        for piece in _inflated(packed) if record.deflated else packed:
            size += len(piece)
            crc = zlib.crc32(piece, crc)
            if size > record.size:
                break
            yield piece
    except zlib.error as error:
        raise InvalidArtefact(f"has a damaged member, {shown(record.name)}") from error
    if size != record.size or crc != record.crc:
        raise InvalidArtefact(f"has a damaged member, {shown(record.name)}")


def _packed(file: BinaryIO, record: Record) -> Iterator[bytes]:
    at, end = record.start, record.start + record.packed
    while at < end:
        piece = ziprecords.read(file, at, min(CHUNK, end - at))
        at += len(piece)
        yield piece


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One stream of deflate, which ends where the pieces do."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in pieces:
        data = engine.decompress(piece, CHUNK)
        yield data
        while len(data) == CHUNK or engine.unconsumed_tail:
            data = engine.decompress(engine.unconsumed_tail, CHUNK)
            yield data
        if engine.unused_data:
            break
    if not engine.eof or engine.unused_data:
        raise zlib.error("ends elsewhere")
