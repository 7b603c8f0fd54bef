"""Stand-ins for the world below ``web/``: a clock, blobs in memory, an upstream, an index.

Each keeps the contract of its protocol; ``tests/contracts`` says so.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from devpi_server.errors import (
    Corrupt,
    NoSuchProject,
    Unreachable,
    Unsupported,
    UpstreamError,
)
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Listing, Page, View
from devpi_server.store.blobs import Blob, IncomingBlob
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream


class FakeClock:
    """A ``Clock`` that goes only when it is told to."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeAlarm:
    """An ``Alarm`` that rings when it is told to."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._callbacks)

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def ring(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


class MemoryBlobs:
    """A ``BlobStore`` of anonymous files in memory (Linux)."""

    def __init__(self) -> None:
        self._held: dict[str, _MemoryIncoming] = {}
        self._under_way: list[_MemoryIncoming] = []

    def find(self, sha256: str) -> Blob | None:
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise ValueError(sha256)
        held = self._held.get(sha256)
        return None if held is None else Blob(sha256, held.size, held.path)

    def incoming(self, prefix: str = "") -> IncomingBlob:
        incoming = _MemoryIncoming(self, prefix)
        self._under_way.append(incoming)
        return incoming

    def adopt(self, link: Callable[[Path], None]) -> IncomingBlob:
        incoming = self.incoming()
        with TemporaryDirectory() as folder:
            path = Path(folder, "adopted")
            link(path)
            incoming.write(path.read_bytes())
        return incoming

    def under_way(self, prefix: str) -> tuple[str, int] | None:
        for incoming in self._under_way:
            if incoming.name.startswith(prefix):
                return incoming.name, incoming.reader()
        return None

    def kept_at(self, sha256: str) -> float | None:
        held = self.find(sha256)
        return None if held is None else os.stat(held.path).st_ctime

    def remove(self, sha256: str) -> None:
        self._held.pop(sha256, None)

    def digests(self) -> Iterator[str]:
        return iter(tuple(self._held))


class _MemoryIncoming:
    def __init__(self, blobs: MemoryBlobs, prefix: str) -> None:
        self._blobs = blobs
        self._fd = os.memfd_create("blob", os.MFD_CLOEXEC)
        self._hash = hashlib.sha256()
        self.name = f"{prefix}{self._fd}.part"
        self.size = 0

    def __del__(self) -> None:
        os.close(self._fd)

    @property
    def path(self) -> Path:
        return Path(f"/proc/self/fd/{self._fd}")

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self.size += len(data)

    def reader(self) -> int:
        return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def link(self, target: Path) -> None:
        raise OSError(errno.EXDEV, "in memory")

    def commit(self) -> Blob:
        self._blobs._held[self.sha256] = self
        self.abandon()
        return Blob(self.sha256, self.size, self.path)

    def abandon(self) -> None:
        if self in self._blobs._under_way:
            self._blobs._under_way.remove(self)


@dataclass
class Resource:
    """What a ``FakeClient`` finds at an address."""

    body: bytes = b""
    content_type: str = "application/octet-stream"
    etag: str | None = None
    serial: int | None = None
    length: int | None = None  # what upstream says, if it is not the truth
    tells_length: bool = True
    breaks_after: int | None = None  # bytes
    encoded: bool = False
    before_its_end: Callable[[], object] | None = None  # called when all but the end is sent


class FakeClient:
    """An ``UpstreamClient`` without a network: ``resources`` by address, or the error to raise."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource | UpstreamError] = {}
        self.asked: list[tuple[str, str, str | None]] = []  # method, address, ETag

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        found = self._ask("get", url, etag)
        if not isinstance(found, Resource):
            return found
        document = b"".join(_FakeStream(found, url).chunks())
        return Fresh(url, document, found.content_type, found.etag, found.serial)

    @contextmanager
    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> Iterator[Stream | NotModified | Absent]:
        found = self._ask("stream", url, etag)
        yield _FakeStream(found, url) if isinstance(found, Resource) else found

    def size(self, url: str) -> int | Absent | None:
        found = self._ask("size", url, None)
        if not isinstance(found, Resource):
            return Absent()
        return _FakeStream(found, url).length

    def part(self, url: str, start: int, stop: int) -> bytes:
        found = self._ask("part", url, None)
        if not isinstance(found, Resource):
            raise Unsupported("there is nothing to send parts of")
        return found.body[start:stop]

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        found = self._ask("post", url, None)
        if not isinstance(found, Resource):
            raise Unsupported("nobody takes questions here")
        return b"".join(_FakeStream(found, url).chunks())

    def _ask(self, method: str, url: str, etag: str | None) -> Resource | NotModified | Absent:
        self.asked.append((method, url, etag))
        found = self.resources.get(url)
        if found is None:
            return Absent()
        if isinstance(found, UpstreamError):
            raise found
        return NotModified() if etag is not None and etag == found.etag else found


class _FakeStream:
    """A ``Stream`` in small pieces."""

    def __init__(self, resource: Resource, url: str) -> None:
        self._resource = resource
        self.url = url
        self.content_type = resource.content_type
        self.etag = resource.etag
        self.serial = resource.serial
        self.encoded = resource.encoded
        self.length: int | None = None
        if resource.tells_length:
            self.length = len(resource.body) if resource.length is None else resource.length

    def chunks(self) -> Iterator[bytes]:
        body = self._resource.body[: self._resource.breaks_after]
        for at in range(0, len(body), 1000):
            if self._resource.before_its_end and at + 1000 >= len(body):
                self._resource.before_its_end()
            yield body[at : at + 1000]
        if self.length not in (None, len(body)):
            raise Unreachable(f"upstream broke off after {len(body)} of {self.length} bytes")

    def decoded(self, limit: int) -> Iterator[bytes]:
        total = 0
        for chunk in self.chunks():
            total += len(chunk)
            if total > limit:
                raise Corrupt(f"upstream sends more than {limit} bytes")
            yield chunk


class FakeSource:
    """A ``Source`` of pages in memory; ``error`` is raised by every view."""

    def __init__(self, *pages: Page) -> None:
        self.error: Exception | None = None
        self.loads = 0
        self._pages: dict[NormalizedName, tuple[int, Page]] = {}
        self._changes = 0
        for page in pages:
            self.put(page)

    def put(self, page: Page) -> None:
        self._changes += 1
        self._pages[page.name] = (self._changes, page)

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        if self.error is not None:
            raise self.error
        if project not in self._pages:
            raise NoSuchProject(f"no project {project}")
        stamp, page = self._pages[project]

        def load() -> Page:
            self.loads += 1
            return page

        return View(stamp, load)

    def listing(self) -> Listing:
        return Listing(self._changes, lambda: iter(sorted(self._pages)))
