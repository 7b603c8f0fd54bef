"""The composition root: settings → object graph. The only place that knows every class."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from devpi_server import mirror_settings
from devpi_server.concurrency import Blocking, Clock, Crew, Supervisor, Worker
from devpi_server.errors import ConfigError, Refused, StoreError
from devpi_server.mirror_settings import MirrorSettings
from devpi_server.observe import UNOBSERVED, AccessLog, Both, Observer
from devpi_server.services import founding
from devpi_server.services.access import Access
from devpi_server.services.accounts import Accounts
from devpi_server.services.counting import Counts
from devpi_server.services.docs import Docs
from devpi_server.services.downloads import Downloads
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.identity import Identity
from devpi_server.services.index_config import IndexConfig
from devpi_server.services.index_options import DIRECTORY, MIRROR
from devpi_server.services.indexes import NOT_CONFIGURED, Configured, Indexes, Mirrored
from devpi_server.services.listings import Listings
from devpi_server.services.local import Local
from devpi_server.services.logins import LoginTokens
from devpi_server.services.metrics import Gauges, Metrics
from devpi_server.services.pages import Pages
from devpi_server.services.passwords import Passwords
from devpi_server.services.picking import Fetching
from devpi_server.services.prefetch import Prefetching
from devpi_server.services.prefetch_jobs import Task
from devpi_server.services.prefetch_pip import Pip
from devpi_server.services.prefetch_requests import PrefetchRequests
from devpi_server.services.promises import Promises
from devpi_server.services.publishing import Publishing
from devpi_server.services.push import Push
from devpi_server.services.releases import Releases
from devpi_server.services.results import Results
from devpi_server.services.search import Search
from devpi_server.services.status import MirrorStatus, Status
from devpi_server.services.throttle import Throttle
from devpi_server.services.uploads import Uploads
from devpi_server.settings import Settings, pip_environment
from devpi_server.sources.base import Source
from devpi_server.sources.directory import Directory
from devpi_server.sources.mirror import Mirror
from devpi_server.sources.policy import Guarded, HeldOnly
from devpi_server.sources.union import EVERYTHING
from devpi_server.store import secret
from devpi_server.store.blobs import BlobStore
from devpi_server.store.blobs_local import LocalBlobs
from devpi_server.store.database import Database
from devpi_server.store.feedstate import FeedFile
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.heldfiles import Facts, HeldFiles
from devpi_server.store.heldprojects import HeldProjects
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.store.marks import Marks
from devpi_server.store.meta import IndexRow, MetaStore
from devpi_server.store.mirrorfolders import MirrorFolders
from devpi_server.store.pagefiles import PageFiles
from devpi_server.store.published import Published
from devpi_server.store.vanished import Vanished
from devpi_server.upstream import feeds
from devpi_server.upstream.addresses import without_userinfo
from devpi_server.upstream.base import UpstreamClient
from devpi_server.upstream.changes import ChangeFeed
from devpi_server.upstream.client import RequestsClient
from devpi_server.upstream.crawl import Crawling
from devpi_server.upstream.files import FileFetcher
from devpi_server.upstream.flat import Flat
from devpi_server.upstream.memory import settle_in
from devpi_server.upstream.observed import Observed
from devpi_server.upstream.origins import Origins
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.publish import HttpPublisher
from devpi_server.upstream.refresh import Refresher, Rules
from devpi_server.upstream.roots import RootCache
from devpi_server.upstream.shelf import Shelf
from devpi_server.upstream.trust import Trust
from devpi_server.upstream.wheels import WheelMetadata
from devpi_server.upstream.wrapped import Unlisted
from devpi_server.web.accounts import AccountsApi
from devpi_server.web.app import Application, application
from devpi_server.web.docs import DocPages
from devpi_server.web.loopback import serving
from devpi_server.web.push import PushApi
from devpi_server.web.search import SearchApi
from devpi_server.web.uploads import UploadForms
from devpi_server.workers.ahead import Ahead
from devpi_server.workers.digests import Digests
from devpi_server.workers.follow import Follow
from devpi_server.workers.forget import Forget
from devpi_server.workers.harvest import Harvest
from devpi_server.workers.interest import Interest
from devpi_server.workers.leader import Leader
from devpi_server.workers.lease import Lease
from devpi_server.workers.mirrors import KeepMirrors
from devpi_server.workers.reclaim import Reclaim
from devpi_server.workers.watch import Events, Watch, has_events

log = logging.getLogger(__name__)

_SETTLING = 10.0  # seconds that files which have been received get to be kept at the end
_DATABASE = "devpi.sqlite"
_PACKAGES = "root/packages"
_PAGE_FLIGHTS = 32  # threads: pages of a mirror that are being asked for at the same time


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
    mirrors: _Mirrors
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


@dataclass(frozen=True)
class _Store:
    """What lies in the data directory."""

    incoming: Incoming
    locks: Locks
    blobs: BlobStore
    meta: MetaStore
    mirrors: MirrorFolders
    published: Published


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
    store = _open_store(settings.datadir, clock)
    counts, supervisor = Counts(), Supervisor()
    mirrors = _Mirrors(settings, store, clock, counts)
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
        local=Local(indexes, lambda row: _held_projects(store, row, clock)),
        prefetches=PrefetchRequests(_prefetching(downloads), places),
        folder=packages.uploads if packages is not None else None,
        snapshots=packages.snapshots if packages is not None else None,
        blobs=store.blobs,
        front=packages.name if packages is not None else founding.PYPI,
        promises=_promises(settings, store, indexes, pages, downloads, clock),
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

    def __init__(self, settings: Settings, store: _Store, clock: Clock) -> None:
        self._mirrors = _Mirrors(settings, store, clock, UNOBSERVED)
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
        return _shelf(self._store, self._store.mirrors.of(mirror.full_name, mirror.id))

    def held(self, mirror: IndexRow) -> HeldFiles:
        """Which files a mirror holds."""
        return _held(self._store, self._store.mirrors.of(mirror.full_name, mirror.id))

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


def has_data(datadir: Path) -> bool:
    """Whether the directory is, or is about to be, one of this server."""
    return (datadir / _DATABASE).exists()


@contextmanager
def tools(settings: Settings, *, new: bool = False, clock: Clock = time.time) -> Iterator[Tools]:
    """Open the data directory for a command; a server may be running on it.

    :param new: it may be one without data; then it is made, and not founded.
    :raises Refused: it has no data.
    :raises ConfigError: it cannot be used, or not by this user of the system.
    """
    database = settings.datadir / _DATABASE
    if not new and not has_data(settings.datadir):
        raise Refused(f"{settings.datadir} has no data of devpi-server; devpi-init makes it")
    if os.geteuid() == 0 and database.exists() and database.stat().st_uid != 0:
        # What root makes there, the server could not write to.
        raise ConfigError([f"{database} is not root's: run this as the user of the server"])
    made = Tools(settings, _open_store(settings.datadir, clock), clock)
    try:
        if not new and not founding.is_founded(made.meta):
            raise Refused(f"{settings.datadir} is not finished; devpi-init does it")
        yield made
    finally:
        made.close()


def _promises(
    settings: Settings,
    store: _Store,
    indexes: Indexes,
    pages: Pages,
    downloads: Downloads,
    clock: Clock,
) -> Promises | None:
    if not settings.publish:
        return None
    store.published.begin()
    return Promises(store.published, indexes, pages, downloads, clock)


def _indexes(
    settings: Settings, store: _Store, mirrors: _Mirrors, packages: _Packages | None
) -> Indexes:
    declared = [_declared(each) for each in settings.mirrors if each.name != founding.PYPI]
    if packages is None:
        return Indexes(store.meta, store.blobs, mirrors, declared)
    declared.append(packages.row)
    directories = {packages.name: packages.directory}
    return Indexes(store.meta, store.blobs, mirrors, declared, directories)


def _packages(settings: Settings, store: _Store, clock: Clock) -> _Packages | None:
    return _Packages(settings, store, clock) if settings.packages else None


def _accounts(
    settings: Settings, store: _Store, access: Access, passwords: Passwords, clock: Clock
) -> Accounts:
    logins = LoginTokens(_secret(settings), settings.login_lifetime, clock)
    return Accounts(store.meta, access, passwords, logins, Throttle(), clock)


def _publisher(settings: Settings, clock: Clock) -> HttpPublisher:
    networks = settings.push_networks or ()
    return HttpPublisher(timeout=settings.request_timeout, clock=clock, networks=networks)


def _held(store: _Store, folder: Path) -> HeldFiles:
    """What a mirror holds.

    :param folder: of the mirror.
    """
    return HeldFiles(folder / "held", store.incoming, store.published)


def _held_projects(store: _Store, mirror: IndexRow, clock: Clock) -> HeldProjects:
    return HeldProjects(store.mirrors.of(mirror.full_name, mirror.id) / "held", clock)


def _shelf(store: _Store, folder: Path) -> Shelf:
    facts = Facts(folder / "facts", store.published)
    return Shelf(store.blobs, _held(store, folder), facts)


def _open_store(folder: Path, clock: Clock) -> _Store:
    try:
        incoming = Incoming(folder / "incoming")
        incoming.sweep()
        # Also where this process publishes nothing: another one may.
        published = Published(folder / "published", folder / "locks" / "changes", incoming)
        store = _Store(
            incoming,
            Locks(folder / "locks" / "processes"),
            LocalBlobs(folder / "files", incoming),
            Database(folder / _DATABASE, clock, published=published),
            MirrorFolders(folder / "mirror"),
            published,
        )
    except StoreError as error:
        raise ConfigError([f"cannot use the data directory: {error.message}"]) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError([f"cannot write to the data directory {folder}"])
    return store


def _secret(settings: Settings) -> bytes:
    if settings.secretfile is not None:
        return secret.of_file(settings.secretfile)
    return secret.of_data_directory(settings.datadir)


def way_out(settings: Settings, mirror: MirrorSettings, clock: Clock) -> RequestsClient:
    """The client of one mirror, without wrappers.

    :raises ConfigError: its certificates cannot be used.
    """
    configured = [*mirror.urls, mirror.changelog_url]
    return RequestsClient(
        timeout=settings.request_timeout,
        clock=clock,
        urls=[url for url in configured if url],
        ca_file=mirror.ca_file,
        client_cert=mirror.client_cert,
        allow_networks=mirror.allow_networks,
        own_host_is_trusted=mirror.own_host_is_trusted,
    )


def in_wrappers(
    client: UpstreamClient, settings: Settings, mirror: MirrorSettings, clock: Clock
) -> UpstreamClient:
    """The client, in the wrappers that this upstream's form calls for."""
    if mirror.flat:
        client = Flat(client, clock)
    if mirror.no_project_list:
        client = Unlisted(client)
    if mirror.crawl:
        client = Crawling(client, settings.request_timeout)
    return client


class _Mirrors:
    """``Mirrors``: one wiring for each row, as long as its options are the same."""

    def __init__(self, settings: Settings, store: _Store, clock: Clock, observer: Observer) -> None:
        self._observer = observer
        self._settings = settings
        self._configured = {each.name: each for each in settings.mirrors}
        self._store = store
        self._clock = clock
        self._wirings: dict[_Identity, _MirrorWiring] = {}
        self._supervisor: Supervisor | None = None
        self._running: dict[_Identity, Sequence[Worker]] = {}
        self._faults: dict[str, str] = {}  # mirror → why it cannot be used

    def find(self, row: IndexRow) -> Mirrored:
        return self._wiring(self._identity(row)).mirrored()

    def configured(self, name: str) -> Configured:
        mirror = self._configured.get(name)
        if mirror is None:
            return NOT_CONFIGURED
        defaults: dict[str, object] = {}
        if "urls" not in mirror.given:
            defaults = {
                "mirror_url": " ".join(mirror.urls),
                "mirror_web_url_fmt": f"{mirror.urls[0].removesuffix('simple/')}project/{{name}}/",
                mirror_settings.OWN_HOST_IS_TRUSTED: True,
            }
        return Configured(mirror_settings.to_options(mirror), defaults)

    def keep_only(self, rows: Sequence[IndexRow]) -> None:
        wanted = {identity for row in rows if (identity := self._sound(row)) is not None}
        for identity in [each for each in self._wirings if each not in wanted]:
            for worker in self._running.pop(identity, ()):
                if self._supervisor is not None:
                    self._supervisor.stop(worker.name)
            self._wirings.pop(identity).close()
        for identity in wanted:
            wiring = self._wiring(identity)
            if self._supervisor is None or self._settings.offline_mode or identity in self._running:
                continue
            self._running[identity] = wiring.workers
            for worker in self._running[identity]:
                self._supervisor.start(worker)

    def _sound(self, row: IndexRow) -> _Identity | None:
        """Its identity; None, with a line in the log, if it has options that cannot be.

        :raises ConfigError: they are those of the configuration, which is to stop the start.
        """
        try:
            identity = self._identity(row)
            self._wiring(identity)
        except ConfigError as error:
            if row.full_name in self._configured:
                raise
            if self._faults.get(row.full_name) != error.message:
                log.error("the mirror %s cannot be used: %s", row.full_name, error.message)
            self._faults[row.full_name] = error.message
            return None
        self._faults.pop(row.full_name, None)
        return identity

    def start(self, supervisor: Supervisor) -> None:
        """From now on, mirrors that are kept do their background work."""
        self._supervisor = supervisor

    def workers(self) -> list[Worker]:
        """The background work of the mirrors that there are."""
        if self._settings.offline_mode:
            return []
        return [worker for wiring in self._wirings.values() for worker in wiring.workers]

    def status(self) -> list[MirrorStatus]:
        """What ``/+status`` says of them."""
        return [wiring.status() for wiring in self._wirings.values()]

    def arriving(self) -> int:
        """How many downloads are under way."""
        return sum(wiring.arriving for wiring in list(self._wirings.values()))

    def passed_over(self) -> int:
        """How many addresses of upstreams are out of order."""
        return sum(wiring.passed_over for wiring in list(self._wirings.values()))

    def settle(self, deadline: float) -> None:
        """Finish what cannot be left half-done, until the deadline of the monotonic clock."""
        for wiring in list(self._wirings.values()):
            wiring.settle(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let go of all connections."""
        for wiring in self._wirings.values():
            wiring.close()

    def _identity(self, row: IndexRow) -> _Identity:
        settings = self._configured.get(row.full_name, MirrorSettings(row.full_name, urls=()))
        return _Identity(row.id, mirror_settings.with_options(settings, row.options))

    def _wiring(self, identity: _Identity) -> _MirrorWiring:
        wiring = self._wirings.get(identity)
        if wiring is None:
            made = _MirrorWiring(self._settings, identity, self._store, self._clock, self._observer)
            wiring = self._wirings.setdefault(identity, made)
            if wiring is not made:  # another thread was quicker
                made.close()
        return wiring


@dataclass(frozen=True, slots=True)
class _Identity:
    """Equal for rows that lead to the same mirror."""

    row_id: int
    settings: MirrorSettings


class _Packages:
    """The folders of packages, as one index."""

    def __init__(self, settings: Settings, store: _Store, clock: Clock) -> None:
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


def _declared(settings: MirrorSettings) -> IndexRow:
    """A mirror of the configuration, as an index."""
    user, _, name = settings.name.partition("/")
    return IndexRow(user, name, MIRROR, mirror_settings.to_options(settings))


class _MirrorWiring:
    """The parts of one mirror: what it stores, how it asks, what runs in the background."""

    def __init__(
        self,
        settings: Settings,
        identity: _Identity,
        store: _Store,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._mirror = mirror = identity.settings
        self.name = mirror.name
        self._settings = settings
        self._store = store
        self._clock = clock
        self._folder = folder = store.mirrors.of(mirror.name, identity.row_id)
        self._bare = way_out(settings, mirror, clock)
        self._client = in_wrappers(Observed(self._bare, observer), settings, mirror, clock)
        self._leaders: list[Leader] = []
        # The client knows the credentials; nothing else does, so they reach no disk and no log.
        self._origins = Origins([without_userinfo(url) for url in mirror.urls], clock)
        self._facts = Facts(folder / "facts", store.published)
        self._vanished = Vanished(folder / "vanished", store.incoming, store.published)
        self._promises = Marks(folder / "promises", store.incoming)
        self._interest = Marks(folder / "interest", store.incoming)
        self._feed = FeedFile(folder / "feed", store.incoming, clock, store.published)
        self._trust = Trust(
            feed=self._feed, promises=self._promises, base=self._origins.first, clock=clock
        )
        self._pages = self._page_cache()
        self._source = self._make_source()
        self.settle = self._source.files.settle

    def _page_cache(self) -> PageCache:
        store = self._store
        files = PageFiles(self._folder / "pages", store.incoming, self._clock, store.published)
        files.belong_to(self._origins.first)
        rules = Rules(
            ignore_serials=self._mirror.ignore_serial_header,
            keep_vanished=self._mirror.keep_vanished,
            forbidden_is_absent=self._mirror.forbidden_is_absent,
            feed_vouches=not self._mirror.crawl,
        )
        return PageCache(
            name=self.name,
            refresher=Refresher(
                client=self._client,
                origins=self._origins,
                files=files,
                vanished=self._vanished,
                trust=self._trust,
                rules=rules,
                clock=self._clock,
            ),
            files=files,
            facts=self._facts,
            vanished=self._vanished,
            trust=self._trust,
            locks=self._store.locks,
            crew=Crew("page", _PAGE_FLIGHTS),
            clock=self._clock,
            expiry=self._mirror.cache_expiry,
            timeout=self._settings.request_timeout,
            offline=self._settings.offline_mode,
            keep_vanished=self._mirror.keep_vanished,
            trust_changed=self._mirror.trust_changed_files,
        )

    def _make_source(self) -> Mirror:
        shelf = _shelf(self._store, self._folder)
        files = FileFetcher(
            scope=self.name,
            client=self._client,
            shelf=shelf,
            wheels=WheelMetadata(self._client, shelf),
            locks=self._store.locks,
            timeout=self._settings.request_timeout,
            offline=self._settings.offline_mode,
        )
        root = RootCache(
            client=self._client,
            origins=self._origins,
            folder=self._folder / "root",
            incoming=self._store.incoming,
            clock=self._clock,
            expiry=self._mirror.cache_expiry,
            timeout=self._settings.request_timeout,
        )
        return Mirror(self._pages, files, root, self._vanished)

    def mirrored(self) -> Mirrored:
        """The mirror as an index uses it."""
        source: Source = self._source
        if self._settings.offline_mode:
            source = Guarded(source, HeldOnly(self._source.files), self._clock)
        return Mirrored(
            source,
            self._source,
            lists_held=self._mirror.no_project_list or self._settings.offline_mode,
            sends_elsewhere=self._mirror.use_external_urls and not self._settings.offline_mode,
        )

    def close(self) -> None:
        """Let go of connections, and let others do the background work."""
        self._bare.close()
        for leader in self._leaders:
            leader.resign()

    def _leader(self, work: str) -> Leader:
        leader = Leader(self._store.locks, f"{work} {self.name}")
        self._leaders.append(leader)
        return leader

    def status(self) -> MirrorStatus:
        """What ``/+status`` says of it."""
        return MirrorStatus(self.name, self._origins.first, self._feed)

    @property
    def arriving(self) -> int:
        """How many downloads are under way."""
        return self._source.files.arriving

    @property
    def passed_over(self) -> int:
        """How many of its addresses are out of order."""
        return self._origins.passed_over()

    @cached_property
    def workers(self) -> Sequence[Worker]:
        """Its background work."""
        return tuple(self._make_workers())

    def _make_workers(self) -> Iterator[Worker]:
        yield Interest(self.name, self._pages, self._interest, self._clock)
        yield Follow(
            mirror=self.name,
            base=self._origins.first,
            choose=self._choose_feed,
            feed=self._feed,
            promises=self._promises,
            interest=self._interest,
            pages=self._pages,
            vanished=self._vanished,
            leader=self._leader("follow"),
            clock=self._clock,
            every=self._settings.refresh,
        )
        yield Ahead(
            mirror=self.name,
            pages=self._pages,
            interest=self._interest,
            trust=self._trust,
            leader=self._leader("ahead"),
            clock=self._clock,
            expiry=self._mirror.cache_expiry,
        )
        yield Harvest(
            name=self.name,
            mirror=self._source,
            interest=self._interest,
            leader=self._leader("harvest"),
            clock=self._clock,
        )

    def _choose_feed(self) -> ChangeFeed | None:
        return feeds.choose(
            self._client,
            self._origins.first,
            self._mirror.changelog_url,
            path=self._folder / "serials",
            incoming=self._store.incoming,
            clock=self._clock,
        )
