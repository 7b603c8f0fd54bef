"""Tar archives, read as a stream: is what is in them safe to unpack?

Why not ``tarfile``: it reads whatever a header announces into memory, takes
quadratic time over some, keeps all members, and takes a damaged header for the
end of the archive.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from devpi_server.errors import InvalidArtefact
from devpi_server.store.archives import check_count, safe_path, shown

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_LARGEST_HEADER = 64 * 1024  # bytes, of an extended one; it is held in memory
_LARGEST_HEADERS = 128 * 2**20  # all of them; their records take time

_FILES = {b"0", b"\0", b"7"}
_HARD_LINK, _LINK, _FOLDER = b"1", b"2", b"5"
_MEMBERS = {*_FILES, _HARD_LINK, _LINK, _FOLDER}
_NAME_FOLLOWS = {b"L": "path", b"K": "linkpath"}  # GNU
_EXTENDED, _GLOBAL = {b"x", b"X"}, b"g"  # POSIX, and Solaris before it

_OCTAL = re.compile(rb" *([0-7]*) *\Z")
_SIGNED = re.compile(rb" *-?[0-7]* *\Z")
# Mode, owner, group, time, and the numbers of a device: of no use here.
_NUMBERS = ((100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345))
_RECORD = re.compile(rb"([1-9][0-9]{0,4}) ([^=]+)=")
_ANNOUNCED = {b"path", b"linkpath", b"size"}
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class _Header:
    """One block that announces a member, or a longer name for the next."""

    name: str
    kind: bytes
    size: int
    target: str


def contents(
    pieces: Iterator[bytes], wanted: Callable[[str], bool], largest: int
) -> Mapping[str, bytes]:
    """Look through an archive.

    :param pieces: its bytes.
    :param wanted: whether the content of the file with this path is.
    :param largest: how many bytes all that is wanted may have together.
    :return: what was wanted, by path.
    :raises InvalidArtefact: it is damaged, or not safe to unpack.
    """
    stream = _Stream(pieces)
    files: set[str] = set()
    links: set[str] = set()
    found: dict[str, bytes] = {}
    count = 0
    for count, header in enumerate(_members(stream), start=1):
        check_count(count)
        path = _path(header, files, links)
        if header.kind != _FOLDER:
            (links if header.kind == _LINK else files).add(path)
        if header.kind not in _FILES or not wanted(path):
            continue
        largest -= header.size
        if largest < 0:
            raise InvalidArtefact(f"has too large a {shown(path)}")
        data = stream.take(header.size)
        if found.setdefault(path, data) != data:
            raise InvalidArtefact(f"has two members named {shown(path)}")
    if not count:
        raise InvalidArtefact("is empty")
    return found


class _Stream:
    """Bytes that come in pieces, taken in order."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._at = 0  # in the piece
        self._before = 0  # bytes before the piece

    @property
    def offset(self) -> int:
        """How many bytes were taken."""
        return self._before + self._at

    def _turn(self) -> bool:
        """Turn to the next piece; whether there is one."""
        self._before += len(self._piece)
        self._at = 0
        self._piece = next(self._pieces, b"")
        return bool(self._piece)

    def take(self, size: int, *, or_nothing: bool = False) -> bytes:
        """So many bytes; with ``or_nothing`` also none, at the end.

        :raises InvalidArtefact: there are fewer.
        """
        taken = []
        while size:
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            taken.append(part)
            if size and not self._turn():
                if or_nothing and not any(taken):
                    break
                raise InvalidArtefact("is not a tar file, or cut off")
        return b"".join(taken)

    def go_to(self, offset: int) -> None:
        """Leave out what comes before.

        :raises InvalidArtefact: it ends before.
        """
        while offset > self._before + len(self._piece):
            if not self._turn():
                raise InvalidArtefact("is not a tar file, or cut off")
        self._at = offset - self._before

    def is_zeros(self) -> bool:
        """Whether nothing but zeros is left."""
        rest = self._piece[self._at :]
        while not rest.strip(b"\0"):
            if not self._turn():
                return True
            rest = self._piece
        return False


def _members(stream: _Stream) -> Iterator[_Header]:
    """The members; when one is yielded, its content comes next in the stream."""
    announced: dict[str, str] = {}
    left = _LARGEST_HEADERS
    while (block := stream.take(_BLOCK, or_nothing=True)) not in (b"", _ZEROS):
        header = _header(block)
        if header.kind in _MEMBERS:
            header = _completed(header, announced)
            announced = {}
            end = stream.offset + header.size
            yield header
            stream.go_to(end + -end % _BLOCK)
            continue
        left -= header.size
        if header.size > _LARGEST_HEADER or left < 0:
            raise InvalidArtefact("has too large headers")
        data = stream.take(header.size)
        stream.take(-header.size % _BLOCK)
        for key, value in _announcements(header, data):
            if key in announced or header.kind == _GLOBAL:
                raise InvalidArtefact(f"has a member with two names, {shown(value)}")
            announced[key] = value
    if announced or not stream.is_zeros():
        raise InvalidArtefact("has data behind its end")


def _header(block: bytes) -> _Header:
    kind = block[156:157]
    name = _text(block[:100])
    prefix = _text(block[345:500])
    if not _is_sound(block):
        raise InvalidArtefact("is not a tar file, or damaged")
    if prefix and kind in _MEMBERS:
        if block[257:263] != b"ustar\0":
            raise InvalidArtefact(f"has a header that is not read alike, {shown(name)}")
        name = f"{prefix}/{name}"
    return _Header(name, kind, _number(block[124:136]), _text(block[157:257]))


def _is_sound(block: bytes) -> bool:
    """Whether the checksum is right, and numbers are numbers: others end the archive here."""
    checksum = _number(block[148:156])
    summed = block[:148] + b" " * 8 + block[156:]
    if checksum != sum(summed) and checksum != sum(struct.unpack(f"{_BLOCK}b", summed)):
        return False  # some wrote it with signed bytes
    return all(_is_number(block[start:end]) for start, end in _NUMBERS)


def _is_number(field: bytes) -> bool:
    return field[0] in (0x80, 0xFF) or _SIGNED.match(field.partition(b"\0")[0]) is not None


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="surrogateescape")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU, for large ones
        return int.from_bytes(field[1:], "big")
    octal = _OCTAL.match(field.partition(b"\0")[0])
    if octal is None:
        raise InvalidArtefact("is not a tar file, or damaged")
    return int(octal[1] or b"0", 8)


def _announcements(header: _Header, data: bytes) -> Iterator[tuple[str, str]]:
    """What an extended header says of the next member, where it matters."""
    if header.kind in _NAME_FOLLOWS:
        yield _NAME_FOLLOWS[header.kind], _text(data)
    elif header.kind in _EXTENDED or header.kind == _GLOBAL:
        for key, value in _records(data):
            if key.startswith(b"GNU.sparse."):
                raise InvalidArtefact(f"has a sparse member, {shown(header.name)}")
            if key in _ANNOUNCED:
                yield key.decode(), value.decode(errors="surrogateescape")
    else:
        raise InvalidArtefact(f"has a member that is no file, {shown(header.name)}")


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """POSIX: ``length key=value``, a line each."""
    at = 0
    while at < len(data):
        record = _RECORD.match(data, at)
        end = at + int(record[1]) if record else 0
        if record is None or end <= record.end() or data[end - 1 : end] != b"\n":
            raise InvalidArtefact("has a damaged header")
        yield record[2], data[record.end() : end - 1]
        at = end


def _completed(header: _Header, announced: Mapping[str, str]) -> _Header:
    """The header with what was announced before it."""
    size = announced.get("size", str(header.size))
    if not (size.isascii() and size.isdigit() and len(size) < 20):
        raise InvalidArtefact("has a damaged header")
    header = replace(
        header,
        name=announced.get("path", header.name),
        target=announced.get("linkpath", header.target),
        size=int(size),
    )
    if header.kind in _FILES and header.name.endswith("/"):  # what folders were, once
        header = replace(header, kind=_FOLDER)
    if header.size and header.kind not in _FILES:
        raise InvalidArtefact(f"has content in what is no file, {shown(header.name)}")
    return header


def _path(header: _Header, files: set[str], links: set[str]) -> str:
    """Where the member goes, safely after those that came before.

    Why nothing may lie below a link, wherever that leads: what ``..`` means
    there depends on what was unpacked before.
    """
    path = safe_path(header.name)
    if not path and header.kind != _FOLDER:
        raise InvalidArtefact("has a member without a name")
    if header.kind == _LINK and _leads_outside(path, header.target):
        raise InvalidArtefact(f"has a link that leads outside, {shown(path)}")
    if links and (_is_below(path, links) or (path in links and header.kind != _LINK)):
        raise InvalidArtefact(f"has a member behind a link, {shown(path)}")
    if header.kind == _HARD_LINK:
        target = safe_path(header.target)
        if target == path or target not in files:
            raise InvalidArtefact(f"has a link to a file that is not there, {shown(path)}")
    return path


def _leads_outside(path: str, target: str) -> bool:
    """Whether a link does; as far as one can tell without following others."""
    parts = [part for part in target.replace("\\", "/").split("/") if part not in ("", ".")]
    up = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    return (
        target.startswith(("/", "\\"))
        or _DRIVE.match(target) is not None
        or up > path.count("/")
        or ".." in parts[up:]
    )


def _is_below(path: str, links: set[str]) -> bool:
    at = path.find("/")
    while at > 0:
        if path[:at] in links:
            return True
        at = path.find("/", at + 1)
    return False
