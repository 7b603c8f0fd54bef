"""Lists of projects of any length, ready to be sent: each form compressed once, on disk.

Why on disk: upstream's list has 900,000 names and 45 MB, and few ask for it.  It is
made in bounded memory: the names first, the forms from them.
"""

from __future__ import annotations

import io
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

import orjson
import zstandard

from devpi_server.simple import render
from devpi_server.simple.negotiate import Encoding
from devpi_server.store.incoming import Incoming, translated

_CHUNK = 1024 * 1024  # bytes
_FILES = tuple(product(("json", "html"), (Encoding.ZSTD, Encoding.GZIP)))
_NAMES, _SIZES = "names", "sizes"


@dataclass(frozen=True, slots=True)
class Ready:
    """A list, as files: ``<folder>/<form>.<encoding>``."""

    folder: str  # its name; equal names of one kind: equal lists
    sizes: dict[str, int]  # of the identity forms, in bytes


class ReadyLists:
    """The lists of one kind.

    :param title: of their pages for people.
    """

    def __init__(self, folder: Path, incoming: Incoming, title: str) -> None:
        self._folder = folder
        self._incoming = incoming
        self._title = title

    def find(self, folder: str) -> Ready | None:
        """The list in this folder, if it is there and whole.

        :raises StoreError: the disk is sick.
        """
        with translated("read the list of projects"):
            try:
                sizes = orjson.loads((self._folder / folder / _SIZES).read_bytes())
            except (FileNotFoundError, orjson.JSONDecodeError):
                return None
        ready = Ready(folder, sizes)
        return ready if all(self._path(ready, *each).is_file() for each in _FILES) else None

    def write(self, folder: str, names: Iterable[str]) -> Ready:
        """Make a list of the names and have it in this folder.

        :raises StoreError: nothing is there.
        """
        encoded = (f"{name}\n".encode() for name in names)
        self._compress(folder, _NAMES, Encoding.ZSTD, encoded)
        sizes = {}
        for form, encoding in _FILES:
            lines = self.names(Ready(folder, {}))
            if form == "json":
                chunks = render.listing_json(lines)
            else:
                chunks = render.listing_html(lines, self._title)
            sizes[form] = self._compress(folder, form, encoding, chunks)
        # The last, so that only a whole list has it.
        place = self._folder / folder / _SIZES
        self._incoming.write(place, orjson.dumps(sizes), durable=True)
        return Ready(folder, sizes)

    def keep_only(self, current: Ready, *, kind: str = "", others: int = 0) -> None:
        """Delete what the current list has replaced.

        :param kind: the lists whose folder begins so are older ones of the same.
        :param others: so many of the newest others stay.
        :raises StoreError: the disk is sick.
        """
        with translated("drop an old list of projects"):
            folders = [path for path in self._folder.iterdir() if path.is_dir()]
            folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for path in folders:
                if path.name == current.folder:
                    continue
                if path.name.startswith(kind) or others <= 0:
                    shutil.rmtree(path, ignore_errors=True)  # who reads it now has it open
                else:
                    others -= 1

    def names(self, ready: Ready) -> Iterator[str]:
        """The names, in the order in which they came.

        :raises StoreError: it has just been replaced, or the disk is sick.
        """
        path = self._folder / ready.folder / f"{_NAMES}.{Encoding.ZSTD.token}"
        with (
            translated("read the list of projects"),
            open(path, "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
        ):
            for line in io.TextIOWrapper(plain, "utf-8", newline="\n"):
                yield line.rstrip("\n")

    def compressed(self, ready: Ready, form: str, encoding: Encoding) -> BinaryIO:
        """The list in this form (``json`` or ``html``), as a file; raises as ``names`` does."""
        with translated("read the list of projects"):
            return open(self._path(ready, form, encoding), "rb")

    def identity(self, ready: Ready, form: str) -> BinaryIO:
        """The same, decompressed: slow clients are to hold no thread."""
        with (
            translated("read the list of projects"),
            self.compressed(ready, form, Encoding.ZSTD) as file,
        ):
            plain = zstandard.ZstdDecompressor().read_to_iter(file, read_size=_CHUNK)
            return self._incoming.spool(plain)

    def _path(self, ready: Ready, form: str, encoding: Encoding) -> Path:
        return self._folder / ready.folder / f"{form}.{encoding.token}"

    def _compress(self, folder: str, form: str, encoding: Encoding, chunks: Iterable[bytes]) -> int:
        """Write one file of the list; return its size before compression, in bytes."""
        if encoding is Encoding.GZIP:
            gzip = zlib.compressobj(6, wbits=31)
            compress: Callable[[bytes], bytes] = gzip.compress
            flush: Callable[[], bytes] = gzip.flush
        else:
            zstd = zstandard.ZstdCompressor(level=6).compressobj()
            compress, flush = zstd.compress, zstd.flush
        size = 0
        part = self._incoming.part()
        try:
            for chunk in _batched(chunks):
                size += len(chunk)
                part.write(compress(chunk))
            part.write(flush())
            part.commit(self._folder / folder / f"{form}.{encoding.token}", durable=True)
        finally:
            part.abandon()
        return size


def _batched(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a call to a compressor."""
    batch = bytearray()
    for chunk in chunks:
        batch += chunk
        if len(batch) >= _CHUNK:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)
