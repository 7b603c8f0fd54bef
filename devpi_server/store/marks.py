"""Small notes about projects that all processes share: a number in a file."""

from __future__ import annotations

import os
import secrets
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
        return _read(self._folder / project)

    def put(self, project: NormalizedName, value: int, now: float) -> None:
        """Note the number, unless just this one is noted already."""
        mark = self.get(project)
        if mark is None or mark.value != value:
            text = str(value).encode()
            place = self._folder / project
            self._incoming.write(place, text, durable=False, mtime_ns=int(now * 1e9))

    def drop(self, project: NormalizedName, mark: Mark) -> None:
        """Forget this note; another one, whenever it comes, stays."""
        place, aside = self._folder / project, self._folder / f".{secrets.token_hex(8)}"
        with translated("drop a note"), suppress(FileNotFoundError):
            # Looked at where nobody replaces it: between a look and an unlink one could come.
            place.rename(aside)
            if _read(aside) != mark:
                with suppress(FileExistsError):  # an even newer one
                    place.hardlink_to(aside)
            aside.unlink()

    def projects(self) -> Iterator[NormalizedName]:
        """The projects that have a note."""
        with translated("list the notes"), suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                if names.is_normalized(name):
                    yield NormalizedName(name)


def _read(path: Path) -> Mark | None:
    with translated("read a note"), suppress(FileNotFoundError, ValueError):
        return Mark(int(path.read_bytes()), path.stat().st_mtime)
    return None
