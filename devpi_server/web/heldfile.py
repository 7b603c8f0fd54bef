"""A held file as an answer: whole, in part, 304 or 416. Without bottle, for the hot path."""

from __future__ import annotations

import os
from typing import Any, BinaryIO, NamedTuple

from devpi_server.names import METADATA, PROVENANCE, SIGNATURE
from devpi_server.records import Origin
from devpi_server.services.downloads import Ready
from devpi_server.web import conditional
from devpi_server.web.conditional import UNSATISFIABLE, Span

_IMMUTABLE = "max-age=31536000, immutable, public"
# Nothing that came from elsewhere is ever shown by a browser as a page of ours.
_TYPES = {
    METADATA: "text/plain; charset=utf-8",
    SIGNATURE: "text/plain; charset=utf-8",
    PROVENANCE: "application/vnd.pypi.integrity.v1+json",
}
_TYPE = "application/octet-stream"
_SMALL = 128 * 1024  # bytes: sent as they are; larger bodies are left to the server to read


class Answer(NamedTuple):
    """Status line, headers and body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes | BinaryIO | Part


class Part:
    """A file object over some of the bytes of a file, as ``wsgi.file_wrapper`` takes it."""

    def __init__(self, path: str | os.PathLike[str], span: Span) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - the server closes it
        self._start, self._stop = span
        self._file.seek(self._start)

    def read(self, size: int = -1) -> bytes:
        left = self._stop - self._file.tell()
        return self._file.read(left if size < 0 else min(size, left)) if left > 0 else b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._stop}
        return self._file.seek(base[whence] + offset) - self._start

    def tell(self) -> int:
        return self._file.tell() - self._start

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()


def held_answer(ready: Ready, environ: dict[str, Any]) -> Answer:
    """What a GET of the file is answered with."""
    headers = file_headers(ready.filename, ready.sha256, Origin.HIT)
    if conditional.is_held_by_client(environ.get("HTTP_IF_NONE_MATCH"), ready.sha256):
        return Answer("304 Not Modified", list(headers.items()), b"")
    wanted, condition = environ.get("HTTP_RANGE"), environ.get("HTTP_IF_RANGE")
    part = conditional.span(wanted, condition, ready.sha256, ready.size)
    if part is UNSATISFIABLE:
        return unsatisfiable(ready.size)
    status = "200 OK"
    if part is not None:
        status = "206 Partial Content"
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{ready.size}"
    span = part or Span(0, ready.size)
    headers["Content-Length"] = str(span.stop - span.start)
    return Answer(status, list(headers.items()), _body(ready, span))


def _body(ready: Ready, span: Span) -> bytes | BinaryIO | Part:
    if span.stop - span.start <= _SMALL:
        with open(ready.path, "rb") as file:
            file.seek(span.start)
            return file.read(span.stop - span.start)
    if span.stop - span.start == ready.size:
        return open(ready.path, "rb")
    return Part(ready.path, span)


def file_headers(filename: str, sha256: str | None, origin: Origin) -> dict[str, str]:
    """The headers that every answer about a file has."""
    headers = {
        "Content-Type": _TYPES.get(os.path.splitext(filename)[1], _TYPE),
        "Accept-Ranges": "bytes",
        "Cache-Control": _IMMUTABLE,
        "X-Content-Type-Options": "nosniff",
        "X-Devpi-Cache": origin.value,
    }
    if sha256:
        headers["ETag"] = f'"{sha256}"'
    return headers


def unsatisfiable(size: int) -> Answer:
    """A range beyond the end."""
    headers = [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
    return Answer("416 Range Not Satisfiable", headers, b"")
