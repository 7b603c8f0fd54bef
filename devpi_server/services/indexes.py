"""The indexes that there are, as one graph that changes while the server runs.

The database says which indexes there are; the configuration declares mirrors
beside it.  The graph is made anew when any process has changed a user or an
index; which of them are asked for is found out as they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from devpi_server.errors import NoSuchIndex
from devpi_server.services.index_options import MIRROR, IndexOptions, options_of
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror
from devpi_server.sources.stage import Stage
from devpi_server.sources.union import Member, Union
from devpi_server.store.blobs import BlobStore
from devpi_server.store.meta import IndexRow, MetaStore

MayRead = Callable[[IndexOptions], bool]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A mirror, and how it is used."""

    source: Source  # what its pages show: everything, seen through its policies
    mirror: Mirror  # where its files come from
    lists_held: bool = False  # its list of projects has those that are held only
    sends_elsewhere: bool = False  # clients fetch files that are not held from upstream


class Mirrors(Protocol):
    """Makes mirrors of rows, and lets go of those that are no more."""

    def find(self, row: IndexRow) -> Mirrored:
        """The mirror of this row: the same one as long as its options are the same."""

    def keep_only(self, rows: Sequence[IndexRow]) -> None:
        """Have all of these run, and stop what runs for others."""


@dataclass(frozen=True, slots=True)
class Index:
    """One index, with what it is made of."""

    name: str  # user/index
    row: IndexRow
    options: IndexOptions
    source: Source  # its pages, for who may read all of its members
    stage: Stage | None  # what was uploaded to it; one of these two is there
    mirrored: Mirrored | None
    members: tuple[Member, ...]  # in the order of resolution; itself is the first
    readers: Mapping[str, IndexOptions]  # member → whose acl_read counts

    @property
    def is_public(self) -> bool:
        """Whether anybody may read all of it."""
        return all(options.is_public for options in self.readers.values())

    def seen(self, may_read: MayRead) -> tuple[Source, tuple[str, ...] | None]:
        """Its pages for somebody, and the members that are in them; None: all."""
        shown = tuple(name for name, options in self.readers.items() if may_read(options))
        if len(shown) == len(self.members):
            return self.source, None
        members = [replace(each, is_shown=each.name in shown) for each in self.members]
        return Union(members, any_whitelist=self.options.any_whitelist), shown


class Indexes:
    """The indexes of this server.

    :param declared: mirrors that the configuration has; they hide rows of the same name.
    :param adjusted: what the configuration says of a mirror in the database.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        mirrors: Mirrors,
        declared: Sequence[IndexRow] = (),
        adjusted: Callable[[IndexRow], IndexRow] = lambda row: row,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._mirrors = mirrors
        self._declared = {row.full_name: row for row in declared}
        self._adjusted = adjusted
        self._graph = _Graph({}, {}, generation=-1, config=-1)

    def find(self, name: str) -> Index:
        """The index of this name (``user/index``).

        :raises NoSuchIndex: there is none.
        """
        graph = self._current()
        index = graph.made.get(name)
        if index is None:
            row = graph.rows.get(name)
            if row is None:
                raise NoSuchIndex(f"The stage {name} could not be found.")
            # Two threads may make it twice; they are the same.
            index = graph.made[name] = self._make(row, graph)
        return index

    def rows(self) -> list[IndexRow]:
        """All indexes, by name."""
        return [row for _, row in sorted(self._current().rows.items())]

    def is_declared(self, name: str) -> bool:
        """Whether the configuration has it, so that it cannot be changed here."""
        return name in self._declared

    def keep_mirrors(self) -> None:
        """Have the mirrors run that there are now, whichever process made them."""
        self._mirrors.keep_only([row for row in self.rows() if row.type == MIRROR])

    def _current(self) -> _Graph:
        generation = self._meta.generation()
        graph = self._graph
        if graph.generation == generation:
            return graph
        with self._meta.reading() as tables:
            config = tables.config_serial()
            if config == graph.config:
                graph.generation = generation
                return graph
            rows = {row.full_name: self._adjusted(row) for row in tables.indexes.all()}
        graph = self._graph = _Graph(rows | self._declared, {}, generation, config)
        return graph

    def _make(self, row: IndexRow, graph: _Graph) -> Index:
        options = options_of(row)
        if row.type == MIRROR:
            mirrored = self._mirrors.find(row)
            member = Member(row.full_name, mirrored.source, is_mirror=True)
            readers = {row.full_name: options}
            return Index(
                row.full_name, row, options, mirrored.source, None, mirrored, (member,), readers
            )
        stage = Stage(row, self._meta, self._blobs)
        chain = list(_chain(row, graph.rows))
        members = tuple(self._member(each, stage if each is row else None) for each in chain)
        source = Union(members, any_whitelist=options.any_whitelist)
        readers = {each.full_name: options_of(each) for each in chain}
        return Index(row.full_name, row, options, source, stage, None, members, readers)

    def _member(self, row: IndexRow, stage: Stage | None) -> Member:
        if row.type == MIRROR:
            return Member(row.full_name, self._mirrors.find(row).source, is_mirror=True)
        return Member(
            row.full_name,
            stage or Stage(row, self._meta, self._blobs),
            is_mirror=False,
            whitelist=frozenset(options_of(row).mirror_whitelist),
        )


@dataclass(slots=True)
class _Graph:
    """The rows at one moment, and the indexes that were made of them."""

    rows: Mapping[str, IndexRow]
    made: dict[str, Index]
    generation: int
    config: int


def _chain(first: IndexRow, rows: Mapping[str, IndexRow]) -> Iterator[IndexRow]:
    """The index with its bases: breadth first, no index twice, mirrors last (devpi.md 1.5)."""
    seen = {first.full_name}
    level = [first]
    mirrors = []
    while level:
        below = []
        for row in level:
            if row.type == MIRROR:
                mirrors.append(row)
                continue
            yield row
            for name in options_of(row).bases:
                if name in rows and name not in seen:
                    seen.add(name)
                    below.append(rows[name])
        level = below
    yield from mirrors
