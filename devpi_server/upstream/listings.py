"""The change feed of an upstream without a journal: serials in its list of projects.

PEP 691's JSON as Warehouse extends it.  The list is large, so it is looked at
sparingly and as a stream.  The names in it are kept on disk, to notice when one
leaves.  They are kept as *next* until the follower comes back with their
serial: had it died before it acted, the same changes are told again.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import orjson
import zstandard

from devpi_server.concurrency import Clock
from devpi_server.errors import Corrupt, FeedWentBack, Unsupported
from devpi_server.names import NormalizedName
from devpi_server.simple.serials import Serials
from devpi_server.store.incoming import Incoming, translated
from devpi_server.upstream.base import Absent, NotModified, Stream, UpstreamClient
from devpi_server.upstream.changes import Change, Changes, Kind
from devpi_server.upstream.roots import LARGEST_ROOT

SPARINGLY = 1800.0  # seconds between two looks: the list is 10 MB, and a CDN keeps it as long
CHANGED = "serial changed"
LEFT = "left the list of projects"  # removed, or in quarantine: its page tells


_Answer = Stream | NotModified | Absent


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of the remembered names."""

    base: str
    etag: str | None
    serial: int


class ListingFeed:
    """The serials in the list of all projects.

    :param path: file for the names; another stands beside it, with ``.next`` at its end.
    :param every: seconds between two looks; in between nothing has changed.
    """

    kind: Kind = "listing"

    def __init__(
        self,
        client: UpstreamClient,
        base_url: str,
        *,
        path: Path,
        incoming: Incoming,
        clock: Clock,
        every: float = SPARINGLY / 2,
    ) -> None:
        self._client = client
        self._base_url = base_url
        self._held = _NamesFile(path, incoming)
        self._next = _NamesFile(path.with_name(f"{path.name}.next"), incoming)
        self._clock = clock
        self._every = every
        self._looked: float | None = None
        self._behind = False  # the last look found a serial below ours

    def probe(self) -> None:
        """Look at the beginning of the list only.

        :raises Unsupported: it has no serials.
        :raises UpstreamError: cannot tell.
        """
        with self._open(None) as answer:
            serials = _serials(answer)
            if next(iter(serials), None) is None and serials.overall is None:
                raise Unsupported("upstream's list of projects has no serials")

    def start(self) -> int:
        with self._open(None) as answer:
            look = _Look(_serials(answer), after=None)
            self._held.write(look.names(), lambda: self._head(answer, look, 0))
        self._next.remove()
        self._looked = self._clock()
        return look.top

    def since(self, serial: int) -> Changes:
        held = self._settle(serial)
        now = self._clock()
        if self._looked is not None and 0 <= now - self._looked < self._every:
            return Changes(serial, {})
        etag = held.etag if held is not None and held.serial == serial else None
        with self._open(etag) as answer:
            if isinstance(answer, NotModified):
                self._looked, self._behind = now, False
                return Changes(serial, {})
            look = _Look(_serials(answer), after=serial)
            self._next.write(look.names(), lambda: self._head(answer, look, serial))
        self._looked = now
        if look.overall < serial:
            self._next.remove()
            return self._behind_us(serial, look.overall)
        self._behind = False
        top = max(serial, look.top)
        if held is not None:
            for name in self._held.names():
                if name not in look.present:
                    look.newer[name] = (Change(name, 0, None, LEFT),)
        return Changes(top, look.newer)

    def _behind_us(self, ours: int, theirs: int) -> Changes:
        """A node that stopped shows an older list, too: only the second one in a row counts."""
        if self._behind:
            self._behind = False
            raise FeedWentBack(
                f"upstream's list of projects went back from serial {ours} to {theirs}",
                serial=theirs,
            )
        self._behind = True
        return Changes(ours, {})

    def _settle(self, serial: int) -> _Head | None:
        """What is remembered at this serial: *next*, once the follower has acted on it."""
        waiting = self._next.head()
        if waiting is not None and waiting.serial <= serial:
            self._next.move_to(self._held)
        elif waiting is not None:
            self._next.remove()
            self._looked = None
        held = self._held.head()
        return held if held is not None and held.base == self._base_url else None

    def _head(self, answer: _Answer, look: _Look, after: int) -> _Head:
        etag = None if isinstance(answer, NotModified | Absent) else answer.etag
        return _Head(self._base_url, etag, max(after, look.top))

    def _open(self, etag: str | None) -> AbstractContextManager[_Answer]:
        return self._client.stream(self._base_url, etag=etag, page=True)


def _serials(answer: _Answer) -> Serials:
    """The serials of an answer to an unconditional question."""
    if isinstance(answer, Absent):
        raise Unsupported("upstream has no list of its projects")
    if isinstance(answer, NotModified):
        raise Corrupt("upstream says that its list is not modified, unasked")
    return Serials(answer.decoded(LARGEST_ROOT), answer.content_type)


class _Look:
    """What one reading of the list gathers, in some 16 bytes a project."""

    def __init__(self, serials: Serials, *, after: int | None) -> None:
        self._serials = serials
        self._after = after  # None: nothing counts as newer
        self.newer: dict[NormalizedName, tuple[Change, ...]] = {}
        self.present = _NameSet()
        self.top = 0  # of the projects

    @property
    def overall(self) -> int:
        """Of the journal, where the list states it: also removals move it."""
        return max(self.top, self._serials.overall or 0)

    def names(self) -> Iterator[NormalizedName]:
        """Each name, gathering the rest on the way."""
        for name, serial in self._serials:
            self.top = max(self.top, serial)
            self.present.add(name)
            if self._after is not None and serial > self._after:
                self.newer[name] = (Change(name, serial, None, CHANGED),)
            yield name


class _NameSet:
    """Names by their digests: 900,000 in 7 MB."""

    def __init__(self) -> None:
        self._buckets = [array("Q") for _ in range(256)]
        self._sorted = False

    def add(self, name: str) -> None:
        digest = _digest(name)
        self._buckets[digest & 255].append(digest)

    def __contains__(self, name: str) -> bool:
        """Only when all have been added."""
        if not self._sorted:
            # One bucket after the other, so that no large list is made of them.
            self._buckets = [array("Q", sorted(bucket)) for bucket in self._buckets]
            self._sorted = True
        digest = _digest(name)
        bucket = self._buckets[digest & 255]
        at = bisect_left(bucket, digest)
        return at < len(bucket) and bucket[at] == digest


def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


class _NamesFile:
    """Names on disk, a line each, compressed; the last line is the head."""

    def __init__(self, path: Path, incoming: Incoming) -> None:
        self._path = path
        self._incoming = incoming
        self._head: _Head | None = None
        self._known = False  # whether the head has been read

    def head(self) -> _Head | None:
        """The head; None: there is no such file, or it is damaged."""
        if not self._known:
            last = deque(self._lines(), maxlen=1)
            try:
                self._head = _Head(**orjson.loads(last[0] if last else ""))
            except (orjson.JSONDecodeError, TypeError):
                self._head = None
            self._known = True
        return self._head

    def names(self) -> Iterator[NormalizedName]:
        """The names in the file."""
        for line in self._lines():
            if not line.startswith("{"):
                yield NormalizedName(line)

    def write(self, names: Iterator[str], head: Callable[[], _Head]) -> None:
        """Replace the file.

        :param head: asked when the names have come to their end.
        """
        compressor = zstandard.ZstdCompressor(level=3).compressobj()
        part = self._incoming.part()
        try:
            for name in names:
                part.write(compressor.compress(f"{name}\n".encode()))
            self._head = head()
            part.write(compressor.compress(orjson.dumps(self._head) + b"\n"))
            part.write(compressor.flush())
            part.commit(self._path, durable=False)
            self._known = True
        finally:
            part.abandon()

    def move_to(self, other: _NamesFile) -> None:
        """Become the other file."""
        with translated("keep the list of projects"):
            self._path.replace(other._path)
        other._head, other._known = self._head, True
        self._head = None

    def remove(self) -> None:
        """Delete the file, if it is there."""
        with translated("drop the list of projects"):
            self._path.unlink(missing_ok=True)
        self._head, self._known = None, True

    def _lines(self) -> Iterator[str]:
        with (
            translated("read the list of projects"),
            suppress(FileNotFoundError, zstandard.ZstdError, UnicodeDecodeError),
            open(self._path, "rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
        ):
            for line in io.TextIOWrapper(plain, "utf-8", newline="\n"):
                yield line.rstrip("\n")
