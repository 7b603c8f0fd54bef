"""The names of an index's projects: its own, and with those of its bases.

The list of an index that builds on a mirror has all that the mirror's upstream
has, as in devpi: 900,000 names of PyPI.  So it is made once and kept on disk,
until a project comes or goes in one of its members, or upstream's list is another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devpi_server import names
from devpi_server.concurrency import Crew, SingleFlight
from devpi_server.errors import NoSuchProject
from devpi_server.records import Origin
from devpi_server.services.indexes import Index, Indexes
from devpi_server.store.incoming import Incoming
from devpi_server.store.readylists import Ready, ReadyLists

TITLE = "list of all projects"
_MADE_WITHIN = 60.0  # seconds
_KEPT = 20  # lists beside the one that is made, of 40 MB each with all of PyPI


def own(index: Index) -> Iterator[str]:
    """The projects of the index itself, without its bases, normalised.

    Of a mirror, those that upstream has, if its list is held; else the ones that are
    held: nobody waits for upstream here.

    :raises StoreError: the disk is sick.
    """
    if index.mirrored is None:
        return index.own_source.listing().names()
    mirror = index.mirrored.mirror
    listed = None if index.mirrored.lists_held else mirror.root.names_held()
    return mirror.listing().names() if listed is None else map(_normal, listed)


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that is ready to be sent."""

    lists: ReadyLists
    ready: Ready
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Part:
    """What one member adds to a list."""

    stamp: Hashable
    names: Callable[[], Iterator[str]]
    size: int = 0  # about
    origin: Origin = Origin.HIT
    listed: Listed | None = None  # it is a list by itself


class Listings:
    """The lists of all indexes.

    :param folder: where those of indexes with bases are kept.
    """

    def __init__(self, indexes: Indexes, folder: Path, incoming: Incoming) -> None:
        self._indexes = indexes
        self._lists = ReadyLists(folder, incoming, TITLE)
        self._flights: SingleFlight[Ready] = SingleFlight(Crew("list", 1))

    def find(self, index: Index, shown: Collection[str] | None) -> Listed | None:
        """The list of the index with its bases; None: it is short, and the pages can make it.

        :param shown: the members that who asks may see; None: all.
        :raises UpstreamError: a mirror cannot tell, and has no list from before.
        """
        members = [name for name in index.readers if shown is None or name in shown]
        parts = [self._part(self._indexes.find(name)) for name in members]
        if not any(part.listed for part in parts):
            return None
        if len(parts) == 1:
            return parts[0].listed
        kind = f"{_digest((index.name, tuple(members)))}-"
        folder = f"{kind}{_digest(tuple(part.stamp for part in parts))}"
        ready = None if self._flights.was_awaited(folder) else self._lists.find(folder)
        origin = Origin.HIT if ready is not None else Origin.MISS
        if any(part.origin is Origin.STALE for part in parts):
            origin = Origin.STALE
        if ready is None:
            ready = self._flights.do(folder, lambda: self._make(kind, folder, parts), _MADE_WITHIN)
        return Listed(self._lists, ready, origin)

    def _part(self, index: Index) -> _Part:
        mirrored = index.mirrored
        if mirrored is None or mirrored.lists_held:
            listing = index.own_source.listing()
            return _Part((index.name, listing.stamp), listing.names)
        root = mirrored.mirror.root
        try:
            ready, origin = root.find()
        except NoSuchProject:  # upstream has no such list
            listing = index.source.listing()
            return _Part((index.name, listing.stamp), listing.names)
        listed = Listed(root.lists, ready, origin)
        stamp = (index.name, ready.folder)
        return _Part(stamp, lambda: root.lists.names(ready), ready.sizes["json"], origin, listed)

    def _make(self, kind: str, folder: str, parts: Sequence[_Part]) -> Ready:
        """Runs as a flight."""
        ready = self._lists.find(folder) or self._lists.write(folder, _merged(parts))
        self._lists.keep_only(ready, kind=kind, others=_KEPT)
        return ready


def _merged(parts: Sequence[_Part]) -> Iterator[str]:
    """The names of all, each once; in memory are all but the longest part's."""
    seen: set[str] = set()
    *short, longest = sorted(parts, key=lambda part: part.size)
    for part in short:
        for name in part.names():
            if (normal := _normal(name)) not in seen:
                seen.add(normal)
                yield name
    for name in longest.names():
        if _normal(name) not in seen:
            yield name


def _normal(name: str) -> str:
    return name if names.is_normalized(name) else names.project(name)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]
