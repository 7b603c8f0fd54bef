"""Mirrors come and go while the server runs, also by the hand of another process."""

from __future__ import annotations

from devpi_server.services.indexes import Indexes


class KeepMirrors:
    """Has the mirrors run that there are now."""

    name = "mirrors"
    every = 2.0

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def tick(self) -> None:
        self._indexes.keep_mirrors()
