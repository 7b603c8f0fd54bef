"""The object graph of ``pypi-server``: folders with their addresses, perhaps the cache behind.

Beside ``wiring`` because a folder needs neither a database nor users: only
``--fallback proxy`` has the usual server behind it, as the mirror of the index
that clients are sent to otherwise.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from devpi_server import settings as server_settings
from devpi_server import wiring
from devpi_server.concurrency import Blocking, Clock, Supervisor, Worker
from devpi_server.errors import ConfigError, StoreError
from devpi_server.observe import UNOBSERVED
from devpi_server.pypiserver_options import EVERYBODY, PROXY
from devpi_server.pypiserver_settings import RunSettings, UpdateSettings
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.gate import Gate, Verify, nobody
from devpi_server.services.htpasswd import Htpasswd
from devpi_server.services.keptdocs import KeptDocs
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.services.pages import Pages
from devpi_server.services.updates import Held, Updates, newest
from devpi_server.settings import Settings
from devpi_server.sources.directory import Directory
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.upstream.client import RequestsClient
from devpi_server.web.app import Application
from devpi_server.web.pypiserver import surface
from devpi_server.web.pypiserver.proxy import proxied
from devpi_server.web.pypiserver.requestlog import Formats
from devpi_server.web.pypiserver.surface import Look
from devpi_server.web.pypiserver.uploads import FolderForms
from devpi_server.workers.digests import Digests
from devpi_server.workers.watch import Events, Watch, has_events

log = logging.getLogger(__name__)

_AUTO = "auto"
_BUILT_IN = "waitress"
_TIMEOUT = 10.0  # seconds: nobody waits for it but the person who has asked


@dataclass(frozen=True)
class FolderServices:
    """Everything, wired."""

    run: RunSettings
    settings: Settings  # what serving it needs to know
    app: Application
    incoming: Incoming
    workers: Sequence[Worker]
    closers: Sequence[Callable[[], None]]
    behind: wiring.Services | None  # the cache
    supervisor: Supervisor = field(default_factory=Supervisor)

    def start(self) -> None:
        """Begin the background work of this process."""
        if self.behind is not None:
            self.behind.start()
        for worker in self.workers:
            self.supervisor.start(worker)

    def close(self) -> None:
        """Let go of files and locks, for a process that goes on without the server."""
        self.supervisor.stop()
        for close in self.closers:
            close()
        if self.behind is not None:
            self.behind.close()

    def rebuild(self) -> FolderServices:
        """The same once more, for a process of its own."""
        return build(self.run)


def build(run: RunSettings, *, clock: Clock = time.time) -> FolderServices:
    """Wire a server of folders.

    :raises ConfigError: the data directory cannot be used, or a setting is no good.
    """
    settings = _settings(run)
    try:
        incoming = Incoming(settings.datadir / "incoming")
        incoming.sweep()
        locks = Locks(settings.datadir / "locks" / "folders")
        facts = FolderFacts(settings.datadir / "folders", incoming)
    except StoreError as error:
        raise ConfigError([f"cannot use the data directory: {error.message}"]) from error
    folders = Folders(run.roots, clock=clock)
    directory = Directory(folders, facts)
    folder = PackageFolder(directory, Pages(), run.algorithm)
    gate = Gate(run.authenticate, _verify(run))
    uploads = FolderUploads(directory, locks, overwrites=run.overwrite)
    if os.access(run.roots[0], os.W_OK):
        uploads.sweep()
    docs = KeptDocs(settings.datadir / "docs", incoming)
    app = surface.application(
        folder,
        gate,
        FolderForms(folder, uploads, docs, LocalBlobs(settings.datadir / "files", incoming)),
        _look(run),
        Blocking(max(1, settings.threads * 3 // 4)),
    )
    behind = None
    if run.fallback == PROXY:
        behind = wiring.build(settings, clock=clock, observer=UNOBSERVED)
        app = proxied(app, behind.app, folder, gate, run.base_url)
    name = blake2b(repr((run.roots, run.algorithm)).encode(), digest_size=8).hexdigest()
    workers: list[Worker] = [Watch(name, folders)]
    closers = [locks.close]
    if run.algorithm is not None:
        workers.append(
            Digests(
                name=name,
                folders=folders,
                facts=facts,
                locks=locks,
                clock=clock,
                algorithms=[run.algorithm],
            )
        )
    if has_events():
        events = Events(name, folders)
        workers.append(events)
        closers.insert(0, events.close)
    return FolderServices(run, settings, app, incoming, workers, closers, behind)


def outdated(
    settings: UpdateSettings, *, clock: Clock = time.time
) -> tuple[Sequence[Held], Updates]:
    """The newest packages in the folders, and what asks the index about them.

    :raises StoreError: a folder cannot be read.
    """
    folders = Folders(settings.roots, clock=clock)
    held = newest(folders.everything(), settings.ignored)
    client = RequestsClient(timeout=_TIMEOUT, clock=clock, urls=[settings.index])
    return held, Updates(client, settings.index, allow_unstable=settings.allow_unstable)


def _settings(run: RunSettings) -> Settings:
    """What the usual server would be told to serve this, and to mirror the index behind it."""
    words = [
        f"--datadir={_datadir(run)}",
        f"--host={run.host}",
        f"--port={run.port}",
        f"--bottleserver={_BUILT_IN if run.server == _AUTO else run.server}",
        # Where there is no fallback, nobody is asked: any address will do.
        f"--mirror-url={run.fallback_url or 'http://127.0.0.1:9/'}",
    ]
    return server_settings.read(words)


def _datadir(run: RunSettings) -> Path:
    """The data directory; one for this run only, if nobody names one and ours cannot be."""
    if not run.datadir_is_given:
        try:
            run.datadir.mkdir(parents=True, exist_ok=True)
            usable = os.access(run.datadir, os.W_OK | os.X_OK)
        except OSError:
            usable = False
        if not usable:
            made = Path(tempfile.mkdtemp(prefix="pypi-server-"))
            log.warning(
                "%s cannot be written to: what is learned of the files is forgotten at the end, "
                "give --datadir",
                run.datadir,
            )
            return made
    return run.datadir


def _verify(run: RunSettings) -> Verify:
    if run.auther is not None:
        return run.auther
    if run.passwords is None or run.passwords == EVERYBODY:
        return nobody
    return Htpasswd(run.passwords).verify


def _look(run: RunSettings) -> Look:
    return Look(
        welcome=run.welcome,
        fallback_url=run.fallback_url if run.fallback != PROXY else "",
        health_endpoint=run.health_endpoint,
        cache_control=run.cache_control,
        base_url=run.base_url,
        formats=Formats(run.log_request, run.log_response, run.log_error),
        has_cache=run.fallback == PROXY,
    )
