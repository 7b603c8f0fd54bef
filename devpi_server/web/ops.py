"""For those who run the server."""

from __future__ import annotations

import bottle

from devpi_server.errors import Forbidden
from devpi_server.services.metrics import CONTENT_TYPE, Metrics
from devpi_server.services.status import Status
from devpi_server.web import asking, envelope


class Ops:
    """The handlers."""

    def __init__(self, status: Status, metrics: Metrics) -> None:
        self._status = status
        self._metrics = metrics

    def changelog(self, serial: str) -> bottle.HTTPResponse:
        """``/+changelog/…``: what a replica would ask (devpi.md 1.13)."""
        raise Forbidden(f"this server has no replicas that may see what was changed at {serial}")

    def status(self) -> bottle.HTTPResponse:
        """``/+status`` (devpi.md 1.13)."""
        return envelope.answer("status", self._status.describe(asking.principal()))

    def metrics(self) -> bottle.HTTPResponse:
        """``/+metrics``, for Prometheus."""
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"}
        text = self._metrics.text(asking.principal())
        return bottle.HTTPResponse(text, "200 OK", {**headers, "Content-Length": str(len(text))})
