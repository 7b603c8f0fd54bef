"""An hour and more against an upstream that fails at random, with a clock that is told to go."""

from __future__ import annotations

import gc
import random
import threading
import tracemalloc
from collections.abc import Callable

import pytest
from fakes import FakeClock
from server import App, BrokenOff
from upstream import (
    CloseUnanswered,
    Cut,
    Fault,
    OldSerial,
    RpcFault,
    Status,
    Substitute,
    Upstream,
)

Make = Callable[..., App]

STEP = 10  # seconds
STEPS = 500  # 5,000 seconds
PROJECTS = [f"project-{number}" for number in range(12)]
WORKERS = ("follow", "interest", "ahead", "harvest")
ALLOWED = {200, 404, 502, 503, 504}


def mishap(chance: random.Random, up: Upstream) -> Fault:
    return chance.choice(
        [
            Status(500),
            Status(503, {"Retry-After": "3"}),
            Status(403),
            CloseUnanswered(),
            CloseUnanswered(reset=True),
            Cut(30),
            Substitute(b"<html>portal</html>", "text/html"),
            RpcFault.rate_limited(20),
            OldSerial(max(1, up.serial - 3)),
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_dies_and_nothing_grows(
    app: Make, up: Upstream, clock: FakeClock, seed: int
) -> None:
    """Every answer is a good one or says why not; in the end all is fresh, and memory is flat."""
    chance = random.Random(seed)
    up.logging = False
    versions = dict.fromkeys(PROJECTS, 1)
    for project in PROJECTS:
        up.release(project, "1.0", metadata=chance.random() < 0.5)
    server = app("--request-timeout", "0.5")
    threads: list[int] = []
    memory: list[int] = []
    tracemalloc.start()
    try:
        for step in range(STEPS):
            clock.advance(STEP)
            rule = up.fail("/", mishap(chance, up)) if chance.random() < 0.4 else None
            for worker in WORKERS:
                server.tick(f"{worker} root/pypi")
            ask(server, chance)
            if rule is not None:
                rule.remove()
            if chance.random() < 0.2:
                project = chance.choice(PROJECTS)
                versions[project] += 1
                up.release(project, f"{versions[project]}.0")
            if step in (STEPS // 2, STEPS - 1):
                server.events.clear()
                gc.collect()
                memory.append(ours())
                threads.append(threading.active_count())
    finally:
        tracemalloc.stop()

    clock.advance(900)  # longer than any pause of a feed
    server.tick("follow root/pypi")
    clock.advance(70)
    for project in PROJECTS:
        assert f"{versions[project]}.0" in server.page(project)["versions"]
    assert memory[1] < memory[0] + 2_000_000
    assert threads[1] <= threads[0] + 8


def ours() -> int:
    """Bytes that the package's own lines have allocated and not given back."""
    snapshot = tracemalloc.take_snapshot()
    own = snapshot.filter_traces([tracemalloc.Filter(True, "*/devpi_server/*")])
    return sum(trace.size for trace in own.traces)


def ask(server: App, chance: random.Random) -> None:
    project = chance.choice(PROJECTS)
    answer = server(f"/root/pypi/+simple/{project}/", {"Accept": "text/html"})
    assert answer.status in ALLOWED
    assert answer.status != 404, "an upstream failure is never a 404"
    if answer.status == 200 and chance.random() < 0.5:
        address = chance.choice([link["url"] for link in server.links(project).values()])
        try:
            assert server(address).status in ALLOWED
        except BrokenOff:
            return
