"""Searching an index: names and summaries, as ``pip search`` asked for them (devpi.md 1.12).

What was uploaded is found by both, what a mirror or a folder holds by its name.  As on pages,
what is in two indexes of the chain is the first one's, and the name of an upload or of
a file in a folder is no mirror's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from devpi_server import names
from devpi_server.errors import BadRequest
from devpi_server.services.indexes import Index, Indexes, MayRead
from devpi_server.sources.stage import Stage
from devpi_server.sources.union import Member
from devpi_server.store.meta import MetaStore, ReleaseLine
from devpi_server.store.remembered import UntilWritten

_MOST = 100  # hits
_MOST_WORDS = 20
_LONGEST_WORD = 200  # characters
_LONGEST_SUMMARY = 500
_SEPARATORS = re.compile(r"[-_.\s]+")
_FIELDS = ("name", "summary")
# How good a hit is, at least.
_SAME, _STARTS, _HAS, _SAYS = 100, 50, 20, 1


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. Of the words of one field, any will do."""

    name: tuple[str, ...]  # in lower case, with "-" between words
    summary: tuple[str, ...]  # in lower case
    needs_both: bool  # else one of the fields will do


@dataclass(frozen=True, slots=True)
class Hit:
    """A project that was found."""

    index: str  # that has it
    name: str
    version: str  # the newest; empty: not known
    summary: str
    score: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A project of a stage, as its newest release tells of it."""

    name: str
    version: str
    summary: str


_Catalogue = Mapping[str, _Entry]  # by normalised name


def query(method: str, arguments: Sequence[object]) -> Query:
    """What a call looks for.

    :raises BadRequest: it is no call of ``search``.
    """
    if method != "search":
        raise BadRequest(f"Unknown method {method[:50]!r}.")
    fields = arguments[0] if arguments else None
    operator = arguments[1] if len(arguments) > 1 else "and"
    if not isinstance(fields, Mapping) or len(arguments) > 2:
        raise BadRequest("search takes what to look for, and an operator")
    if operator not in ("and", "or"):
        raise BadRequest(f"Unknown operator {str(operator)[:50]!r}.")
    if set(fields) - {*_FIELDS}:
        raise BadRequest("Only 'name' and 'summary' allowed in query.")
    name, summary = (tuple(_words(fields.get(field, []))) for field in _FIELDS)
    normal = (_SEPARATORS.sub("-", word) for word in name)
    return Query(tuple(normal), summary, needs_both=operator == "and")


def _words(value: object) -> Iterator[str]:
    found = value if isinstance(value, list) else [value]
    if len(found) > _MOST_WORDS:
        raise BadRequest(f"a query has up to {_MOST_WORDS} words a field")
    for word in found:
        if not isinstance(word, str) or len(word) > _LONGEST_WORD:
            raise BadRequest(f"a word of a query is a text of up to {_LONGEST_WORD} characters")
        if word.strip():
            yield word.strip().lower()


class Search:
    """Finds projects."""

    def __init__(self, meta: MetaStore, indexes: Indexes) -> None:
        self._meta = meta
        self._indexes = indexes
        self._catalogues: UntilWritten[_Catalogue] = UntilWritten(meta)

    def find(self, index: Index, may_read: MayRead, wanted: Query) -> list[Hit]:
        """The best hits, the best one first.

        :param may_read: of the members of the index, only these are searched.
        :raises StoreError: the disk is sick.
        """
        found: dict[str, Hit] = {}
        for normal, hit in self._hits(index, may_read, wanted):
            found.setdefault(normal, hit)
        return sorted(found.values(), key=lambda hit: (-hit.score, hit.name))[:_MOST]

    def _hits(self, index: Index, may_read: MayRead, wanted: Query) -> Iterator[tuple[str, Hit]]:
        private: set[str] = set()
        for member in index.members:
            if member.is_mirror and index.lacks_base:
                continue
            entries = self._entries(member)
            if member.is_mirror:
                entries = {name: entries[name] for name in entries if name not in private}
            else:
                private.update(entries)
            if not may_read(index.readers[member.name]):
                continue
            for normal, entry in entries.items():
                score = _score(normal, entry, wanted)
                if score:
                    yield normal, Hit(member.name, entry.name, entry.version, entry.summary, score)

    def _entries(self, member: Member) -> _Catalogue:
        if isinstance(member.source, Stage):
            return self._catalogue(member.name)
        return {name: _Entry(name, "", "") for name in member.source.listing().names()}

    def _catalogue(self, name: str) -> _Catalogue:
        index_id = self._indexes.row(name).id
        return self._catalogues.get(str(index_id), lambda: self._read(index_id))

    def _read(self, index_id: int) -> _Catalogue:
        with self._meta.reading() as tables:
            lines = tables.releases.lines(index_id)
        of_project = itertools.groupby(lines, key=lambda line: line.project)
        return {project: _newest(list(found)) for project, found in of_project}


def _newest(lines: Sequence[ReleaseLine]) -> _Entry:
    newest = names.newest(line.version for line in lines)
    line = next(line for line in lines if line.version == newest)
    return _Entry(line.name, line.version, line.summary[:_LONGEST_SUMMARY])


def _score(normal: str, entry: _Entry, wanted: Query) -> int:
    """How good a hit it is; 0: none."""
    by_name = max((_of_name(normal, word) for word in wanted.name), default=0)
    text = entry.summary.lower()
    by_summary = _SAYS if any(word in text for word in wanted.summary) else 0
    if wanted.needs_both and wanted.name and wanted.summary and not (by_name and by_summary):
        return 0
    return by_name + by_summary


def _of_name(normal: str, word: str) -> int:
    if normal == word:
        return _SAME
    return _STARTS if normal.startswith(word) else _HAS if word in normal else 0
