"""A held file as an answer: whole, in part, 304 or 416. Without bottle, for the hot path."""

from __future__ import annotations

import os
from email.utils import formatdate
from functools import lru_cache, partial
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

from devpi_server.errors import Overloaded
from devpi_server.names import METADATA, PROVENANCE, SIGNATURE
from devpi_server.records import Origin
from devpi_server.services.owners.base import Owned, Ready
from devpi_server.web import conditional
from devpi_server.web.conditional import UNSATISFIABLE, Span

_CHECKED = "max-age=0, must-revalidate"

# Set in the environ where the proxy sends files: their folder, and its address for the proxy.
SENT_BY_PROXY = "devpi.sent_by_proxy"

_IMMUTABLE = "max-age=31536000, immutable, public"
# Nothing that came from elsewhere is ever shown by a browser as a page of ours.
_TYPES = {
    METADATA: "text/plain; charset=utf-8",
    SIGNATURE: "text/plain; charset=utf-8",
    PROVENANCE: "application/vnd.pypi.integrity.v1+json",
}
_TYPE = "application/octet-stream"
_NANO = 1_000_000_000
_date = lru_cache(maxsize=2000)(partial(formatdate, usegmt=True))
_SMALL = 128 * 1024  # bytes: sent as they are; larger bodies are left to the server to read


class Answer(NamedTuple):
    """Status line, headers and body."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes | BinaryIO | Part


class Part:
    """A file object over some of the bytes of a file, as ``wsgi.file_wrapper`` takes it.

    :param file: is closed with this.
    """

    def __init__(self, file: BinaryIO, span: Span) -> None:
        self._file = file
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
    """What a GET of the file is answered with: by a proxy that sends files, with its own ETag.

    :raises Overloaded: somebody has just replaced it.
    :raises OSError: it cannot be read.
    """
    headers = ready_headers(ready)
    if is_held_by_client(ready, environ):
        del headers["Content-Type"]
        return Answer("304 Not Modified", list(headers.items()), b"")
    wanted, condition = environ.get("HTTP_RANGE"), environ.get("HTTP_IF_RANGE")
    if (place := _for_the_proxy(ready, environ)) and not condition:
        del headers["ETag"]
        headers |= {"Content-Length": "0", "X-Accel-Redirect": place}
        return Answer("200 OK", list(headers.items()), b"")
    part = conditional.span(wanted, condition, ready.tag, ready.size)
    if part is UNSATISFIABLE:
        return unsatisfiable(ready.size)
    status = "200 OK"
    if part is not None:
        status = "206 Partial Content"
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{ready.size}"
    span = part or Span(0, ready.size)
    headers["Content-Length"] = str(span.stop - span.start)
    return Answer(status, list(headers.items()), _body(ready, span))


def is_held_by_client(ready: Ready, environ: dict[str, Any]) -> bool:
    """Whether the client has just this file, by what it says of it."""
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags or ready.owned is None:
        return conditional.is_held_by_client(tags, ready.tag)
    since = environ.get("HTTP_IF_MODIFIED_SINCE")
    return conditional.is_unmodified(since, ready.owned.modified / _NANO)


def _for_the_proxy(ready: Ready, environ: dict[str, Any]) -> str | None:
    """The proxy's own address of the file, if it is large and the proxy sends such."""
    if ready.size <= _SMALL or ready.owned is not None or SENT_BY_PROXY not in environ:
        return None
    folder, way = environ[SENT_BY_PROXY]
    path = str(ready.path)
    return f"{way}{quote(path[len(folder) :])}" if path.startswith(folder) else None


def _body(ready: Ready, span: Span) -> bytes | BinaryIO | Part:
    fd = _opened(ready)
    size = span.stop - span.start
    if size > _SMALL:
        file = os.fdopen(fd, "rb")
        return file if size == ready.size else Part(file, span)
    try:
        body = os.pread(fd, size, span.start)
    finally:
        os.close(fd)
    if len(body) < size:
        raise _replaced(ready)
    return body


def _opened(ready: Ready) -> int:
    """The file, as a descriptor; of one that is somebody else's, just the one that is meant."""
    if ready.owned is None:
        return os.open(ready.path, os.O_RDONLY | os.O_CLOEXEC)
    # What has become a pipe by now is not to wait for a writer.
    fd = os.open(ready.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    found = os.fstat(fd)
    if Owned(found.st_mtime_ns, found.st_ino) == ready.owned and found.st_size == ready.size:
        return fd
    os.close(fd)
    raise _replaced(ready)


def _replaced(ready: Ready) -> Overloaded:
    return Overloaded(f"{ready.filename} has just been replaced, try again", retry_after=1)


def ready_headers(ready: Ready) -> dict[str, str]:
    """The headers that every answer about a held file has."""
    headers = file_headers(ready.filename, ready.tag, Origin.HIT)
    if not ready.is_lasting:
        headers["Cache-Control"] = _CHECKED
    if ready.owned is not None:
        headers["Last-Modified"] = _date(ready.owned.modified // _NANO)
    return headers


def file_headers(filename: str, tag: str | None, origin: Origin) -> dict[str, str]:
    """The headers that every answer about a file has."""
    headers = {
        "Content-Type": _TYPES.get(os.path.splitext(filename)[1], _TYPE),
        "Accept-Ranges": "bytes",
        "Cache-Control": _IMMUTABLE,
        "X-Content-Type-Options": "nosniff",
        "X-Devpi-Cache": origin.value,
    }
    if tag:
        headers["ETag"] = f'"{tag}"'
    return headers


def unsatisfiable(size: int) -> Answer:
    """A range beyond the end."""
    headers = [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
    headers.append(("Content-Type", "text/plain"))  # bottle would say that it is HTML
    return Answer("416 Range Not Satisfiable", headers, b"")
