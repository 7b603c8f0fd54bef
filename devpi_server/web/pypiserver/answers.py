"""What all handlers of this surface have in common: refusals, redirects, where it is served."""

from __future__ import annotations

import re
from html import escape
from http import HTTPStatus
from urllib.parse import quote

import bottle

from devpi_server.web.hot import Environ
from devpi_server.web.plugins import put_in_place

# A path that a front server may name in X-Forwarded-Host, behind the host.
_PATH = re.compile(r"(?:/[A-Za-z0-9._~%-]{1,100}){1,8}\Z")
_PAGE = """\
<!DOCTYPE html>
<html>
  <head><meta charset="utf-8"><title>Error: {status}</title></head>
  <body>
    <h1>Error: {status}</h1>
    <p>The answer to a request for <tt>{url}</tt>:</p>
    <pre>{message}</pre>
  </body>
</html>
"""


def prefix(environ: Environ) -> str:
    """The path at which all this is served, with a slash before it and behind it."""
    forwarded = environ.get("HTTP_X_FORWARDED_HOST", "")
    path = forwarded[forwarded.index("/") :].rstrip("/") if "/" in forwarded else ""
    if not _PATH.match(path):
        path = ""
    own = quote(environ.get("SCRIPT_NAME", "").strip("/").encode("latin-1"), safe="/~")
    return f"{path}/{own}/" if own else f"{path}/"


def here(environ: Environ) -> str:
    """The path of the request, as it was asked for, percent-encoded."""
    path = environ.get("PATH_INFO", "").lstrip("/").encode("latin-1")
    return prefix(environ) + quote(path, safe="/~+!@:")


def redirect(location: str, status: HTTPStatus) -> bottle.HTTPResponse:
    """Elsewhere: a path of ours, or a whole URL."""
    headers = {"Location": location, "Content-Length": "0"}
    return bottle.HTTPResponse(b"", f"{int(status)} {status.phrase}", headers)


def moved(location: str) -> bottle.HTTPResponse:
    """301."""
    return redirect(location, HTTPStatus.MOVED_PERMANENTLY)


def found(location: str) -> bottle.HTTPResponse:
    """303; 302 for HTTP/1.0, which has no other."""
    is_old = bottle.request.environ.get("SERVER_PROTOCOL") != "HTTP/1.1"
    return redirect(location, HTTPStatus.FOUND if is_old else HTTPStatus.SEE_OTHER)


def done(body: bytes = b"", content_type: str = "text/html; charset=utf-8") -> bottle.HTTPResponse:
    """200."""
    headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
    return bottle.HTTPResponse(body, "200 OK", headers)


def refusal(status: int, message: str, retry_after: int | None = None) -> bottle.HTTPResponse:
    """What went wrong: a line for tools, which show it as it is; a page for browsers."""
    line = f"{int(status)} {HTTPStatus(status).phrase}"
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    accept = bottle.request.headers.raw("Accept")
    if accept is None or "text/html" in accept:
        headers["Content-Type"] = "text/html; charset=utf-8"
        url = escape(bottle.request.url)
        body = _PAGE.format(status=line, url=url, message=escape(message))
    else:
        headers["Content-Type"] = "text/plain; charset=utf-8"
        body = f"{message}\n"
    encoded = body.encode(errors="replace")
    headers["Content-Length"] = str(len(encoded))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="pypi"'
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return bottle.HTTPResponse(encoded, line, headers)


def of_bottle(response: bottle.HTTPError) -> bytes:
    """What bottle itself refuses, or a fault of ours: the body, and the rest put in place."""
    status = response.status_code
    message = str(response.body) if status < 500 else "internal error, see the server's log"
    return put_in_place(refusal(status, message), response)
