"""The indexes that there are, as one graph that changes while the server runs.

The database says which indexes there are; the configuration declares mirrors
beside it.  The graph is made anew when any process has changed a user or an
index; which of them are asked for is found out as they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from devpi_server.errors import NoSuchIndex
from devpi_server.names import NormalizedName
from devpi_server.records import NOTHING, View
from devpi_server.services.index_options import DIRECTORY, MIRROR, IndexOptions, options_of
from devpi_server.services.owners.base import Owner
from devpi_server.services.owners.folder import FolderFiles
from devpi_server.services.owners.mirror import MirrorFiles
from devpi_server.services.owners.stage import StageFiles
from devpi_server.sources.base import Source
from devpi_server.sources.directory import Directory
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


@dataclass(frozen=True, slots=True)
class Configured:
    """What the configuration of the server says of a mirror in the database."""

    fixed: Mapping[str, object]  # options that nothing else can set
    defaults: Mapping[str, object]  # options where it has none itself


NOT_CONFIGURED = Configured(NOTHING, NOTHING)
NO_DIRECTORIES: Mapping[str, Directory] = MappingProxyType({})

Own = Stage | Mirrored | Directory


class Mirrors(Protocol):
    """Makes mirrors of rows, and lets go of those that are no more."""

    def configured(self, name: str) -> Configured:
        """What the configuration says of the mirror of this name."""

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
    own: Own  # what it has itself, without its bases
    files: Owner  # the files of just this
    members: tuple[Member, ...]  # in the order of resolution; itself is the first
    readers: Mapping[str, IndexOptions]  # member → whose acl_read counts
    lacks_base: bool = False  # a base of the chain is no more

    @property
    def stage(self) -> Stage | None:
        """What was uploaded to it, if it takes uploads."""
        return self.own if isinstance(self.own, Stage) else None

    @property
    def mirrored(self) -> Mirrored | None:
        """The mirror, if it is one."""
        return self.own if isinstance(self.own, Mirrored) else None

    @property
    def own_source(self) -> Source:
        """Its own pages, without those of its bases."""
        return _source(self.own)

    @property
    def has_bases(self) -> bool:
        """Whether it may have what it does not have itself."""
        return len(self.members) > 1 or self.lacks_base

    @property
    def is_near(self) -> bool:
        """Whether it can be asked for what is held without waiting for another machine."""
        sources = (member.source for member in self.members)
        return all(each.folders.are_near for each in sources if isinstance(each, Directory))

    @property
    def is_public(self) -> bool:
        """Whether anybody may read all of it."""
        return all(options.is_public for options in self.readers.values())

    def seen(self, may_read: MayRead) -> tuple[Source, tuple[str, ...] | None]:
        """Its pages for somebody, and the members that are in them; None: all."""
        shown = tuple(name for name, options in self.readers.items() if may_read(options))
        if len(shown) == len(self.members):
            return self.source, None
        return self._union(shown), shown

    def views(self, project: NormalizedName, may_read: MayRead) -> list[tuple[Member, View]]:
        """The members that have the project, as far as somebody may see them, with their pages.

        :raises NoSuchProject: none has.
        :raises UpstreamError: cannot tell.
        :raises ConfigError: the same, because a base is no more.
        """
        return self._union({name for name in self.readers if may_read(self.readers[name])}).views(
            project
        )

    def _union(self, shown: Collection[str]) -> Union:
        members = [replace(each, is_shown=each.name in shown) for each in self.members]
        return _union(members, self.options, lacks_base=self.lacks_base)


class Indexes:
    """The indexes of this server.

    :param declared: those that the configuration has; they hide rows of the same name.
    :param directories: what the directories among them have.
    """

    def __init__(
        self,
        meta: MetaStore,
        blobs: BlobStore,
        mirrors: Mirrors,
        declared: Sequence[IndexRow] = (),
        directories: Mapping[str, Directory] = NO_DIRECTORIES,
    ) -> None:
        self._meta = meta
        self._blobs = blobs
        self._mirrors = mirrors
        self._declared = {row.full_name: row for row in declared}
        self._directories = directories
        self._graph = _Graph({}, {}, generation=-1, config=-1)

    def find(self, name: str) -> Index:
        """The index of this name (``user/index``).

        :raises NoSuchIndex: there is none.
        :raises ConfigError: it, or one of its bases, is a mirror with options that cannot be.
        """
        graph = self._current()
        index = graph.made.get(name)
        if index is None:
            # Two threads may make it twice; they are the same.
            index = graph.made[name] = self._make(_there(graph, name), graph)
        return index

    def row(self, name: str) -> IndexRow:
        """How the index of this name is configured, also where it cannot be used as it is.

        :raises NoSuchIndex: there is none.
        """
        return _there(self._current(), name)

    def rows(self) -> list[IndexRow]:
        """All indexes, by name."""
        return [row for _, row in sorted(self._current().rows.items())]

    def by_name(self) -> Mapping[str, IndexRow]:
        """Full name → index, of all there are."""
        return self._current().rows

    def is_declared(self, name: str) -> bool:
        """Whether the configuration has it, so that it cannot be changed here."""
        return name in self._declared

    def declared(self) -> Mapping[str, IndexRow]:
        """Full name → index, of those that the configuration has."""
        return self._declared

    def configured(self, name: str) -> Configured:
        """What the configuration says of the mirror of this name in the database."""
        return self._mirrors.configured(name)

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
            rows = {row.full_name: row for row in self.adjusted(tables.indexes.all())}
        graph = self._graph = _Graph(rows, {}, generation, config)
        return graph

    def adjusted(self, rows: Iterable[IndexRow]) -> list[IndexRow]:
        """All indexes, of those in the database: with what the configuration says and has."""
        found = {row.full_name: self._adjusted(row) for row in rows}
        return list((found | self._declared).values())

    def _adjusted(self, row: IndexRow) -> IndexRow:
        if row.type != MIRROR:
            return row
        configured = self._mirrors.configured(row.full_name)
        return replace(row, options={**configured.defaults, **row.options, **configured.fixed})

    def _make(self, row: IndexRow, graph: _Graph) -> Index:
        options = options_of(row)
        own, files = self._own(row)
        chain, lacks_base = _chain(row, graph.rows)
        members = tuple(self._member(each, own if each is row else None) for each in chain)
        source = members[0].source
        if row.type != MIRROR:
            source = _union(members, options, lacks_base=lacks_base)
        readers = {each.full_name: options_of(each) for each in chain}
        return Index(row.full_name, row, options, source, own, files, members, readers, lacks_base)

    def _own(self, row: IndexRow) -> tuple[Own, Owner]:
        """What the index has itself, and its files."""
        if row.type == MIRROR:
            found = self._mirrors.find(row)
            return found, MirrorFiles(found.source, found.mirror, found.sends_elsewhere)
        if row.type == DIRECTORY:
            directory = self._directories[row.full_name]
            return directory, FolderFiles(directory, self._blobs)
        stage = Stage(row, self._meta, self._blobs)
        return stage, StageFiles(stage)

    def _member(self, row: IndexRow, own: Own | None) -> Member:
        return Member(
            row.full_name,
            _source(own or self._own(row)[0]),
            is_mirror=row.type == MIRROR,
            whitelist=frozenset(options_of(row).mirror_whitelist),
            tells=row.type != DIRECTORY,
        )


@dataclass(slots=True)
class _Graph:
    """The rows at one moment, and the indexes that were made of them."""

    rows: Mapping[str, IndexRow]
    made: dict[str, Index]
    generation: int
    config: int


def _there(graph: _Graph, name: str) -> IndexRow:
    row = graph.rows.get(name)
    if row is None:
        raise NoSuchIndex(f"The stage {name} could not be found.")
    return row


def _source(own: Own) -> Source:
    return own.source if isinstance(own, Mirrored) else own


def _union(members: Sequence[Member], options: IndexOptions, *, lacks_base: bool) -> Union:
    return Union(members, any_whitelist=options.any_whitelist, lacks_base=lacks_base)


def _chain(first: IndexRow, rows: Mapping[str, IndexRow]) -> tuple[list[IndexRow], bool]:
    """The index with its bases: breadth first, no index twice, mirrors last (devpi.md 1.5).

    :return: also whether one of them is no more.
    """
    seen = {first.full_name}
    level = [first]
    stages, mirrors = [], []
    while level:
        below = []
        for row in level:
            if row.type == MIRROR:
                mirrors.append(row)
                continue
            stages.append(row)
            for name in options_of(row).bases:
                if name not in seen:
                    seen.add(name)
                    below.append(rows.get(name))
        level = [row for row in below if row is not None]
    return [*stages, *mirrors], not seen <= rows.keys()
