"""Indexes over HTTP, as devpi-client makes, shows, changes and deletes them (devpi.md 1.5).

At the same address, installers find the list of projects, and people the way to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import BinaryIO

import bottle

from devpi_server.errors import BadRequest
from devpi_server.services import listings
from devpi_server.services.index_config import IndexConfig
from devpi_server.services.index_options import STAGE
from devpi_server.services.indexes import Indexes
from devpi_server.web import asking, bodies, envelope
from devpi_server.web.asking import Wanted
from devpi_server.web.simple import SimplePages, found

# What a GET has shown of a mirror of PyPI can be sent back: the names of all its projects.
_LARGEST = 64 * 1024 * 1024  # bytes

Spool = Callable[[Iterable[bytes]], BinaryIO]


class IndexesApi:
    """The handlers.

    :param spool: makes a file of a long body.
    """

    def __init__(
        self, indexes: Indexes, config: IndexConfig, simple: SimplePages, spool: Spool
    ) -> None:
        self._indexes = indexes
        self._config = config
        self._simple = simple
        self._spool = spool

    def show(self, user: str, index: str) -> bottle.HTTPResponse:
        """``GET /<user>/<index>``: how it is configured, and its projects."""
        wanted = asking.wanted()
        has_slash = bottle.request.path.endswith("/")
        if wanted is Wanted.JSON:
            answer = self._shown(f"{user}/{index}")
        elif wanted is Wanted.SIMPLE and has_slash:
            answer = self._simple.all_projects(user, index)
        elif wanted is Wanted.SIMPLE:
            answer = found(f"{index}/")
        else:
            answer = found("+simple/" if has_slash else f"{index}/+simple/")
        return asking.chosen(answer)

    def _shown(self, name: str) -> bottle.HTTPResponse:
        row = self._indexes.row(name)
        described = self._config.described(asking.principal(), row)
        if "no_projects" in bottle.request.query:
            return envelope.answer("indexconfig", described)
        projects = listings.own(self._indexes.find(name))
        if row.type != STAGE:
            return envelope.long_answer("indexconfig", described, "projects", projects, self._spool)
        return envelope.answer("indexconfig", {**described, "projects": list(projects)})

    def create(self, user: str, index: str) -> bottle.HTTPResponse:
        """``PUT``."""
        name = f"{user}/{index}"
        principal, address = asking.principal(), asking.origin().address
        self._config.create(principal, address, name, bodies.json_body(_LARGEST))
        return self._configured(name)

    def modify(self, user: str, index: str) -> bottle.HTTPResponse:
        """``PATCH``."""
        name = f"{user}/{index}"
        principal, address = asking.principal(), asking.origin().address
        changed = self._config.modify(principal, address, name, bodies.json_body(_LARGEST))
        if not changed and "error_on_noop" in bottle.request.query:
            raise BadRequest("The requested modifications resulted in no changes")
        return self._configured(name)

    def _configured(self, name: str) -> bottle.HTTPResponse:
        row = self._indexes.row(name)
        return envelope.answer("indexconfig", self._config.described(asking.principal(), row))

    def delete(self, user: str, index: str) -> bottle.HTTPResponse:
        """``DELETE``."""
        name = f"{user}/{index}"
        self._config.delete(asking.principal(), asking.origin().address, name)
        return envelope.message(f"index {name} deleted", HTTPStatus.CREATED)
