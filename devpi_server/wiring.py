"""The composition root: settings → object graph. The only place that knows every class."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from devpi_server.concurrency import Blocking, Clock, Crew
from devpi_server.errors import ConfigError, StoreError
from devpi_server.observe import AccessLog, Observer
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.pages import Pages
from devpi_server.settings import Settings
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror
from devpi_server.sources.policy import Guarded, HeldOnly
from devpi_server.store.blobs import BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.heldfiles import Facts, HeldFiles
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.store.pagefiles import PageFiles
from devpi_server.upstream.base import UpstreamClient
from devpi_server.upstream.client import RequestsClient
from devpi_server.upstream.files import FileFetcher
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.roots import RootCache
from devpi_server.web.app import application
from devpi_server.web.hot import WSGIApp

_PYPI = "root/pypi"
_PAGE_FLIGHTS = 32  # threads: pages that are being asked for at the same time


@dataclass(frozen=True)
class Services:
    """Everything, wired."""

    settings: Settings
    indexes: Indexes
    app: WSGIApp

    def rebuild(self) -> Services:
        """The same once more, for a process of its own."""
        return build(self.settings)


@dataclass(frozen=True)
class _Store:
    """What lies in the data directory."""

    folder: Path
    incoming: Incoming
    locks: Locks
    blobs: BlobStore


def build(
    settings: Settings, *, clock: Clock = time.time, observer: Observer | None = None
) -> Services:
    """Wire a server.

    :param observer: is told what happens; None: a log on stderr.

    :raises ConfigError: the data directory cannot be used.
    """
    store = _open_store(settings.datadir)
    client = RequestsClient(
        timeout=settings.request_timeout, clock=clock, credentials_url=settings.mirror_url
    )
    pypi = _mirror(_PYPI, settings, store, client, clock)
    source: Source = pypi
    if settings.offline_mode:
        source = Guarded(source, HeldOnly(pypi.files), clock)
    indexes = Indexes({_PYPI: Index(_PYPI, source, pypi)})
    app = application(
        indexes=indexes,
        pages=Pages(indexes),
        downloads=Downloads(indexes),
        # A quarter of the threads is kept for requests that need no upstream.
        places=Blocking(max(1, settings.threads * 3 // 4)),
        observer=observer or AccessLog(sys.stderr),
        clock=clock,
        outside_url=settings.outside_url,
        trusted_proxy=settings.trusted_proxy,
    )
    return Services(settings, indexes, app)


def _open_store(folder: Path) -> _Store:
    try:
        incoming = Incoming(folder / "incoming")
        incoming.sweep()
        store = _Store(
            folder,
            incoming,
            Locks(folder / "locks" / "processes"),
            LocalBlobs(folder / "files", incoming),
        )
    except StoreError as error:
        raise ConfigError([f"cannot use the data directory: {error.message}"]) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"cannot write to the data directory {folder}"])
    return store


def _mirror(
    name: str, settings: Settings, store: _Store, client: UpstreamClient, clock: Clock
) -> Mirror:
    folder = store.folder / "mirror" / name
    facts = Facts(folder / "facts")
    pages = PageCache(
        client=client,
        base_url=settings.mirror_url,
        files=PageFiles(folder / "pages", store.incoming, clock),
        facts=facts,
        locks=store.locks,
        crew=Crew("page", _PAGE_FLIGHTS),
        clock=clock,
        expiry=settings.mirror_cache_expiry,
        timeout=settings.request_timeout,
        offline=settings.offline_mode,
    )
    files = FileFetcher(
        scope=name,
        client=client,
        blobs=store.blobs,
        held=HeldFiles(folder / "held", store.incoming),
        facts=facts,
        locks=store.locks,
        timeout=settings.request_timeout,
        offline=settings.offline_mode,
    )
    root = RootCache(
        client=client,
        base_url=settings.mirror_url,
        folder=folder / "root",
        incoming=store.incoming,
        clock=clock,
        expiry=settings.mirror_cache_expiry,
        timeout=settings.request_timeout,
        offline=settings.offline_mode,
    )
    return Mirror(pages, files, root)
