"""Threads: single flight, patience, crews, bounded caches, workers.

Why patience is a value: a request that waits for upstream must not take a
thread from requests that need none.  *How* it waits depends on the server it
came through: most servers can only block a thread, so ``Blocking`` hands out a
limited number of places and refuses beyond them; our waitress adapter parks
the request and runs it again when the flight has landed
(``web.waitress_adapter``).  ``SingleFlight`` knows neither, it asks the
patience of the current request.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from devpi_server.errors import Overloaded, TimedOut

log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

Clock = Callable[[], float]  # seconds since the epoch


_IDLE = 20.0  # seconds until a thread without work ends
_LAYERS = 10  # errors that led to an error


class Patience(Protocol):
    """How one request waits for flights."""

    def recall(self, key: Hashable) -> Future[Any] | None:
        """The flight that this request has waited for under this key before, if any."""

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        """Return when the flight has landed or the seconds are over.

        :raises Overloaded: no capacity to wait.
        """


class Blocking:
    """Waits on the thread that it is called on, in one of a limited number of places."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)

    def recall(self, key: Hashable) -> Future[Any] | None:
        return None

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        if flight.done():
            return
        with self.place():
            land(flight, seconds)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places for as long as the context lasts.

        :raises Overloaded: all are taken.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many requests are waiting, try again", retry_after=2)
        try:
            yield
        finally:
            self._places.release()


class _Unlimited:
    """Blocks without a limit: for workers and commands, which own their threads."""

    def recall(self, key: Hashable) -> Future[Any] | None:
        return None

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        land(flight, seconds)


def land(flight: Future[Any], seconds: float) -> None:
    """Block until the flight has landed, well or badly, or the seconds are over."""
    try:
        flight.exception(timeout=seconds)
    except FutureTimeout:
        return


_patience: ContextVar[Patience] = ContextVar("patience")
_unlimited = _Unlimited()


@contextmanager
def waiting_with(patience: Patience) -> Iterator[None]:
    """Let everything in this context wait with the given patience."""
    token = _patience.set(patience)
    try:
        yield
    finally:
        _patience.reset(token)


def wait_for(key: Hashable, flight: Future[Any], seconds: float) -> bool:
    """Wait with the patience of the current request; tells whether the flight has landed.

    :param key: names what is waited for, within this request.
    :raises Overloaded: no capacity to wait.
    """
    patience = _patience.get(_unlimited)
    flight = patience.recall(key) or flight
    patience.wait(key, flight, seconds)
    return flight.done()


class Crew:
    """A pool of daemon threads, made on demand; they end when there is nothing to do.

    Not ``ThreadPoolExecutor``: that one is joined at interpreter exit, so a
    hanging upstream would keep a stopped server alive.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run the work on a thread of the crew, as soon as one is free."""
        future: Future[T] = Future()
        with self._lock:
            # Free threads less waiting jobs: below nought only at full size.
            if self._idle <= 0 and self._threads < self._size:
                name = f"{self._name}-{self._threads + 1}"
                threading.Thread(target=self._run, name=name, daemon=True).start()
                self._threads += 1
            else:
                self._idle -= 1
            self._jobs.put((future, work))
        return future

    def _run(self) -> None:
        while True:
            try:
                future, work = self._jobs.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:  # no job counts on this thread
                        self._idle -= 1
                        self._threads -= 1
                        return
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - the waiter gets it, whatever it is
                _clear(error)
                future.set_exception(error)
            del future, work
            with self._lock:
                self._idle += 1


def _clear(error: BaseException | None) -> None:
    """Let the error keep none of the values that it was raised among.

    They may be documents of many megabytes, and who waits for a future whose error it is
    makes a cycle with it, so that only the collector would find them.
    """
    for _ in range(_LAYERS):
        if error is None:
            return
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


class SingleFlight(Generic[T]):
    """One running piece of work a key, however many wait for it.

    The work runs on a crew: who waits may give up, the flight goes on.
    Flights forget themselves when they land.

    :param most: flights under way; beyond them, a new one is refused.
    """

    def __init__(self, crew: Crew, most: int | None = None) -> None:
        self._crew = crew
        self._most = most
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[T]] = {}

    def do(self, key: Hashable, work: Callable[[], T], wait: float) -> T:
        """Start or join the flight, wait for it, and return what it returns.

        :param wait: seconds.
        :raises TimedOut: it has not landed yet; it goes on.
        :raises Overloaded: too many are under way, or wait.
        :raises Exception: what the work raised.
        """
        patience = _patience.get(_unlimited)
        mine = (id(self), key)
        flight = patience.recall(mine) or self.join(key, work)
        patience.wait(mine, flight, wait)
        if not flight.done():
            raise TimedOut(f"upstream did not answer within {wait:g} s")
        return flight.result()

    def was_awaited(self, key: Hashable) -> bool:
        """Whether the current request has waited for this key before, in an earlier run."""
        return _patience.get(_unlimited).recall((id(self), key)) is not None

    def join(self, key: Hashable, work: Callable[[], T]) -> Future[T]:
        """Start the flight, or join the one under way, without waiting.

        :raises Overloaded: too many are under way.
        """
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None and not flight.done():
                return flight
            if self._most is not None and len(self._flights) >= self._most:
                raise Overloaded("too many requests are waiting, try again", retry_after=2)
            flight = self._flights[key] = self._crew.submit(work)
        # Outside of the lock: a flight that has landed already calls back at once.
        flight.add_done_callback(lambda landed: self._forget(key, landed))
        return flight

    def _forget(self, key: Hashable, landed: Future[T]) -> None:
        with self._lock:
            if self._flights.get(key) is landed:
                del self._flights[key]


class BoundedCache(Generic[K, T]):
    """Least recently used goes first, once the budget in bytes is spent."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._spent = 0
        self._lock = threading.Lock()
        self._items: OrderedDict[K, tuple[T, int]] = OrderedDict()

    def get(self, key: K) -> T | None:
        """The value held for the key."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                return None
            self._items.move_to_end(key)
            return item[0]

    def put(self, key: K, value: T, cost: int) -> None:
        """Hold the value; the cost is in bytes. What is over the budget is not held."""
        with self._lock:
            self._drop(key)
            if cost > self._budget:
                return
            self._items[key] = (value, cost)
            self._spent += cost
            while self._spent > self._budget:
                self._spent -= self._items.popitem(last=False)[1][1]

    def discard(self, key: K) -> None:
        """Forget the key, if it is held."""
        with self._lock:
            self._drop(key)

    @property
    def spent(self) -> int:
        """Bytes."""
        return self._spent

    def _drop(self, key: K) -> None:
        old = self._items.pop(key, None)
        if old is not None:
            self._spent -= old[1]

    def __len__(self) -> int:
        return len(self._items)


class Budget:
    """Bytes of memory that large things share while they are worked with.

    Nobody knows how large a thing becomes, so each takes room step by step.  What has begun
    must be able to end: when all is spent, one at a time may go on all the same.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        # Reentrant: a room may be given back by the collector, at any moment.
        self._changed = threading.Condition()
        self._is_overdrawn = False

    def room(self) -> Room:
        """For one thing; nothing is taken yet."""
        return Room(self)

    def _take(self, room: Room, size: int, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._try(room, size), max(0.0, seconds))

    def _try(self, room: Room, size: int) -> bool:
        if self._left < size and not room.overdraws:
            if self._is_overdrawn:
                return False
            self._is_overdrawn = room.overdraws = True
        self._left -= size
        return True

    def _give_back(self, room: Room, size: int) -> None:
        with self._changed:
            self._left += size
            if room.overdraws:
                self._is_overdrawn = False
            self._changed.notify_all()


class Room:
    """What one thing takes of a budget. It is given back when nobody refers to it any more."""

    def __init__(self, budget: Budget) -> None:
        self.overdraws = False
        self._budget = budget
        self._size = 0

    def grow(self, size: int, seconds: float) -> bool:
        """Take so many bytes more; wait for them no longer than that, and tell whether they came.

        For one thread at a time.
        """
        taken = self._budget._take(self, size, seconds)
        if taken:
            self._size += size
        return taken

    def __del__(self) -> None:
        if self._size:
            self._budget._give_back(self, self._size)


class Alarm:
    """Calls back after some time, from one daemon thread that lives while it is needed."""

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._is_running = False

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once, after the seconds. The callback must be quick and not raise."""
        with self._wake:
            if not self._is_running:
                threading.Thread(target=self._run, name="alarm", daemon=True).start()
                self._is_running = True
            self._count += 1
            heapq.heappush(self._heap, (time.monotonic() + seconds, self._count, callback))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while self._heap and self._heap[0][0] > time.monotonic():
                    self._wake.wait(self._heap[0][0] - time.monotonic())
                if not self._heap:
                    self._is_running = False
                    return
                callback = heapq.heappop(self._heap)[2]
            try:
                callback()
            except Exception:
                log.exception("an alarm failed, the others go on")


class Worker(Protocol):
    """A piece of background work that is done again and again."""

    name: str
    every: float  # seconds between two ticks

    def tick(self) -> None:
        """Do it once."""


class Supervisor:
    """Runs each worker on a daemon thread of its own; a tick that raises is logged, never fatal."""

    def __init__(self) -> None:
        self._stopping: dict[str, threading.Event] = {}
        self._ticked: dict[str, float] = {}

    def start(self, worker: Worker) -> None:
        """Tick now, and then every ``worker.every`` seconds until ``stop``."""
        stopping = self._stopping[worker.name] = threading.Event()
        threading.Thread(
            target=self._run, args=(worker, stopping), name=f"worker-{worker.name}", daemon=True
        ).start()

    def ticked(self) -> dict[str, float]:
        """Name of each worker → seconds since it has last done what it does."""
        now = time.monotonic()
        return {name: now - at for name, at in self._ticked.copy().items()}

    def stop(self, name: str | None = None) -> None:
        """Let the worker of this name, or none of them, begin another tick."""
        for each in [name] if name is not None else list(self._stopping):
            self._stopping.pop(each).set()
            self._ticked.pop(each, None)

    def _run(self, worker: Worker, stopping: threading.Event) -> None:
        self._ticked[worker.name] = time.monotonic()
        while not stopping.is_set():
            try:
                worker.tick()
                self._ticked[worker.name] = time.monotonic()
            except Exception:
                log.exception("worker %s failed, it goes on", worker.name)
            stopping.wait(worker.every)
