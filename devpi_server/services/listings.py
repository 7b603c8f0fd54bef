"""The names of an index's projects."""

from __future__ import annotations

from collections.abc import Iterator

from devpi_server import names
from devpi_server.services.indexes import Index


def own(index: Index) -> Iterator[str]:
    """The projects of the index itself, without its bases, normalised.

    Of a mirror, those that upstream has, if its list is held; else the ones that are
    held: nobody waits for upstream here.

    :raises StoreError: the disk is sick.
    """
    if index.mirrored is None:
        return index.stage.listing().names() if index.stage is not None else iter(())
    mirror = index.mirrored.mirror
    listed = None if index.mirrored.lists_held else mirror.root.names_held()
    if listed is None:
        return mirror.listing().names()
    return (name if names.is_normalized(name) else names.project(name) for name in listed)
