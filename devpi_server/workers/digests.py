"""Read what somebody has copied into a folder, so that its pages get digests and metadata.

Requests go first: while the other threads of the process have work, this one does a
tenth of its own.

The files that came last are read first.  A file that is still being copied is
left until it has rested for a while: this also tells it from one that is
written over in the same tick of the clock, which its times would not.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import BinaryIO

from devpi_server.concurrency import BoundedCache, Clock
from devpi_server.errors import NoSuchFile, Refused, StoreError
from devpi_server.names import NormalizedName
from devpi_server.services import artefact
from devpi_server.store.folderdigest import Said, examine
from devpi_server.store.folderfacts import Fact, FolderFacts
from devpi_server.store.folderfiles import File
from devpi_server.store.folders import Folders
from devpi_server.store.foldertree import Timer, is_old, rest
from devpi_server.store.locks import Locks
from devpi_server.workers.leader import Leader

log = logging.getLogger(__name__)

_GATHER = 0.05  # seconds of a tick for looking at what is known to have changed
_ROUND = 0.003  # seconds of a tick for looking at all others in turn
_READ = 1.0  # seconds of a tick for reading
_REST = 1.0  # seconds that a file has not changed, before it is read
_FAILED = 20_000  # files that could not be read, and are not tried again as they are
_PAUSE = 60.0  # seconds, when what was learned cannot be kept
_BUSY = 0.15  # of the time: others have work when they use more
_YIELD = 9  # times what a file has taken, while they have
_LONGEST_YIELD = 0.2  # seconds


def others_cpu() -> float:
    """Seconds of processor time that the other threads of this process have used."""
    return time.process_time() - time.thread_time()


class Digests:
    """A worker: reads the files of some folders.

    :param algorithms: of the digests; sha256 is always among them.
    """

    def __init__(
        self,
        *,
        name: str,
        folders: Folders,
        facts: FolderFacts,
        locks: Locks,
        clock: Clock,
        timer: Timer = time.monotonic,
        algorithms: Sequence[str] = (),
        others: Callable[[], float] = others_cpu,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"digests {name}"
        self.every = 0.25
        self._folders = folders
        self._facts = facts
        self._leader = Leader(locks, self.name)
        self._clock = clock
        self._timer = timer
        self._algorithms = tuple(dict.fromkeys(("sha256", *algorithms)))
        self._changed: dict[NormalizedName, None] = {}
        self._round: Iterator[NormalizedName] = iter(())
        self._waiting: dict[str, tuple[File, float]] = {}  # path → the file; since when it is so
        self._newest: list[tuple[int, str]] = []  # a heap of them: when it came, negated; path
        self._failed: BoundedCache[tuple[str, int, int], bool] = BoundedCache(_FAILED)
        self._not_before = float("-inf")
        self._others = others
        self._pause = pause
        self._looked = (timer(), others())

    def tick(self) -> None:
        if not self._leader.is_this_process() or self._timer() < self._not_before:
            return
        try:
            self._gather()
            self._read()
        except StoreError as error:
            log.error("cannot keep the digests of packages: %s", error.message)
            self._not_before = self._timer() + _PAUSE

    def _gather(self) -> None:
        """Find out what is to be read."""
        self._changed.update(dict.fromkeys(self._folders.touched()))
        until = self._timer() + _GATHER
        while self._changed and self._timer() <= until:
            project = next(iter(self._changed))
            begun = self._timer()
            self._consider(project)
            del self._changed[project]
            self._give_way(self._timer() - begun)
        until = self._timer() + _ROUND
        for project in self._round:
            self._consider(project)
            if self._timer() > until:
                return
        self._round = iter(self._folders.projects())

    def _consider(self, project: NormalizedName) -> None:
        files = self._folders.files(project)
        for file, fact in zip(files, self._facts.of(files), strict=True):
            if fact is not None and fact.digests.keys() >= set(self._algorithms):
                continue
            known = self._waiting.get(file.path)
            if (known is None or known[0] != file) and not self._failed.get(_as_failed(file)):
                self._waiting[file.path] = (file, self._timer())
                heapq.heappush(self._newest, (-file.changed, file.path))

    def _read(self) -> None:
        """Read what has rested, the newest first."""
        until = self._timer() + _READ
        later = []
        learned = set()
        try:
            while self._newest and self._timer() <= until:
                item = heapq.heappop(self._newest)
                file, since = self._waiting.get(item[1], (None, 0.0))
                if file is None or -item[0] != file.changed:
                    continue  # another item is of this path
                if not self._has_rested(file, since):
                    later.append(item)
                    continue
                del self._waiting[file.path]
                begun = self._timer()
                fact = self._examine(file)
                if fact is not None:
                    self._facts.add(file.project, fact)
                    learned.add(file.project)
                self._give_way(self._timer() - begun)
        finally:
            for item in later:
                heapq.heappush(self._newest, item)
        for project in learned:
            self._facts.tidy(project)

    def _give_way(self, worked: float) -> None:
        """Leave the processor to the others, if they have work."""
        (before, used), self._looked = self._looked, (self._timer(), self._others())
        now, used_now = self._looked
        if used_now - used > _BUSY * (now - before):
            self._pause(min(_LONGEST_YIELD, _YIELD * worked))

    def _has_rested(self, file: File, since: float) -> bool:
        rested = self._timer() - since
        return rested >= max(_REST, rest(file.modified)) or is_old(
            max(file.modified, file.changed), self._clock
        )

    def _examine(self, file: File) -> Fact | None:
        """Read the file. None: not now. Raises StoreError if its metadata cannot be kept."""
        # What another server with other algorithms has learned stays: both are to find theirs.
        known = next(self._facts.of([file]))
        learned = known.digests if known is not None else ()
        others = [each for each in learned if each in hashlib.algorithms_available]
        try:
            found = examine(file, tuple(dict.fromkeys((*self._algorithms, *others))), ask)
        except NoSuchFile:
            return None
        except StoreError as error:
            log.warning("%s gets no digest: %s", file.path, error.message)
            self._failed.put(_as_failed(file), True, 1)  # noqa: FBT003 - the value
            return None
        if found is None:
            self._changed[file.project] = None
            return None
        if found.metadata is None:
            return found.fact
        return replace(found.fact, metadata=self._facts.put_metadata(found.metadata))


def ask(opened: BinaryIO, file: File) -> Said:
    """What a sound distribution file says of itself; nothing, if it is none, or of another project.

    It is listed all the same, as the name says.
    """
    try:
        found = artefact.inspect(opened, file.filename)
    except Refused as error:
        log.info("no metadata of %s: %s", file.path, error.message)
        return Said()
    if found.project != file.project:
        return Said()
    return Said(found.metadata, found.requires_python)


def _as_failed(file: File) -> tuple[str, int, int]:
    return file.path, file.modified, file.changed
