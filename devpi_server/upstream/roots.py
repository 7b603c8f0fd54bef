"""Upstream's list of all its projects: 900,000 names, 45 MB.

It is never needed to serve a project.  It is fetched when somebody asks for
it, parsed as a stream and kept ready-made on disk, each form compressed once;
after that, refreshes happen in the background.
"""

from __future__ import annotations

import io
import logging
import secrets
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import BinaryIO

import orjson
import zstandard

from devpi_server.concurrency import Clock, Crew, SingleFlight
from devpi_server.errors import Corrupt, NoSuchProject, UpstreamError
from devpi_server.records import Origin
from devpi_server.simple import listing, render
from devpi_server.simple.negotiate import Encoding
from devpi_server.store.incoming import Incoming, translated
from devpi_server.upstream.base import PATIENT, Absent, NotModified, UpstreamClient
from devpi_server.upstream.origins import Origins

log = logging.getLogger(__name__)

LARGEST_ROOT = 1024 * 1024 * 1024  # bytes, decoded
_CHUNK = 1024 * 1024
_TITLE = "list of all projects"
_FILES = tuple(product(("json", "html"), (Encoding.ZSTD, Encoding.GZIP)))


@dataclass(frozen=True, slots=True)
class Root:
    """The list, as files: ``<folder>/<form>.<encoding>``."""

    folder: str  # name below the cache's folder; a new one for each content
    base: str
    etag: str | None  # upstream's
    checked: int  # seconds since the epoch
    sizes: dict[str, int]  # of the identity forms, in bytes


class RootCache:
    """The project list of one upstream index."""

    def __init__(
        self,
        *,
        client: UpstreamClient,
        origins: Origins,
        folder: Path,
        incoming: Incoming,
        clock: Clock,
        expiry: float,
        timeout: float,
    ) -> None:
        self._client = client
        self._origins = origins
        self._folder = folder
        self._incoming = incoming
        self._clock = clock
        self._expiry = expiry
        self._timeout = timeout
        self._flights: SingleFlight[Root] = SingleFlight(Crew("root", 1))

    def find(self) -> tuple[Root, Origin]:
        """The list, as current as it is; one that has expired is refreshed in the background.

        :raises NoSuchProject: upstream has no such list.
        :raises UpstreamError: nothing is held, and upstream cannot tell in time.
        """
        root = self._held()
        if root is None or self._flights.was_awaited("root"):
            return self._flights.do("root", self._refresh, self._timeout * PATIENT), Origin.MISS
        if 0 <= self._clock() - root.checked < self._expiry:
            return root, Origin.HIT
        self._flights.join("root", self._refresh)
        return root, Origin.STALE

    def compressed(self, root: Root, form: str, encoding: Encoding) -> BinaryIO:
        """The list in this form (``json`` or ``html``), as a file.

        :raises StoreError: it has just been replaced, or the disk is sick.
        """
        with translated("read the list of projects"):
            return open(self._path(root, form, encoding), "rb")

    def _path(self, root: Root, form: str, encoding: Encoding) -> Path:
        return self._folder / root.folder / f"{form}.{encoding.token}"

    def identity(self, root: Root, form: str) -> BinaryIO:
        """The list in this form, decompressed, as a file: slow clients are to hold no thread."""
        with (
            translated("read the list of projects"),
            self.compressed(root, form, Encoding.ZSTD) as file,
        ):
            plain = zstandard.ZstdDecompressor().read_to_iter(file, read_size=_CHUNK)
            return self._incoming.spool(plain)

    def names_held(self) -> Iterator[str] | None:
        """The names in the list as upstream spells them, if it is held, however old."""
        root = self._held()
        return None if root is None else self._names(root.folder)

    def _held(self) -> Root | None:
        with translated("read the list of projects"):
            try:
                root = Root(**orjson.loads((self._folder / "head").read_bytes()))
            except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
                return None
        is_whole = all(self._path(root, *each).is_file() for each in _FILES)
        return root if is_whole else None

    def _refresh(self) -> Root:
        """Ask the addresses of upstream in order for the list, and hold it. Runs as a flight."""
        faults: list[UpstreamError] = []
        for base in self._origins.in_order():
            try:
                root = self._ask(base)
            except UpstreamError as error:
                log.warning("cannot fetch the list of projects: %s", error.message)
                self._origins.failed(base, error)
                faults.append(error)
            else:
                self._origins.worked(base)
                return root
        raise faults[0]

    def _ask(self, base: str) -> Root:
        held = self._held()
        if held is not None and held.base != base:
            held = None
        with self._client.stream(base, etag=held.etag if held else None, page=True) as answer:
            if isinstance(answer, Absent):
                raise NoSuchProject("upstream has no list of its projects")
            if isinstance(answer, NotModified):
                if held is None:
                    raise Corrupt("upstream says that its list is not modified, unasked")
                return self._keep(base, held.folder, held.etag, held.sizes)
            chunks = answer.decoded(LARGEST_ROOT)
            return self._write(base, listing.names(chunks, answer.content_type), answer.etag)

    def _write(self, base: str, names: Iterator[str], etag: str | None) -> Root:
        """Hold the names in all forms, in bounded memory: the names first, the forms from them."""
        folder = secrets.token_hex(8)
        self._compress(folder, "names", Encoding.ZSTD, (f"{name}\n".encode() for name in names))
        sizes = {}
        for form, encoding in _FILES:
            lines = self._names(folder)
            if form == "json":
                chunks = render.listing_json(lines)
            else:
                chunks = render.listing_html(lines, _TITLE)
            sizes[form] = self._compress(folder, form, encoding, chunks)
        root = self._keep(base, folder, etag, sizes)
        with translated("drop an old list of projects"):
            for path in self._folder.iterdir():
                if path.is_dir() and path.name != folder:
                    shutil.rmtree(path, ignore_errors=True)  # who reads it now has it open
        return root

    def _names(self, folder: str) -> Iterator[str]:
        path = self._folder / folder / f"names.{Encoding.ZSTD.token}"
        with (
            translated("read the list of projects"),
            open(path, "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
        ):
            for line in io.TextIOWrapper(plain, "utf-8", newline="\n"):
                yield line.rstrip("\n")

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

    def _keep(self, base: str, folder: str, etag: str | None, sizes: dict[str, int]) -> Root:
        root = Root(folder, base, etag, int(self._clock()), sizes)
        self._incoming.write(self._folder / "head", orjson.dumps(root), durable=False)
        return root


def _batched(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces that are worth a call to a compressor."""
    batch = bytearray()
    for chunk in chunks:
        batch += chunk
        if len(batch) >= _CHUNK:
            yield bytes(batch)
            batch.clear()
    yield bytes(batch)
