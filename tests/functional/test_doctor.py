"""``devpi-server doctor``: which step to an upstream fails, and why."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from tunnel import Tunnel
from upstream import HangBeforeAnswer, Mode, RpcFault, Status, Substitute, Upstream

from devpi_server.main import main

pytestmark = pytest.mark.straight("a command, not a server")

STEPS = ["dns", "tcp", "proxy", "tls", "http", "index", "feed"]


@dataclass
class Report:
    """What the doctor has said."""

    code: int
    lines: list[str]
    printed: str
    steps: dict[str, str] = field(init=False)  # step → verdict and text

    def __post_init__(self) -> None:
        rows = [re.match(r"  ([a-z]+) +((?:ok|FAIL) .*)", line) for line in self.lines]
        self.steps = {row[1]: row[2] for row in rows if row}

    @property
    def failed(self) -> str:
        """The step that failed; none has come after it."""
        (bad,) = (step for step, text in self.steps.items() if text.startswith("FAIL "))
        assert list(self.steps)[-1] == bad
        return bad


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.lower().endswith(("_proxy", "_ca_bundle")) or name.startswith("DEVPISERVER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Report]:
    """Run the doctor on the mirrors that the options describe."""

    def run(*options: str) -> Report:
        code = main(["doctor", "--datadir", str(tmp_path / "data"), *options])
        out, err = capsys.readouterr()
        return Report(code, out.splitlines(), out + err)

    return run


@pytest.fixture
def configured(doctor: Callable[..., Report], tmp_path: Path) -> Callable[..., Report]:
    """Run it with words of root/pypi from a configuration file."""

    def run(*words: str) -> Report:
        path = tmp_path / "devpi.yml"
        lines = "".join(f"    {word}\n" for word in words)
        path.write_text(f"devpi-server:\n  debug: no\nmirrors:\n  root/odd:\n{lines}")
        with Upstream() as well:
            well.release("pip", "1.0")
            report = doctor("--configfile", str(path), "--mirror-url", well.simple_url)
        at = next(n for n, line in enumerate(report.lines) if line.startswith("root/odd"))
        return Report(report.code, report.lines[at:], report.printed)

    return run


# Health


def test_a_healthy_upstream_takes_every_step(doctor: Callable[..., Report], up: Upstream) -> None:
    """A line a step, in the order in which a request takes them."""
    up.release("demo", "1.0")

    report = doctor("--mirror-url", up.simple_url)

    assert report.code == 0
    assert report.lines[0] == f"root/pypi from {up.simple_url}"
    assert list(report.steps) == STEPS
    assert all(text.startswith("ok ") for text in report.steps.values())
    assert "127.0.0.1" in report.steps["dns"]
    assert "1 of 1 addresses" in report.steps["tcp"]
    assert "none" in report.steps["proxy"]
    assert "in the open" in report.steps["tls"]
    assert (
        "JSON 1.4, ETag, serial 1003, 1 files, hashes, sizes, upload times, metadata"
        in (report.steps["index"])
    )
    assert "xml-rpc, serial 1003" in report.steps["feed"]


def test_a_poor_index_is_no_fault(doctor: Callable[..., Report], up: Upstream) -> None:
    """It says what the index does not offer."""
    up.mode = Mode.POOR
    up.release("demo", "1.0", hashed=False)

    report = doctor("--mirror-url", up.simple_url)

    assert report.code == 0
    assert "demo in HTML, no ETag, no serial, 1 files, no hashes, no sizes" in report.steps["index"]
    assert "none" in report.steps["feed"]


def test_an_index_without_xml_rpc_is_followed_by_its_list(
    doctor: Callable[..., Report], up: Upstream
) -> None:
    """As the server would choose."""
    up.release("demo", "1.0")
    up.xmlrpc = False
    assert "listing" in doctor("--mirror-url", up.simple_url).steps["feed"]


@pytest.mark.parametrize("status", [404, 403])
def test_an_index_without_a_list_is_no_fault(
    configured: Callable[..., Report], up: Upstream, status: int
) -> None:
    """Also where 403 means that there is no such thing, if the mirror is told so."""
    up.release("pip", "1.0")
    up.fail(lambda request: request.path == "/simple/", Status(status))
    report = configured(f"mirror_url: {up.simple_url}", "mirror_forbidden_is_absent: yes")
    assert report.code == 0
    assert "no list of projects; pip in JSON" in report.steps["index"]


def test_it_keeps_and_changes_nothing(
    doctor: Callable[..., Report], up: Upstream, tmp_path: Path
) -> None:
    """It may run beside a server."""
    doctor("--mirror-url", up.simple_url)
    assert not (tmp_path / "data").exists()


# Faults


def test_a_name_without_an_address(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS is the first suspect."""

    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    report = doctor("--mirror-url", "https://index.test/simple/")
    assert (report.code, report.failed) == (1, "dns")
    assert "index.test has no address: Name or service not known" in report.steps["dns"]


def test_nobody_at_the_port(doctor: Callable[..., Report], up: Upstream) -> None:
    """Each address with its reason."""
    up.stop()
    report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "tcp")
    assert "127.0.0.1: Connection refused" in report.steps["tcp"]


def test_one_bad_address_of_several(
    doctor: Callable[..., Report], up: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is told, though the others are enough."""
    really = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **options: Any) -> list[Any]:
        hosts = ["127.0.0.9", "127.0.0.1"] if host == "index.test" else [host]
        return [found for each in hosts for found in really(each, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    report = doctor("--mirror-url", f"http://index.test:{up.port}/simple/")
    assert report.code == 0
    assert "1 of 2 addresses" in report.steps["tcp"]
    assert "not 127.0.0.9: Connection refused" in report.steps["tcp"]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_an_upstream_that_refuses(doctor: Callable[..., Report], up: Upstream, status: int) -> None:
    """With its status."""
    up.fail("/simple/", Status(status))
    report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "http")
    assert str(status) in report.steps["http"]


def test_an_upstream_that_hangs(doctor: Callable[..., Report], up: Upstream) -> None:
    """Within the deadline that the server has."""
    up.fail("/simple/", HangBeforeAnswer())
    report = doctor("--mirror-url", up.simple_url, "--request-timeout", "0.1")
    assert (report.code, report.failed) == (1, "http")
    assert "in time" in report.steps["http"]


def test_a_web_page_that_is_no_index(doctor: Callable[..., Report], up: Upstream) -> None:
    """Of a captive portal, say."""
    up.fail("/", Substitute(b"<!DOCTYPE html><html><body>Please log in</body></html>", "text/html"))
    report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "http")
    assert "not a list of projects" in report.steps["http"]


def test_a_page_that_is_none(doctor: Callable[..., Report], up: Upstream) -> None:
    """The list may be well and the pages not."""
    up.release("demo", "1.0")
    up.fail("/simple/demo/", Substitute(b"{}"))
    report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "index")


def test_a_feed_that_fails(doctor: Callable[..., Report], up: Upstream) -> None:
    """The last step, after all others."""
    up.fail("/pypi", RpcFault.rate_limited(30))
    report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "feed")
    assert list(report.steps) == STEPS


def test_a_changelog_that_is_configured_has_to_be_there(
    configured: Callable[..., Report], up: Upstream
) -> None:
    """Who names one wants to know that it is not used."""
    report = configured(f"mirror_url: {up.simple_url}", f"mirror_changelog_url: {up.url}not-there")
    assert (report.code, report.failed) == (1, "feed")
    assert "mirror_changelog_url" in report.steps["feed"]


# TLS and proxies


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Company")


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "index.test").configure_cert(context)
    return context


def test_a_certificate_that_nobody_trusts(
    doctor: Callable[..., Report], tls: ssl.SSLContext
) -> None:
    """With OpenSSL's reason."""
    with Upstream(tls=tls) as up:
        report = doctor("--mirror-url", up.simple_url)
    assert (report.code, report.failed) == (1, "tls")
    assert "certificate" in report.steps["tls"]


def test_the_certificates_of_the_configuration_count(
    configured: Callable[..., Report], tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    """What the server trusts is trusted, and the issuer is told."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Upstream(tls=tls) as up:
        up.release("demo", "1.0")
        report = configured(f"mirror_url: {up.simple_url}", f"mirror_ca_file: {tmp_path}/ca.pem")
    assert report.code == 0
    assert "issued by Company" in report.steps["tls"]


def test_the_way_through_a_proxy(
    configured: Callable[..., Report],
    tls: ssl.SSLContext,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first steps are to the proxy; it looks up the host, and its password stays here."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with Upstream(tls=tls) as up, Tunnel(("127.0.0.1", up.port)) as tunnel:
        up.release("demo", "1.0")
        monkeypatch.setenv("https_proxy", f"http://me:s3cret@{tunnel.address}")
        report = configured(
            "mirror_url: https://index.test/simple/", f"mirror_ca_file: {tmp_path}/ca.pem"
        )
    assert report.code == 0
    assert "the proxy 127.0.0.1" in report.steps["dns"]
    assert f"http://{tunnel.address} lets us through" in report.steps["proxy"]
    assert "issued by Company" in report.steps["tls"]
    assert "s3cret" not in report.printed


def test_a_proxy_that_does_not_let_us_through(
    doctor: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own words."""
    with Tunnel(("127.0.0.1", 9), status="407 Proxy Authentication Required") as tunnel:
        monkeypatch.setenv("https_proxy", tunnel.address)
        report = doctor("--mirror-url", "https://index.test/simple/")
    assert (report.code, report.failed) == (1, "proxy")
    assert "407 Proxy Authentication Required" in report.steps["proxy"]


# The command


def test_no_secret_is_shown(doctor: Callable[..., Report], up: Upstream) -> None:
    """X07: neither of the address nor of what is wrong with it."""
    url = up.simple_url.replace("//", "//me:s3cret@")
    up.fail("/simple/", Status(401))
    for options in (["--debug"], ["--json"], []):
        report = doctor("--mirror-url", url, *options)
        assert report.code == 1
        assert "s3cret" not in report.printed


def test_every_address_of_every_mirror_is_looked_at(
    doctor: Callable[..., Report], up: Upstream
) -> None:
    """One that fails keeps nobody from the next."""
    with Upstream() as gone:
        pass
    report = doctor("--mirror-url", gone.simple_url, "--mirror-url", up.simple_url)
    heads = [line for line in report.lines if not line.startswith(" ")]
    assert heads == [f"root/pypi from {gone.simple_url}", f"root/pypi from {up.simple_url}"]
    assert report.code == 1


def test_programs_get_json(doctor: Callable[..., Report], up: Upstream) -> None:
    """The same findings, and the same exit code."""
    report = doctor("--json", "--mirror-url", up.simple_url)
    (found,) = json.loads(report.printed)
    assert found["mirror"] == "root/pypi"
    assert found["url"] == up.simple_url
    assert [step["step"] for step in found["steps"]] == STEPS
    assert all(step["ok"] and step["text"] and step["seconds"] >= 0 for step in found["steps"])
    assert report.code == 0


def test_a_wrong_option_is_a_fault_of_its_own(doctor: Callable[..., Report]) -> None:
    """As for the server."""
    report = doctor("--mirror-ulr", "x")
    assert report.code == 2
    assert "mirror-url" in report.printed


def test_offline_nobody_is_asked(doctor: Callable[..., Report], up: Upstream) -> None:
    """The option means it."""
    assert doctor("--mirror-url", up.simple_url, "--offline-mode").code == 0
    assert up.requests == []


def test_help_says_what_it_does(doctor: Callable[..., Report]) -> None:
    """And asks nobody."""
    report = doctor("--help")
    assert report.code == 0
    assert "devpi-server doctor" in report.printed
