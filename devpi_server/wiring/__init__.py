"""The composition root: settings → object graph. The only place that knows every class."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from devpi_server.concurrency import Blocking, Clock, Supervisor, Worker
from devpi_server.errors import ConfigError, Refused
from devpi_server.observe import UNOBSERVED, AccessLog, Both, Observer
from devpi_server.services import founding
from devpi_server.services.access import Access
from devpi_server.services.accounts import Accounts
from devpi_server.services.counting import Counts
from devpi_server.services.docs import Docs
from devpi_server.services.downloads import Downloads
from devpi_server.services.identity import Identity
from devpi_server.services.index_config import IndexConfig
from devpi_server.services.indexes import Indexes
from devpi_server.services.listings import Listings
from devpi_server.services.local import Local
from devpi_server.services.logins import LoginTokens
from devpi_server.services.metrics import Gauges, Metrics
from devpi_server.services.pages import Pages
from devpi_server.services.passwords import Passwords
from devpi_server.services.picking import Fetching
from devpi_server.services.prefetch.jobs import Task
from devpi_server.services.prefetch.on_request import PrefetchRequests
from devpi_server.services.prefetch.pip import Pip
from devpi_server.services.prefetch.prefetching import Prefetching
from devpi_server.services.publishing import Publishing
from devpi_server.services.push import Push
from devpi_server.services.readymade import ReadyMade
from devpi_server.services.releases import Releases
from devpi_server.services.results import Results
from devpi_server.services.search import Search
from devpi_server.services.status import Status
from devpi_server.services.throttle import Throttle
from devpi_server.services.uploads import Uploads
from devpi_server.settings import Settings, pip_environment
from devpi_server.store import secret
from devpi_server.store.heldfiles import HeldFiles
from devpi_server.store.incoming import Incoming
from devpi_server.store.meta import IndexRow, MetaStore
from devpi_server.upstream.memory import settle_in
from devpi_server.upstream.publish import HttpPublisher
from devpi_server.upstream.shelf import Shelf
from devpi_server.web.accounts import AccountsApi
from devpi_server.web.app import Application, application
from devpi_server.web.docs import DocPages
from devpi_server.web.loopback import serving
from devpi_server.web.push import PushApi
from devpi_server.web.search import SearchApi
from devpi_server.web.uploads import UploadForms
from devpi_server.wiring.mirrors import MirrorWirings, declared_row
from devpi_server.wiring.packages import Packages
from devpi_server.wiring.stored import (
    DATABASE,
    Store,
    has_data,
    held_files,
    held_projects,
    open_shelf,
    open_store,
)
from devpi_server.workers.forget import Forget
from devpi_server.workers.lease import Lease
from devpi_server.workers.mirrors import KeepMirrors
from devpi_server.workers.reclaim import Reclaim

_SETTLING = 10.0  # seconds that files which have been received get to be kept at the end


@dataclass(frozen=True)
class Services:
    """Everything, wired."""

    settings: Settings
    meta: MetaStore
    indexes: Indexes
    app: Application
    incoming: Incoming
    own_workers: Sequence[Worker]
    closers: Sequence[Callable[[], None]]
    mirrors: MirrorWirings
    supervisor: Supervisor

    @property
    def workers(self) -> Sequence[Worker]:
        """Everything that is done in the background, as of now."""
        return [*self.own_workers, *self.mirrors.workers()]

    def start(self) -> None:
        """Begin the background work of this process."""
        settle_in()
        atexit.register(self.settle)
        self.mirrors.start(self.supervisor)
        for worker in self.own_workers:
            self.supervisor.start(worker)

    def settle(self) -> None:
        """Finish what cannot be left half-done, within some seconds."""
        self.mirrors.settle(time.monotonic() + _SETTLING)

    def close(self) -> None:
        """Let go of connections and locks, for a process that goes on without the server."""
        atexit.unregister(self.settle)
        self.supervisor.stop()
        for close in self.closers:
            close()

    def rebuild(self) -> Services:
        """The same once more, for a process of its own."""
        return build(self.settings)


def build(
    settings: Settings,
    *,
    clock: Clock = time.time,
    observer: Observer | None = None,
    passwords: Passwords | None = None,
) -> Services:
    """Wire a server.

    :param observer: is told what happens; None: a log on stderr.
    :param passwords: None: with argon2 at its usual costs.
    :raises ConfigError: the data directory cannot be used.
    """
    store = open_store(settings.datadir, clock)
    counts, supervisor = Counts(), Supervisor()
    mirrors = MirrorWirings(settings, store, clock, counts)
    founding.found(store.meta, clock)
    packages = _packages(settings, store, clock)
    indexes = _indexes(settings, store, mirrors, packages)
    indexes.keep_mirrors()
    config = IndexConfig(store.meta, indexes)
    access = Access(indexes, settings.restrict_modify)
    accounts = _accounts(settings, store, access, passwords or Passwords(), clock)
    uploads = Uploads(store.meta, store.blobs, indexes, clock)
    results = Results(store.meta, store.blobs, indexes, clock)
    downloads = Downloads(indexes)
    pages = Pages()
    status = Status(mirrors.status, store.meta, indexes, clock)
    gauges = Gauges(
        memory_of_pages=lambda: pages.memory,
        arriving=mirrors.arriving,
        passed_over=mirrors.passed_over,
        ticked=supervisor.ticked,
        datadir=settings.datadir,
    )
    # A quarter of the threads is kept for requests that need no upstream.
    places = Blocking(max(1, settings.threads * 3 // 4))
    push = Push(
        store.meta,
        store.blobs,
        indexes,
        access,
        Fetching(downloads, store.blobs, clock),
        Publishing(store.meta, store.blobs, _publisher(settings, clock), places),
        clock,
    )
    app = application(
        indexes=indexes,
        access=access,
        accounts=accounts,
        forms=UploadForms(uploads, results, store.blobs),
        docs=DocPages(Docs(store.meta, store.blobs, indexes)),
        people=AccountsApi(accounts, indexes, config),
        config=config,
        releases=Releases(store.meta, store.blobs, indexes),
        incoming=store.incoming,
        pushes=PushApi(push),
        search=SearchApi(indexes, Search(store.meta, indexes)),
        pages=pages,
        listings=Listings(indexes, settings.datadir / "lists", store.incoming),
        downloads=downloads,
        places=places,
        observer=Both(observer or AccessLog(sys.stderr), counts),
        clock=clock,
        identity=Identity(store.meta),
        status=status,
        metrics=Metrics(counts, gauges, status),
        outside_url=settings.outside_url,
        absolute_urls=settings.absolute_urls,
        trusted_proxy=settings.trusted_proxy,
        local=Local(indexes, lambda row: held_projects(store, row, clock)),
        prefetches=PrefetchRequests(_prefetching(downloads), places),
        folder=packages.uploads if packages is not None else None,
        snapshots=packages.snapshots if packages is not None else None,
        blobs=store.blobs,
        front=packages.name if packages is not None else founding.PYPI,
        ready_made=_ready_made(settings, store, indexes, pages, downloads, clock),
        sent_from=f"{settings.datadir}{os.sep}" if settings.publish else None,
    )
    own_workers: list[Worker] = [
        KeepMirrors(indexes),
        Forget(store.mirrors, store.meta, store.locks),
        Reclaim(store.meta, store.blobs, store.locks, clock),
    ]
    if settings.publish:
        own_workers.append(Lease(store.published, store.locks, clock))
    closers = [mirrors.close, store.meta.close, store.locks.close, store.published.close]
    if packages is not None:
        own_workers.extend(packages.workers)
        closers.insert(0, packages.close)
    return Services(
        settings,
        store.meta,
        indexes,
        app,
        store.incoming,
        own_workers,
        closers,
        mirrors,
        supervisor,
    )


class Tools:
    """What commands work with: the data directory, without a server around it."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._mirrors = MirrorWirings(settings, store, clock, UNOBSERVED)
        self._store = store
        self.settings = settings
        self.clock = clock
        self.meta = store.meta
        self.blobs = store.blobs
        self.passwords = Passwords()
        packages = _packages(settings, store, clock)
        self.indexes = _indexes(settings, store, self._mirrors, packages)

    @cached_property
    def accounts(self) -> Accounts:
        """The users; the secret of the installation is made or read."""
        access = Access(self.indexes, self.settings.restrict_modify)
        return _accounts(self.settings, self._store, access, self.passwords, self.clock)

    @cached_property
    def prefetching(self) -> Prefetching:
        """What fetches all that installations ask for."""
        return _prefetching(Downloads(self.indexes))

    def shelf(self, mirror: IndexRow) -> Shelf:
        """Where the files of a mirror are held."""
        return open_shelf(self._store, self._store.mirrors.of(mirror.full_name, mirror.id))

    def held(self, mirror: IndexRow) -> HeldFiles:
        """Which files a mirror holds."""
        return held_files(self._store, self._store.mirrors.of(mirror.full_name, mirror.id))

    def withdraw(self) -> None:
        """Have everything published anew by those who publish."""
        with self._store.published.changing_all():
            pass

    def close(self) -> None:
        """Let go of the data directory."""
        store = self._store
        for close in (
            self._mirrors.close,
            store.meta.close,
            store.locks.close,
            store.published.close,
        ):
            close()


def _prefetching(downloads: Downloads) -> Prefetching:
    environ = pip_environment()

    def new_pip(url: str, task: Task) -> Pip:
        return Pip(url, environ, patience=task.pip_within, runs_code=task.runs_code)

    return Prefetching(downloads, serving(downloads), new_pip)


@contextmanager
def tools(settings: Settings, *, new: bool = False, clock: Clock = time.time) -> Iterator[Tools]:
    """Open the data directory for a command; a server may be running on it.

    :param new: it may be one without data; then it is made, and not founded.
    :raises Refused: it has no data.
    :raises ConfigError: it cannot be used, or not by this user of the system.
    """
    database = settings.datadir / DATABASE
    if not new and not has_data(settings.datadir):
        raise Refused(f"{settings.datadir} has no data of devpi-server; devpi-init makes it")
    if os.geteuid() == 0 and database.exists() and database.stat().st_uid != 0:
        # What root makes there, the server could not write to.
        raise ConfigError([f"{database} is not root's: run this as the user of the server"])
    made = Tools(settings, open_store(settings.datadir, clock), clock)
    try:
        if not new and not founding.is_founded(made.meta):
            raise Refused(f"{settings.datadir} is not finished; devpi-init does it")
        yield made
    finally:
        made.close()


def _ready_made(
    settings: Settings,
    store: Store,
    indexes: Indexes,
    pages: Pages,
    downloads: Downloads,
    clock: Clock,
) -> ReadyMade | None:
    if not settings.publish:
        return None
    store.published.begin()
    return ReadyMade(store.published, indexes, pages, downloads, clock)


def _indexes(
    settings: Settings, store: Store, mirrors: MirrorWirings, packages: Packages | None
) -> Indexes:
    declared = [declared_row(each) for each in settings.mirrors if each.name != founding.PYPI]
    if packages is None:
        return Indexes(store.meta, store.blobs, mirrors, declared)
    declared.append(packages.row)
    directories = {packages.name: packages.directory}
    return Indexes(store.meta, store.blobs, mirrors, declared, directories)


def _packages(settings: Settings, store: Store, clock: Clock) -> Packages | None:
    return Packages(settings, store, clock) if settings.packages else None


def _accounts(
    settings: Settings, store: Store, access: Access, passwords: Passwords, clock: Clock
) -> Accounts:
    logins = LoginTokens(_secret(settings), settings.login_lifetime, clock)
    return Accounts(store.meta, access, passwords, logins, Throttle(), clock)


def _publisher(settings: Settings, clock: Clock) -> HttpPublisher:
    networks = settings.push_networks or ()
    return HttpPublisher(timeout=settings.request_timeout, clock=clock, networks=networks)


def _secret(settings: Settings) -> bytes:
    if settings.secretfile is not None:
        return secret.of_file(settings.secretfile)
    return secret.of_data_directory(settings.datadir)
