"""HTTP to other indexes.

Everything that comes back is hostile: sizes are bounded, encodings decoded
with a limit, redirects followed by hand (http and https only, credentials
never leave their origin, private networks are out of bounds), and every wait
has a deadline.

Why prepared requests go straight to the adapter: ``Session.get`` reads the
environment, netrc and cookies for each request, which costs about as much as
the request itself; here that happens once an origin.
"""

from __future__ import annotations

import email.utils
import logging
import re
import ssl
import time
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url, get_netrc_auth, select_proxy
from urllib3.exceptions import HTTPError as Urllib3Error
from urllib3.exceptions import ReadTimeoutError

from devpi_server import __version__
from devpi_server.concurrency import BoundedCache, Clock
from devpi_server.errors import Corrupt, Denied, Failed, TimedOut, Unreachable, Unsupported
from devpi_server.upstream.base import Absent, Fresh, NotModified, Stream
from devpi_server.upstream.connections import Adapter, Certificates
from devpi_server.upstream.network import Boundary, Dialler, endpoint

log = logging.getLogger(__name__)

# PEP 691: JSON first, HTML where that is all there is.
ACCEPT_PAGE = (
    "application/vnd.pypi.simple.v1+json, "
    "application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
)
LARGEST_PAGE = 64 * 1024 * 1024  # bytes, decoded; the largest real page has 11 MB
LARGEST_ANSWER = 32 * 1024 * 1024  # bytes, decoded; 50,000 rows of a changelog have 15 MB
_CHUNK = 256 * 1024
_SIPS = 4  # reads at most of a body that nobody wants, to keep its connection
_HOPS = 8
_REDIRECTS = {301, 302, 303, 307, 308}
_NO_QUESTIONS = {303, 404, 405, 410, 501}  # what a server says that takes no POST there
_LONGEST_PAUSE = 600  # seconds of a Retry-After that we believe
_POOLS = 16  # origins that connections are kept open to
_CONNECTIONS = 64  # kept open an origin
_ORIGINS = 500  # whose settings are remembered
# In units of the timeout: files come from slower places than pages, and may stall.
_FILE_GAP = 3  # wait for an answer, or the next bytes, of a file
_PAGE_IN_ALL = 6  # a page that trickles in
_ANSWER_IN_ALL = 12
_LONGEST_REASON = 100
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


class RequestsClient:
    """An ``UpstreamClient`` over pooled connections.

    :param timeout: seconds to connect, and to wait for an answer to begin.
    :param urls: the configured addresses.  A ``user:password@`` in one of them is sent to
        its own origin only; their hosts may be in private networks, others may not.
    :param ca_file: PEM, trusted beside what is trusted anyway.
    :param client_cert: PEM with certificate and key, shown to the hosts of ``urls`` only.
    :param allow_networks: private networks that links and redirects may lead to.
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
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._credentials = {_origin_of(url): get_auth_from_url(url) for url in urls}
        self._session = requests.Session()
        self._user_agent = f"devpi-server/{__version__} {requests.utils.default_user_agent()}"
        bundle = self._session.merge_environment_settings("", {}, None, None, None)["verify"]
        self._certificates = Certificates(
            ca_file=ca_file,
            client_cert=client_cert,
            hosts={endpoint(url)[0] for url in urls},
            bundle=bundle if isinstance(bundle, str) else None,
        )
        self._boundary = Boundary(urls, allow_networks)
        self._dialler = Dialler(self._boundary)
        self._adapter = Adapter(
            self._dialler,
            self._certificates,
            pool_connections=_POOLS,
            pool_maxsize=_CONNECTIONS,
        )
        weakref.finalize(self, self._adapter.close)  # also where nobody calls ``close``
        self._origins: BoundedCache[str, _Origin] = BoundedCache(_ORIGINS)
        # Origin or address → when it may be asked again, as it told us by Retry-After.
        self._pauses: BoundedCache[str, float] = BoundedCache(_ORIGINS)

    def get(
        self, url: str, *, etag: str | None = None, anew: bool = False
    ) -> Fresh | NotModified | Absent:
        if anew:
            self._adapter.close()
        deadline = time.monotonic() + self._timeout * _PAGE_IN_ALL
        with self._stream(url, etag, self._timeout, page=True) as answer:
            if isinstance(answer, NotModified | Absent):
                return answer
            document = _whole(answer, LARGEST_PAGE, deadline)
            return Fresh(answer.url, document, answer.content_type, answer.etag, answer.serial)

    def stream(
        self, url: str, *, etag: str | None = None, page: bool = False
    ) -> AbstractContextManager[Stream | NotModified | Absent]:
        return self._stream(url, etag, self._timeout * _FILE_GAP, page=page)

    @contextmanager
    def _stream(
        self, url: str, etag: str | None, gap: float, *, page: bool
    ) -> Iterator[Stream | NotModified | Absent]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if page:
            headers = {"Accept": ACCEPT_PAGE, "Accept-Encoding": "gzip"}
        if etag:
            headers["If-None-Match"] = etag
        response = self._follow("GET", url, headers, gap)
        try:
            if response.status_code == 200:
                yield _Body(response)
                return
        finally:
            _let_go(response)
        if response.status_code == 304 and etag:
            yield NotModified()
        elif response.status_code in (404, 410):
            yield Absent()
        else:
            self._expect_ok(response)

    def size(self, url: str) -> int | Absent | None:
        response = self._follow("HEAD", url, {"Accept-Encoding": "identity"}, self._timeout)
        _let_go(response)
        if response.status_code in (404, 410):
            return Absent()
        self._expect_ok(response)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            return None
        return _length(response)

    def part(self, url: str, start: int, stop: int) -> bytes:
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{stop - 1}"}
        response = self._follow("GET", url, headers, self._timeout)
        with closing(response):
            said = response.headers.get("Content-Range", "")
            if response.status_code != 206 or not said.startswith(f"bytes {start}-{stop - 1}/"):
                if response.status_code != 206:
                    self._expect_ok(response)
                raise Unsupported(f"{_host(url)} does not send parts of files")
            part = bytearray()
            for chunk in _Body(response).chunks():
                part += chunk
                if len(part) > stop - start:
                    break
        if len(part) != stop - start:
            raise Corrupt(f"{_host(url)} sends another part of a file than it says")
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
            if response.status_code == 200:
                return _whole(_Body(response), LARGEST_ANSWER, deadline)
        finally:
            _let_go(response)
        if response.status_code in _NO_QUESTIONS:
            raise Unsupported(
                f"{_host(url)} answers a question with {response.status_code}",
                status=response.status_code,
            )
        self._expect_ok(response)
        raise AssertionError  # it has raised

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._adapter.close()
        self._session.close()

    def route(self, url: str) -> Route:
        """How the address is reached, for who looks at it step by step.

        :raises Corrupt: it is no address of the web.
        """
        _expect_web_address(url)
        proxy = select_proxy(_without_userinfo(url), self._origin(url).proxies)
        return Route(proxy, self._certificates.context(endpoint(url)[0]), self._dialler)

    def _expect_ok(self, response: requests.Response) -> None:
        """Raise what a status other than 200 means."""
        status, host = response.status_code, _host(response.url)
        if status == 200:
            return
        retry_after = self._retry_after(response)
        if status in (401, 403, 429):
            raise Denied(f"{host} refuses us with {status}", retry_after=retry_after, status=status)
        if status >= 500:
            raise Failed(f"{host} answers with {status}", retry_after=retry_after, status=status)
        raise Corrupt(f"{host} answers with {status}, which says nothing")

    def _retry_after(self, response: requests.Response) -> int | None:
        """Upstream's Retry-After in seconds, which is obeyed from now on."""
        text = response.headers.get("Retry-After", "").strip()
        if response.status_code not in (429, 503) or not text:
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
        what = _origin_of(response.url) if response.status_code == 429 else response.url
        self._pauses.put(what, self._clock() + seconds, 1)
        return seconds

    def _check_pause(self, url: str) -> None:
        for what in (_origin_of(url), _without_userinfo(url)):
            until = self._pauses.get(what)
            if until is not None and 0 < (left := until - self._clock()) <= _LONGEST_PAUSE:
                raise Denied(
                    f"{_host(url)} asked to be left alone for {left:.0f} s",
                    retry_after=int(left) + 1,
                )

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        gap: float,
        body: bytes | None = None,
    ) -> requests.Response:
        """Send the request and follow redirects; the response's body is still to be read.

        A POST stays one: it is a question, and what it asks is no secret.
        """
        for _ in range(_HOPS):
            _expect_web_address(url)
            self._check_pause(url)
            response = self._send(method, url, headers, gap, body)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or location is None:
                return response
            if body is not None and response.status_code in _NO_QUESTIONS:
                return response
            _let_go(response)
            target = _joined(url, location.strip())
            if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
                raise Corrupt(f"{_host(url)} redirects from https to plain http")
            url = target
        raise Corrupt(f"{_host(url)} redirects in circles")

    def _send(
        self, method: str, url: str, headers: dict[str, str], gap: float, body: bytes | None
    ) -> requests.Response:
        """One request; a broken connection gets a second try on a new one."""
        origin = self._origin(url)
        if origin.proxied:
            self._boundary.expect_name(*endpoint(url))
        headers = headers | {"User-Agent": self._user_agent}
        if origin.authorization:
            headers["Authorization"] = origin.authorization
        with translated(url):
            prepared = requests.Request(
                method, _without_userinfo(url), headers=headers, data=body
            ).prepare()
        for last in (False, True):
            try:
                with translated(url):
                    return self._adapter.send(
                        prepared,
                        stream=True,
                        timeout=(self._timeout, gap),
                        proxies=origin.proxies,
                    )
            except Unreachable:
                if last:
                    raise
                # Idle connections to a host that has gone away are all bad at once.
                self._adapter.close()
        raise AssertionError  # the loop has returned or raised

    def _origin(self, url: str) -> _Origin:
        key = _origin_of(url)
        origin = self._origins.get(key)
        if origin is None:
            plain = _without_userinfo(url)
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
        own = self._credentials.get(_origin_of(url))
        if own is not None and any(own):
            auth = own
        else:
            found = get_netrc_auth(url)
            if found and own is None:
                # Its "default" is not for whatever a link leads to.
                named = found != get_netrc_auth(_NO_MACHINE)
                found = found if named and _is_standard_https(url) else None
            if not found:
                return None
            auth = found
        probe = requests.Request("GET", url, auth=HTTPBasicAuth(*auth)).prepare()
        return probe.headers["Authorization"]


@dataclass(slots=True)
class _Body:
    """A ``Stream`` over a response."""

    _response: requests.Response
    url: str = field(init=False)
    length: int | None = field(init=False)
    content_type: str = field(init=False)
    etag: str | None = field(init=False)
    serial: int | None = field(init=False)
    encoded: bool = field(init=False)

    def __post_init__(self) -> None:
        headers = self._response.headers
        self.url = self._response.url
        self.length = _length(self._response)
        self.content_type = headers.get("Content-Type", "")
        self.etag = headers.get("ETag")
        serial = headers.get("X-PyPI-Last-Serial", "")
        self.serial = int(serial) if re.fullmatch("[0-9]{1,18}", serial) else None
        encoding = headers.get("Content-Encoding", "").strip().lower()
        self.encoded = encoding not in ("", "identity")

    def chunks(self) -> Iterator[bytes]:
        raw = self._response.raw
        received = 0
        with translated(self.url):
            while chunk := raw.read1(_CHUNK, decode_content=False):
                received += len(chunk)
                yield chunk
        if self.length is not None and received != self.length:
            raise Unreachable(
                f"{_host(self.url)} broke off after {received} of {self.length} bytes"
            )

    def decoded(self, limit: int) -> Iterator[bytes]:
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        if encoding in ("", "identity"):
            pieces = self.chunks()
        elif encoding in ("gzip", "x-gzip"):
            pieces = _gunzip(self.chunks(), self.url)
        else:
            raise Corrupt(f"{_host(self.url)} answers in the encoding {encoding[:40]!r}")
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > limit:
                raise Corrupt(f"{_host(self.url)} sends more than {limit >> 20} MB at once")
            yield piece


def _whole(answer: Stream, limit: int, deadline: float) -> bytes:
    """The body in memory.

    :raises Corrupt: it is longer than the limit in bytes.
    :raises TimedOut: it takes longer than until the deadline.
    """
    document = bytearray()
    for chunk in answer.decoded(limit):
        document += chunk
        if time.monotonic() > deadline:
            raise TimedOut(f"{_host(answer.url)} sends its answer too slowly")
    return bytes(document)


def _gunzip(chunks: Iterator[bytes], url: str) -> Iterator[bytes]:
    """Decode gzip in pieces of bounded size, however strongly it is compressed."""
    decoder = zlib.decompressobj(31)
    try:
        for chunk in chunks:
            data = chunk
            while data:
                yield decoder.decompress(data, _CHUNK)
                data = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as error:
        raise Corrupt(f"{_host(url)} sends broken gzip") from error
    if not decoder.eof:
        raise Corrupt(f"{_host(url)} sends gzip that breaks off")
    if decoder.unused_data:
        raise Corrupt(f"{_host(url)} sends gzip with something behind it")


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn the HTTP library's errors into ours, once, at this border.

    :raises TimedOut: no answer in time.
    :raises Unreachable: anything else that went wrong with the connection.
    """
    try:
        yield
    except (requests.Timeout, ReadTimeoutError, TimeoutError) as error:
        raise TimedOut(f"{_host(url)} did not answer in time") from error
    except (requests.RequestException, Urllib3Error, OSError, ValueError) as error:
        # ValueError: urllib3's own, for a Content-Length or a chunk size that is no number.
        log.debug("request of %s failed: %s", _host(url), error)
        raise Unreachable(f"{_host(url)} cannot be reached: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """One short phrase for what the HTTP library wraps in many layers."""
    seen: BaseException | None = error
    inner = error
    while seen is not None:
        inner = seen
        args = [arg for arg in seen.args if isinstance(arg, BaseException)]
        reason = getattr(seen, "reason", None)
        if not isinstance(reason, BaseException):
            reason = args[0] if args else seen.__cause__
        seen = reason
    text = getattr(inner, "strerror", None)
    if not text and type(inner) is OSError:  # the standard library's, of a proxy
        text = ascii(str(inner))[1:-1][:_LONGEST_REASON]
    return str(text or type(inner).__name__)


def _let_go(response: requests.Response) -> None:
    """Close the response; its connection is kept for the next request if little is unread."""
    length = _length(response)
    # A 200 that is left unread is a file that nobody wants.
    small = response.status_code != 200 and (length is None or length <= _CHUNK)
    if small or response.request.method == "HEAD":
        with suppress(Urllib3Error, OSError):
            for _ in range(_SIPS):
                if not response.raw.read1(_CHUNK, decode_content=False):
                    break
    response.close()


def _length(response: requests.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text[:15])


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise Corrupt("upstream names an address that is none") from error


def _expect_web_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise Corrupt("upstream names an address that is none") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise Corrupt("upstream names an address that is not http or https")


def _origin_of(url: str) -> str:
    """Scheme, host and port, in one spelling."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _is_standard_https(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and parts.port in (None, 443)


def _without_userinfo(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _host(url: str) -> str:
    """The host, as messages name it: without credentials and path."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "upstream"
    except ValueError:
        return "upstream"
