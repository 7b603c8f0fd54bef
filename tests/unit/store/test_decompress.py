"""Compressed files as streams."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
from collections.abc import Callable

import pytest

from devpi_server.errors import InvalidArtefact
from devpi_server.store import decompress
from devpi_server.store.archives import CHUNK

MB = 2**20
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
NOISE = random.Random(1).randbytes(3 * CHUNK + 17)


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    return request.param


def unpacked(data: bytes, way: str | None) -> bytes:
    return b"".join(decompress.unpacked(io.BytesIO(data), way))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"x" * CHUNK, b"x" * (CHUNK + 1), b"x" * (5 * CHUNK), NOISE]
)
def test_what_was_packed_is_unpacked(way: str, data: bytes) -> None:
    """Of any size, however well it packs."""
    assert unpacked(WAYS[way](data), way) == data


def test_what_is_not_compressed_stays_as_it_is() -> None:
    """A plain tar archive."""
    assert unpacked(NOISE, None) == NOISE


def test_streams_may_follow_one_another(way: str) -> None:
    """As packers with many threads write them, and with zeros to fill a tape."""
    pack = WAYS[way]
    assert unpacked(pack(b"one") + pack(b"two"), way) == b"onetwo"
    assert unpacked(pack(b"one") + bytes(CHUNK + 512) + pack(b"two") + bytes(512), way) == b"onetwo"


@pytest.mark.parametrize("back", [b"x", b"\0\0x", b"\x1f", b"PK\x05\x06" + bytes(18)])
def test_data_behind_the_end_is_refused(way: str, back: bytes) -> None:
    """P05: something for another reader."""
    with pytest.raises(InvalidArtefact, match="behind its end"):
        unpacked(WAYS[way](b"one") + back, way)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"<html></html>", bytes(512), gzip.compress(b"")[:1]]
)
def test_what_is_something_else_is_refused(way: str, data: bytes) -> None:
    """P05: the name says one thing, the bytes another."""
    with pytest.raises(InvalidArtefact, match=f"not a {way} file"):
        unpacked(data, way)
    other = next(other for other in WAYS if other != way)
    with pytest.raises(InvalidArtefact, match=f"not a {way} file"):
        unpacked(WAYS[other](b"x"), way)


@pytest.mark.parametrize("missing", [1, 2, 5, 9, 13, 100])
def test_what_is_cut_off_is_refused(way: str, missing: int) -> None:
    """At its end or earlier."""
    with pytest.raises(InvalidArtefact, match="cut off"):
        unpacked(WAYS[way](NOISE)[:-missing], way)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_what_is_damaged_is_refused(way: str, part: float) -> None:
    """Checksums are checked."""
    data = bytearray(WAYS[way](NOISE))
    data[int(len(data) * part)] ^= 0xFF
    with pytest.raises(InvalidArtefact):
        unpacked(bytes(data), way)


def test_a_bomb_is_refused_while_it_is_small(way: str) -> None:
    """P01: what unpacks to fifty times its size, and to more than is a trifle."""
    bomb = WAYS[way](bytes(16 * MB)) * 20
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArtefact, match="more than is reasonable"):
            sum(map(len, decompress.unpacked(io.BytesIO(bomb), way)))
        assert tracemalloc.get_traced_memory()[1] < 40 * MB
    finally:
        tracemalloc.stop()


def test_what_packs_well_is_taken_up_to_a_size(way: str) -> None:
    """Zeros are no crime."""
    packed = WAYS[way](bytes(16 * MB)) * 6
    assert sum(map(len, decompress.unpacked(io.BytesIO(packed), way))) == 96 * MB


def test_too_many_streams_are_refused() -> None:
    """P01: each takes time and gives nothing."""
    one = gzip.compress(b"", mtime=0)
    with pytest.raises(InvalidArtefact, match="too many parts"):
        unpacked(one * 100_001, "gzip")


def test_xz_gets_as_much_memory_as_its_tool_asks_for() -> None:
    """P01: and no more."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9}]
    assert unpacked(lzma.compress(b"x", filters=filters), "xz") == b"x"
    filters[0]["dict_size"] = 512 * MB
    with pytest.raises(InvalidArtefact, match="damaged"):
        unpacked(lzma.compress(b"x", filters=filters), "xz")
