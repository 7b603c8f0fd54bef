"""Mirrors: one wiring for each of those that the database and the configuration have."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from devpi_server import mirror_settings
from devpi_server.concurrency import Clock, Crew, Supervisor, Worker
from devpi_server.errors import ConfigError
from devpi_server.mirror_settings import MirrorSettings
from devpi_server.observe import Observer
from devpi_server.services.index_options import MIRROR
from devpi_server.services.indexes import NOT_CONFIGURED, Configured, Mirrored
from devpi_server.services.status import MirrorStatus
from devpi_server.settings import Settings
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror
from devpi_server.sources.policy import Guarded, HeldOnly
from devpi_server.store.doubts import Doubts
from devpi_server.store.feedstate import FeedFile
from devpi_server.store.heldfiles import Facts
from devpi_server.store.marks import Marks
from devpi_server.store.meta import IndexRow
from devpi_server.store.pagefiles import PageFiles
from devpi_server.store.vanished import Vanished
from devpi_server.upstream import feeds
from devpi_server.upstream.addresses import without_userinfo
from devpi_server.upstream.base import UpstreamClient
from devpi_server.upstream.changes import ChangeFeed
from devpi_server.upstream.client import RequestsClient
from devpi_server.upstream.crawl import Crawling
from devpi_server.upstream.files import FileFetcher
from devpi_server.upstream.flat import Flat
from devpi_server.upstream.observed import Observed
from devpi_server.upstream.origins import Origins
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.refresh import Refresher, Rules
from devpi_server.upstream.roots import RootCache
from devpi_server.upstream.trust import Trust
from devpi_server.upstream.wheels import WheelMetadata
from devpi_server.upstream.wrapped import Unlisted
from devpi_server.wiring.stored import Store, open_shelf
from devpi_server.workers.ahead import Ahead
from devpi_server.workers.follow import Follow
from devpi_server.workers.harvest import Harvest
from devpi_server.workers.interest import Interest
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)

_PAGE_FLIGHTS = 32  # threads: pages of a mirror that are being asked for at the same time


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


class MirrorWirings:
    """``Mirrors``: one wiring for each row, as long as its options are the same."""

    def __init__(self, settings: Settings, store: Store, clock: Clock, observer: Observer) -> None:
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


def declared_row(settings: MirrorSettings) -> IndexRow:
    """A mirror of the configuration, as an index."""
    user, _, name = settings.name.partition("/")
    return IndexRow(user, name, MIRROR, mirror_settings.to_options(settings))


class _MirrorWiring:
    """The parts of one mirror: what it stores, how it asks, what runs in the background."""

    def __init__(
        self,
        settings: Settings,
        identity: _Identity,
        store: Store,
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
            feed=self._feed,
            promises=self._promises,
            doubts=Doubts(folder / "doubted"),
            base=self._origins.first,
            clock=clock,
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
        shelf = open_shelf(self._store, self._folder)
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
