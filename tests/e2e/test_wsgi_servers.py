"""``devpi_server.wsgi:application`` in gunicorn and uWSGI, as ``--gen-config`` configures them."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from server import JSON, BrokenOff, Client, Http, clean_environment, until
from upstream import Cut, HangInBody, Mode, NoLength, Upstream

from devpi_server.main import main

from .clients import asked_all_the_time, free_port, is_served

MB = 1_000_000
ROOT = Path(__file__).parents[2]
on_all_kinds = pytest.mark.parametrize(
    "kind", ["gthread", "sync", "preload", "uwsgi"], indirect=True
)
READY = r"serving in process|WSGI app 0 .* ready"
_PATIENCE = 60.0


class Foreign(Http):
    """devpi-server in a server of another make."""

    is_broken_off = False  # uWSGI has a word for that

    def __init__(self, command: list[str], port: int, log: Path, **variables: str) -> None:
        super().__init__(f"http://127.0.0.1:{port}/")
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                start_new_session=True,  # so that its own children end with it
                stdout=output,
                stderr=output,
                env=clean_environment() | {"PYTHONPATH": str(ROOT)} | variables,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def workers(self) -> set[int]:
        """The processes that serve."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return {int(pid) for pid in children.read_text().split()}

    def reload(self) -> None:
        """Put new processes in the place of the old ones; return when all are new."""
        before = self.workers()
        ready = self.count(READY)
        self._process.send_signal(signal.SIGHUP)
        until(lambda: self.count(READY) == ready + len(before))
        until(lambda: len(self.workers()) == len(before) and not self.workers() & before)
        if self.count("chain reload"):
            until(lambda: self.count("chain reloading complete"))

    def count(self, pattern: str) -> int:
        """How often the log has it."""
        return len(re.findall(pattern, self.log.read_text()))

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        return self._process.wait(_PATIENCE)

    def stop(self) -> int:
        try:
            self.terminate()
            return self.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


Start = Callable[..., Foreign]


@pytest.fixture(params=["gthread", "uwsgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(
    kind: str, need: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Starts it with the configuration that ``--gen-config`` writes, given these options."""
    made: list[Foreign] = []

    def run(up: Upstream, *options: str, **variables: str) -> Foreign:
        monkeypatch.chdir(tmp_path)
        port = free_port()
        words = (f"--port={port}", f"--datadir={tmp_path / 'my 100% data'}", "--processes=2")
        main(["--gen-config", *words, f"--mirror-url={up.simple_url}", *options])
        config = tmp_path / "gen-config"
        if kind == "uwsgi":
            command = [needed("uwsgi"), "--ini", str(config / "uwsgi.ini")]
        else:
            extra = {"gthread": [], "sync": ["-k", "sync"], "preload": ["--preload"]}[kind]
            if kind == "sync":
                extra += ["--threads", "1"]
            command = [needed("gunicorn"), "-c", str(config / "gunicorn.conf.py"), *extra]
            command.append("devpi_server.wsgi:application")
        made.append(Foreign(command, port, tmp_path / "log", **variables))
        return made[-1]

    def needed(program: str) -> str:
        return need(str(Path(sys.executable).with_name(program)))

    yield run
    for each in made:
        each.stop()
    for each in made:
        assert each.is_broken_off or not each.count("Traceback")


def started(start: Start, up: Upstream, *options: str) -> Foreign:
    """With two processes that are ready: neither likes to be stopped before."""
    server = start(up, *options)
    until(lambda: server.count(READY) == 2)
    return server


def is_held(server: Client, path: str) -> bool:
    return server(path, method="HEAD").origin == "hit"


@on_all_kinds
def test_it_serves_the_same(start: Start, up: Upstream) -> None:
    """Pages, cold and hot files, ranges, HEAD, 304, errors with their reasons."""
    file = up.release("demo", "1.0", size=MB)
    server = started(start, up)
    path = server.address("demo", file.filename)

    assert server(path).body == file.data
    until(lambda: is_held(server, path))
    whole = server(path)
    assert (whole.body, whole.headers["Content-Length"]) == (file.data, str(MB))
    for span, part in (
        ("bytes=-10", file.data[-10:]),
        ("bytes=300000-", file.data[300_000:]),
        ("bytes=1000-700000", file.data[1000:700_001]),
    ):
        answer = server(path, {"Range": span})
        assert (answer.status, answer.body) == (206, part)
    head = server(path, method="HEAD")
    assert (head.headers["Content-Length"], head.body) == (str(MB), b"")
    tag = server("/simple/demo/", {"Accept": JSON}).headers["ETag"]
    assert server("/simple/demo/", {"Accept": JSON, "If-None-Match": tag}).status == 304
    missing = server("/simple/none/")
    assert (missing.status, missing.body.decode().strip()) == (404, missing.reason)
    assert server("/simple/Demo").headers["Location"] == "demo/"


def test_a_cold_file_is_sent_while_it_arrives(start: Start, up: Upstream) -> None:
    """The first bytes are there before upstream has sent the last."""
    file = up.release("demo", "1.0", size=2 * MB)
    server = started(start, up)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(MB))

    with closing(server.open(path)) as answer:
        begin = answer.read(1000)
        rule.remove()
        assert begin + answer.read() == file.data


def test_each_cold_file_gives_its_place_back(start: Start, up: Upstream) -> None:
    """However the server has sent it: there are places for three at once here."""
    files = [up.release("demo", f"{number}.0", size=MB) for number in range(8)]
    server = started(start, up, "--threads=4")

    for file in files:
        assert server(server.address("demo", file.filename)).body == file.data


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_spoilt_file_is_never_whole(
    start: Start, up: Upstream, kind: str, tells_length: bool
) -> None:
    """A body that ends early is seen to, also where upstream does not tell its length."""
    up.mode = Mode.WAREHOUSE if tells_length else Mode.POOR
    file = up.release("demo", "1.0", size=2 * MB)
    server = started(start, up)
    server.is_broken_off = kind == "uwsgi"
    path = server.address("demo", file.filename)
    up.fail("/packages/", *([] if tells_length else [NoLength()]), Cut(MB))

    try:
        answer = server(path)
    except BrokenOff:
        return
    assert answer.status == 502


def test_a_body_is_taken(start: Start, up: Upstream) -> None:
    """An answer to a POST is read by its client, whatever becomes of the body."""
    server = started(start, up)
    for size in (10, 5 * MB):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE)
        with closing(connection):
            connection.request("POST", "/simple/", body=bytes(size))
            assert connection.getresponse().status == 405


@on_all_kinds
def test_the_parent_does_nothing_but_look_after_those_that_serve(
    start: Start, up: Upstream
) -> None:
    """Its threads would not survive the fork, its locks and connections would be shared."""
    up.release("demo", "1.0")
    server = started(start, up)
    assert server.links("demo")

    assert len(server.workers()) == 2
    assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
    data = str(Path("my 100% data"))
    opened = [os.readlink(link) for link in Path(f"/proc/{server.pid}/fd").iterdir()]
    assert not [name for name in opened if data in name]


@on_all_kinds
def test_a_reload_fails_no_request(start: Start, up: Upstream) -> None:
    """New connections go to the new processes, what is in flight is finished by the old."""
    file = up.release("demo", "1.0", size=MB)
    server = started(start, up)
    path = server.address("demo", file.filename)
    server(path)
    until(lambda: is_held(server, path))

    with asked_all_the_time(server, ["/simple/demo/", path]) as faults:
        server.reload()

    assert faults == []


def test_a_stop_finishes_what_is_in_flight(start: Start, up: Upstream) -> None:
    file = up.release("demo", "1.0", size=2 * MB)
    server = started(start, up)
    path = server.address("demo", file.filename)
    rule = up.fail("/packages/", HangInBody(MB))

    with closing(server.open(path)) as answer:
        begin = answer.read(1000)
        server.terminate()
        until(lambda: server.count("signal: term|graceful shutdown"))
        rule.remove()
        assert begin + answer.read() == file.data
    assert server.wait() == 0


def test_a_wrong_setting_is_told_without_a_traceback(start: Start, up: Upstream, kind: str) -> None:
    """gunicorn does not start; uWSGI, whose first request builds it, answers 503."""
    server = start(up, "--processes=1", DEVPISERVER_REQUEST_TIMEOUT="soon")

    if kind == "uwsgi":
        until(lambda: is_served(server.port))
        answer = server("/simple/")
        assert (answer.status, answer.reason) == (503, "devpi-server cannot start: see its log")
    else:
        assert server.wait() == 3
    assert "devpi-server: error: DEVPISERVER_REQUEST_TIMEOUT: " in server.log.read_text()
