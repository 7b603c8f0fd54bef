"""Access, before a handler runs: every route says what it needs, and gets it or is refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, Protocol

import bottle

from devpi_server import names
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

    def apply(self, callback: Handler, route: _Route) -> Handler:
        """Wrap the handler."""
        action: str = route.config["action"]
        fixed: str | None = route.config.get("index")

        @wraps(callback)
        def handle(**arguments: str) -> object:
            principal = self._identified(bottle.request.environ)
            asking.remember(principal)
            user = arguments.get("user")
            named = f"{user}/{arguments['index']}" if "index" in arguments else None
            self._access.require(
                principal, action, user=user, index=fixed or named, projects=_projects(arguments)
            )
            return callback(**arguments)

        return handle

    def _identified(self, environ: Environ) -> Principal:
        sent = credentials(environ)
        if sent is None:
            return NOBODY
        if isinstance(sent, Unreadable):
            return replace(NOBODY, tried=True)
        return self._accounts.identify(sent.user, sent.password, asking.origin_of(environ))


def _projects(arguments: Mapping[str, str]) -> Collection[NormalizedName]:
    """What the address names: a project, or a file, which may be of several."""
    if "project" in arguments:
        return (names.project(arguments["project"]),)
    if "file" in arguments:
        return tuple(names.projects_of(names.split_companion(arguments["file"])[0]))
    return ()
