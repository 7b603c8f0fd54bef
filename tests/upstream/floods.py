"""Pages that are too much: too long, too deep, too many links, too well compressed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .answers import Answer, Body, Bytes, Request, Streamed
from .faults import Fault
from .pages import JSON

_HTML = "text/html; charset=UTF-8"


def _page(answer: Answer, body: Body, **headers: str) -> Answer:
    written = {"Content-Type": _HTML, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return Answer(200, written, body, delivery=answer.delivery)


@dataclass(frozen=True)
class HugePage(Fault):
    """So many bytes of HTML without a link in it."""

    size: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        filler = b"<p>nothing to see here</p>\n" * 4096

        def pieces() -> Iterator[bytes]:
            whole, rest = divmod(self.size, len(filler))
            for _ in range(whole):
                yield filler
            yield filler[:rest]

        return _page(answer, Streamed(self.size, pieces))


@dataclass(frozen=True)
class ManyLinks(Fault):
    """A well-formed page of so many links, in JSON if that is asked for."""

    count: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        name = request.path.strip("/").rpartition("/")[2]
        if JSON in request.headers.get("accept", ""):
            start = f'{{"meta":{{"api-version":"1.4"}},"name":"{name}","files":['
            link = '{"filename":"%s-%09d.tar.gz","url":"/packages/%s-%09d.tar.gz","hashes":{}},'
            # Each link is of one length; the last one has no comma.
            body = self._body(name, start, link, "]}", drop=1)
            return _page(answer, body, Content_Type=JSON)
        link = '<a href="/packages/%s-%09d.tar.gz">%s-%09d.tar.gz</a><br />\n'
        return _page(answer, self._body(name, "<!DOCTYPE html>\n<html><body>\n", link, ""))

    def _body(self, name: str, start: str, link: str, end: str, *, drop: int = 0) -> Body:
        def pieces() -> Iterator[bytes]:
            yield start.encode()
            for first in range(0, self.count, 1000):
                last = min(first + 1000, self.count)
                rows = "".join(link % (name, n, name, n) for n in range(first, last))
                yield (rows[: len(rows) - drop] if last == self.count else rows).encode()
            yield end.encode()

        width = len(link % (name, 0, name, 0)) * self.count - (drop if self.count else 0)
        return Streamed(len(start) + width + len(end), pieces)


@dataclass(frozen=True)
class DeepJson(Fault):
    """JSON that is nested so deep."""

    depth: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        nested = b"[" * self.depth + b"]" * self.depth
        body = b'{"meta":{"api-version":"1.4"},"name":"deep","files":' + nested + b"}"
        return _page(answer, Bytes(body), Content_Type=JSON)


@dataclass(frozen=True)
class GzipBomb(Fault):
    """A page that grows to so many bytes when it is decoded."""

    size: int

    def apply(self, answer: Answer, request: Request) -> Answer:
        return _page(answer, Bytes(_bomb(self.size)), Content_Encoding="gzip")


@lru_cache(maxsize=4)
def _bomb(size: int) -> bytes:
    block = b" " * (1 << 20)
    whole, rest = divmod(size, len(block))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    # After a full flush the same plain bytes always pack to the same bytes.
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    end = packer.compress(block[:rest]) + packer.flush()
    checksum = 0
    for _ in range(whole):
        checksum = zlib.crc32(block, checksum)
    checksum = zlib.crc32(block[:rest], checksum)
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    return head + packed * whole + end + struct.pack("<II", checksum, size & 0xFFFFFFFF)
