"""Work on one shared thing, done by one thread on behalf of all who want it.

Why not a lock: who waits for a lock does the same work once more afterwards.
Why not the run under way: it has perhaps passed the very spot that has changed
since, so only a run that began after somebody asked is an answer to him.  Why a
thread of its own: who waits may give up, or wait without a thread
(``concurrency``), and the work goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from devpi_server.concurrency import Crew, wait_for

T = TypeVar("T", bound=Hashable)


class _Run(Generic[T]):
    def __init__(self) -> None:
        self.items: dict[T, None] = {}
        self.landed: Future[None] = Future()


class Turns(Generic[T]):
    """The turns that ``work`` takes; it gets what all have asked for since the last one."""

    def __init__(self, name: str, work: Callable[[Sequence[T]], None]) -> None:
        self._work = work
        self._crew = Crew(name, 1)
        self._lock = threading.Lock()
        self._begun: float | None = None  # when the run under way has begun
        self._next: _Run[T] = _Run()

    def do(self, items: Iterable[T], seconds: float) -> bool:
        """Have the items worked on by a run that begins from now on.

        :param seconds: to wait; less what the run under way has taken already, so that
            of many requests not each one waits for work that does not end.
        :return: False if they were not enough. The run goes on.
        :raises Overloaded: no capacity to wait.
        :raises Exception: what the work raised.
        """
        now = time.monotonic()
        with self._lock:
            run = self._next
            run.items.update(dict.fromkeys(items))
            begun = self._begun
            if begun is None:
                self._begun = now
        if begun is None:
            self._crew.submit(self._take)
        else:
            seconds = max(0.0, seconds - (now - begun))
        in_time = wait_for((id(self), "turn"), run.landed, seconds)
        if run.landed.done():
            run.landed.result()
        return in_time

    def _take(self) -> None:
        """Take turns as long as there is something to do."""
        while True:
            with self._lock:
                run = self._next
                if not run.items:
                    self._begun = None
                    return
                self._next = _Run()
                self._begun = time.monotonic()
            try:
                self._work(tuple(run.items))
            except BaseException as error:  # noqa: BLE001 - the waiters get it, whatever it is
                run.landed.set_exception(error)
            else:
                run.landed.set_result(None)
