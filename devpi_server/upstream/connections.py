"""Connections for the HTTP library: dialled within the boundary, with our certificates.

Why an adapter: the check has to be made on the address that is connected to
(``network``), an SSL context with a thousand certificates takes longer to
make than a connection, so each is made once, and what comes back has to come
within a deadline (``watchdog``).

Why requests do not go through its ``send``: to prepare a request, and to make
what comes back look like a website, costs as much as the request itself.
"""

from __future__ import annotations

import os.path
import re
import socket
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util import Timeout

from devpi_server.errors import ConfigError
from devpi_server.upstream.network import Dialler, endpoint
from devpi_server.upstream.watchdog import Watchdog, Wire

# Needs nothing done to it before it is sent: ASCII, encoded, without dots to resolve.
_PLAIN_URL = re.compile(
    r"https?://[a-z0-9.-]+(?::[0-9]+)?/(?:[A-Za-z0-9$&()*+,:;=@_~%-]|(?<!/)\.|/(?!/))*\Z"
)


class Form(Protocol):
    """A body that is read while it is sent."""

    def __len__(self) -> int:
        """In bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """The next bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Response:
    """What has come back: status and header are there, the body is still to be read."""

    url: str
    method: str  # that it was asked with
    raw: Any  # urllib3's, and in ``raw.wire`` the ``Wire`` that it comes through

    @property
    def status(self) -> int:
        return int(self.raw.status)

    @property
    def reason(self) -> str:
        return str(self.raw.reason or "")

    @property
    def headers(self) -> Mapping[str, str]:
        headers: Mapping[str, str] = self.raw.headers  # in any spelling
        return headers

    def close(self) -> None:
        """End the connection, unless all has been read: then it may be used again."""
        self.raw.close()
        self.raw.release_conn()


class Certificates:
    """What we trust, and what we show.

    :param ca_file: PEM, trusted beside what is trusted anyway.
    :param client_cert: PEM with certificate and key, shown to the configured hosts only.
    :param bundle: file or folder that replaces what is trusted anyway, as ``requests`` has
        it in the environment; None: the system's certificates and certifi's.
    :raises ConfigError: a file cannot be used.
    """

    def __init__(
        self,
        *,
        ca_file: Path | None,
        client_cert: Path | None,
        hosts: Collection[str],
        bundle: str | None,
    ) -> None:
        self._ca_file = ca_file
        self._client_cert = client_cert
        self._hosts = frozenset(hosts)
        self._bundle = bundle
        if ca_file is not None or client_cert is not None:
            self.context("")  # a fault is to be known at the start
            for host in hosts:
                self.context(host)

    def context(self, host: str) -> ssl.SSLContext:
        """The context for connections to this host."""
        if self._client_cert is not None and host in self._hosts:
            return self._showing
        return self._trusting

    @cached_property
    def _trusting(self) -> ssl.SSLContext:
        return self._make()

    @cached_property
    def _showing(self) -> ssl.SSLContext:
        context = self._make()
        try:
            # The function keeps OpenSSL from asking the terminal for a password.
            context.load_cert_chain(str(self._client_cert), password=lambda: "")
        except (OSError, ValueError) as error:
            raise ConfigError(
                [f"cannot use the client certificate {self._client_cert}: {_why(error)}"]
            ) from error
        return context

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._bundle is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._load(context, self._bundle)
        else:
            self._load(context, requests.utils.DEFAULT_CA_BUNDLE_PATH)
        if self._ca_file is not None:
            self._load(context, str(self._ca_file))
        # The certificates of companies are often not as RFC 5280 wants them, and not roots.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    def _load(self, context: ssl.SSLContext, place: str) -> None:
        try:
            if os.path.isdir(place):
                context.load_verify_locations(capath=place)
            else:
                context.load_verify_locations(cafile=place)
        except (OSError, ValueError) as error:
            raise ConfigError([f"cannot use the certificates in {place}: {_why(error)}"]) from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "no PEM, or with a password"
    return getattr(error, "strerror", None) or "unreadable"


class Adapter(HTTPAdapter):
    """A ``requests`` adapter whose connections the dialler makes, and the watchdog watches."""

    def __init__(
        self, dialler: Dialler, certificates: Certificates, watchdog: Watchdog, **options: Any
    ) -> None:
        self._dialler = dialler
        self._certificates = certificates
        self._watchdog = watchdog
        super().__init__(**options)

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        body: bytes | Form | None = None,
        timeout: tuple[float, float],
        proxies: dict[str, str] | None,
    ) -> Response:
        """Send a request, and wait for the head of the answer.

        :param timeout: seconds to connect, and until the head has come.
        :param proxies: as ``requests`` has them; None: none for this address.
        :raises Exception: what ``translated`` translates.
        """
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
        request = requests.PreparedRequest()
        request.method = method
        if _PLAIN_URL.match(url):
            request.url = url
        else:
            request.prepare_url(url, None)
        if proxies is None:
            host, options = self.build_connection_pool_key_attributes(request, verify=True)
            pool = self.poolmanager.connection_from_host(**host, pool_kwargs=options)
            target = request.path_url
        else:
            pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
            target = self.request_url(request, proxies)
        connect, read = timeout
        raw = pool.urlopen(
            method,
            target,
            body,
            headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            timeout=Timeout(connect=connect, read=read),
        )
        return Response(request.url or url, method, raw)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": self._pool(HTTPConnectionPool, _Dialled, HTTPConnection),
            "https": self._pool(HTTPSConnectionPool, _Dialled, HTTPSConnection),
        }

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        # Through a proxy, what connects is the proxy; it is configured, so it may be anywhere.
        if not proxy.lower().startswith("socks"):
            options.setdefault("proxy_ssl_context", self._certificates.context(""))
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options)
        if is_new:
            manager.pool_classes_by_scheme = {
                scheme: self._pool(pool, _Watched, pool.ConnectionCls)
                for scheme, pool in manager.pool_classes_by_scheme.items()
            }
        return manager

    def _pool(self, pool: type, *bases: type) -> type:
        """The class of a pool with connections of these kinds."""
        ours = {"dialler": self._dialler, "watchdog": self._watchdog}
        return type("Pool", (pool,), {"ConnectionCls": type("Connection", bases, ours)})

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        url = request.url or ""
        host, port = endpoint(url)
        pool: dict[str, Any] = {}
        scheme = url.partition(":")[0].lower()
        if scheme == "https":
            pool = {"ssl_context": self._certificates.context(host), "cert_reqs": "CERT_REQUIRED"}
        return {"scheme": scheme, "host": host, "port": port}, pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context has it all."""


def _dial(connection: HTTPConnection, dialler: Dialler) -> socket.socket:
    """What ``urllib3`` does in its place, with its exceptions."""
    host = connection._dns_host
    try:
        return dialler.dial(
            host,
            connection.port or connection.default_port,
            connection.timeout,
            connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise NameResolutionError(host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"{host} does not answer") from error
    except OSError as error:
        raise NewConnectionError(connection, f"{host} cannot be reached: {error}") from error


class _Watched(HTTPConnection):
    """A connection over which the head of an answer comes within the timeout, as a whole."""

    watchdog: Watchdog

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's, as there
        # Below TLS within TLS there is a socket too.
        wire = Wire(getattr(self.sock, "socket", self.sock), self.watchdog)
        response: HTTPResponse | None = None
        try:
            with wire.within(cast("float", self.timeout)):  # every request of ours has one
                response = super().getresponse()
        except TimeoutError:
            if response is not None:
                response.close()
            raise
        response.wire = wire  # type: ignore[attr-defined]  # for who reads the body
        return response


class _Dialled(_Watched):
    dialler: Dialler

    def _new_conn(self) -> socket.socket:
        return _dial(self, self.dialler)
