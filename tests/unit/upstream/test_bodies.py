"""Bodies are decoded within bounds."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from devpi_server.errors import Corrupt
from devpi_server.upstream.bodies import Body

MANY = 400


@dataclass
class _Endless:
    """A whole gzip member, and megabytes behind it."""

    url: str = "https://index.test/simple/demo/"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Encoding": "gzip"})
    read: int = 0

    @property
    def raw(self) -> Any:
        return self

    def read1(self, size: int, *, decode_content: bool) -> bytes:
        self.read += 1
        if self.read == 1:
            return gzip.compress(b"{}")
        return bytes(size) if self.read < MANY else b""


def test_what_comes_behind_a_gzip_body_is_not_gathered() -> None:
    """The limit counts decoded bytes, and these are never decoded."""
    response = _Endless()
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="behind it"):
            list(_decoded(response))
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert response.read < MANY


def _decoded(response: _Endless) -> Iterator[bytes]:
    return Body(response).decoded(1024)
