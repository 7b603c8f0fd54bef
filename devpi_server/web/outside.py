"""How the server is seen from outside: address, sub-path, address of the client.

Links on pages and redirects are relative, so they need no knowledge of host and scheme;
devpi's JSON has whole URLs (``root_url``).  A sub-path becomes ``SCRIPT_NAME``, and
leaves ``PATH_INFO`` if a front server passes it on.  Headers that say such things
count only from ``--trusted-proxy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote, urlsplit

from devpi_server.web.heldfile import SENT_BY_PROXY
from devpi_server.web.hot import Environ, StartResponse, WSGIApp

_ANY = "*"
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_FORWARDING = ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA")

_OUTSIDE_URL = "devpi.outside_url"

# Set in the environ where another one has asked than the address of the client says: somebody
# untrusted speaks for him, or somebody for whom the trusted front server speaks.
IS_FORWARDED = "devpi.is_forwarded"


class Outside:
    """WSGI middleware.

    :param outside_url: where people find the server, or None.
    :param trusted_proxy: the address whose X-Forwarded-… headers are believed; ``*``: all.
    :param sent_from: the folder whose files the trusted proxy sends itself, if it says so.
    """

    def __init__(
        self,
        app: WSGIApp,
        outside_url: str | None,
        trusted_proxy: str | None,
        sent_from: str | None = None,
    ) -> None:
        self._app = app
        self._sent_from = sent_from
        self._outside_url = outside_url
        self._prefix = _path_of(outside_url or "")
        self._trusted_proxy = trusted_proxy

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        prefix = self._prefix
        if self._outside_url:
            environ[_OUTSIDE_URL] = self._outside_url.rstrip("/")
        if self._trusted_proxy and self._trusted_proxy in (_ANY, environ.get("REMOTE_ADDR")):
            prefix = _believe(environ) or prefix
            if _is_relayed(environ):
                environ[IS_FORWARDED] = True
            if self._sent_from and (way := environ.get("HTTP_X_DEVPI_ACCEL")):
                environ[SENT_BY_PROXY] = (self._sent_from, way)
        elif any(header in environ for header in _FORWARDING):
            environ[IS_FORWARDED] = True
        if prefix:
            environ["SCRIPT_NAME"] = prefix
            path = environ.get("PATH_INFO", "")
            if path == prefix or path.startswith(f"{prefix}/"):
                environ["PATH_INFO"] = path[len(prefix) :] or "/"
        return self._app(environ, start_response)


def _believe(environ: Environ) -> str:
    """Take the client's address from the front server; return the sub-path it names.

    Of several addresses, the last one is what the front server has seen; those before may be
    the client's own words, with which it would be somebody else at each guess of a password.
    """
    client = environ.get("HTTP_X_REAL_IP") or environ.get("HTTP_X_FORWARDED_FOR", "")
    client = client.rpartition(",")[2].strip()
    if client and len(client) < 64 and client.isprintable():
        environ["REMOTE_ADDR"] = client
    outside = environ.get("HTTP_X_OUTSIDE_URL", "")
    if outside:
        environ[_OUTSIDE_URL] = outside.rstrip("/")
        return _path_of(outside)
    scheme = environ.get("HTTP_X_FORWARDED_PROTO", "")
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    if host := environ.get("HTTP_X_FORWARDED_HOST", ""):
        environ["HTTP_HOST"] = host
    prefix: str = environ.get("HTTP_X_FORWARDED_PREFIX", "")
    return prefix.rstrip("/") if prefix.startswith("/") else ""


def _is_relayed(environ: Environ) -> bool:
    """Whether the front server had the request of another one, which spoke for somebody else."""
    ways = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    others = {way.strip() for way in ways} - {"", environ.get("REMOTE_ADDR")}
    return bool(others) or "HTTP_FORWARDED" in environ or "HTTP_VIA" in environ


def root_url(environ: Environ) -> str:
    """Where clients reach the server, without a slash at the end.

    What the request says: for links that go back to who has asked, and to nobody else.
    """
    outside: str = environ.get(_OUTSIDE_URL, "")
    if outside:
        return outside
    host = environ.get("HTTP_HOST", "")
    if not _HOST.match(host):
        host = f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
    path = quote(environ.get("SCRIPT_NAME", "").encode("latin-1"), safe="/+~")
    return f"{environ['wsgi.url_scheme']}://{host}{path}"


def _path_of(url: str) -> str:
    """The path of an address without its last slash, as WSGI writes paths: decoded."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return unquote(path, "latin-1").rstrip("/")
