"""What stands between us and an upstream, step by step: from its name to its change feed.

Each step is taken as the server takes it, with its proxy, its certificates and
its bounds, but on its own, so that the first that fails is the one to look at.
"""

from __future__ import annotations

import base64
import itertools
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from devpi_server import names
from devpi_server.errors import Denied, DevpiError
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.simple import listing, parse, sniff
from devpi_server.upstream.base import Absent, NotModified, Stream, UpstreamClient
from devpi_server.upstream.changes import ChangeFeed
from devpi_server.upstream.client import RequestsClient, Route
from devpi_server.upstream.network import Address, connect, endpoint, resolve
from devpi_server.upstream.roots import LARGEST_ROOT

_LONGEST_HEAD = 65536
_COMMON = NormalizedName("pip")  # where there is no list, an index is likely to have this one


@dataclass(frozen=True)
class Finding:
    """What one step has shown."""

    step: str  # dns, tcp, proxy, tls, http, index or feed
    ok: bool
    text: str  # one line, without secrets
    seconds: float


class Fault(Exception):
    """A step that failed; the message says why."""


def examine(
    way_out: RequestsClient,
    client: UpstreamClient,
    url: str,
    *,
    timeout: float,
    forbidden_is_absent: bool,
) -> Iterator[Finding]:
    """The steps to an index and a look at it; nothing follows a step that failed.

    :param client: what asks there: the way out, in the wrappers of the mirror.
    """
    with ExitStack() as stack:
        way = _Way(way_out.route(url), url, timeout, stack)
        look = _Look(client, url, forbidden_is_absent=forbidden_is_absent)
        steps: list[tuple[str, Callable[[], str]]] = [
            ("dns", way.look_up),
            ("tcp", way.connect),
            ("proxy", way.pass_proxy),
            ("tls", way.secure),
            ("http", look.ask),
            ("index", look.read),
        ]
        for name, work in steps:
            finding = take(name, work)
            yield finding
            if not finding.ok:
                return


def examine_feed(choose: Callable[[], ChangeFeed | None], *, required: bool) -> Finding:
    """The change feed of a mirror.

    :param required: the configuration says that there is a changelog.
    """

    def work() -> str:
        feed = choose()
        if required and (feed is None or feed.kind != "xml-rpc"):
            raise Fault("mirror_changelog_url does not lead to a changelog")
        if feed is None:
            return "none; pages are checked by their age"
        if feed.kind == "xml-rpc":
            return f"xml-rpc, serial {feed.start()}"
        return "listing: the serials in the list of projects, looked at twice an hour"

    return take("feed", work)


def take(step: str, work: Callable[[], str]) -> Finding:
    """One step."""
    begin = time.monotonic()
    try:
        ok, text = True, work()
    except Fault as fault:
        ok, text = False, str(fault)
    except DevpiError as error:
        ok, text = False, error.message
    printable = "".join(char if char.isprintable() else " " for char in text)
    return Finding(step, ok, printable, time.monotonic() - begin)


class _Way:
    """The steps up to an open, secure connection."""

    def __init__(self, route: Route, url: str, timeout: float, stack: ExitStack) -> None:
        self._route = route
        self._url = url
        self._timeout = timeout
        self._stack = stack
        self._proxy = _with_scheme(route.proxy) if route.proxy else None
        self._next = endpoint(self._proxy or url)
        self._addresses: list[Address] = []
        # The open connection, once there is one.
        self._socket = stack.enter_context(closing(socket.socket()))

    def look_up(self) -> str:
        host, port = self._next
        try:
            if self._proxy:
                self._addresses = resolve(host, port)
            else:
                self._addresses = self._route.dialler.addresses(host, port)
        except OSError as error:
            raise Fault(f"{host} has no address: {error.strerror or error}") from error
        found = ", ".join(dict.fromkeys(each.ip for each in self._addresses))
        return f"{'the proxy ' if self._proxy else ''}{host} is {found}"

    def connect(self) -> str:
        port = self._next[1]
        good, bad = 0, []
        for address in self._addresses:
            try:
                opened = self._stack.enter_context(closing(connect(address, self._timeout)))
            except OSError as error:
                bad.append(f"{address.ip}: {_reason(error)}")
                continue
            good += 1
            if good == 1:
                self._socket = opened
        if good == 0:
            raise Fault(f"nothing answers at port {port}, {', '.join(bad)}")
        answer = f"{good} of {len(self._addresses)} addresses answer at port {port}"
        return f"{answer}; not {', '.join(bad)}" if bad else answer

    def pass_proxy(self) -> str:
        if self._proxy is None:
            return "none"
        scheme = urlsplit(self._proxy).scheme
        shown = f"{scheme}://{self._next[0]}:{self._next[1]}"
        if scheme not in ("http", "https"):
            raise Fault(f"{shown} is no proxy of http")
        if urlsplit(self._url).scheme == "http":
            return shown
        try:
            status = self._tunnel(scheme)
        except OSError as error:
            raise Fault(f"{shown} does not answer: {_reason(error)}") from error
        if not status.startswith("2"):
            raise Fault(f"{shown} does not let us through: {status or 'it hangs up'}")
        return f"{shown} lets us through"

    def _tunnel(self, scheme: str) -> str:
        """Ask the proxy for a connection to the host; return its status."""
        if scheme == "https":
            self._wrap(self._next[0])
        host, port = endpoint(self._url)
        host = f"[{host}]" if ":" in host else host
        head = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        parts = urlsplit(self._proxy or "")
        if parts.username:
            words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            head += f"Proxy-Authorization: Basic {base64.b64encode(words.encode()).decode()}\r\n"
        self._socket.sendall(f"{head}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _LONGEST_HEAD:
            data = self._socket.recv(_LONGEST_HEAD)
            if not data:
                break
            answer += data
        line = answer.partition(b"\r\n")[0].decode("latin-1")
        return line.partition(" ")[2]

    def secure(self) -> str:
        if urlsplit(self._url).scheme == "http":
            return "none: everything goes in the open"
        if isinstance(self._socket, ssl.SSLSocket):
            return "within the TLS of the proxy, see the next step"
        try:
            return _certificate_of(self._wrap(endpoint(self._url)[0]))
        except OSError as error:
            raise Fault(f"no trust: {_reason(error)}") from error

    def _wrap(self, host: str) -> ssl.SSLSocket:
        secure = self._route.context.wrap_socket(self._socket, server_hostname=host)
        self._socket = self._stack.enter_context(closing(secure))
        return secure


class _Look:
    """What the index answers."""

    def __init__(self, client: UpstreamClient, url: str, *, forbidden_is_absent: bool) -> None:
        self._client = client
        self._url = url
        self._forbidden_is_absent = forbidden_is_absent
        self._list = "no list of projects"
        self._project: NormalizedName | None = _COMMON

    def ask(self) -> str:
        """Look at the beginning of the list of projects."""
        try:
            with self._client.stream(self._url, page=True) as answer:
                if isinstance(answer, Absent | NotModified):
                    return "answers, without a list of projects"
                self._begin(answer)
                return f"answers in {answer.content_type or 'no content type'}"
        except Denied as error:
            if not self._means_absent(error):
                raise
            return "answers with 403, which is told to mean that there is no such thing"

    def _begin(self, answer: Stream) -> None:
        chunks = answer.decoded(LARGEST_ROOT)
        first = next(chunks, b"")
        form = sniff.kind(first, answer.content_type).name
        found = listing.names(itertools.chain([first], chunks), answer.content_type)
        name = next(found, None)
        self._project = None if name is None else names.project(name)
        self._list = f"list of projects in {form}"

    def read(self) -> str:
        """Look at the page of one project."""
        if self._project is None:
            return f"{self._list}, which is empty"
        try:
            answer = self._client.get(f"{self._url}{self._project}/")
        except Denied as error:
            if not self._means_absent(error):
                raise
            answer = Absent()
        if isinstance(answer, Absent | NotModified):
            return f"{self._list}; no {self._project} to look at"
        page = parse.page(
            answer.document, answer.content_type, answer.url, self._project, answer.serial
        )
        parts = [
            f"{self._list}; {self._project} in "
            + ("HTML" if page.api_minor is None else f"JSON 1.{page.api_minor}"),
            "ETag" if answer.etag else "no ETag",
            "no serial" if page.serial is None else f"serial {page.serial}",
            f"{len(page.links)} files",
            *_offers(page.links),
        ]
        return ", ".join(parts)

    def _means_absent(self, error: Denied) -> bool:
        return self._forbidden_is_absent and error.status == HTTPStatus.FORBIDDEN


def _offers(links: Sequence[Link]) -> Iterator[str]:
    """What is said of how many of the files."""
    counts = {
        "hashes": sum(bool(link.digests) for link in links),
        "sizes": sum(link.size is not None for link in links),
        "upload times": sum(link.uploaded is not None for link in links),
        "metadata": sum(link.core_metadata is not None for link in links),
    }
    for what, count in counts.items():
        if count == 0:
            yield f"no {what}"
        else:
            yield what if count == len(links) else f"{what} of {count}"


def _certificate_of(connection: ssl.SSLSocket) -> str:
    """Version, issuer and end of what the other side has shown."""
    shown: dict[str, Any] = connection.getpeercert() or {}
    issuer = dict(pair for part in shown.get("issuer", ()) for pair in part)
    by = issuer.get("organizationName") or issuer.get("commonName") or "nobody"
    return f"{connection.version()}, issued by {by}, until {shown.get('notAfter')}"


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.strerror or type(error).__name__
