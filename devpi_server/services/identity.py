"""Which server this is, and at which serial: for the headers that devpi's clients look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from devpi_server import __version__
from devpi_server.services.founding import UUID
from devpi_server.store.meta import MetaStore

_API_VERSION = "2"  # the only one that devpi-client takes (devpi.md 1.0)

Headers = Sequence[tuple[str, str]]


class _Known(NamedTuple):
    generation: int
    headers: Headers


class Identity:
    """Made anew when anybody has written: a question costs microseconds."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta
        self._known = _Known(-1, ())

    def headers(self) -> Headers:
        """What stands in every response. The serial is the last one, this request's included."""
        generation = self._meta.generation()
        known = self._known
        if known.generation != generation:
            known = self._known = _Known(generation, self._make())
        return known.headers

    def _make(self) -> Headers:
        with self._meta.reading() as tables:
            serial = tables.serial
            uuid = tables.fact(UUID) or ""
        return (
            ("X-Devpi-Api-Version", _API_VERSION),
            ("X-Devpi-Server-Version", __version__),
            ("X-Devpi-Serial", str(serial)),
            ("X-Devpi-Uuid", uuid),
            # There is one server; the second name of it is an older one.
            ("X-Devpi-Primary-Uuid", uuid),
            ("X-Devpi-Master-Uuid", uuid),
        )
