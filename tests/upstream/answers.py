"""What comes in and what goes out: requests, bodies, and answers with the way they are sent."""

from __future__ import annotations

import enum
import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Protocol

_PIECE = 1 << 18
_BLOCK = 1 << 20


class Headers(Mapping[str, str]):
    """Header fields by name, in any spelling; of a repeated field the last one."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        self._fields = {name.lower(): value for name, value in (fields or {}).items()}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


@dataclass
class Request:
    """One request as it arrived; ``status`` is filled in just before the answer goes out."""

    method: str
    path: str  # with its query; without scheme and host, even if a proxy is asked
    headers: Headers
    time: float
    target: str = ""  # as it stood in the request line
    body: bytes = b""
    connection: int = 0  # number of the accepted connection, from 1
    nth: int = 0  # number of requests that came before on that connection
    status: int | None = None


class Body(Protocol):
    """Bytes of a known length that can be had in pieces, from anywhere."""

    @property
    def size(self) -> int: ...
    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]: ...


@dataclass(frozen=True)
class Bytes:
    """A body that is held in memory."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def address(self) -> str:
        return hashlib.blake2b(self.data, digest_size=32).hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        if start == 0 and stop >= len(self.data):
            yield self.data
        else:
            yield memoryview(self.data)[start:stop]


@dataclass(frozen=True)
class Generated:
    """A body of any size that is made while it is sent; equal names give equal bytes."""

    name: str
    size: int

    @cached_property
    def sha256(self) -> str:
        """Read once from end to end: seconds for a body of gigabytes."""
        digest = hashlib.sha256()
        for piece in self.pieces(0, self.size):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def address(self) -> str:
        """Stands for the digest of the content, and costs nothing."""
        return hashlib.blake2b(f"{self.name} {self.size}".encode(), digest_size=32).hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        stop = min(stop, self.size)
        while start < stop:
            number, offset = divmod(start, _BLOCK)
            end = min(_BLOCK, offset + stop - start)
            yield memoryview(self._block(number))[offset:end]
            start += end - offset

    def _block(self, number: int) -> bytes:
        mark = hashlib.blake2b(f"{self.name} {number}".encode(), digest_size=16).digest()
        return mark + _noise()[len(mark) :]


@lru_cache(maxsize=1)
def _noise() -> bytes:
    return random.Random(0).randbytes(_BLOCK)


@dataclass(frozen=True)
class Streamed:
    """A body that can only be made from its beginning."""

    size: int
    make: Callable[[], Iterator[bytes]] = field(repr=False)

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        at = 0
        for piece in self.make():
            if at >= stop:
                return
            if at + len(piece) > start:
                yield memoryview(piece)[max(0, start - at) : stop - at]
            at += len(piece)


@dataclass(frozen=True)
class Part:
    """A range of another body."""

    whole: Body
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        return self.whole.pieces(self.start + start, min(self.start + stop, self.stop))


def read(body: Body) -> bytes:
    """The whole body in memory."""
    return b"".join(body.pieces(0, body.size))


def small_pieces(body: Body, start: int, stop: int, longest: int = _PIECE) -> Iterator[memoryview]:
    """The bytes from start to stop, none of the pieces longer than ``longest``."""
    for piece in body.pieces(start, stop):
        view = memoryview(piece)
        for at in range(0, len(view), longest):
            yield view[at : at + longest]


EMPTY = Bytes(b"")


class Framing(enum.Enum):
    """How the end of a body is told."""

    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


@dataclass(frozen=True)
class Hang:
    """Send nothing for a while; without a limit until the server stops or the rule is removed."""

    after: int | None = None  # bytes of the body; None: before the status line
    seconds: float | None = None
    until: threading.Event | None = None


@dataclass(frozen=True)
class Delivery:
    """How an answer is sent."""

    delay: float = 0.0
    hang: Hang | None = None
    cut: int | None = None  # bytes of the body after which the connection ends
    rate: int | None = None  # bytes of the body a second
    head_rate: int | None = None  # bytes of the head a second
    head_cut: int | None = None  # lines of the head after which the connection ends
    answered: bool = True  # False: the connection ends without an answer
    reset: bool = False  # the connection ends by RST
    claim: int = 0  # what Content-Length says above the truth
    framing: Framing = Framing.LENGTH
    released: threading.Event | None = None  # set when the rule behind a hang is removed

    @property
    def plain(self) -> bool:
        """Whether the body is sent in one go."""
        hangs_inside = self.hang is not None and self.hang.after is not None
        return (
            self.framing is Framing.LENGTH
            and self.cut is None
            and self.rate is None
            and self.head_rate is None
            and not hangs_inside
        )


PROMPT = Delivery()


@dataclass(frozen=True)
class Answer:
    """Status, header, body, and how they are sent."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = EMPTY
    reason: str | None = None
    delivery: Delivery = PROMPT
