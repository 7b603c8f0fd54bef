"""Killed at each durable step of a change: what was acknowledged is there, whole.

What was not is there whole, or not at all.  Nothing is left under way, and no file is
listed whose bytes are not there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import pytest
from fakes import FakeClock
from server import (
    JSON,
    App,
    BrokenOff,
    Http,
    Response,
    clean_environment,
    mirror_of,
    until,
)
from uploading import basic, upload
from upstream import Upstream
from upstream.artefacts import Artefact, sdist, wheel

from devpi_server.cli import export

if TYPE_CHECKING:
    from typing_extensions import Self

Files = dict[str, bytes]  # name → bytes
HERE = Path(__file__).parent
MINE = basic("alice", "pw")
OLD, NEW = wheel("demo", "1.0"), wheel("demo", "1.0", requires=["x"])
SDIST = sdist("demo", "1.0")
LISTEN = ("--host=127.0.0.1", "--port=0")
MOST_STEPS = 60


class Stepping:
    """A program that is run again and again, and killed at a step each time.

    :param armed: the file from whose appearance steps are counted.
    :param log: for all that it says on stderr.
    """

    def __init__(self, armed: Path, log: Path, program: str, *words: str) -> None:
        script = str(HERE / "stepping.py")  # which is to find the package as this test does
        start = f"import runpy; runpy.run_path({script!r}, run_name='__main__')"
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-c", start, str(armed), program, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**clean_environment(), "PYTHONPATH": str(HERE.parent)},
                start_new_session=True,
                text=True,
            )

    def start(self, step: int) -> int:
        """Begin to run it; return the number of its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{step}\n")
        self._process.stdin.flush()
        return int(self.says("pid "))

    def says(self, start: str) -> str:
        """What follows in the next line that begins so."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"it ended, and never said {start!r}")

    def ended(self) -> int:
        """Wait until it has; return its exit code."""
        return int(self.says("ended "))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            os.killpg(self._process.pid, signal.SIGKILL)


class Site:
    """A data directory with a user and an index, and servers on it."""

    def __init__(self, folder: Path) -> None:
        self.datadir = folder / "data"
        self._saved = folder / "saved"
        self._log = folder / "log"
        self._armed = folder / "armed"
        self._options = ("--datadir", str(self.datadir), "--offline-mode")
        with self.serve() as server:
            assert server.request("PUT", "/alice", {"password": "pw"}).status == 201
            server.add_index("alice/dev")

    @contextmanager
    def serve(self) -> Iterator[App]:
        """A server that nobody kills."""
        server = App(*self._options)
        yield server
        server.services.close()

    def save(self) -> None:
        """Remember what there is, for ``restore``."""
        shutil.copytree(self.datadir, self._saved)

    def restore(self) -> None:
        """Make it what it was when it was saved."""
        shutil.rmtree(self.datadir)
        shutil.copytree(self._saved, self.datadir)

    def stepping(self) -> Stepping:
        """Servers that die."""
        return Stepping(self._armed, self._log, "devpi-server", *LISTEN, *self._options)

    def is_killed_at(
        self, step: int, servers: Stepping, change: Callable[[Http], Response]
    ) -> bool:
        """Let a server die at this step of the change; False: it took fewer steps."""
        pid = servers.start(step)
        server = Http(servers.says("serving at url: "))
        self._armed.touch()
        try:
            answer = change(server)
        except BrokenOff:
            return servers.ended() == -signal.SIGKILL
        finally:
            self._armed.unlink()
        os.kill(pid, signal.SIGKILL)
        servers.ended()
        assert answer.status in (200, 201), answer
        return False


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


def uploading(file: Artefact) -> Callable[[Http], Response]:
    return lambda server: upload(server, "alice/dev", file, MINE)


def nothing_under_way(site: Site) -> bool:
    return not [path for path in (site.datadir / "incoming").iterdir() if path.is_file()]


def kill_at_each_step(
    site: Site,
    change: Callable[[Http], Response],
    before: Files,
    after: Files,
    index: str = "alice/dev",
) -> None:
    """After a kill at any step, the index is as it was, or as it is to be."""
    site.save()
    outcomes = []
    with site.stepping() as servers:
        for step in range(1, MOST_STEPS):
            is_killed = site.is_killed_at(step, servers, change)
            with site.serve() as server:
                assert nothing_under_way(site)
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
    assert len(outcomes) >= 2  # before the commit and after it


@pytest.mark.timeout(120)
def test_an_upload(tmp_path: Path) -> None:
    kill_at_each_step(
        Site(tmp_path),
        uploading(NEW),
        {},
        {NEW.filename: NEW.data},
    )


@pytest.mark.timeout(120)
def test_an_upload_over_another(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.serve() as server:
        assert upload(server, "alice/dev", OLD, MINE).status == 200

    kill_at_each_step(
        site,
        uploading(NEW),
        {OLD.filename: OLD.data},
        {NEW.filename: NEW.data},
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", ["/alice/dev/demo/1.0", "/alice/dev"], ids=["version", "index"])
def test_a_deletion(tmp_path: Path, what: str) -> None:
    """Files of a release, or of an index, go together; their bytes only later."""
    site = Site(tmp_path)
    with site.serve() as server:
        for file in (NEW, SDIST):
            assert upload(server, "alice/dev", file, MINE).status == 200

    kill_at_each_step(
        site,
        lambda server: server.request("DELETE", what, None, MINE),
        {NEW.filename: NEW.data, SDIST.filename: SDIST.data},
        {},
    )


@pytest.mark.timeout(120)
def test_a_push(tmp_path: Path) -> None:
    """Of several files, over one of them: all of it, or nothing."""
    site = Site(tmp_path)
    with site.serve() as server:
        server.add_index("alice/next")
        for index, file in (("next", OLD), ("dev", NEW), ("dev", SDIST)):
            assert upload(server, f"alice/{index}", file, MINE).status == 200
    new = {NEW.filename: NEW.data, SDIST.filename: SDIST.data}

    def push(server: Http) -> Response:
        asked = {"name": "demo", "version": "1.0", "targetindex": "alice/next"}
        return server.request("PUSH", "/alice/dev", asked, MINE)

    kill_at_each_step(site, push, {OLD.filename: OLD.data}, new, "alice/next")
    with site.serve() as server:
        assert served(server) == new


@pytest.mark.timeout(120)
def test_a_push_from_a_mirror(tmp_path: Path) -> None:
    """The files are held; their metadata is read from them, and kept."""
    with Upstream() as up:
        file = up.release("demo", "1.0", sdist=True)
        site = Site(tmp_path)
        fetch = App(*mirror_of(up, site.datadir))
        held = {name: fetch(link["url"]).body for name, link in fetch.links("demo").items()}
        fetch.services.close()
    assert held[file.filename] == file.data

    def push(server: Http) -> Response:
        asked = {"name": "demo", "version": "1.0", "targetindex": "alice/dev"}
        return server.request("PUSH", "/root/pypi", asked, MINE)

    kill_at_each_step(site, push, {}, held)


@pytest.mark.timeout(120)
def test_an_import(tmp_path: Path) -> None:
    """Killed again and again, a little later each time, it gets there in the end."""
    site = Site(tmp_path)
    with site.serve() as server:
        for file in (NEW, SDIST):
            assert upload(server, "alice/dev", file, MINE).status == 200
    dump, datadir, armed = tmp_path / "dump", tmp_path / "imported", tmp_path / "now"
    assert export.main(["--datadir", str(site.datadir), str(dump)]) == 0
    armed.touch()
    killed = 0
    log = tmp_path / "import.log"
    words = ("--datadir", str(datadir), str(dump))
    with Stepping(armed, log, "devpi-import", *words) as imports:
        for step in range(3, 3 * MOST_STEPS, 3):
            imports.start(step)
            code = imports.ended()
            if code == 0:
                break
            assert code == -signal.SIGKILL, log.read_text()
            killed += 1

    assert killed > 3
    server = App("--datadir", str(datadir), "--offline-mode")
    assert served(server) == {NEW.filename: NEW.data, SDIST.filename: SDIST.data}
    assert upload(server, "alice/dev", OLD, MINE).status == 200
    server.services.close()


@pytest.mark.timeout(240)
def test_a_change_of_what_another_process_has_published(tmp_path: Path) -> None:
    """At no step is a page left published that is not the one of now."""
    site, clock = Site(tmp_path), FakeClock()
    with site.serve() as server:
        assert upload(server, "alice/dev", NEW, MINE).status == 200
    other = App("--datadir", str(site.datadir), "--offline-mode", "--publish", clock=clock)
    page = site.datadir / "published" / "projects" / "demo" / "alice,dev,+simple,page.html"
    outcomes = set()
    with site.stepping() as servers:
        for step in range(1, MOST_STEPS):
            clock.now += 10
            before = other("/alice/dev/+simple/demo/").body
            until(page.exists)
            file = OLD if hashlib.sha256(NEW.data).hexdigest() in before.decode() else NEW
            is_killed = site.is_killed_at(step, servers, uploading(file))
            now = other("/alice/dev/+simple/demo/").body
            assert not page.exists() or page.read_bytes() == now, f"after a kill at step {step}"
            if not is_killed:
                break
            outcomes.add(now == before)
    other.services.close()
    assert outcomes == {True, False}
