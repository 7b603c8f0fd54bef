"""The one way from a file's path to its bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from devpi_server import names
from devpi_server.errors import NoSuchFile
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.owners.base import (
    ClientHas,
    Coming,
    Described,
    Elsewhere,
    Facts,
    Owner,
    Ready,
    Unchanged,
    listed,
)
from devpi_server.sources.base import Source
from devpi_server.store.blobs import Blob

T = TypeVar("T")


def _has_nothing(_sha256: str) -> bool:
    return False


class Downloads:
    """The files of all indexes, as ``Owner`` describes what can be asked.

    An index has the files that it owns, and those of its bases that its page leads to: the
    page is where shadowing, whitelists and permissions are decided.
    """

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def open(
        self,
        index: str,
        path: str,
        client_has: ClientHas = _has_nothing,
        source: Source | None = None,
    ) -> Ready | Coming | Elsewhere | Unchanged:
        """The file at the path of the index: held, on its way, or not for us to fetch.

        :param source: the index as who asks may see it; None: all of it.
        :raises NotFound: there is no such index, or it is known not to have the file.
        :raises UpstreamError: cannot tell.
        :raises StoreError: the disk is sick.
        """
        return self._of_owner(index, path, source, lambda files: files.open(path, client_has))

    def held(self, index: str, path: str) -> Ready | None:
        """The file, if the index owns it and it is held; raises as ``open`` does."""
        return self._indexes.find(index).files.held(path)

    def fetch(self, index: str, path: str, within: float) -> Blob:
        """The file, which the index owns, among the blobs; raises as ``open`` does, and TimedOut.

        :param within: seconds.
        """
        return self._indexes.find(index).files.fetch(path, within)

    def describe(
        self,
        index: str,
        path: str,
        client_has: ClientHas = _has_nothing,
        source: Source | None = None,
    ) -> Ready | Described | Elsewhere | Unchanged:
        """What can be said of the file without fetching it; takes and raises as ``open`` does."""
        return self._of_owner(index, path, source, lambda files: files.describe(path, client_has))

    def facts(self, index: str, path: str, source: Source | None = None) -> Facts:
        """What is known of the file at the path; takes and raises as ``open`` does."""
        return self._of_owner(index, path, source, lambda files: files.facts(path))

    def _of_owner(
        self, name: str, path: str, source: Source | None, ask: Callable[[Owner], T]
    ) -> T:
        """What the owner of the file at this path of the index answers."""
        index = self._indexes.find(name)
        try:
            return ask(index.files)
        except NoSuchFile as missing:
            if not index.has_bases:
                raise
            owner = _base_with(index, path, source, missing)
        return ask(self._indexes.find(owner).files)


def _base_with(index: Index, path: str, source: Source | None, missing: NoSuchFile) -> str:
    """The base whose file the page of the index lists at this path.

    :param missing: what is raised if there is none; it may say that the file was there.
    """
    try:
        _, link = listed(source or index.source, names.split_companion(path)[0])
    except NoSuchFile:
        raise missing from None
    if not link.index:
        raise missing
    return link.index
