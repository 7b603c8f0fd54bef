"""Where connections may lead: name resolution, the boundary of private networks, connecting.

The rule.  An address in a public network may be connected to.  Any other
(loopback, private, link-local, cloud metadata, multicast, unspecified, and IPv6
forms of these) only if

* ``mirror_allow_networks`` contains it, or
* it is one that the host of a configured address stands for: the mirror's own,
  any port; of a name only as long as it has never stood for a public address,
  so that who owns the name cannot point it at our network later, or
* the request goes to a configured host and port themselves: that is what was
  configured.

The last two are not for link-local addresses: clouds hand out credentials there.

It is checked on the very address that is connected to, so no answer of the DNS
comes between the check and the connection.  Through a proxy, the proxy
connects; there only addresses written as such can be checked.

Why some ranges that are nobody's count as public: gateways stand for the whole
internet with them, each name with an address of its own.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from devpi_server.concurrency import BoundedCache
from devpi_server.errors import OffLimits

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Option = tuple[int, int, int | bytes]  # of a socket

_PORTS = {"http": 80, "https": 443}
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = ipaddress.ip_address("168.63.129.16")  # Azure's, in the public range
_GATEWAYS = [
    ipaddress.ip_network(text)
    for text in ("192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24")
]
_NUMERIC = re.compile(r"[0-9a-fx.]+\Z", re.IGNORECASE)
_OWN_FOR = 60.0  # seconds that the addresses of the configured names are believed
_BAD_FOR = 60.0  # seconds that an address that did not answer is tried last
_REMEMBERED = 1000  # addresses that did not answer


@dataclass(frozen=True, slots=True)
class Address:
    """One address that a host name stands for."""

    family: int
    sockaddr: tuple[str | int | bytes, ...]

    @property
    def ip(self) -> str:
        return str(self.sockaddr[0])


def resolve(host: str, port: int) -> list[Address]:
    """What the operating system says that the host stands for.

    :raises OSError: nothing, or it does not say.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host!r} is no host name") from error
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


Resolve = Callable[[str, int], list[Address]]


class Boundary:
    """Tells which addresses may be connected to; see the module.

    :param urls: the configured addresses.
    :param allow_networks: as ``10.0.0.0/8``.
    """

    def __init__(
        self,
        urls: Sequence[str],
        allow_networks: Sequence[str],
        *,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = set(_endpoints(urls))
        self._allowed = [ipaddress.ip_network(text, strict=False) for text in allow_networks]
        self._resolve = resolve
        self._clock = clock
        self._public: set[str] = set()  # configured names that have stood for a public address
        self._own: tuple[float, frozenset[IPAddress]] = (float("-inf"), frozenset())

    def expect(self, host: str, port: int, address: str) -> None:
        """Let pass what may be connected to.

        :raises OffLimits: it may not.
        """
        host = host.strip("[]").lower()
        ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
        own = any(host == name for name, _ in self._configured)
        if _is_public(ip):
            if own:
                self._public.add(host)
            return
        if any(ip in network for network in self._allowed):
            return
        is_own = (host, port) in self._configured or ip in self._own_addresses()
        if is_own and not (ip.is_link_local or ip == _METADATA):
            return
        raise OffLimits(
            f"{host} leads into a private network ({address}), "
            "which only mirror_allow_networks can allow"
        )

    def expect_name(self, host: str, port: int) -> None:
        """The same for a host that a proxy connects to: an address, or a name for this machine.

        :raises OffLimits: it may not be connected to.
        """
        ip = _written(host.strip("[]").rstrip(".").lower())
        if ip is not None:
            self.expect(host, port, str(ip))

    def _own_addresses(self) -> frozenset[IPAddress]:
        """The private addresses that the configured hosts stand for."""
        since, own = self._own
        if not 0 <= self._clock() - since < _OWN_FOR:
            own = frozenset(ip for host, port in self._configured for ip in self._of(host, port))
            self._own = self._clock(), own
        return own

    def _of(self, host: str, port: int) -> Iterator[IPAddress]:
        try:
            found = [_plain(ipaddress.ip_address(host))]
        except ValueError:
            try:
                texts = [each.ip.partition("%")[0] for each in self._resolve(host, port)]
            except OSError:
                return
            found = [_plain(ipaddress.ip_address(text)) for text in texts]
            if any(_is_public(ip) for ip in found):
                self._public.add(host)
        if host not in self._public:
            yield from found


class Dialler:
    """Connects to hosts, within a boundary and a deadline.

    A host may have several addresses.  The deadline is shared among them, and
    one that did not answer is tried last for a while.
    """

    def __init__(
        self,
        boundary: Boundary,
        *,
        resolve: Resolve = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._boundary = boundary
        self._resolve = resolve
        self._clock = clock
        self._bad: BoundedCache[tuple[str | int | bytes, ...], float] = BoundedCache(_REMEMBERED)

    def addresses(self, host: str, port: int) -> list[Address]:
        """Those that may be connected to, in the order in which to try them.

        :raises OffLimits: none of them may.
        :raises OSError: the host has none.
        """
        refusal: OffLimits | None = None
        allowed = []
        for address in self._resolve(host, port):
            try:
                self._boundary.expect(host, port, address.ip)
            except OffLimits as error:
                refusal = error
            else:
                allowed.append(address)
        if not allowed:
            raise refusal or OSError(f"{host} has no address")
        now = self._clock()
        return sorted(allowed, key=lambda each: (self._bad.get(each.sockaddr) or 0.0) > now)

    def dial(
        self, host: str, port: int, timeout: float | None, options: Sequence[Option] = ()
    ) -> socket.socket:
        """A connection to the first address that answers.

        :raises OffLimits: as ``addresses``.
        :raises OSError: none answers; TimeoutError: not in time.
        """
        addresses = self.addresses(host, port)
        end = None if timeout is None else time.monotonic() + timeout
        failure = OSError(f"{host} has no address")
        for tried, address in enumerate(addresses):
            share = None
            if end is not None:
                share = max(0.01, (end - time.monotonic()) / (len(addresses) - tried))
            try:
                connection = connect(address, share, options)
            except OSError as error:
                failure = error
                self._bad.put(address.sockaddr, self._clock() + _BAD_FOR, 1)
                continue
            connection.settimeout(timeout)
            return connection
        raise failure


def connect(
    address: Address, timeout: float | None, options: Sequence[Option] = ()
) -> socket.socket:
    """A connection to this address.

    :raises OSError: it does not answer.
    """
    connection = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(timeout)
        connection.connect(address.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def endpoint(url: str) -> tuple[str, int]:
    """The host and the port of an address."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _endpoints(urls: Sequence[str]) -> Iterator[tuple[str, int]]:
    for url in urls:
        host, port = endpoint(url)
        if host:
            yield host, port


def _is_public(ip: IPAddress) -> bool:
    if any(ip in network for network in _GATEWAYS):
        return True
    if ip == _METADATA or not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return isinstance(ip, ipaddress.IPv4Address) or ip in _GLOBAL_UNICAST


def _plain(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address stands for, else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def _written(host: str) -> IPAddress | None:
    """The address that a host is written as: also in one number, in octal or in hex."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.IPv4Address("127.0.0.1")
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not _NUMERIC.match(host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
