"""What was learned by reading the files in folders of packages: digests and metadata.

It is kept in the data directory, the folders are not ours.  A fact belongs to a
file's path, size, time of modification and inode: to a file that was replaced
it does not apply.  There is a file of facts a project, appended to in one write
and shared by all processes and all indexes; the metadata of wheels lies beside
it, by its digest.  Losing any of it costs reading the packages again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from devpi_server.concurrency import BoundedCache
from devpi_server.names import NormalizedName
from devpi_server.store.folderfiles import File
from devpi_server.store.incoming import Incoming, append_line, translated

_CACHED = 16 * 1024 * 1024  # bytes of facts in memory
_COST = 900  # bytes that a fact takes there, about
_SLACK = 16  # facts that do not count any more, before they are dropped

Stamp = tuple[int, int, int]  # inode, size and time of the file of facts
_NOTHING: Stamp = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Fact:
    """What a file holds."""

    path: str
    size: int
    modified: int
    inode: int
    digests: Mapping[str, str]
    metadata: str | None = None  # sha256 of the METADATA in the wheel
    requires_python: str | None = None

    def is_of(self, file: File) -> bool:
        """Whether the file at the path is still the one that was read."""
        return (
            self.inode == file.inode and self.modified == file.modified and self.size == file.size
        )


def path_as_text(path: str) -> str:
    """The path as JSON can hold it, though directories have names that are no text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class FolderFacts:
    """The facts about the files of all folders."""

    def __init__(self, folder: Path, incoming: Incoming) -> None:
        self._folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._incoming = incoming
        self._cache: BoundedCache[tuple[str, Stamp], Mapping[str, Fact]] = BoundedCache(_CACHED)

    def stamp(self, project: NormalizedName) -> Stamp:
        """Changes with each new fact. One stat."""
        try:
            found = os.stat(self._prefix + project)
        except FileNotFoundError:
            return _NOTHING
        except OSError:
            with translated("read the facts of a folder"):
                raise
        return found.st_ino, found.st_size, found.st_mtime_ns

    def of(self, files: Iterable[File], stamp: Stamp | None = None) -> Iterator[Fact | None]:
        """What is known of each of the files, which are of one project, as it is now.

        :param stamp: what was learned until then; None: until now.
        """
        facts: Mapping[str, Fact] | None = None
        for file in files:
            if facts is None:
                facts = self._facts(file.project, stamp or self.stamp(file.project))
            fact = facts.get(path_as_text(file.path))
            yield fact if fact is not None and fact.is_of(file) else None

    def add(self, project: NormalizedName, fact: Fact) -> None:
        """Keep the fact."""
        with translated("note a fact"):
            append_line(self._folder / project, orjson.dumps(fact))

    def tidy(self, project: NormalizedName) -> None:
        """Drop the facts that do not count any more, if they are many. One process at a time."""
        lines = self._lines(project)
        facts = _newest(lines)
        if len(lines) <= _SLACK:
            return
        live = [fact for fact in facts.values() if os.path.lexists(fact.path)]
        if len(lines) > 2 * len(live) + _SLACK:
            kept = b"".join(orjson.dumps(fact) + b"\n" for fact in live)
            self._incoming.write(self._folder / project, kept, durable=False)

    def metadata(self, sha256: str) -> Path | None:
        """Where the metadata of this digest lies, if it is held, and whole."""
        place = self._place(sha256)
        with translated("read metadata"), suppress(FileNotFoundError):
            if hashlib.sha256(place.read_bytes()).hexdigest() == sha256:
                return place
        return None

    def put_metadata(self, metadata: bytes) -> str:
        """Hold the metadata; return its digest."""
        sha256 = hashlib.sha256(metadata).hexdigest()
        if self.metadata(sha256) is None:
            self._incoming.write(self._place(sha256), metadata, durable=False)
        return sha256

    def _facts(self, project: NormalizedName, stamp: Stamp) -> Mapping[str, Fact]:
        """Path, as text, → the newest fact about it."""
        held = self._cache.get((project, stamp))
        if held is None:
            held = _newest(self._lines(project, stamp))
            self._cache.put((project, stamp), held, (len(held) + 1) * _COST)
        return held

    def _lines(self, project: NormalizedName, stamp: Stamp | None = None) -> list[bytes]:
        """All lines; without those that came after the stamp."""
        with translated("read the facts of a folder"), suppress(FileNotFoundError):
            with open(self._prefix + project, "rb") as file:
                is_same = stamp is not None and stamp[0] == os.fstat(file.fileno()).st_ino
                lines = file.read(stamp[1] if stamp is not None and is_same else -1)
            return [line for line in lines.splitlines() if line]
        return []

    def _place(self, sha256: str) -> Path:
        # No project has a name that begins like this.
        return self._folder / "+metadata" / sha256[:2] / sha256[2:]


def _newest(lines: Iterable[bytes]) -> Mapping[str, Fact]:
    facts = {}
    for line in lines:
        with suppress(orjson.JSONDecodeError, TypeError):  # a torn line
            fact = Fact(**orjson.loads(line))
            facts[fact.path] = fact
    return facts
