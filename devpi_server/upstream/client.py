"""HTTP to other indexes.

Everything that comes back is hostile: sizes are bounded, encodings decoded
with a limit, redirects followed by hand (http and https only, credentials
never leave their origin, private networks are out of bounds), and every wait
has a deadline.

Why requests go straight to the adapter: ``Session.get`` reads the
environment, netrc and cookies for each request, which costs about as much as
the request itself; here that happens once an origin.
"""

from __future__ import annotations

import email.utils
import logging
import ssl
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url, get_netrc_auth, select_proxy

from devpi_server import __version__
from devpi_server.concurrency import Alarm, BoundedCache, Budget, Clock
from devpi_server.errors import (
    Corrupt,
    Denied,
    Failed,
    TimedOut,
    Unreachable,
    Unsupported,
    UpstreamError,
)
from devpi_server.upstream.addresses import (
    expect_web_address,
    host_of,
    is_standard_https,
    joined,
    origin_of,
    without_userinfo,
)
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream
from devpi_server.upstream.bodies import Body, length_of, let_go, translated, whole
from devpi_server.upstream.connections import Adapter, Certificates, Form, Response
from devpi_server.upstream.network import Boundary, Dialler, endpoint
from devpi_server.upstream.watchdog import Watchdog

log = logging.getLogger(__name__)

# PEP 691: JSON first, HTML where that is all there is.
ACCEPT_PAGE = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)
LARGEST_PAGE = 32 * 1024 * 1024  # bytes, decoded; the largest real page has 11 MB
_ROOM = 64 * 1024 * 1024  # bytes of memory for large pages at the same time
LARGEST_ANSWER = 32 * 1024 * 1024  # bytes, decoded; 50,000 rows of a changelog have 15 MB
_HOPS = 8
_REDIRECTS = {301, 302, 303, 307, 308}
_NO_QUESTIONS = {303, 404, 405, 410, 501}  # what a server says that takes no POST there
_LONGEST_PAUSE = 600  # seconds of a Retry-After that we believe
_POOLS = 16  # origins that connections are kept open to
_CONNECTIONS = 64  # kept open an origin
_ORIGINS = 500  # whose settings are remembered
# In units of the timeout: files come from slower places than pages, and may stall.
_FILE_GAP = 3  # wait for an answer, or the next bytes, of a file
_REDIRECTED_IN_ALL = 6  # until where redirects lead in the end is asked
_PAGE_IN_ALL = 6  # a page that trickles in
_ANSWER_IN_ALL = 12
_FORM_ANSWERED = 24  # a server looks through an upload before it answers
_LARGEST_REPLY = 64 * 1024  # bytes of what is said to a form
_LOOK = 0.25  # between two looks for what is past its deadline
_LOOK_AT_LEAST_EVERY = 1.0  # seconds
# Asked for the credentials of every machine that a netrc file does not name.
_NO_MACHINE = "https://no-such-machine.invalid/"


@dataclass(frozen=True, slots=True)
class _Origin:
    """What the environment says about one scheme, host and port."""

    proxies: dict[str, str] = field(repr=False)  # may hold passwords
    proxied: bool
    authorization: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """How an address is reached."""

    proxy: str | None = field(repr=False)  # None: directly; may hold a password
    context: ssl.SSLContext  # for https
    dialler: Dialler


@dataclass(frozen=True, slots=True)
class Reply:
    """What is said to a form that was sent."""

    status: int
    reason: str
    content_type: str
    text: str  # its beginning
    location: str | None


class RequestsClient:
    """An ``UpstreamClient`` over pooled connections.

    :param timeout: seconds to connect, and to wait for an answer to begin.
    :param urls: the configured addresses.  A ``user:password@`` in one of them is sent to
        its own origin only; their hosts may be in private networks, others may not.
    :param ca_file: PEM, trusted beside what is trusted anyway.
    :param client_cert: PEM with certificate and key, shown to the hosts of ``urls`` only.
    :param allow_networks: private networks that links and redirects may lead to.
    :param own_host_is_trusted: whether who may configure this machine has named ``urls``.  If
        not, they may not be in private networks either, and what netrc knows is not for them.
    :raises ConfigError: a file cannot be used.
    """

    def __init__(
        self,
        *,
        timeout: float,
        clock: Clock,
        urls: Sequence[str],
        ca_file: Path | None = None,
        client_cert: Path | None = None,
        allow_networks: Sequence[str] = (),
        own_host_is_trusted: bool = True,
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._credentials = {origin_of(url): get_auth_from_url(url) for url in urls}
        self._session = requests.Session()
        self._user_agent = f"devpi-server/{__version__} {requests.utils.default_user_agent()}"
        bundle = self._session.merge_environment_settings("", {}, None, None, None)["verify"]
        self._certificates = Certificates(
            ca_file=ca_file,
            client_cert=client_cert,
            hosts={endpoint(url)[0] for url in urls},
            bundle=bundle if isinstance(bundle, str) else None,
        )
        self._boundary = Boundary(urls if own_host_is_trusted else (), allow_networks)
        self._uses_netrc = own_host_is_trusted
        self._dialler = Dialler(self._boundary)
        self._adapter = Adapter(
            self._dialler,
            self._certificates,
            Watchdog(Alarm(), min(_LOOK_AT_LEAST_EVERY, timeout * _LOOK)),
            pool_connections=_POOLS,
            pool_maxsize=_CONNECTIONS,
        )
        weakref.finalize(self, self._adapter.close)  # also where nobody calls ``close``
        # All flights at once with the largest page would need gigabytes.
        self._memory = Budget(_ROOM)
        self._origins: BoundedCache[str, _Origin] = BoundedCache(_ORIGINS)
        # Origin or address → when it may be asked again, as it told us by Retry-After.
        self._pauses: BoundedCache[str, float] = BoundedCache(_ORIGINS)

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        if anew:
            self._adapter.close()
        deadline = time.monotonic() + self._timeout * _PAGE_IN_ALL
        with self._stream(url, etag, self._timeout, page=True, deadline=deadline) as answer:
            if isinstance(answer, NotModified | Absent):
                return answer
            room = self._memory.room()
            document = whole(answer, LARGEST_PAGE, deadline, room)
            told = answer.content_type, answer.etag, answer.serial
            return Fresh(answer.url, document, *told, room)

    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> AbstractContextManager[Stream | NotModified | Absent]:
        return self._stream(url, etag, self._timeout * _FILE_GAP, page=page)

    @contextmanager
    def _stream(
        self, url: str, etag: str | None, gap: float, *, page: bool, deadline: float | None = None
    ) -> Iterator[Stream | NotModified | Absent]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if page:
            headers = {"Accept": ACCEPT_PAGE, "Accept-Encoding": "gzip"}
        if etag:
            headers["If-None-Match"] = etag
        response = self._follow("GET", url, headers, gap)
        try:
            if response.status == 200:
                yield Body(response, deadline)
                return
        finally:
            let_go(response)
        if response.status == 304 and etag:
            yield NotModified()
        elif response.status in (404, 410):
            yield Absent()
        else:
            self._expect_ok(response)

    def size(self, url: str) -> int | Absent | None:
        response = self._follow("HEAD", url, {"Accept-Encoding": "identity"}, self._timeout)
        let_go(response)
        if response.status in (404, 410):
            return Absent()
        self._expect_ok(response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            return None
        return length_of(response)

    def part(self, url: str, start: int, stop: int) -> bytes:
        deadline = time.monotonic() + self._timeout * _PAGE_IN_ALL
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        response = self._follow("GET", url, headers, self._timeout)
        with closing(response):
            said = response.headers.get("Content-Range", "")
            if response.status != 206 or not said.startswith(f"bytes {start}-{stop - 1}/"):
                if response.status != 206:
                    self._expect_ok(response)
                raise Unsupported(f"{host_of(url)} does not send parts of files")
            part = bytearray()
            for chunk in Body(response, deadline).chunks():
                part += chunk
                if len(part) > stop - start:
                    break
        if len(part) != stop - start:
            raise Corrupt(f"{host_of(url)} sends another part of a file than it says")
        return bytes(part)

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        deadline = time.monotonic() + self._timeout * _ANSWER_IN_ALL
        headers = {
            "Accept": content_type,
            "Accept-Encoding": "gzip",
            "Content-Type": content_type,
        }
        response = self._follow("POST", url, headers, self._timeout * _FILE_GAP, body)
        try:
            if response.status == 200:
                return whole(Body(response, deadline), LARGEST_ANSWER, deadline)
        finally:
            let_go(response)
        if response.status in _NO_QUESTIONS:
            raise Unsupported(
                f"{host_of(url)} answers a question with {response.status}",
                status=response.status,
            )
        self._expect_ok(response)
        raise AssertionError  # it has raised

    def publish(self, url: str, form: Form, content_type: str, authorization: str | None) -> Reply:
        """Send a form, once and nowhere else.

        :param authorization: all that is said of who sends it.
        """
        expect_web_address(url)
        headers = {
            "Accept": "text/plain, application/json;q=0.9, */*;q=0.1",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Content-Type": content_type,
        }
        if authorization is not None:
            headers["Authorization"] = authorization
        waits = (self._timeout * _FILE_GAP, self._timeout * _FORM_ANSWERED)
        response = self._once("POST", url, headers, form, waits)
        with closing(response):
            return Reply(
                response.status,
                response.reason,
                response.headers.get("Content-Type", ""),
                self._beginning(response),
                response.headers.get("Location"),
            )

    def _beginning(self, response: Response) -> str:
        text = bytearray()
        try:
            for chunk in Body(response, time.monotonic() + self._timeout * _PAGE_IN_ALL).chunks():
                text += chunk
                if len(text) > _LARGEST_REPLY:
                    break
        except UpstreamError as error:  # the status is said already
            log.debug("what %s says breaks off: %s", host_of(response.url), error.message)
        return text[:_LARGEST_REPLY].decode("utf-8", "replace")

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._adapter.close()
        self._session.close()

    def route(self, url: str) -> Route:
        """How the address is reached, for who looks at it step by step.

        :raises Corrupt: it is no address of the web.
        """
        expect_web_address(url)
        proxy = select_proxy(without_userinfo(url), self._origin(url).proxies)
        return Route(proxy, self._certificates.context(endpoint(url)[0]), self._dialler)

    def _expect_ok(self, response: Response) -> None:
        """Raise what a status other than 200 means."""
        status, host = response.status, host_of(response.url)
        if status == 200:
            return
        retry_after = self._retry_after(response)
        if status in (401, 403, 429):
            raise Denied(f"{host} refuses us with {status}", retry_after=retry_after, status=status)
        if status >= 500:
            raise Failed(f"{host} answers with {status}", retry_after=retry_after, status=status)
        raise Corrupt(f"{host} answers with {status}, which says nothing")

    def _retry_after(self, response: Response) -> int | None:
        """Upstream's Retry-After in seconds, which is obeyed from now on."""
        text = response.headers.get("Retry-After", "").strip()
        if response.status not in (429, 503) or not text:
            return None
        if text.isascii() and text.isdigit():
            seconds = int(text[:9])
        else:
            try:
                when = email.utils.parsedate_to_datetime(text).timestamp()
            except (ValueError, OverflowError):
                return None
            seconds = int(when - self._clock())
        seconds = max(1, min(_LONGEST_PAUSE, seconds))
        # 429 is about us, 503 about what was asked for.
        what = origin_of(response.url) if response.status == 429 else response.url
        self._pauses.put(what, self._clock() + seconds, 1)
        return seconds

    def _check_pause(self, url: str) -> None:
        for what in (origin_of(url), without_userinfo(url)):
            until = self._pauses.get(what)
            if until is not None and 0 < (left := until - self._clock()) <= _LONGEST_PAUSE:
                raise Denied(
                    f"{host_of(url)} asked to be left alone for {left:.0f} s",
                    retry_after=int(left) + 1,
                )

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        gap: float,
        body: bytes | None = None,
    ) -> Response:
        """Send the request and follow redirects; the response's body is still to be read.

        A POST stays one: it is a question, and what it asks is no secret.
        """
        deadline = time.monotonic() + self._timeout * _REDIRECTED_IN_ALL
        for _ in range(_HOPS):
            if time.monotonic() > deadline:
                raise TimedOut(f"{host_of(url)} redirects too slowly")
            expect_web_address(url)
            self._check_pause(url)
            response = self._send(method, url, headers, gap, body)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or location is None:
                return response
            if body is not None and response.status in _NO_QUESTIONS:
                return response
            let_go(response)
            target = joined(url, location.strip())
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise Corrupt(f"{host_of(url)} redirects from https to plain http")
            url = target
        raise Corrupt(f"{host_of(url)} redirects in circles")

    def _send(
        self, method: str, url: str, headers: dict[str, str], gap: float, body: bytes | None
    ) -> Response:
        """One request; a broken connection gets a second try on a new one."""
        authorization = self._origin(url).authorization
        if authorization:
            headers = headers | {"Authorization": authorization}
        for last in (False, True):
            try:
                return self._once(method, url, headers, body, (self._timeout, gap))
            except Unreachable:
                if last:
                    raise
                # Idle connections to a host that has gone away are all bad at once.
                self._adapter.close()
        raise AssertionError  # the loop has returned or raised

    def _once(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | Form | None,
        waits: tuple[float, float],
    ) -> Response:
        """:param waits: seconds to connect and to go on sending, and for an answer to begin."""
        origin = self._origin(url)
        if origin.proxied:
            self._boundary.expect_name(*endpoint(url))
        with translated(url):
            return self._adapter.ask(
                method,
                without_userinfo(url),
                headers | {"User-Agent": self._user_agent},
                body=body,
                timeout=waits,
                proxies=origin.proxies if origin.proxied else None,
            )

    def _origin(self, url: str) -> _Origin:
        key = origin_of(url)
        origin = self._origins.get(key)
        if origin is None:
            plain = without_userinfo(url)
            found = self._session.merge_environment_settings(plain, {}, None, None, None)
            proxies = dict(found["proxies"])
            proxied = select_proxy(plain, proxies) is not None
            origin = _Origin(proxies, proxied, self._authorization(plain))
            self._origins.put(key, origin, 1)
        return origin

    def _authorization(self, url: str) -> str | None:
        """What is sent to the origin of this address.

        A netrc file speaks of machines.  Its credentials go to the configured
        origins, and to the standard port of https of the machines that it names.
        """
        own = self._credentials.get(origin_of(url))
        if own is not None and any(own):
            auth = own
        elif not self._uses_netrc:
            return None
        else:
            found = get_netrc_auth(url)
            if found and own is None:
                # Its "default" is not for whatever a link leads to.
                named = found != get_netrc_auth(_NO_MACHINE)
                found = found if named and is_standard_https(url) else None
            if not found:
                return None
            auth = found
        user, password = (_on_the_wire(part) for part in auth)
        probe = requests.Request("GET", url, auth=HTTPBasicAuth(user, password)).prepare()
        return probe.headers["Authorization"]


def _on_the_wire(text: str) -> bytes:
    """A part of credentials: in Latin-1 as ever, in UTF-8 where that does not do."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
