"""Small notes about projects that all processes share: a number in a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import Incoming, translated


@dataclass(frozen=True, slots=True)
class Mark:
    """A note."""

    value: int
    since: float  # seconds since the epoch: when this value was noted


class Marks:
    """A number a project."""

    def __init__(self, folder: Path, incoming: Incoming) -> None:
        self._folder = folder
        self._incoming = incoming

    def get(self, project: NormalizedName) -> Mark | None:
        """The note about the project, if there is one."""
        path = self._folder / project
        with translated("read a note"), suppress(FileNotFoundError, ValueError):
            return Mark(int(path.read_bytes()), path.stat().st_mtime)
        return None

    def put(self, project: NormalizedName, value: int, now: float) -> None:
        """Note the number, unless just this one is noted already."""
        mark = self.get(project)
        if mark is None or mark.value != value:
            text = str(value).encode()
            place = self._folder / project
            self._incoming.write(place, text, durable=False, mtime_ns=int(now * 1e9))

    def drop(self, project: NormalizedName) -> None:
        """Forget the note."""
        with translated("drop a note"), suppress(FileNotFoundError):
            (self._folder / project).unlink()

    def projects(self) -> Iterator[NormalizedName]:
        """The projects that have a note."""
        with translated("list the notes"), suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if names.is_normalized(name):
                    yield NormalizedName(name)
