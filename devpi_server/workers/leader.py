"""Which of the processes that share a data directory does a piece of background work."""

from __future__ import annotations

from devpi_server.store.locks import Lock, Locks


class Leader:
    """The first process that asks, as long as it lives."""

    def __init__(self, locks: Locks, name: str) -> None:
        self._locks = locks
        self._name = name
        self._lock: Lock | None = None
        self._is_over = False

    def is_this_process(self) -> bool:
        """Whether the work is ours; once it is, it stays so."""
        if self._lock is None and not self._is_over:
            self._lock = self._locks.try_hold(self._name)
        return self._lock is not None

    def resign(self) -> None:
        """Never do it again: there is nothing of this kind to be done any more."""
        self._is_over = True
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()
