"""Compressed files, read as a stream in constant memory."""

from __future__ import annotations

import bz2
import lzma
import os
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO, Protocol

from devpi_server.errors import InvalidArtefact
from devpi_server.store.archives import CHUNK, check_content

_MOST_STREAMS = 100_000  # one after the other, as parallel packers write them
_LZMA_MEMORY = 128 * 2**20  # bytes; "xz -9" asks for 65 MiB


class _Engine(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib with the interface of bz2 and lzma."""

    def __init__(self) -> None:
        self._engine = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


def _unxz() -> _Engine:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY)


# What a stream begins with, and what reads it.
_ENGINES: Mapping[str, tuple[bytes, Callable[[], _Engine]]] = MappingProxyType(
    {
        "gzip": (b"\x1f\x8b", _Gunzip),
        "bzip2": (b"BZh", bz2.BZ2Decompressor),
        "xz": (b"\xfd7zXZ\0", _unxz),
    }
)


def unpacked(file: BinaryIO, compression: str | None) -> Iterator[bytes]:
    """What is inside a compressed file, piece by piece.

    :param compression: ``gzip``, ``bzip2``, ``xz``, or None for a file that is not compressed.
    :raises InvalidArtefact: it is something else, damaged, a bomb, or has data behind its end.
    """
    packed = file.seek(0, os.SEEK_END)
    file.seek(0)
    size = 0
    for piece in _streams(file, compression) if compression else _plain(file):
        size += len(piece)
        check_content(size, packed)
        yield piece


def _plain(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK), b"")


def _streams(file: BinaryIO, compression: str) -> Iterator[bytes]:
    magic, engine = _ENGINES[compression]
    rest = file.read(CHUNK)
    if not rest.startswith(magic):
        raise InvalidArtefact(f"is not a {compression} file")
    for _ in range(_MOST_STREAMS):
        rest = yield from _stream(file, rest, engine())
        # Tapes and disks of old are filled up with zeros.
        while rest and not (rest := rest.lstrip(b"\0")):
            rest = file.read(CHUNK)
        if not rest:
            return
        rest += file.read(len(magic))
        if not rest.startswith(magic):
            raise InvalidArtefact("has data behind its end")
    raise InvalidArtefact("consists of too many parts")


def _stream(file: BinaryIO, data: bytes, engine: _Engine) -> Generator[bytes, None, bytes]:
    """Yield what one stream holds.

    :return: what was read beyond its end; empty at the end of the file.
    """
    while True:
        piece = _decompressed(engine, data)
        if piece:
            yield piece
        if engine.eof:
            return engine.unused_data or file.read(CHUNK)
        data = file.read(CHUNK) if engine.needs_input else b""
        if not piece and not data and engine.needs_input:
            raise InvalidArtefact("is cut off")


def _decompressed(engine: _Engine, data: bytes) -> bytes:
    try:
        return engine.decompress(data, CHUNK)
    except (zlib.error, lzma.LZMAError, OSError) as error:
        raise InvalidArtefact("is damaged, or cut off") from error
