"""Folders of packages as an index."""

from __future__ import annotations

from collections.abc import Callable

from devpi_server.concurrency import Clock, Worker
from devpi_server.errors import ConfigError
from devpi_server.services import founding
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.index_options import DIRECTORY
from devpi_server.settings import Settings
from devpi_server.sources.directory import Directory
from devpi_server.sources.union import EVERYTHING
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.meta import IndexRow
from devpi_server.wiring.stored import Store
from devpi_server.workers.digests import Digests
from devpi_server.workers.watch import Events, Watch, has_events

_PACKAGES = "root/packages"


class Packages:
    """The folders of packages, as one index."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        whitelist = [EVERYTHING] if settings.merge_upstream else []
        bases = {"bases": [founding.PYPI], "mirror_whitelist": whitelist}
        user, _, name = _PACKAGES.partition("/")
        self.name = _PACKAGES
        uploaders = {"acl_upload": settings.packages_uploaders}
        self.row = IndexRow(user, name, DIRECTORY, {"volatile": False, **bases, **uploaders})
        with store.meta.reading() as tables:
            if tables.indexes.get(self.name) is not None:
                raise ConfigError([f"--packages: there is an index {self.name} already"])
        folders = Folders(settings.packages or (), clock=clock)
        facts = FolderFacts(settings.datadir / "folders", store.incoming)
        self.directory = Directory(folders, facts)
        self.uploads = FolderUploads(self.directory, store.locks)
        self.snapshots = FolderUploads(self.directory, store.locks, overwrites=True)
        digests = Digests(
            name=self.name, folders=folders, facts=facts, locks=store.locks, clock=clock
        )
        self.workers: list[Worker] = [Watch(self.name, folders), digests]
        self.close: Callable[[], None] = lambda: None
        if has_events():
            events = Events(self.name, folders)
            self.workers.append(events)
            self.close = events.close
