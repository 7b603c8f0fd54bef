"""Archives made by hand, field by field, also such as no tool would write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

LOCAL = struct.Struct("<4s5H3L2H")
CENTRAL = struct.Struct("<4s6H3L5H2L")
END = struct.Struct("<4s4H2LH")
END64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR = struct.Struct("<4sLQL")

Fields = Mapping[str, int]


@dataclass(frozen=True)
class Zipped:
    """A member of a zip archive.

    :param local: fields of its own header that are not what they should be.
    :param central: the same of its record in the directory.
    :param behind: what follows its data.
    """

    name: bytes
    data: bytes = b""
    deflated: bool = False
    flags: int = 0
    extra: bytes = b""
    local_name: bytes | None = None
    local_extra: bytes | None = None
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    packed: bytes | None = None
    behind: bytes = b""

    def numbers(self) -> dict[str, int]:
        """What both headers say."""
        return {
            "flags": self.flags,
            "method": 8 if self.deflated else 0,
            "crc": zlib.crc32(self.data),
            "packed": len(self.content()),
            "size": len(self.data),
        }

    def content(self) -> bytes:
        """The data as it lies in the archive."""
        if self.packed is not None:
            return self.packed
        return deflated(self.data) if self.deflated else self.data

    def descriptor(self, layout: str = "<LLL", signature: bytes = b"PK\x07\x08") -> bytes:
        """What may follow the data."""
        said = self.numbers()
        return signature + struct.pack(layout, said["crc"], said["packed"], said["size"])


def deflated(data: bytes) -> bytes:
    """Bare deflate, as zip archives have it."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


def zipped(
    *members: Zipped,
    front: bytes = b"",
    gap: bytes = b"",
    back: bytes = b"",
    comment: bytes = b"",
    end: Fields | None = None,
    zip64: bool = False,
) -> bytes:
    """A zip archive.

    :param gap: comes before the directory; ``back``: behind its end.
    :param end: fields of the end that are not what they should be.
    """
    made = bytearray(front)
    directory = bytearray()
    for member in members:
        said = {**member.numbers(), "offset": len(made), **member.central}
        central = (20, 20, said["flags"], said["method"], 0, 0x21, said["crc"])
        sizes = (said["packed"], said["size"], len(member.name), len(member.extra))
        rest = (0, said.get("disk", 0), 0, 0, said["offset"])
        directory += CENTRAL.pack(b"PK\x01\x02", *central, *sizes, *rest)
        directory += member.name + member.extra
        name = member.name if member.local_name is None else member.local_name
        extra = member.extra if member.local_extra is None else member.local_extra
        said = {**member.numbers(), **member.local}
        made += LOCAL.pack(
            b"PK\x03\x04", 20, said["flags"], said["method"], 0, 0x21, said["crc"],
            said["packed"], said["size"], len(name), len(extra),
        )  # fmt: skip
        made += name + extra + member.content() + member.behind
    made += gap
    start, count = len(made), len(members)
    made += directory
    said = {"disk": 0, "count": count, "size": len(directory), "start": start, **(end or {})}
    said.setdefault("here", said["count"])
    if zip64:
        at = len(made)
        made += END64.pack(
            b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start
        ) + LOCATOR.pack(b"PK\x06\x07", 0, said.get("end64", at), 1)
    made += END.pack(
        b"PK\x05\x06", said["disk"], 0, said["here"], said["count"], said["size"], said["start"],
        len(comment) if "comment" not in said else said["comment"],
    )  # fmt: skip
    return bytes(made + comment + back)


def tarred(
    name: bytes,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    target: bytes = b"",
    size: bytes | None = None,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    signed: bool = False,
) -> bytes:
    """A member of a tar archive."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = header[108:116] = header[116:124] = b"0000644\0"
    header[124:136] = b"%011o\0" % len(data) if size is None else size
    header[136:148] = b"%011o\0" % 0
    header[148:157] = b" " * 8 + kind
    header[157 : 157 + len(target)] = target
    header[257:265] = magic
    header[345 : 345 + len(prefix)] = prefix
    checksum = sum(struct.unpack("512b", header)) if signed else sum(header)
    header[148:156] = b"%06o\0 " % checksum
    return bytes(header) + data + bytes(-len(data) % 512)


def announced(kind: bytes, **records: bytes) -> bytes:
    """A header of POSIX that says something of the next member."""
    data = b""
    for key, value in records.items():
        text = b" " + key.replace("_", ".").encode() + b"=" + value + b"\n"
        length = len(text) + 1
        while len(str(length)) + len(text) != length:
            length += 1
        data += str(length).encode() + text
    return tarred(b"announced", data, kind=kind)


END_OF_TAR = bytes(1024)
