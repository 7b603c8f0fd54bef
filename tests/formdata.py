"""Forms as clients put them together, and the environ of the request that brings them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

BOUNDARY = "--------------GHSKFJDLGDS7543FJKLFHRE75642756743254"  # distutils'


@dataclass(frozen=True)
class Sent:
    """A part of a form; a file if it has a file name."""

    name: str
    value: bytes
    filename: str | None = None


def multipart(parts: Iterable[Sent], line_end: bytes = b"\r\n", boundary: str = BOUNDARY) -> bytes:
    """The body as distutils builds it: its forms begin with an empty line."""
    delimiter = line_end + b"--" + boundary.encode()
    pieces = []
    for part in parts:
        head = f'Content-Disposition: form-data; name="{part.name}"'
        if part.filename is not None:
            head += f'; filename="{part.filename}"'
        pieces += [delimiter, line_end, head.encode(), line_end * 2, part.value]
    return b"".join([*pieces, delimiter, b"--", line_end])


class Stream:
    """A ``wsgi.input`` that gives its pieces one by one, however much is asked for."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        if size < 0:
            size = len(self._rest)
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def request(
    body: bytes | Iterator[bytes],
    content_type: str = f"multipart/form-data; boundary={BOUNDARY}",
    **changes: Any,
) -> dict[str, Any]:
    """The environ of a POST; ``None`` among the changes removes a key."""
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)) if isinstance(body, bytes) else None,
        "wsgi.input": io.BytesIO(body) if isinstance(body, bytes) else Stream(body),
    }
    environ |= {name.replace("wsgi_", "wsgi."): value for name, value in changes.items()}
    return {name: value for name, value in environ.items() if value is not None}


def in_pieces(body: bytes, cuts: Iterable[int]) -> Iterator[bytes]:
    """The body, cut at these places."""
    start = 0
    for cut in sorted({min(cut, len(body)) for cut in cuts}):
        yield body[start:cut]
        start = cut
    yield body[start:]
