"""Any process is killed at any moment, under load: no wrong byte, and no error but in flight.

The processes are those of ``--gen-config``: two servers under the real supervisor, which starts
them again, and nginx in front.  ``DEVPI_KILLING=300`` is for how many seconds.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from people import join
from server import BrokenOff, Http, clean_environment, mirror_of, until
from upstream import Upstream
from upstream.artefacts import wheel
from webserver import Nginx

from devpi_server.deploy import genconfig
from devpi_server.deploy.plan import Plan
from devpi_server.settings import given, read

SECONDS = float(os.environ.get("DEVPI_KILLING", "8"))
READERS = 6
PORT = 3141  # is in the names of the sockets only
_OLD_ENOUGH = 1.5  # seconds: supervisor takes one that ends before for one that cannot start


class Site:
    """Supervisor, two servers, and nginx."""

    def __init__(self, nginx: str, folder: Path, up: Upstream, stack: ExitStack) -> None:
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        words = [
            *mirror_of(up, folder / "data", f"--unix-socket={sockets}/devpi.sock"),
            *(f"--port={PORT}", "--processes=2", "--publish", "--gen-config"),
        ]
        plan = Plan(read(words, {}), given(words, {}))
        genconfig.write(plan, sockets, lambda _: None)
        self._supervisor = subprocess.Popen(
            [
                *(sys.executable, "-m", "supervisor.supervisord", "--nodaemon"),
                *("--configuration", str(sockets / "supervisord.conf")),
            ],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(self._end)
        self.servers = [
            Http(f"http+unix://{quote(str(sockets / f'devpi-{PORT + number}.sock'), safe='')}/")
            for number in range(2)
        ]
        self.wait()
        site = (sockets / "nginx-devpi.conf").read_text()
        self._nginx = stack.enter_context(Nginx(nginx, folder / "nginx", site, workers=2))
        self.client = Http(f"http://127.0.0.1:{self._nginx.port}/")

    def wait(self) -> None:
        """Until all servers are there."""
        for server in self.servers:
            until(partial(is_up, server))

    def processes(self) -> tuple[list[int], list[int]]:
        """The servers, and the workers of nginx."""
        return children(self._supervisor.pid), children(self._nginx.pid)

    def _end(self) -> None:
        self._supervisor.terminate()
        self._supervisor.wait()


def is_up(server: Http) -> bool:
    """Whether it answers; that it takes a connection may be the last that it ever does."""
    try:
        return server("/+api").status == 200
    except BrokenOff:
        return False


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def site(up: Upstream, need: Callable[[str], str], tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(need("nginx"), tmp_path, up, stack)


@dataclass
class Log:
    """What happened, and when."""

    kills: list[tuple[float, float]] = field(default_factory=list)  # from until it was gone
    errors: list[tuple[float, float, str]] = field(default_factory=list)  # of requests
    wrong: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def unexplained(self) -> list[str]:
        """The errors of requests that were not in flight when something was killed."""
        return [
            f"{begin:.3f} to {end:.3f}: {what}"
            for begin, end, what in self.errors
            if not any(killed <= end and begin <= gone for killed, gone in self.kills)
        ]


class Load:
    """Readers who know what they are to get, and somebody who uploads."""

    def __init__(self, site: Site, up: Upstream, log: Log) -> None:
        self._site = site
        self._log = log
        self._alice = join(site.client, "alice")
        self._alice.ok("PUT", "/alice/dev", {"bases": ["root/pypi"]})
        self._alice.ok("PUT", "/alice/closed", {"bases": [], "acl_read": ["alice"]})
        self._bytes: dict[str, bytes] = {}
        self._closed: dict[str, bytes] = {}
        self._uploaded: set[str] = set()
        for number, size in enumerate((2_000, 60_000, 3_000_000)):
            file = up.release(f"theirs{number}", "1.0", size=size)
            link = site.client.links(f"theirs{number}")[file.filename]
            self._bytes[link["url"].partition("#")[0]] = file.data
            own = wheel(f"own{number}", "1.0", size=size)
            self._bytes[self._alice.upload("alice/dev", own)] = own.data
            secret = wheel(f"secret{number}", "1.0", size=size)
            self._closed[self._alice.upload("alice/closed", secret)] = secret.data

    def read(self, chance: random.Random) -> None:
        """A request, and a look at what it got."""
        kind = chance.choice(["page", "file", "file", "part", "closed", "closed"])
        headers: dict[str, str] = {}
        if kind == "page":
            known = set(self._uploaded)
            self._asked(lambda: self._page(known))
            return
        files = self._closed if kind == "closed" else self._bytes
        path, data = chance.choice(list(files.items()))
        if kind == "closed" and chance.random() < 0.7:
            headers = self._alice.credentials
        start = 0
        if kind == "part":
            start = chance.randrange(len(data))
            headers["Range"] = f"bytes={start}-"
        self._asked(lambda: self._file(path, headers, data[start:], files is self._closed))

    def upload(self, number: int) -> None:
        """One file more; who has been told that it is there finds it."""
        file = wheel("growing", f"1.{number}")

        def send() -> None:
            self._alice.upload("alice/dev", file)
            self._uploaded.add(file.filename)

        self._asked(send)

    def _page(self, known: set[str]) -> str | None:
        answer = self._site.client("/alice/dev/+simple/growing/", {"Accept": "text/html"})
        if answer.status >= 500:
            return f"page: {answer} {answer.body[:200]!r}"
        missing = [name for name in known if name.encode() not in answer.body]
        if missing:
            self._log.wrong.append(f"{missing} not on a page of {answer.status}")
        return None

    def _file(self, path: str, headers: dict[str, str], data: bytes, is_closed: bool) -> str | None:
        answer = self._site.client(path, headers)
        if answer.status >= 500:
            return f"{path}: {answer} {answer.body[:200]!r}"
        if is_closed and not (headers.keys() - {"Range"}):
            expected = answer.status == 401
        else:
            expected = answer.status in (200, 206) and answer.body == data
        if not expected:
            found = hashlib.sha256(answer.body).hexdigest()
            self._log.wrong.append(f"{path} {headers}: {answer.status}, {found}")
        return None

    def _asked(self, ask: Callable[[], str | None]) -> None:
        begin = time.monotonic()
        try:
            fault = ask()
        except (BrokenOff, AssertionError) as error:
            fault = str(error) or repr(error)
        self._log.counts["failed" if fault else "answered"] += 1
        if fault:
            self._log.errors.append((begin, time.monotonic(), fault))


def kill(pid: int, log: Log) -> None:
    """Kill it, and note from when until when it was dying."""
    begin = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))
    log.kills.append((begin, time.monotonic()))


def is_alive(pid: int) -> bool:
    """Whether one of its threads is: until then, it may have sockets."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(state_of(thread) not in "ZX" for thread in threads)


def state_of(thread: Path) -> str:
    """Of a thread that may go away at any time, while others of its process do not."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@pytest.mark.timeout(120 + SECONDS * 2)
def test_no_wrong_byte_and_no_error_but_in_flight(up: Upstream, site: Site) -> None:
    """Servers one at a time, as the other has to answer; workers of nginx as they come."""
    seed = int(os.environ.get("DEVPI_SEED") or random.randrange(10**9))
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = Log()
    load = Load(site, up, log)
    over, never = threading.Event(), threading.Event()

    def read(number: int) -> None:
        own = random.Random(seed + number)
        while not over.is_set():
            load.read(own)

    def write() -> None:
        number = 0
        while not over.is_set():
            number += 1
            load.upload(number)
            never.wait(0.05)

    with ThreadPoolExecutor(READERS + 1) as threads:
        running = [threads.submit(read, number) for number in range(READERS)]
        running.append(threads.submit(write))
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                servers, workers = site.processes()
                is_server = chance.random() < 0.5
                kill(chance.choice(servers if is_server else workers), log)
                if is_server:
                    site.wait()
                    never.wait(_OLD_ENOUGH)
                never.wait(chance.uniform(0, 0.5))
        finally:
            over.set()
        for each in running:
            each.result()

    print(f"{len(log.kills)} kills, requests: {dict(log.counts)}")
    assert log.wrong == []
    assert log.unexplained() == []
    assert log.counts["answered"] > 100
