"""Threads: how requests wait, share work, and are refused."""

from __future__ import annotations

import contextvars
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

import pytest

from devpi_server.concurrency import (
    Alarm,
    Blocking,
    BoundedCache,
    Budget,
    Crew,
    SingleFlight,
    Supervisor,
    land,
    wait_for,
    waiting_with,
)
from devpi_server.errors import DevpiError, NoSuchProject, Overloaded, TimedOut

T = TypeVar("T")
LONG = 30.0  # seconds that no test takes unless it fails


def landed(value: object = None) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class HandLanded:
    """A crew whose work is done when the test says so, on the test's thread."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.on_landing: list[Callable[[Future[Any]], object]] = []

    def submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        for callback in self.on_landing:
            future.add_done_callback(callback)
        self.jobs.append((future, work))
        return future

    def land(self) -> None:
        future, work = self.jobs.pop(0)
        try:
            future.set_result(work())
        except (DevpiError, ZeroDivisionError) as error:
            future.set_exception(error)


# Crew


def test_a_crew_returns_what_the_work_returns() -> None:
    """Results travel through the future."""
    assert Crew("c", 2).submit(lambda: 42).result(LONG) == 42


@pytest.mark.parametrize("kind", [NoSuchProject, ValueError, SystemExit, KeyboardInterrupt])
def test_a_crew_returns_what_the_work_raises_and_goes_on(
    kind: Callable[[str], BaseException],
) -> None:
    """No exception ends a thread of the crew."""
    crew = Crew("c", 1)

    def fail() -> None:
        raise kind("no")

    assert isinstance(crew.submit(fail).exception(LONG), BaseException)
    assert crew.submit(lambda: 1).result(LONG) == 1


def test_a_crew_is_never_larger_than_its_size() -> None:
    """However much work there is, so many threads do it."""
    crew = Crew("c", 3)
    everyone = threading.Barrier(3)  # breaks if the three are not at work together

    def work() -> str:
        everyone.wait(LONG)
        return threading.current_thread().name

    futures = [crew.submit(work) for _ in range(30)]
    assert {future.result(LONG) for future in futures} == {"c-1", "c-2", "c-3"}


def test_work_that_waits_is_done_in_order() -> None:
    """A crew of one is a queue."""
    crew = Crew("c", 1)
    done: list[int] = []
    futures = [crew.submit(lambda n=n: done.append(n)) for n in range(50)]  # type: ignore[misc]
    for future in futures:
        future.result(LONG)
    assert done == list(range(50))


def test_a_thread_that_cannot_be_made_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment without threads the crew works as before."""
    crew = Crew("c", 1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            crew.submit(lambda: 1)
    assert crew.submit(lambda: 2).result(LONG) == 2


def test_the_threads_of_a_crew_keep_nobody_alive() -> None:
    """They are daemons: a hanging upstream does not keep a stopped server."""
    assert Crew("c", 1).submit(lambda: threading.current_thread().daemon).result(LONG)


# SingleFlight


def test_many_who_want_one_thing_make_one_run() -> None:
    """One run a key; all who joined get its result."""
    flights: SingleFlight[int] = SingleFlight(Crew("c", 4))
    go_on = threading.Event()
    runs: list[int] = []

    def work() -> int:
        runs.append(1)
        go_on.wait(LONG)
        return 42

    first = [flights.join("key", work) for _ in range(10)]
    go_on.set()
    assert [future.result(LONG) for future in first] == [42] * 10
    assert len(runs) == 1


def test_different_things_fly_side_by_side() -> None:
    """A key waits for no other key."""
    flights: SingleFlight[str] = SingleFlight(Crew("c", 2))
    go_on = threading.Event()
    slow = flights.join("slow", lambda: str(go_on.wait(LONG)))
    assert flights.do("quick", lambda: "quick", LONG) == "quick"
    go_on.set()
    assert slow.result(LONG) == "True"


def test_who_gives_up_does_not_stop_the_flight() -> None:
    """Past the deadline the waiter gets TimedOut, the work goes on and lands."""
    crew = HandLanded()
    flights: SingleFlight[int] = SingleFlight(crew)  # type: ignore[arg-type]
    with pytest.raises(TimedOut):
        flights.do("key", lambda: 42, 0.0)
    joined = flights.join("key", lambda: 43)
    crew.land()
    assert joined.result(0) == 42


def test_what_the_work_raises_reaches_everybody() -> None:
    """An exception is a result like any other."""
    crew = HandLanded()
    flights: SingleFlight[int] = SingleFlight(crew)  # type: ignore[arg-type]

    def fail() -> int:
        raise NoSuchProject("no")

    futures = [flights.join("key", fail) for _ in range(3)]
    crew.land()
    assert {type(future.exception(0)) for future in futures} == {NoSuchProject}
    assert len({id(future.exception(0)) for future in futures}) == 1


def test_do_raises_what_the_work_raises() -> None:
    """The waiter sees the work's own exception."""
    flights: SingleFlight[int] = SingleFlight(Crew("c", 1))

    def fail() -> int:
        raise NoSuchProject("no")

    with pytest.raises(NoSuchProject):
        flights.do("key", fail, LONG)


def test_past_the_most_a_new_flight_is_refused_and_an_old_one_joined() -> None:
    crew = HandLanded()
    flights: SingleFlight[str] = SingleFlight(crew, most=2)  # type: ignore[arg-type]
    first = flights.join("a", lambda: "a")
    flights.join("b", lambda: "b")

    with pytest.raises(Overloaded):
        flights.join("c", lambda: "c")
    assert flights.join("a", lambda: "other") is first
    crew.land()
    flights.join("c", lambda: "c")

    assert len(crew.jobs) == 2


def test_a_flight_that_has_landed_is_forgotten() -> None:
    """The next who asks starts a new one, after success and failure alike."""
    crew = HandLanded()
    flights: SingleFlight[int] = SingleFlight(crew)  # type: ignore[arg-type]
    for work in (lambda: 1, lambda: 1 // 0, lambda: 2):
        flight = flights.join("key", work)
        crew.land()
        assert flight.done()
    assert flights.join("key", lambda: 9) is not flight


def test_nobody_joins_a_flight_that_has_landed() -> None:
    """Also in the moment between landing and being forgotten a new one starts."""
    crew = HandLanded()
    flights: SingleFlight[int] = SingleFlight(crew)  # type: ignore[arg-type]
    second: list[Future[int]] = []
    crew.on_landing = [lambda _: second.append(flights.join("key", lambda: 2))]
    first = flights.join("key", lambda: 1)
    crew.on_landing = []
    crew.land()
    assert second[0] is not first
    # And the landing of the first has not made us forget the second.
    assert flights.join("key", lambda: 3) is second[0]
    crew.land()
    assert second[0].result(0) == 2


def test_work_that_lands_before_anybody_looks_is_fine() -> None:
    """A crew may be done before ``join`` returns."""

    class Prompt:
        def submit(self, work: Callable[[], T]) -> Future[T]:
            return landed(work())

    flights: SingleFlight[int] = SingleFlight(Prompt())  # type: ignore[arg-type]
    assert flights.do("key", lambda: 1, 0.0) == 1
    assert flights.do("key", lambda: 2, 0.0) == 2


# Patience


class Recorder:
    """A patience that never waits, and remembers for what it was asked to."""

    def __init__(self, remembered: Future[Any] | None = None) -> None:
        self.remembered = remembered
        self.waits: list[float] = []

    def recall(self, key: Hashable) -> Future[Any] | None:
        return self.remembered

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        self.waits.append(seconds)


def test_a_context_waits_in_its_own_way_and_no_other_does() -> None:
    """``waiting_with`` binds the innermost context only, and ends with it."""
    outer, inner = Recorder(), Recorder()
    with waiting_with(outer):
        wait_for("key", Future(), 1.0)
        with waiting_with(inner):
            wait_for("key", Future(), 2.0)
        wait_for("key", Future(), 3.0)
    assert wait_for("key", Future(), 0.0) is False
    assert (outer.waits, inner.waits) == ([1.0, 3.0], [2.0])


def test_another_thread_waits_in_its_own_way() -> None:
    """The patience of a request is not that of the threads that work for it."""
    recorder = Recorder()
    with waiting_with(recorder):
        thread = threading.Thread(target=wait_for, args=("key", landed(), LONG))
        thread.start()
        thread.join()
    assert recorder.waits == []


def test_the_patience_is_gone_when_the_context_fails() -> None:
    """An error does not leave the next request with the patience of this one."""
    recorder = Recorder()

    def run() -> None:
        with pytest.raises(NoSuchProject), waiting_with(recorder):
            raise NoSuchProject("no")
        wait_for("key", landed(), LONG)

    contextvars.copy_context().run(run)
    assert recorder.waits == []


def test_a_request_that_runs_again_finds_the_flight_it_waited_for() -> None:
    """What is recalled counts, not what would be started now."""
    crew = HandLanded()
    flights: SingleFlight[int] = SingleFlight(crew)  # type: ignore[arg-type]
    with waiting_with(Recorder(landed(7))):
        assert flights.do("key", lambda: 8, LONG) == 7
        assert flights.was_awaited("key")
        assert wait_for("key", Future(), LONG)
    assert crew.jobs == []
    assert not flights.was_awaited("key")


def test_land_waits_for_failures_too() -> None:
    """Waiting is over when the flight is, however it ended, or when the time is up."""
    failed: Future[None] = Future()
    failed.set_exception(NoSuchProject("no"))
    land(failed, LONG)
    land(Future(), 0.0)


# Blocking


def test_past_its_places_a_blocking_patience_refuses() -> None:
    """So many may wait; the next is told to try again, and a place that is free is taken."""
    places = Blocking(2)
    with places.place(), places.place():
        with pytest.raises(Overloaded) as raised:
            places.wait("key", Future(), LONG)
        assert raised.value.retry_after > 0
    with places.place(), places.place():
        pass


def test_what_has_landed_needs_no_place() -> None:
    """A hot request is never refused."""
    places = Blocking(1)
    with places.place():
        places.wait("key", landed(), LONG)


def test_a_place_is_given_back_when_the_wait_fails() -> None:
    """Neither a deadline nor an error keeps a place."""
    places = Blocking(1)
    for _ in range(3):
        places.wait("key", Future(), 0.0)
        with pytest.raises(NoSuchProject), places.place():
            raise NoSuchProject("no")
    assert places.recall("key") is None


# BoundedCache


def test_the_least_recently_used_goes_first() -> None:
    """What was asked for lately stays."""
    cache: BoundedCache[str, int] = BoundedCache(3)
    for number, key in enumerate("abc"):
        cache.put(key, number, 1)
    assert cache.get("a") == 0
    cache.put("d", 3, 1)
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]


def test_the_budget_is_never_exceeded() -> None:
    """One dear value drives out as many cheap ones as it takes."""
    cache: BoundedCache[int, int] = BoundedCache(10)
    for number in range(10):
        cache.put(number, number, 1)
    cache.put(99, 99, 9)
    assert len(cache) == 2
    assert (cache.get(9), cache.get(99)) == (9, 99)


def test_what_is_dearer_than_the_budget_is_not_held() -> None:
    """And drives nobody out, but its own older value."""
    cache: BoundedCache[str, int] = BoundedCache(10)
    cache.put("a", 1, 5)
    cache.put("b", 1, 5)
    cache.put("a", 2, 11)
    assert (cache.get("a"), cache.get("b")) == (None, 1)


def test_a_new_value_costs_only_its_own_cost() -> None:
    """Replacing and discarding give the budget back."""
    cache: BoundedCache[str, int] = BoundedCache(10)
    for number in range(100):
        cache.put("a", number, 9)
    cache.put("b", 1, 1)
    assert (cache.get("a"), cache.get("b")) == (99, 1)
    cache.discard("a")
    cache.discard("a")
    cache.put("c", 2, 9)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (None, 1, 2)


class Document:
    """Something large."""


def test_a_flight_that_fails_keeps_nothing_of_what_it_worked_with() -> None:
    """Forty pages that were given up are not forty pages in memory."""
    found: list[weakref.ref[Document]] = []

    def receive() -> None:
        document = Document()
        found.append(weakref.ref(document))
        try:
            int("nonsense")
        except ValueError as error:
            raise NoSuchProject("none") from error

    flights: SingleFlight[None] = SingleFlight(Crew("fail", 1))
    gc.disable()
    try:
        with pytest.raises(NoSuchProject) as raised:
            flights.do("page", receive, LONG)
        assert raised.value.__traceback__ is not None
        assert found[0]() is None
    finally:
        gc.enable()


# Budgets


def test_room_is_given_while_there_is_some() -> None:
    """Step by step, to anybody."""
    budget = Budget(10)
    first, second = budget.room(), budget.room()
    assert first.grow(4, 0)
    assert second.grow(4, 0)
    assert first.grow(2, 0)


def test_who_has_begun_comes_to_an_end() -> None:
    """With nothing left, one may go on, however much it needs; the others wait for that."""
    budget = Budget(10)
    first, second = budget.room(), budget.room()
    assert first.grow(5, 0)
    assert second.grow(5, 0)
    assert first.grow(100, 0)
    assert first.grow(100, 0)
    assert not second.grow(1, 0)
    del first
    assert second.grow(5, 0)


def test_room_comes_back_when_nobody_refers_to_it() -> None:
    """All that it took, also what was beyond the budget."""
    budget = Budget(10)
    for _ in range(3):
        room = budget.room()
        for _ in range(3):
            assert room.grow(5, 0)
    other = budget.room()
    assert not other.grow(1, 0) or not other.overdraws
    del room
    assert other.grow(1, 0)


def test_who_waits_for_room_gets_it_as_soon_as_there_is_some() -> None:
    """Not only when its time is over."""
    budget = Budget(10)
    large = [budget.room(), budget.room()]
    assert large[0].grow(10, 0)
    assert large[1].grow(10, 0)
    waiting = Crew("wait", 1).submit(lambda: budget.room().grow(5, LONG * 10))
    large.clear()
    assert waiting.result(LONG)


# Alarm and Supervisor


def test_an_alarm_rings_in_the_order_of_time() -> None:
    """The sooner one first, whichever was set first."""
    alarm = Alarm()
    rung: list[str] = []
    over = threading.Event()
    alarm.after(0.02, over.set)
    alarm.after(0.01, lambda: rung.append("second"))
    alarm.after(0.0, lambda: rung.append("first"))
    assert over.wait(LONG)
    assert rung == ["first", "second"]


def test_an_alarm_can_be_set_again_after_it_rang() -> None:
    """Its thread waits for the next one."""
    alarm = Alarm()
    for _ in range(3):
        rung = threading.Event()
        alarm.after(0.0, rung.set)
        assert rung.wait(LONG)


def test_an_alarm_that_has_nothing_to_ring_for_keeps_no_thread() -> None:
    """Each client has one: thousands of them that have gone leave nothing behind."""
    threads: list[threading.Thread] = []
    rung = threading.Event()
    alarm = Alarm()
    alarm.after(0.0, lambda: threads.append(threading.current_thread()))
    alarm.after(0.01, rung.set)
    assert rung.wait(LONG)
    threads[0].join(LONG)
    assert not threads[0].is_alive()


class Stumbler:
    """A worker that fails at every tick but the third, where it tells."""

    name = "stumbler"
    every = 0.0

    def __init__(self) -> None:
        self.ticks = 0
        self.third = threading.Event()
        self.go_on = threading.Event()

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 3:
            self.third.set()
            self.go_on.wait(LONG)
        raise ValueError("a fault of ours")


def test_a_worker_that_fails_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """No tick is the last one because it failed; after ``stop`` none begins."""
    worker, supervisor = Stumbler(), Supervisor()
    with caplog.at_level(logging.ERROR):
        supervisor.start(worker)
        assert worker.third.wait(LONG)
    assert "stumbler" in caplog.text
    (thread,) = [each for each in threading.enumerate() if each.name == "worker-stumbler"]
    supervisor.stop()
    worker.go_on.set()
    thread.join(LONG)
    assert not thread.is_alive()
    assert worker.ticks == 3
