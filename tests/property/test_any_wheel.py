"""No bytes are too strange to be looked at."""

from __future__ import annotations

import io
import tempfile

from hypothesis import example, given
from hypothesis import strategies as st
from upstream.artefacts import wheel

from devpi_server.store.artefact import LARGEST_METADATA, wheel_metadata

GOOD = wheel("demo", "1.0").data
END = len(GOOD) - GOOD.rindex(b"PK\x05\x06")
DIRECTORY = len(GOOD) - GOOD.index(b"PK\x01\x02")


def looked_at(data: bytes) -> None:
    with tempfile.TemporaryFile() as file:  # its errors are others than those of a BytesIO
        file.write(data)
        for each in (io.BytesIO(data), file):
            metadata = wheel_metadata(each)
            assert metadata is None or len(metadata) <= LARGEST_METADATA


@given(st.binary())
@example(b"PK\x05\x06" + b"\xff" * 18)
@example(b"PK\x05\x06" + b"\0" * 18)
def test_any_bytes_are_a_wheel_or_none(data: bytes) -> None:
    """Metadata or None, never an error."""
    looked_at(data)
    looked_at(data + GOOD[-END:])
    looked_at(GOOD[:-END] + data)


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6)
)
def test_a_wheel_with_wrong_bytes_is_a_wheel_or_none(changes: list[tuple[int, int]]) -> None:
    """Damage anywhere is no error."""
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    looked_at(bytes(data))


@given(st.lists(st.tuples(st.integers(1, DIRECTORY), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_wheel_with_a_wrong_directory_is_a_wheel_or_none(changes: list[tuple[int, int]]) -> None:
    """Damage where it hurts is no error either."""
    data = bytearray(GOOD)
    for at, value in changes:
        data[-at] = value
    looked_at(bytes(data))
