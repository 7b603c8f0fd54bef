"""Forms as clients send them, of any size, in constant memory: files go to the store at once.

``multipart/form-data`` is what every tool uploads with.  Some of them end lines with
LF alone: ``setup.py register`` and ``setup.py upload_docs`` always did, ``upload`` until
Python 2.7.8; that is put right on the way to the parser, which takes CRLF only.
``application/x-www-form-urlencoded`` is what people send from a shell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Protocol
from urllib.parse import parse_qsl

from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from devpi_server.errors import InvalidForm, TooLarge
from devpi_server.services.received import Form, ReceivedFile
from devpi_server.store.blobs import BlobStore, IncomingBlob
from devpi_server.web import bodies
from devpi_server.web.hot import Environ

# What an upload consists of.
FILES = frozenset({"content", "gpg_signature"})

_MOST_PARTS = 10_000  # the largest releases have some 1,000 requirements, each a field
_LARGEST_FIELD = 8 * 1024 * 1024  # descriptions and attestations may have several MB
_ALL_FIELDS = 16 * 1024 * 1024  # with their names; these are what is held in memory
_LONGEST_HEADER = 4096  # the longest has the name of a file: 255 bytes on a disk
_MOST_HEADERS = 8  # RFC 7578 knows three
_LONGEST_BOUNDARY = 200  # RFC 2046 allows 70


@contextmanager
def received(
    environ: Environ,
    blobs: BlobStore,
    limit: int | None = None,
    files: Collection[str] = FILES,
) -> Iterator[Form]:
    """The form that a request brings; on leaving, files that were not committed are abandoned.

    :param limit: bytes that the body may have; None: what the server lets through.
    :param files: the files that are kept; any other is read and thrown away.
    :raises BadRequest: there is no form, it is broken, or it ends early.
    :raises TooLarge: it, or a part of it, has more than we take.
    :raises StoreError: a file could not be written.
    """
    body = bodies.blocks(environ, limit)
    kind, options = parse_options_header(environ.get("CONTENT_TYPE") or "")
    with ExitStack() as under_way:
        form = _Receiving(blobs, under_way, files)
        if kind == "multipart/form-data":
            _read_parts(body, options.get("boundary", ""), form)
        elif kind == "application/x-www-form-urlencoded":
            _read_pairs(body, form)
        else:
            raise InvalidForm("this is for forms, send multipart/form-data")
        yield form.whole()


# What becomes of it


class _Part(Protocol):
    def write(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class _Receiving:
    """A form that is still coming in."""

    def __init__(self, blobs: BlobStore, under_way: ExitStack, kept: Collection[str]) -> None:
        self._blobs = blobs
        self._kept = kept
        self._under_way = under_way
        self._fields: dict[str, list[str]] = {}
        self._files: dict[str, ReceivedFile] = {}
        self._room = _ALL_FIELDS

    def part(self, name: str, filename: str | None) -> _Part:
        """Begin a part."""
        if name in self._kept and (filename is not None or name in FILES):
            if not filename:
                raise InvalidForm(f"the form has {name} without a file name")
            if name in self._files:
                raise InvalidForm(f"the form has {name} twice")
            incoming = self._blobs.incoming()
            self._under_way.callback(incoming.abandon)
            return _File(self._files, name, filename, incoming)
        return _Field(self, name) if filename is None else _Ignored()

    def take_room(self, size: int) -> None:
        """Count what goes into memory."""
        self._room -= size
        if self._room < 0:
            raise TooLarge(f"the fields of the form have more than {_ALL_FIELDS} bytes")

    def field(self, name: str, value: str) -> None:
        """Take in a field."""
        if "\0" in name or "\0" in value:
            raise InvalidForm("the form has a NUL character in a field")
        self._fields.setdefault(name, []).append(value)

    def whole(self) -> Form:
        """The form, now that all of it is there."""
        return Form({name: tuple(values) for name, values in self._fields.items()}, self._files)


class _Field:
    def __init__(self, form: _Receiving, name: str) -> None:
        self._form = form
        self._name = name
        self._value = bytearray()
        form.take_room(len(name))

    def write(self, data: bytes) -> None:
        self._form.take_room(len(data))
        if len(self._value) + len(data) > _LARGEST_FIELD:
            raise TooLarge(f"a field of the form has more than {_LARGEST_FIELD} bytes")
        self._value += data

    def end(self) -> None:
        try:
            self._form.field(self._name, self._value.decode())
        except UnicodeDecodeError as error:
            raise InvalidForm(
                f"the form has {self._name} in another encoding than UTF-8"
            ) from error


class _File:
    def __init__(
        self, files: dict[str, ReceivedFile], name: str, filename: str, incoming: IncomingBlob
    ) -> None:
        self._files = files
        self._name = name
        self._filename = filename
        self._incoming = incoming
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._blake2b = hashlib.blake2b(digest_size=32)

    def write(self, data: bytes) -> None:
        self._incoming.write(data)
        self._md5.update(data)
        self._blake2b.update(data)

    def end(self) -> None:
        self._files[self._name] = ReceivedFile(
            filename=self._filename,
            incoming=self._incoming,
            size=self._incoming.size,
            sha256=self._incoming.sha256,
            md5=self._md5.hexdigest(),
            blake2b_256=self._blake2b.hexdigest(),
        )


class _Ignored:
    def write(self, data: bytes) -> None:
        pass

    def end(self) -> None:
        pass


# multipart/form-data


def _read_parts(body: Iterator[bytes], boundary: str, form: _Receiving) -> None:
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise InvalidForm("the form does not say its boundary")
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    try:
        with PushMultipartParser(
            delimiter[2:],
            max_header_size=_LONGEST_HEADER,
            max_header_count=_MOST_HEADERS,
            max_segment_count=_MOST_PARTS,
        ) as parser:
            part: _Part = _Ignored()
            for block in _with_crlf(body, delimiter):
                for found in parser.parse(block):
                    if isinstance(found, MultipartSegment):
                        _check(found)
                        part = form.part(found.name or "", found.filename)
                    elif found is None:
                        part.end()
                    else:
                        part.write(found)
    except ParserLimitReached as error:
        raise TooLarge(f"the form has more than we take: {error}") from error
    except MultipartError as error:
        raise InvalidForm(f"the form is broken: {error}") from error


def _check(segment: MultipartSegment) -> None:
    """The parser sees a line end of the other kind only where a block happens to end behind it."""
    if any(set(value) & {"\r", "\n"} for _, value in segment.headerlist):
        raise InvalidForm("the form is broken: a line of a part's headers ends in two ways")


def _with_crlf(body: Iterator[bytes], delimiter: bytes) -> Iterable[bytes]:
    """The body with line ends of the standard, whichever of the two kinds it has."""
    first = b""
    enough = len(delimiter) + 5  # up to two line ends before it, and the one behind it
    while len(first) < enough and (block := next(body, b"")):
        first += block
    whole = chain([first] if first else [], body)
    if first[:enough].lstrip(b"\r\n").startswith(delimiter + b"\n"):
        return filter(None, _from_lf(whole, b"\n" + delimiter))
    return whole


def _from_lf(body: Iterable[bytes], delimiter: bytes) -> Iterator[bytes]:
    """A body with LF, with CRLF in place of those that are not part of a value."""
    held = b"\n"  # the first delimiter may have no line before it
    in_head = False  # between a delimiter and the empty line that ends a part's headers
    for block in body:
        held += block
        start = 0
        while (end := held.find(b"\n\n" if in_head else delimiter, start)) >= 0:
            if in_head:
                yield held[start : end + 2].replace(b"\n", b"\r\n")
                start = end + 2
            else:
                yield held[start:end] + b"\r" + delimiter
                start = end + len(delimiter)
            in_head = not in_head
        if not in_head:
            known = max(start, len(held) - len(delimiter) + 1)
            yield held[start:known]
            start = known
        held = held[start:]
        if len(held) > _LONGEST_HEADER * (_MOST_HEADERS + 1):
            raise TooLarge("the form has a part with more headers than we take")
    yield held


# application/x-www-form-urlencoded


def _read_pairs(body: Iterator[bytes], form: _Receiving) -> None:
    raw = bytearray()
    for block in body:
        form.take_room(len(block))
        raw += block
    if raw.count(b"&") >= _MOST_PARTS:
        raise TooLarge(f"the form has more than {_MOST_PARTS} fields")
    try:
        pairs = parse_qsl(raw.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise InvalidForm("the form is not UTF-8") from error
    for name, value in pairs:
        form.field(name, value)
