"""Where the values of a JSON text are, without making objects of all of them.

Why: the index of a large dump is some hundred megabytes of text, and several
times that as objects.  A ``Cursor`` walks over the text once and says where
each value begins and ends; what is wanted is then decoded one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import TypeAlias

import orjson

from devpi_server.errors import BadDump

Span: TypeAlias = tuple[int, int]

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]+")
# A quote that begins no string counts, too: the text ends within it.
_STEP = re.compile(_STRING.pattern + rb'|[\[\]{}"]', re.DOTALL)
_BEGINS, _ENDS = b"{[", b"}]"
_LONGEST_SENTENCE = 1000
_LARGEST = 64 << 20  # bytes of a value that is decoded


class Cursor:
    """A place in a JSON text.

    ``members`` and ``elements`` stop at each value.  Whoever iterates takes it with
    ``skip``, ``members`` or ``elements``, else it is passed over.  What is passed over is
    not checked; what is decoded is.  All methods raise ``BadDump`` where there is no JSON.
    """

    def __init__(self, text: bytes | mmap, at: int = 0) -> None:
        self._text = text
        self._at = at

    def members(self) -> Iterator[str]:
        """The names of an object's members, in their order; one may come twice."""
        for _ in self._items(b"{", b"}"):
            name = decode(self._text, self._string())
            self._take(b":", "JSON")
            before = self._space()
            yield str(name)
            if self._at == before:
                self.skip()

    def elements(self) -> Iterator[None]:
        """Stops at each element of an array."""
        for _ in self._items(b"[", b"]"):
            before = self._at
            yield
            if self._at == before:
                self.skip()

    def skip(self) -> Span:
        """Go behind the value, and say where it was."""
        start = self._space()
        first = self._text[start : start + 1]
        if first == b'"':
            return self._string()
        if first in (b"{", b"["):
            self._at = self._end_of_nested(start)
        else:
            match = _SCALAR.match(self._text, start)
            if match is None:
                raise self._lost()
            self._at = match.end()
        return start, self._at

    def end(self) -> None:
        """Nothing may follow."""
        if self._space() != len(self._text):
            raise self._lost()

    def is_object(self) -> bool:
        """Whether the value here is an object."""
        start = self._space()
        return self._text[start : start + 1] == b"{"

    def _items(self, begin: bytes, end: bytes) -> Iterator[None]:
        """Stops before each item between the brackets."""
        self._take(begin, "object" if begin == b"{" else "array")
        if self._take(end):
            return
        while True:
            self._space()
            yield
            if self._take(end):
                return
            self._take(b",", "JSON")

    def _end_of_nested(self, start: int) -> int:
        depth = 0
        for step in _STEP.finditer(self._text, start):
            if step.end() - step.start() > 1:
                continue  # a string
            found = self._text[step.start()]
            if found in _BEGINS:
                depth += 1
            elif found in _ENDS:
                depth -= 1
                if depth == 0:
                    return step.end()
            else:
                break
        raise self._lost()

    def _string(self) -> Span:
        match = _STRING.match(self._text, self._space())
        if match is None:
            raise self._lost()
        self._at = match.end()
        return match.span()

    def _take(self, char: bytes, what: str | None = None) -> bool:
        """Go behind the character, if it is here; unless it may be missing, it must be."""
        start = self._space()
        there = self._text[start : start + 1] == char
        if there:
            self._at = start + 1
        elif what is not None:
            raise self._lost(what)
        return there

    def _space(self) -> int:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _lost(self, what: str = "JSON") -> BadDump:
        return _lost(self._at, what)


def decode(text: bytes | mmap, span: Span) -> object:
    """The value there.

    :raises BadDump: it is not JSON, or too large.
    """
    start, end = span
    if end - start > _LARGEST:
        raise BadDump(f"the value at byte {start} is larger than {_LARGEST >> 20} MiB")
    try:
        return orjson.loads(text[start:end])
    except orjson.JSONDecodeError as error:
        raise _lost(start) from error


@contextmanager
def place(name: str) -> Iterator[None]:
    """What is wrong within is told with its place."""
    try:
        yield
    except BadDump as error:
        raise BadDump(plain(f"{name}: {error.message}")) from error


def plain(sentence: str) -> str:
    """The sentence as one line, though there may be anything in it from a dump."""
    if len(sentence) > _LONGEST_SENTENCE:
        sentence = f"{sentence[:_LONGEST_SENTENCE]}…"
    return sentence if sentence.isprintable() else repr(sentence)[1:-1]


def _lost(at: int, what: str = "JSON") -> BadDump:
    return BadDump(f"at byte {at} there is no {what}")
