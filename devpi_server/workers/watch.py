"""See what happens in folders of packages before anybody asks.

``Watch`` looks at the directories in turn; this is all that is needed, and
works everywhere.  ``Events`` lets the kernel say where to look, so that the
listing of a changed directory is done by the time of the next request, and a
huge tree needs no round.  It needs the extra ``watch``, and sees nothing that
another machine does over NFS: it hastens, and nothing relies on it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from importlib.util import find_spec

from devpi_server.store.folders import Folders

log = logging.getLogger(__name__)

_LOOK = 0.02  # seconds of a tick
_MOST = 10_000  # paths that are remembered between two ticks
# Not those of reading, which serving a file causes, nor each write to a file.
_WANTED = (
    "FileCreatedEvent", "FileDeletedEvent", "FileMovedEvent", "FileClosedEvent",
    "DirCreatedEvent", "DirDeletedEvent", "DirMovedEvent",
)  # fmt: skip


def _nothing() -> None:
    """There is nothing to stop yet."""


def has_events() -> bool:
    """Whether the extra ``watch`` is installed."""
    return find_spec("watchdog") is not None


class Watch:
    """A worker, in each process, for each has a picture of its own."""

    def __init__(self, name: str, folders: Folders) -> None:
        self.name = f"watch {name}"
        self.every = 0.25
        self._folders = folders

    def tick(self) -> None:
        self._folders.refresh(_LOOK)


class Events:
    """A worker, in each process: waits until something happens, and looks there.

    :param wait: seconds of a tick in which nothing happens.
    """

    def __init__(self, name: str, folders: Folders, wait: float = 1.0) -> None:
        self.name = f"events {name}"
        self.every = 0.01
        self._folders = folders
        self._wait = wait
        self._has_begun = False
        self._stop: Callable[[], None] = _nothing
        self._happened = threading.Event()
        self._lock = threading.Lock()
        self._paths: set[str] = set()

    def tick(self) -> None:
        if not self._has_begun:
            self._begin()
        if not self._happened.wait(self._wait):
            return
        with self._lock:
            self._happened.clear()
            paths, self._paths = self._paths, set()
        self._folders.hint(paths)

    def close(self) -> None:
        """Let the kernel tell nothing more."""
        self._stop()

    def notice(self, paths: Iterable[str]) -> None:
        """Something has happened to these files or directories."""
        with self._lock:
            if len(self._paths) < _MOST:  # beyond, the round finds it
                self._paths.update(paths)
            self._happened.set()

    def _begin(self) -> None:
        # In the first tick, not before: a server may fork its workers after it is wired.
        from watchdog import events, observers  # noqa: PLC0415 - an extra

        notice = self.notice

        class Handler(events.FileSystemEventHandler):
            def on_any_event(self, event: events.FileSystemEvent) -> None:
                notice({os.fsdecode(path) for path in (event.src_path, event.dest_path) if path})

        self._has_begun = True
        observer = observers.Observer()
        observer.start()
        self._stop = observer.stop
        wanted = [getattr(events, name) for name in _WANTED]
        for root in self._folders.roots:
            try:
                observer.schedule(Handler(), root, recursive=True, event_filter=wanted)
            except OSError as error:  # no such folder, or too many directories for the kernel
                log.warning("no events of %s, it is looked at in turn: %s", root, error.strerror)
