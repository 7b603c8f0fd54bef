"""``PUSH`` to an index: a release goes on to another one (devpi.md 1.8)."""

from __future__ import annotations

from http import HTTPStatus

import bottle

from devpi_server.services.push import Push
from devpi_server.web import asking, bodies, envelope


class PushApi:
    """The handler."""

    def __init__(self, push: Push) -> None:
        self._push = push

    def push(self, user: str, index: str) -> bottle.HTTPResponse:
        """``PUSH /<user>/<index>/``: JSON that says what, and where to."""
        pushed = self._push.push(
            asking.principal(), asking.origin(), f"{user}/{index}", bodies.json_body()
        )
        status = HTTPStatus.OK if pushed.ok else HTTPStatus.BAD_GATEWAY
        return envelope.answer("actionlog", pushed.actions, status)
