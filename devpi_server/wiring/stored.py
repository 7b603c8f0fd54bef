"""What lies in the data directory, opened."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from devpi_server.concurrency import Clock
from devpi_server.errors import ConfigError, StoreError
from devpi_server.store.blobs import BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.database import Database
from devpi_server.store.heldfiles import Facts, HeldFiles
from devpi_server.store.heldprojects import HeldProjects
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.store.meta import IndexRow, MetaStore
from devpi_server.store.mirrorfolders import MirrorFolders
from devpi_server.store.published import Published
from devpi_server.upstream.shelf import Shelf

DATABASE = "devpi.sqlite"


@dataclass(frozen=True)
class Store:
    """What lies in the data directory."""

    incoming: Incoming
    locks: Locks
    blobs: BlobStore
    meta: MetaStore
    mirrors: MirrorFolders
    published: Published


def has_data(datadir: Path) -> bool:
    """Whether the directory is, or is about to be, one of this server."""
    return (datadir / DATABASE).exists()


def held_files(store: Store, folder: Path) -> HeldFiles:
    """What a mirror holds.

    :param folder: of the mirror.
    """
    return HeldFiles(folder / "held", store.incoming, store.published)


def held_projects(store: Store, mirror: IndexRow, clock: Clock) -> HeldProjects:
    return HeldProjects(store.mirrors.of(mirror.full_name, mirror.id) / "held", clock)


def open_shelf(store: Store, folder: Path) -> Shelf:
    facts = Facts(folder / "facts", store.published)
    return Shelf(store.blobs, held_files(store, folder), facts)


def open_store(folder: Path, clock: Clock) -> Store:
    try:
        incoming = Incoming(folder / "incoming")
        incoming.sweep()
        # Also where this process publishes nothing: another one may.
        published = Published(folder / "published", folder / "locks" / "changes", incoming)
        store = Store(
            incoming,
            Locks(folder / "locks" / "processes"),
            LocalBlobs(folder / "files", incoming),
            Database(folder / DATABASE, clock, published=published),
            MirrorFolders(folder / "mirror"),
            published,
        )
    except StoreError as error:
        raise ConfigError([f"cannot use the data directory: {error.message}"]) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"cannot write to the data directory {folder}"])
    return store
