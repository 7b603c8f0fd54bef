"""Upstream's list of all its projects: 900,000 names, 45 MB.

It is never needed to serve a project.  It is fetched when somebody asks for
it, parsed as a stream and kept ready-made on disk; after that, refreshes happen
in the background.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from devpi_server.concurrency import Clock, Crew, SingleFlight
from devpi_server.errors import Corrupt, NoSuchProject, UpstreamError
from devpi_server.records import Origin
from devpi_server.simple import listing
from devpi_server.store.incoming import Incoming, translated
from devpi_server.store.readylists import Ready, ReadyLists
from devpi_server.upstream.base import PATIENT, Absent, NotModified, UpstreamClient
from devpi_server.upstream.origins import Origins

log = logging.getLogger(__name__)

LARGEST_ROOT = 1024 * 1024 * 1024  # bytes, decoded
_TITLE = "list of all projects"


@dataclass(frozen=True, slots=True)
class Root:
    """The list, and what is known of it."""

    folder: str  # of the ready list; a new one for each content
    base: str
    etag: str | None  # upstream's
    checked: int  # seconds since the epoch


class RootCache:
    """The project list of one upstream index."""

    def __init__(
        self,
        *,
        client: UpstreamClient,
        origins: Origins,
        folder: Path,
        incoming: Incoming,
        clock: Clock,
        expiry: float,
        timeout: float,
    ) -> None:
        self._client = client
        self._origins = origins
        self._folder = folder
        self._incoming = incoming
        self.lists = ReadyLists(folder, incoming, _TITLE)
        self._clock = clock
        self._expiry = expiry
        self._timeout = timeout
        self._flights: SingleFlight[Ready] = SingleFlight(Crew("root", 1))

    def find(self) -> tuple[Ready, Origin]:
        """The list, as current as it is; one that has expired is refreshed in the background.

        :raises NoSuchProject: upstream has no such list.
        :raises UpstreamError: nothing is held, and upstream cannot tell in time.
        """
        root, ready = self._held()
        if root is None or ready is None or self._flights.was_awaited("root"):
            return self._flights.do("root", self._refresh, self._timeout * PATIENT), Origin.MISS
        if 0 <= self._clock() - root.checked < self._expiry:
            return ready, Origin.HIT
        self._flights.join("root", self._refresh)
        return ready, Origin.STALE

    def names_held(self) -> Iterator[str] | None:
        """The names in the list as upstream spells them, if it is held, however old."""
        ready = self._held()[1]
        return None if ready is None else self.lists.names(ready)

    def _held(self) -> tuple[Root | None, Ready | None]:
        with translated("read the list of projects"):
            try:
                root = Root(**orjson.loads((self._folder / "head").read_bytes()))
            except (FileNotFoundError, orjson.JSONDecodeError, TypeError):
                return None, None
        ready = self.lists.find(root.folder)
        return (root, ready) if ready is not None else (None, None)

    def _refresh(self) -> Ready:
        """Ask the addresses of upstream in order for the list, and hold it. Runs as a flight."""
        faults: list[UpstreamError] = []
        for base in self._origins.in_order():
            try:
                ready = self._ask(base)
            except UpstreamError as error:
                log.warning("cannot fetch the list of projects: %s", error.message)
                self._origins.failed(base, error)
                faults.append(error)
            else:
                self._origins.worked(base)
                return ready
        raise faults[0]

    def _ask(self, base: str) -> Ready:
        held, ready = self._held()
        if held is not None and held.base != base:
            held = None
        with self._client.stream(base, etag=held.etag if held else None, page=True) as answer:
            if isinstance(answer, Absent):
                raise NoSuchProject("upstream has no list of its projects")
            if isinstance(answer, NotModified):
                if held is None or ready is None:
                    raise Corrupt("upstream says that its list is not modified, unasked")
                self._keep(Root(held.folder, base, held.etag, int(self._clock())))
                return ready
            names = listing.names(answer.decoded(LARGEST_ROOT), answer.content_type)
            made = self.lists.write(secrets.token_hex(8), names)
        self._keep(Root(made.folder, base, answer.etag, int(self._clock())))
        self.lists.keep_only(made)
        return made

    def _keep(self, root: Root) -> None:
        self._incoming.write(self._folder / "head", orjson.dumps(root), durable=False)
