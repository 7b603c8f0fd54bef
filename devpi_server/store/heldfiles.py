"""Which of a mirror's files are held, by the path under which the index serves them.

A record leads from a file's path straight to its blob, so a file once cached
is served without a page, an index or a network.  Its name on disk is a digest
of the path: no text of a URL ever becomes a path.

*Facts* are what a page does not say and holding the file has taught us: its
size, its digest, the metadata that was made from it.  They are kept a file a
project, appended to in one write, and change the project's stamp.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from devpi_server.concurrency import BoundedCache
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import Incoming, append_line, translated
from devpi_server.store.published import NOTHING_PUBLISHED, Changing

_CACHED = 4 * 1024 * 1024  # bytes of records in memory
_RECORD = 400  # bytes that a record takes in memory, about


@dataclass(frozen=True, slots=True)
class HeldFile:
    """One file that is held."""

    path: str  # relative to the index: "+f/…" or "+e/…"
    filename: str
    project: str
    url: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Fact:
    """What holding a file has taught us about its link."""

    filename: str
    url: str  # where it came from
    sha256: str
    size: int
    metadata: str | None = None  # sha256 of the METADATA that was read from the wheel


class HeldFiles:
    """The held files of one mirror."""

    def __init__(
        self, folder: Path, incoming: Incoming, published: Changing = NOTHING_PUBLISHED
    ) -> None:
        self._folder = folder
        self._incoming = incoming
        self._published = published
        self._cache: BoundedCache[str, HeldFile] = BoundedCache(_CACHED)

    def find(self, path: str) -> HeldFile | None:
        """The record of the file at this path of the index.

        It tells which blob to look for; whether that is held, only the blob
        store can say.
        """
        held = self._cache.get(path)
        if held is None:
            held = self._read(path)
            if held is not None:
                self._cache.put(path, held, _RECORD)
        return held

    def _read(self, path: str) -> HeldFile | None:
        held = record_at(self._place(path))
        return held if held is not None and held.path == path else None

    def all(self) -> Iterator[HeldFile]:
        """Every record, in no order; one file may have two, at its two addresses."""
        for folder in entries(self._folder):
            for place in entries(folder):
                held = record_at(place)
                if held is not None:
                    yield held

    def put(self, held: HeldFile) -> None:
        """Record that the file is held. The blob is committed by then: truth first."""
        self._incoming.write(self._place(held.path), orjson.dumps(held), durable=False)
        self._cache.put(held.path, held, _RECORD)

    def forget(self, path: str) -> None:
        """Drop the record."""
        held = self._read(path)
        with (
            self._published.changing((held.project,) if held is not None else ()),
            translated("forget a held file"),
            suppress(FileNotFoundError),
        ):
            self._place(path).unlink()
        self._cache.discard(path)

    def _place(self, path: str) -> Path:
        key = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / key[:2] / key[2:]


def record_at(place: Path) -> HeldFile | None:
    """The record in a file, None where there is none that can be read."""
    try:
        return HeldFile(**orjson.loads(place.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError:
        with translated("read the record of a held file"):
            raise
    except (orjson.JSONDecodeError, TypeError):  # torn by a power failure: a fetch mends it
        return None


def entries(folder: Path) -> list[Path]:
    """What is in a folder of records, nothing where there is none."""
    with translated("list the held files"):
        try:
            return list(folder.iterdir())
        except FileNotFoundError:
            return []


class Facts:
    """The facts about the files of one mirror's projects."""

    def __init__(self, folder: Path, published: Changing = NOTHING_PUBLISHED) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._published = published

    def stamp(self, project: NormalizedName) -> Hashable:
        """Changes with each new fact. One stat."""
        try:
            return os.stat(self._prefix + project).st_size
        except FileNotFoundError:
            return 0
        except OSError:
            with translated("read the facts of a project"):
                raise

    def read(self, project: NormalizedName) -> Mapping[str, Fact]:
        """File name → the newest fact about it."""
        facts: dict[str, Fact] = {}
        with translated("read the facts of a project"), suppress(FileNotFoundError):
            for line in (self._folder / project).read_bytes().splitlines():
                with suppress(orjson.JSONDecodeError, TypeError):  # a torn line
                    fact = Fact(**orjson.loads(line))
                    facts[fact.filename] = fact
        return facts

    def add(self, project: NormalizedName, fact: Fact) -> None:
        """Append the fact."""
        with self._published.changing((project,)), translated("note a fact"):
            append_line(self._folder / project, orjson.dumps(fact))
