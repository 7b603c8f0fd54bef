"""Changes that die at the n-th durable step, each in a process of its own, and what is left then.

A step is an fsync, a rename, a link, a removal, or a commit of the database, each once before
and once after it happens.

Why forked: to start Python and import everything takes longer than all steps together.  The
processes come from one that has imported everything already, and that has no thread and no open
database.  So what runs in them is a function of a module here, and its arguments.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from argon2 import PasswordHasher
from server import JSON, App, Client, Http, Response, clean_environment
from sqlalchemy.engine.default import DefaultDialect
from uploading import basic

from devpi_server.cli import server as devpi_server
from devpi_server.settings import Settings
from devpi_server.web.serve import serve
from devpi_server.wiring import Services

if TYPE_CHECKING:
    from typing_extensions import Self

Act = Callable[[], int | None]  # None or 0: it succeeded
Prepare = Callable[[], Act]  # what comes before the first step
Files = dict[str, bytes]  # name → bytes
MINE = basic("alice", "pw")
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
NEVER = 0  # no step
MOST_STEPS = 60
ROUNDS = int(os.environ.get("DEVPI_CRASHES", "25"))  # where chance has a say
A_DAY = 90_000  # seconds, and more


# Processes


@cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crashing", "putting", "warmed"])
    environment = {**clean_environment(), "PYTHONPATH": os.pathsep.join(sys.path)}
    with mock.patch.dict(os.environ, environment, clear=True):
        forkserver.ensure_running()
    return context


def run(step: int, prepare: Prepare) -> int | None:
    """Prepare and act in a process that dies at this step, else right after the act.

    :return: how many steps there were; None: it died at this one.
    """
    answers, answer = _forks().Pipe(duplex=False)
    process = _forks().Process(target=_run, args=(answer, step, prepare))
    process.start()
    answer.close()
    with answers:
        try:
            taken: int | None = answers.recv()
        except EOFError:
            taken = None
    process.join()
    assert process.exitcode == -signal.SIGKILL, "it failed"
    process.close()
    return taken


def _run(answer: Connection, step: int, prepare: Prepare) -> None:
    act = prepare()
    steps = _Steps(step)
    code = act()
    assert not code, code
    answer.send(steps.taken)
    _die()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Steps:
    """Counts those of this process, and ends it at the last."""

    def __init__(self, last: int) -> None:
        self.taken = 0
        self._last = last
        for name in ("fsync", "replace", "link", "unlink", "rename"):
            setattr(os, name, self._around(getattr(os, name)))
        DefaultDialect.do_commit = self._around(DefaultDialect.do_commit)

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._step()
            result = function(*args, **kwargs)
            self._step()
            return result

        return stepped

    def _step(self) -> None:
        self.taken += 1
        if self.taken == self._last:
            _die()


class ForkedServer(Http):
    """``devpi-server`` on a free port of 127.0.0.1.

    :param options: of the command line.
    :param log: file for its stderr.
    """

    def __init__(self, *options: str, log: Path) -> None:
        addresses, address = _forks().Pipe(duplex=False)
        words = ("--host", "127.0.0.1", "--port", "0", *options)
        self._process = _forks().Process(target=_serve, args=(address, log, words))
        self._process.start()
        address.close()
        with addresses:
            super().__init__(addresses.recv())

    def kill(self) -> None:
        """Kill it, now."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        self._process.close()


def _serve(address: Connection, log: Path, words: Sequence[str]) -> None:
    def announced(services: Services, settings: Settings, _: object) -> int:
        return serve(services, settings, address.send)

    with log.open("ab") as stderr:
        os.dup2(stderr.fileno(), sys.stderr.fileno())
    sys.exit(devpi_server.main(words, serve=announced))


# What runs in them


def doing(function: Callable[..., int | None], *words: object) -> Prepare:
    """Only this."""
    return partial(partial, function, *words)


def command(main: Callable[[Sequence[str]], int], *words: str | Path) -> Prepare:
    """A command."""
    return doing(main, [str(word) for word in words])


def asked(method: str, path: str, body: object = None) -> Callable[[Client], Response]:
    """What alice asks of a server."""
    return partial(Client.request, method=method, path=path, body=body, headers=MINE)


def _change(options: Sequence[str], change: Callable[[Client], Response]) -> Act:
    app = App(*options)

    def act() -> None:
        answer = change(app)
        assert answer.status in (200, 201), answer

    return act


def _reclaim(options: Sequence[str]) -> Act:
    return partial(App(*options, clock=lambda: time.time() + A_DAY).tick, "reclaim")


# What is left


class Site:
    """A data directory with a user and an index, and servers on it."""

    def __init__(self, folder: Path) -> None:
        self.datadir = folder / "data"
        self._saved = folder / "saved"
        self._options = ("--datadir", str(self.datadir), "--offline-mode")
        with self.serve() as server:
            assert server.request("PUT", "/alice", {"password": "pw"}).status == 201
            server.add_index("alice/dev")

    @contextmanager
    def serve(self, *options: str, **clock: Any) -> Iterator[App]:
        """A server that nobody kills."""
        server = App(*self._options, *options, **clock)
        yield server
        server.services.close()

    def changing(self, change: Callable[[Client], Response]) -> Prepare:
        """A server is started, and the change is asked of it."""
        return partial(_change, self._options, change)

    def reclaiming(self) -> Prepare:
        """A server is started a day later, and reclaims the bytes that nothing names."""
        return partial(_reclaim, self._options)

    def save(self) -> None:
        """Remember what there is, for ``restore``."""
        shutil.copytree(self.datadir, self._saved)

    def restore(self) -> None:
        """Make it what it was when it was saved."""
        shutil.rmtree(self.datadir)
        shutil.copytree(self._saved, self.datadir)


def served(server: App, index: str = "alice/dev") -> Files:
    """Name → bytes of every file of the project, with its metadata being right."""
    answer = server(f"/{index}/+simple/demo/", {"Accept": JSON})
    if answer.status == 404:
        return {}
    found: Files = {}
    for file in answer.json["files"]:
        path = f"/{index}/{file['url'].removeprefix('../../')}"
        body = server(path).body
        assert hashlib.sha256(body).hexdigest() == file["hashes"]["sha256"]
        if "core-metadata" in file:
            metadata = server(f"{path}.metadata").body
            assert hashlib.sha256(metadata).hexdigest() == file["core-metadata"]["sha256"]
        found[file["filename"]] = body
    return found


def nothing_under_way(datadir: Path) -> bool:
    return not [path for path in (datadir / "incoming").iterdir() if path.is_file()]


def kill_at_each_step(
    site: Site,
    change: Prepare,
    before: Files,
    after: Files,
    *,
    index: str = "alice/dev",
    least: int = 5,
) -> None:
    """After a kill at any step, the index is as it was, or as it is to be.

    :param least: so many steps there are.
    """
    site.save()
    outcomes = []
    for step in range(1, MOST_STEPS):
        is_killed = run(step, change) is None
        with site.serve() as server:
            assert nothing_under_way(site.datadir)
            now = served(server, index)
        if not is_killed:
            assert now == after
            break
        assert now in (before, after), f"after a kill at step {step}"
        outcomes.append(now)
        site.restore()
    else:
        pytest.fail(f"it takes more than {MOST_STEPS} steps")
    assert outcomes[0] == before
    assert len(outcomes) >= least
