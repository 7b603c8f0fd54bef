"""Stream the serial of every project out of an upstream's root page.

The scanner of ``listing`` finds the elements; here they give name and serial.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

import orjson

from devpi_server import names
from devpi_server.errors import Corrupt, InvalidName, Unsupported
from devpi_server.names import NormalizedName
from devpi_server.simple import fields, listing, sniff

# Warehouse's meta comes first; where it comes later, it goes without saying.
_META = re.compile(rb'"meta"\s*:\s*(\{[^{}]*\})')
_ENOUGH = 100  # projects without a serial, and none with one, make a list without serials


class Serials:
    """The serials of one root page; to be iterated once.

    ``overall`` is what the page says of itself, once the iteration has begun;
    else None.
    """

    def __init__(self, chunks: Iterable[bytes], content_type: str) -> None:
        self._chunks = chunks
        self._content_type = content_type
        self.overall: int | None = None

    def __iter__(self) -> Iterator[tuple[NormalizedName, int]]:
        """Each project with its serial, in upstream's order.

        Only the end of the iteration says that the document was whole.

        :raises Unsupported: the list has no serials.
        :raises Corrupt: no list of projects, or not all of it.
        """
        blocks = listing.blocks(self._chunks)
        block = next(blocks, b"")
        if sniff.kind(block, self._content_type) is not sniff.Kind.JSON:
            raise Unsupported("upstream's list of projects is HTML, without serials")
        meta = _META.search(block)
        if meta is not None:
            self.overall = fields.whole(_loaded(meta[1]).get("_last-serial"))
        scanner = _Scanner()
        rest = b""
        while block:
            buffer = rest + block
            rest = buffer[scanner.scan(buffer, []) :]
            yield from scanner.take()
            if len(rest) > listing.MAX_TOKEN:
                raise Corrupt("upstream's list of projects has an endless element")
            block = next(blocks, b"")
        scanner.finish(rest)
        if scanner.without and not scanner.any:
            raise Unsupported("upstream's list of projects has no serials")


class _Scanner(listing.JsonScanner):
    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[NormalizedName, int]] = []
        self.any = False
        self.without = 0

    def element(self, text: bytes, found: list[str]) -> None:
        data = _loaded(text)
        name, serial = data.get("name"), fields.whole(data.get("_last-serial"))
        if not isinstance(name, str):
            return
        if serial is None:
            self.without += 1
            if self.without >= _ENOUGH and not self.any:
                raise Unsupported("upstream's list of projects has no serials")
            return
        self.any = True
        with suppress(InvalidName):
            self._pairs.append((names.project(name), serial))

    def take(self) -> list[tuple[NormalizedName, int]]:
        """The pairs that were found since the last call."""
        pairs, self._pairs = self._pairs, []
        return pairs


def _loaded(text: bytes) -> dict[str, object]:
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Corrupt("upstream's list of projects is not valid JSON") from None
    return data if isinstance(data, dict) else {}
