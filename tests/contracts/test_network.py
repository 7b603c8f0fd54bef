"""Where the client goes and what it shows on the way: networks, certificates, credentials."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from fakes import FakeClock
from tunnel import Tunnel
from upstream import HugePage, Redirect, SlowHead, Status, Upstream

from devpi_server.errors import (
    ConfigError,
    Corrupt,
    OffLimits,
    TimedOut,
    Unreachable,
    Unsupported,
    UpstreamError,
)
from devpi_server.upstream.base import Fresh
from devpi_server.upstream.client import LARGEST_ANSWER, RequestsClient
from devpi_server.upstream.network import Address, Boundary, Dialler

PAGE = "/simple/demo/"
INSIDE = "127.0.0.2"  # somewhere in our network that no mirror is configured for


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def start() -> Iterator[Callable[..., Upstream]]:
    """Start an upstream with a project."""
    with ExitStack() as stack:

        def start(**options: Any) -> Upstream:
            up = stack.enter_context(Upstream(**options))
            up.release("demo", "1.0")
            return up

        yield start


@pytest.fixture
def up(start: Callable[..., Upstream]) -> Upstream:
    return start()


@pytest.fixture
def inside(start: Callable[..., Upstream]) -> Upstream:
    return start(host=INSIDE)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Host names, with the addresses that they stand for."""
    known: dict[str, list[str]] = {}
    really = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        return [
            found
            for address in known.get(host, [host])
            for found in really(address, port, *args, **options)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


def make(*urls: str, **options: Any) -> RequestsClient:
    return RequestsClient(timeout=10.0, clock=FakeClock(), urls=urls, **options)


def page_of(up: Upstream, host: str | None = None) -> str:
    url = f"{up.simple_url}demo/"
    return url if host is None else url.replace(f"//{up.url.split('/')[2]}", f"//{host}:{up.port}")


# Networks

FORBIDDEN = [
    "127.0.0.2",
    "2130706434",
    "0x7f000002",
    "0177.0.0.2",
    "127.2",
    "[::1]",
    "[::ffff:127.0.0.2]",
    "[::ffff:7f00:2]",
    "[64:ff9b::7f00:2]",
    "[64:ff9b::a00:1]",
    "[64:ff9b:1::a00:1]",
    "[2002:7f00:2::]",
    "[::127.0.0.2]",
    "0.0.0.0",
    "[::]",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fec0::1]",
    "224.0.0.1",
    "[ff02::1]",
    "240.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_link_into_a_private_network_is_refused(up: Upstream, host: str) -> None:
    """U03: however the address is written, and with the option that could allow it named."""
    with pytest.raises(OffLimits, match="mirror_allow_networks"):
        make(up.simple_url).get(f"http://{host}:{up.port}/simple/demo/")


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_proxy_is_not_sent_there_either(
    up: Upstream, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written as an address is known before the proxy is asked."""
    monkeypatch.setenv("http_proxy", up.url)
    client = make("http://index.test/simple/")
    assert isinstance(client.get("http://index.test/simple/demo/"), Fresh)
    up.clear()
    for each in (host, "localhost", "LOCALHOST."):
        with pytest.raises(OffLimits):
            client.get(f"http://{each}/simple/demo/")
    assert up.requests == []


def test_a_redirect_into_a_private_network_is_refused(up: Upstream, inside: Upstream) -> None:
    """U03: on each hop, and before a connection is made."""
    up.fail("/simple/first/", Redirect(f"{up.simple_url}second/"))
    up.fail("/simple/second/", Redirect(page_of(inside)))
    with pytest.raises(OffLimits):
        make(up.simple_url).get(f"{up.simple_url}first/")
    assert inside.connections == 0


def test_a_name_is_judged_by_its_address(
    up: Upstream, inside: Upstream, names: dict[str, list[str]]
) -> None:
    """U03: what a name stands for counts, not how it looks."""
    names["files.test"] = [INSIDE]
    with pytest.raises(OffLimits, match=r"files\.test"):
        make(up.simple_url).get(page_of(inside, "files.test"))
    assert inside.connections == 0


def test_of_several_addresses_only_the_allowed_are_used(
    up: Upstream, names: dict[str, list[str]]
) -> None:
    """A name may stand for both kinds."""
    names["files.test"] = [INSIDE, "10.0.0.1", "127.0.0.1"]
    assert isinstance(make(up.simple_url).get(page_of(up, "files.test")), Fresh)


def test_the_mirrors_own_address_may_be_private(
    up: Upstream, start: Callable[..., Upstream], names: dict[str, list[str]]
) -> None:
    """With any port, and by whatever name: files often are beside the index."""
    names["index.test"] = ["127.0.0.1"]
    for client in (make(up.simple_url), make(page_of(up, "index.test"))):
        assert isinstance(client.get(page_of(up)), Fresh)
        assert isinstance(client.get(page_of(start())), Fresh)


def test_an_option_allows_networks(inside: Upstream, up: Upstream) -> None:
    """Those, and no others."""
    client = make(up.simple_url, allow_networks=("10.0.0.0/8", f"{INSIDE}/32"))
    assert isinstance(client.get(page_of(inside)), Fresh)
    with pytest.raises(OffLimits):
        client.get("http://127.0.0.3/")


def test_what_a_gateway_makes_of_public_names_is_free() -> None:
    """Names that it maps to ranges which are nobody's, one each."""
    boundary = Boundary(["https://index.test/"], ())
    for address in ("198.18.0.7", "203.0.113.80", "192.0.2.1", "198.51.100.1"):
        boundary.expect("files.test", 443, address)


def test_the_public_network_is_free() -> None:
    """Also by way of the IPv6 forms of public addresses, as networks without IPv4 have them."""
    boundary = Boundary(["https://index.test/"], ())
    for address in ("151.101.0.223", "2a04:4e42::223", "64:ff9b::9765:df", "::ffff:151.101.0.223"):
        boundary.expect("files.test", 443, address)


class Resolver:
    """The DNS, as a test wants it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] = addresses
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        return [Address(socket.AF_INET, (each, port)) for each in self.addresses]


def test_a_public_name_cannot_move_into_our_network() -> None:
    """U03: who owns the mirror's name does not get at our network by changing it (rebinding)."""
    resolver, clock = Resolver("151.101.0.223"), FakeClock()
    boundary = Boundary(["https://index.test/simple/"], (), resolve=resolver, clock=clock)
    boundary.expect("index.test", 443, "151.101.0.223")
    resolver.addresses = ["10.0.0.1"]
    clock.advance(3600)

    with pytest.raises(OffLimits):
        boundary.expect("index.test", 8500, "10.0.0.1")
    with pytest.raises(OffLimits):
        boundary.expect("files.test", 443, "10.0.0.1")
    with pytest.raises(OffLimits):
        boundary.expect("index.test", 443, "169.254.169.254")


@pytest.mark.parametrize("address", ["169.254.169.254", "168.63.129.16", "fe80::1"])
def test_where_clouds_hand_out_credentials_is_opened_by_the_option_only(address: str) -> None:
    """Also where it is configured: over HTTP, a user may do that."""
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(OffLimits):
        Boundary([f"http://{host}/"], ()).expect(host, 80, address)
    Boundary([f"http://{host}/"], (address,)).expect(host, 80, address)


def test_the_configured_origin_may_move() -> None:
    """Another answer of the DNS heals without a restart."""
    boundary = Boundary(["https://index.test/simple/"], (), resolve=Resolver("151.101.0.223"))
    boundary.expect("index.test", 443, "151.101.0.223")
    boundary.expect("index.test", 443, "10.0.0.1")


def test_public_addresses_cost_no_lookup() -> None:
    """The hot path asks the DNS once a connection."""
    resolver = Resolver("151.101.0.223")
    boundary = Boundary(["https://index.test/simple/"], (), resolve=resolver)
    Dialler(boundary, resolve=resolver).addresses("files.test", 443)
    assert resolver.asked == ["files.test"]


def test_it_connects_to_the_address_that_was_checked(up: Upstream) -> None:
    """U03: the name is looked up once, so nothing comes between check and connection."""
    resolver = Resolver("127.0.0.1")
    boundary = Boundary([up.simple_url], (), resolve=resolver)
    with Dialler(boundary, resolve=resolver).dial("files.test", up.port, 10.0) as connection:
        assert connection.getpeername() == ("127.0.0.1", up.port)
    assert resolver.asked == ["files.test"]


def test_a_bad_address_of_several_is_tried_last_from_then_on(up: Upstream) -> None:
    """One dead node costs its share of the deadline once."""
    resolver, clock = Resolver("127.0.0.9", "127.0.0.1"), FakeClock()
    boundary = Boundary([], ["127.0.0.0/8"])
    dialler = Dialler(boundary, resolve=resolver, clock=clock)
    dialler.dial("index.test", up.port, 10.0).close()
    assert [each.ip for each in dialler.addresses("index.test", up.port)] == [
        "127.0.0.1",
        "127.0.0.9",
    ]
    clock.advance(3600)
    assert dialler.addresses("index.test", up.port)[0].ip == "127.0.0.9"


def test_one_good_address_is_enough(up: Upstream, names: dict[str, list[str]]) -> None:
    """The others may refuse."""
    names["index.test"] = ["127.0.0.8", "127.0.0.9", "127.0.0.1"]
    assert isinstance(make(page_of(up, "index.test")).get(page_of(up, "index.test")), Fresh)


# Certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def client_cert(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "client.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def tls(authority: trustme.CA, *hosts: str, asks: bool = False) -> ssl.SSLContext:
    """A server's side; ``asks`` for a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts).configure_cert(context)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


@pytest.fixture
def secure(start: Callable[..., Upstream], authority: trustme.CA) -> Upstream:
    return start(tls=tls(authority, "127.0.0.1", "index.test"))


def test_a_certificate_of_nobody_is_refused(secure: Upstream) -> None:
    """The reason is in the message."""
    with pytest.raises(Unreachable, match="certificate"):
        make(secure.simple_url).get(page_of(secure))
    assert secure.requests == []


def test_a_ca_file_is_trusted(secure: Upstream, ca_file: Path) -> None:
    """Of the company's own authority, say."""
    client = make(secure.simple_url, ca_file=ca_file)
    assert isinstance(client.get(page_of(secure)), Fresh)


def test_a_ca_file_is_added_to_what_is_trusted_anyway(ca_file: Path) -> None:
    """The public authorities stay."""
    context = make("https://index.test/", ca_file=ca_file)._certificates.context("index.test")
    assert context.cert_store_stats()["x509_ca"] > 50


def test_the_environments_bundle_is_honoured(
    secure: Upstream, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``requests`` and pip do it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
    assert isinstance(make(secure.simple_url).get(page_of(secure)), Fresh)


def test_the_systems_certificates_are_trusted(
    secure: Upstream, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenSSL looks for them."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    assert isinstance(make(secure.simple_url).get(page_of(secure)), Fresh)


def test_a_certificate_for_another_host_is_refused(
    start: Callable[..., Upstream], authority: trustme.CA, ca_file: Path
) -> None:
    """Trust in an authority is not trust in all of its servers."""
    up = start(tls=tls(authority, "other.test"))
    with pytest.raises(Unreachable):
        make(up.simple_url, ca_file=ca_file).get(page_of(up))


def test_a_client_certificate_is_shown_to_the_mirrors_host(
    start: Callable[..., Upstream], authority: trustme.CA, ca_file: Path, client_cert: Path
) -> None:
    """Who asks for one gets it, and nobody gets in without."""
    up = start(tls=tls(authority, "127.0.0.1", asks=True))
    with_it = make(up.simple_url, ca_file=ca_file, client_cert=client_cert)
    assert isinstance(with_it.get(page_of(up)), Fresh)
    with pytest.raises(UpstreamError):
        make(up.simple_url, ca_file=ca_file).get(page_of(up))


def test_a_client_certificate_is_shown_to_nobody_else(
    up: Upstream,
    start: Callable[..., Upstream],
    authority: trustme.CA,
    ca_file: Path,
    client_cert: Path,
) -> None:
    """A link to a curious host does not get it."""
    curious = start(host=INSIDE, tls=tls(authority, INSIDE, asks=True))
    client = make(
        up.simple_url, ca_file=ca_file, client_cert=client_cert, allow_networks=[f"{INSIDE}/32"]
    )
    with pytest.raises(UpstreamError):
        client.get(page_of(curious))
    assert curious.requests == []


def test_files_that_are_of_no_use_are_told_at_the_start(tmp_path: Path, ca_file: Path) -> None:
    """Not at the first request, and without their content."""
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for options in (
        {"ca_file": tmp_path / "nothing"},
        {"ca_file": junk},
        {"client_cert": tmp_path / "nothing"},
        {"client_cert": junk},
        {"client_cert": ca_file},  # no key
    ):
        with pytest.raises(ConfigError, match="cannot use"):
            make("https://index.test/", **options)


# Proxies


def test_https_goes_through_a_tunnel(
    secure: Upstream, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy learns the name and nothing more; its credentials go to it alone."""
    with Tunnel(("127.0.0.1", secure.port)) as tunnel:
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{tunnel.address}")
        client = make("https://index.test/simple/", ca_file=ca_file)
        assert isinstance(client.get("https://index.test/simple/demo/"), Fresh)
        client._adapter.close()
    (head,) = tunnel.heads
    assert head.startswith("CONNECT index.test:443 HTTP/1.")
    assert "Proxy-Authorization: Basic" in head
    assert not any("proxy-authorization" in request.headers for request in secure.requests)


@pytest.mark.parametrize("is_tunnelled", [False, True], ids=["directly", "through a tunnel"])
def test_a_head_that_trickles_over_tls_is_a_timeout(
    secure: Upstream, ca_file: Path, monkeypatch: pytest.MonkeyPatch, is_tunnelled: bool
) -> None:
    """U02: each byte comes in time, all of them together do not."""
    secure.fail(PAGE, SlowHead(100))
    with Tunnel(("127.0.0.1", secure.port)) as tunnel:
        if is_tunnelled:
            monkeypatch.setenv("https_proxy", f"http://{tunnel.address}")
        client = RequestsClient(
            timeout=0.5, clock=FakeClock(), urls=[secure.simple_url], ca_file=ca_file
        )
        with pytest.raises(TimedOut):
            client.size(page_of(secure))
        client.close()


def test_a_proxy_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its password is not."""
    with Tunnel(("127.0.0.1", 9), status="407 Proxy Authentication Required") as tunnel:
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{tunnel.address}")
        with pytest.raises(Unreachable) as raised:
            make("https://index.test/simple/").get("https://index.test/simple/demo/")
    assert "407" in raised.value.message
    assert "s3cret" not in raised.value.message


# Credentials


def test_each_address_has_its_own_credentials(up: Upstream, start: Callable[..., Upstream]) -> None:
    """Of several mirror addresses."""
    other = start()
    client = make(up.simple_url.replace("//", "//a:1@"), other.simple_url.replace("//", "//b:2@"))
    client.get(page_of(up))
    client.get(page_of(other))
    sent = [each.requests[0].headers["authorization"] for each in (up, other)]
    assert sent == ["Basic YTox", "Basic Yjoy"]


@pytest.mark.parametrize("line", ["machine 127.0.0.1", "default"])
def test_netrc_is_for_configured_addresses(
    up: Upstream, start: Callable[..., Upstream], tmp_path: Path, line: str
) -> None:
    """A link to another port, in the open, does not carry what is meant for a machine."""
    (tmp_path / "netrc").write_text(f"{line} login me password s3cret\n")
    other = start()
    client = make(up.simple_url)
    client.get(page_of(up))
    client.get(page_of(other))
    assert "authorization" in up.requests[0].headers
    assert "authorization" not in other.requests[0].headers


def test_netrc_speaks_for_other_machines_over_https(tmp_path: Path) -> None:
    """Files on another host of the company; not the file's ``default``."""
    (tmp_path / "netrc").write_text(
        "machine files.test login me password s3cret\ndefault login you password s3cret\n"
    )
    client = make("https://index.test/simple/")
    assert client._origin("https://files.test/x").authorization
    assert not client._origin("http://files.test/x").authorization
    assert not client._origin("https://files.test:8443/x").authorization
    assert not client._origin("https://elsewhere.test/x").authorization


def test_nothing_shows_a_secret(
    up: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """X07: no representation, no message, no log, also where all is logged."""
    caplog.set_level(logging.DEBUG)
    url = up.simple_url.replace("//", "//me:s3cret@")
    monkeypatch.setenv("http_proxy", url)
    client = make(url)
    up.fail(PAGE, Status(401))
    with pytest.raises(UpstreamError) as refused:
        client.get(f"{url}demo/")
    up.stop()
    with pytest.raises(UpstreamError) as gone:
        client.get(f"{url}other/")
    shown = [repr(client), repr(client._origin(url)), str(refused.value), str(gone.value)]
    assert "s3cret" not in " ".join([*shown, caplog.text])


# Questions


def test_a_question_is_posted_and_its_answer_bounded(up: Upstream) -> None:
    """Body, type and answer go through; what is endless is refused."""
    client = make(up.simple_url)
    up.fail("/pypi", Status(200, body=b"answer"), times=1)
    assert client.post(f"{up.url}pypi", b"question", "text/xml") == b"answer"
    assert up.requests[0].body == b"question"
    assert up.requests[0].headers["content-type"] == "text/xml"
    up.fail("/pypi", HugePage(LARGEST_ANSWER + 1))
    with pytest.raises(Corrupt):
        client.post(f"{up.url}pypi", b"question", "text/xml")
    with pytest.raises(Unsupported):
        client.post(f"{up.url}nothing", b"question", "text/xml")
