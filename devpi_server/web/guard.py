"""Access, before a handler runs: every route says what it needs, and gets it or is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

import bottle

from devpi_server import names
from devpi_server.errors import Forbidden, InvalidName, NotFound, Unauthenticated
from devpi_server.names import NormalizedName
from devpi_server.services.access import NOBODY, Access, Principal
from devpi_server.services.accounts import Accounts
from devpi_server.web import asking
from devpi_server.web.credentials import Unreadable, credentials
from devpi_server.web.hot import Environ

Handler = Callable[..., object]


class _Route(Protocol):
    config: Any


class AccessPlugin:
    """A bottle plugin: finds out who asks, and whether they may.

    The index is the route's own, or the one that the address names.
    """

    name = "access"
    api = 2

    def __init__(self, access: Access, accounts: Accounts) -> None:
        self._access = access
        self._accounts = accounts

    def setup(self, app: bottle.Bottle) -> None:
        """What bottle calls when it installs the plugin."""
        self._app = app

    def apply(self, callback: Handler, route: _Route) -> Handler:
        """Wrap the handler."""

        @wraps(callback)
        def handle(**arguments: str) -> object:
            principal = self._identified(bottle.request.environ)
            asking.remember(principal)
            self._require(principal, route, arguments)
            return callback(**arguments)

        return handle

    def authcheck(self) -> bottle.HTTPResponse:
        """``/+authcheck``: for a web server in front, whether the client may have an address.

        The address is in ``X-Original-URI``.  The application's own routes and rules decide,
        so that the answer is the one that it would give itself.  What only lies below an
        address of ours is as secret as this one; anything else is nobody's secret.  Without
        an address, it is only asked whether the login is good.
        """
        environ = bottle.request.environ
        if "HTTP_X_ORIGINAL_URI" not in environ and asking.principal().tried:
            raise Unauthenticated("the user name, password or token is wrong")
        path = _served_path(environ.get("HTTP_X_ORIGINAL_URI", ""))
        path = path.removeprefix(environ.get("SCRIPT_NAME", "").rstrip("/"))
        try:
            while path and not self._has_let_in(path):
                path = path.rpartition("/")[0]
        except Unauthenticated as error:
            if "devpi-client" in bottle.request.headers.raw("User-Agent", ""):
                raise Forbidden(error.message) from error  # which asks for no password itself
            raise
        except NotFound as error:
            raise Forbidden("no permission to read") from error
        return bottle.HTTPResponse(b"", "200 OK")

    def _has_let_in(self, path: str) -> bool:
        """False: it is no address of ours."""
        try:
            route, arguments = self._app.router.match({"REQUEST_METHOD": "GET", "PATH_INFO": path})
            self._require(asking.principal(), route, arguments)
        except (bottle.HTTPError, InvalidName):
            return False
        return True

    def _require(self, principal: Principal, route: _Route, arguments: Mapping[str, str]) -> None:
        """Whether the principal may do what the route does."""
        user = arguments.get("user")
        named = f"{user}/{arguments['index']}" if "index" in arguments else None
        self._access.require(
            principal,
            route.config["action"],
            user=user,
            index=route.config.get("index") or named,
            projects=_projects(arguments),
        )

    def _identified(self, environ: Environ) -> Principal:
        sent = credentials(environ)
        if sent is None:
            return NOBODY
        if isinstance(sent, Unreadable):
            return replace(NOBODY, tried=True)
        return self._accounts.identify(sent.user, sent.password, asking.origin_of(environ))


def _served_path(uri: str) -> str:
    """The path at which a web server looks, for an address as the client has written it.

    :param uri: its bytes, as WSGI writes them.
    """
    written = re.split("[?#]", uri, maxsplit=1)[0].encode("latin-1")
    path = unquote_to_bytes(written).decode("utf-8", "replace")
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/".join(["", *segments, *([""] if path.endswith("/") else [])])


def _projects(arguments: Mapping[str, str]) -> Collection[NormalizedName]:
    """What the address names: a project, or a file, which may be of several."""
    if "project" in arguments:
        return (names.project(arguments["project"]),)
    if "file" in arguments:
        return tuple(names.projects_of(names.split_companion(arguments["file"])[0]))
    return ()
