"""Which change feed an upstream has; the one over XML-RPC."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import Corrupt, Denied, FeedWentBack, InvalidName, Unsupported
from devpi_server.names import NormalizedName
from devpi_server.simple import fields
from devpi_server.store.incoming import Incoming
from devpi_server.upstream import xmlrpc
from devpi_server.upstream.base import UpstreamClient
from devpi_server.upstream.changes import Change, ChangeFeed, Changes, Kind
from devpi_server.upstream.listings import ListingFeed

log = logging.getLogger(__name__)

# Rows in one answer from which there may be more: upstreams cap it, PyPI at 50,000.
MANY = 1000
_ANSWERS = 2  # in one go; a feed far behind says "more", so that memory stays bounded
_PROVE_EVERY = 10  # empty answers: PyPI's are never empty for long
_COLUMNS = 5


def choose(
    client: UpstreamClient,
    base_url: str,
    changelog_url: str | None,
    *,
    path: Path,
    incoming: Incoming,
    clock: Clock,
) -> ChangeFeed | None:
    """The best feed that upstream has; None: it has none.

    What an upstream has may change, and a captive portal has nothing: who gets
    None, or the listing, is to choose again from time to time.

    :param changelog_url: where XML-RPC is; None: at ``/pypi`` on the mirror's own origin.
    :param path: file for what the listing has to remember.
    :raises UpstreamError: cannot tell now.
    """
    rpc = XmlRpcFeed(client, changelog_url or urljoin(base_url, "/pypi"))
    listing = ListingFeed(client, base_url, path=path, incoming=incoming, clock=clock)
    try:
        rpc.start()
        return rpc
    except (Unsupported, Denied, Corrupt) as error:
        if error.retry_after is not None:
            raise
        log.log(
            logging.WARNING if changelog_url else logging.DEBUG,
            "cannot use the changelog: %s",
            error.message,
        )
    try:
        listing.probe()
        return listing
    except (Unsupported, Corrupt):
        return None


class XmlRpcFeed:
    """The journal, as Warehouse tells it: ``changelog_since_serial``."""

    kind: Kind = "xml-rpc"

    def __init__(self, client: UpstreamClient, url: str, *, many: int = MANY) -> None:
        self._client = client
        self._url = url
        self._many = many
        self._empty = 0  # answers without a row since upstream's serial was looked at

    def start(self) -> int:
        return self._last_serial()

    def since(self, serial: int) -> Changes:
        found: dict[NormalizedName, list[Change]] = {}
        top, more = serial, False
        for _ in range(_ANSWERS):
            rows = self._call("changelog_since_serial", top)
            if not isinstance(rows, list):
                raise Corrupt(f"{self._host} answers with a changelog that is no list")
            before = top
            for row in rows:
                top = max(top, self._take(row, before, found))
            more = len(rows) >= self._many and top > before
            if not more:
                break
        if top == serial:
            self._prove(serial)
        else:
            self._empty = 1
        return Changes(top, {name: tuple(changes) for name, changes in found.items()}, more)

    def _take(self, row: object, after: int, found: dict[NormalizedName, list[Change]]) -> int:
        """Add one row; return its serial."""
        if not isinstance(row, list) or len(row) < _COLUMNS:
            raise Corrupt(f"{self._host} answers with a changelog of other columns")
        name, version, _, action, last = row[:_COLUMNS]
        serial = fields.whole(last)
        if serial is None or not isinstance(name, str):
            raise Corrupt(f"{self._host} answers with a changelog of other columns")
        if serial <= after:  # it was not asked for
            return after
        with suppress(InvalidName):
            project = names.project(name)
            version = version if isinstance(version, str) else None
            change = Change(project, serial, version, action if isinstance(action, str) else "")
            found.setdefault(project, []).append(change)
        return serial

    def _prove(self, serial: int) -> None:
        """Nothing is new: sometimes make sure that upstream has come as far as we have.

        :raises FeedWentBack: it has not.
        """
        if self._empty % _PROVE_EVERY == 0:
            last = self._last_serial()
            if last < serial:
                raise FeedWentBack(
                    f"{self._host} went back from serial {serial} to {last}", serial=last
                )
        self._empty += 1

    def _last_serial(self) -> int:
        serial = fields.whole(self._call("changelog_last_serial"))
        if serial is None:
            raise Corrupt(f"{self._host} answers with a serial that is no number")
        return serial

    def _call(self, method: str, *arguments: int) -> object:
        question = xmlrpc.request(method, *arguments)
        answer = self._client.post(self._url, question, xmlrpc.CONTENT_TYPE)
        return xmlrpc.result(answer, self._host)

    @property
    def _host(self) -> str:
        return urlsplit(self._url).hostname or "upstream"
