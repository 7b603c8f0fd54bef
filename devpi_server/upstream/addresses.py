"""Addresses of the web, whoever wrote them: joined, checked, and without their secrets."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit, urlunsplit

from devpi_server.errors import Corrupt


def joined(base: str, location: str) -> str:
    """Where a redirect leads.

    :raises Corrupt: it is no address.
    """
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise Corrupt("upstream names an address that is none") from error


def expect_web_address(url: str) -> None:
    """Let pass what is http or https with a host.

    :raises Corrupt: anything else.
    """
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise Corrupt("upstream names an address that is none") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise Corrupt("upstream names an address that is not http or https")


def origin_of(url: str) -> str:
    """Scheme, host and port, in one spelling."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def is_standard_https(url: str) -> bool:
    """Whether it is https at its standard port."""
    parts = urlsplit(url)
    return parts.scheme == "https" and parts.port in (None, 443)


def without_userinfo(url: str) -> str:
    """The address, without credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def without_query(url: str) -> str:
    """The address, without credentials of any kind, for who is to know where something is from."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def host_of(url: str) -> str:
    """The host, as messages name it: without credentials and path."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "upstream"
    except ValueError:
        return "upstream"
