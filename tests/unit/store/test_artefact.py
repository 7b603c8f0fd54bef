"""Metadata out of wheels: the one that all installers would read, or none."""

from __future__ import annotations

import errno
import io
import os
import struct
import warnings
import zipfile
from collections.abc import Sequence

import pytest
from upstream.artefacts import wheel

from devpi_server.errors import StoreError
from devpi_server.store.artefact import LARGEST_METADATA, wheel_metadata

MB = 1 << 20
NAME = "demo-1.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.2\nName: demo\nVersion: 1.0\n"
GOOD = wheel("demo", "1.0")


def packed(members: Sequence[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def read(data: bytes) -> bytes | None:
    return wheel_metadata(io.BytesIO(data))


def test_a_wheel_has_metadata() -> None:
    """PEP 658: byte for byte what is inside."""
    assert read(GOOD.data) == GOOD.metadata


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wheel_may_be_compressed_or_not(compression: int) -> None:
    """The two methods that every installer speaks."""
    assert read(packed([("demo.py", b""), (NAME, METADATA)], compression)) == METADATA


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_not_read(compression: int) -> None:
    """What some installers cannot read, and what takes memory as it likes, is left alone."""
    assert read(packed([(NAME, METADATA)], compression)) is None


@pytest.mark.parametrize(
    "members",
    [
        [],
        [("demo.py", b"")],
        [(NAME, METADATA), (NAME, b"Name: evil\n")],
        [(NAME, METADATA), (NAME, METADATA)],
        [(NAME, METADATA), ("evil-1.0.dist-info/METADATA", METADATA)],
        [(f"deep/{NAME}", METADATA)],
        [(f"/{NAME}", METADATA)],
        [(f"../{NAME}", METADATA)],
        [("METADATA", METADATA)],
        [(NAME.upper(), METADATA)],
        [(f"{NAME}/", b"")],
    ],
)
def test_a_wheel_that_installers_would_read_differently_has_none(
    members: Sequence[tuple[str, bytes]],
) -> None:
    """P02: no metadata, two of them, or in another place."""
    assert read(packed(members)) is None


def test_metadata_that_is_too_large_is_none() -> None:
    """At the limit it is read, beyond it is not."""
    for size, expected in ((LARGEST_METADATA, True), (LARGEST_METADATA + 1, False)):
        found = read(packed([(NAME, b"x" * size)]))
        assert (found is not None) is expected


def test_a_bomb_that_lies_about_its_size_is_none() -> None:
    """P01: what counts is what comes out, not what the directory says."""
    data = bytearray(packed([(NAME, b"\0" * (64 * MB))]))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.find(signature)
        data[start + at : start + at + 4] = struct.pack("<L", 1000)
    found = read(bytes(data))
    assert found is None or len(found) <= LARGEST_METADATA


def _padding(size: int) -> list[tuple[str, bytes]]:
    """Members whose names fill the directory with so many bytes."""
    return [(f"{number:05}{'x' * 60_000}", b"") for number in range(size // 60_000 + 1)]


def test_a_huge_directory_is_not_read() -> None:
    """P01: zipfile would hold all of it in memory."""
    assert read(packed([(NAME, METADATA), *_padding(MB)])) == METADATA
    assert read(packed([(NAME, METADATA), *_padding(17 * MB)])) is None


def test_a_huge_directory_cannot_hide_behind_zip64() -> None:
    """P02: the record of zip64 counts for zipfile, so it counts here."""
    data = packed([(NAME, METADATA), *_padding(17 * MB)])
    end = data.rindex(b"PK\x05\x06")
    fields = struct.unpack("<4s4H2LH", data[end:])
    count, size, offset = fields[4], fields[5], fields[6]
    zip64 = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset
    ) + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    small = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 50, offset, 0)
    assert read(data[:end] + zip64 + small) is None


def test_a_wheel_with_zip64_records_is_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels beyond 2 GB have them."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    data = packed([("demo.py", b""), (NAME, METADATA)])
    assert b"PK\x06\x06" in data
    assert read(data) == METADATA


def test_a_comment_does_not_hide_the_directory() -> None:
    """An archive may say something at its end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(NAME, METADATA)
        archive.comment = b"c" * 65535
    assert read(buffer.getvalue()) == METADATA


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"PK\x05\x06", b"\0" * 1000, b"<html></html>", GOOD.data[:-1]]
)
def test_what_is_no_zip_file_has_none(data: bytes) -> None:
    """P05: the name of a file says nothing about its bytes."""
    assert read(data) is None


@pytest.mark.parametrize("kept", range(0, len(GOOD.data), 23))
def test_a_truncated_wheel_has_none(kept: int) -> None:
    """A wheel's directory is at its end."""
    assert read(GOOD.data[:kept]) is None


def test_an_encrypted_member_is_not_read() -> None:
    """No installer has a password."""
    data = bytearray(packed([(NAME, METADATA)]))
    data[data.find(b"PK\x03\x04") + 6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1
    assert read(bytes(data)) is None


def test_a_name_that_is_not_what_its_flag_says_is_no_crash() -> None:
    """P02: a name that claims to be UTF-8 and is not."""
    data = bytearray(packed([("x" * 8, b""), (NAME, METADATA)]))
    start = data.find(b"PK\x01\x02")
    data[start + 9] |= 0x08
    data[start + 46] = 0xFF
    assert read(bytes(data)) is None


class _Sick(io.BytesIO):
    """A file on a disk that fails after so many reads."""

    def __init__(self, data: bytes, reads: int) -> None:
        super().__init__(data)
        self.reads = reads

    def read(self, size: int | None = -1) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_disk_that_fails_says_nothing_of_the_wheel() -> None:
    """C07: wherever the disk fails, that is told as what it is, never as "no metadata"."""
    well = _Sick(GOOD.data, 1000)
    assert wheel_metadata(well) == GOOD.metadata
    for reads in range(1000 - well.reads):
        with pytest.raises(StoreError, match="Input/output error"):
            wheel_metadata(_Sick(GOOD.data, reads))
