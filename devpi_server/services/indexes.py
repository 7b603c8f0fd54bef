"""The indexes that there are, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devpi_server.errors import NoSuchIndex
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror


@dataclass(frozen=True, slots=True)
class Index:
    """One index."""

    name: str  # user/index
    source: Source  # what its pages show: everything, seen through its policies
    mirror: Mirror  # where its files come from
    lists_held: bool = False  # its list of projects has those that are held only
    sends_elsewhere: bool = False  # clients fetch files that are not held from upstream


class Indexes:
    """The indexes of this server."""

    def __init__(self, indexes: Mapping[str, Index]) -> None:
        self._indexes = dict(indexes)

    def find(self, name: str) -> Index:
        """The index of this name (``user/index``).

        :raises NoSuchIndex: there is none.
        """
        try:
            return self._indexes[name]
        except KeyError:
            raise NoSuchIndex("there is no such index") from None
