"""The application for other servers: built once, late, in the process that serves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from devpi_server.errors import ConfigError
from devpi_server.settings import Settings
from devpi_server.web.hot import Environ, StartResponse
from devpi_server.wsgi import LazyApplication

WITHIN = 30.0


class FakeServices:
    """Tells in which process it was built and started."""

    def __init__(self) -> None:
        self.started_in: int | None = None

    def start(self) -> None:
        self.started_in = os.getpid()

    def app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [str(self.started_in).encode()]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeServices]:
    for name in [name for name in os.environ if name.startswith("DEVPISERVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("devpi_server.cli.logs.configure", lambda *, debug: None)
    return []


@pytest.fixture
def app(built: list[FakeServices]) -> LazyApplication:
    def build(_: Settings) -> Any:
        built.append(FakeServices())
        return built[-1]

    return LazyApplication(build)


def ask(app: LazyApplication) -> tuple[str, bytes]:
    said: list[str] = []
    body = app({"REQUEST_METHOD": "GET", "wsgi.input": None}, lambda status, _: said.append(status))
    return said[0], b"".join(body)


def test_it_is_built_and_started_by_the_first_request(
    app: LazyApplication, built: list[FakeServices]
) -> None:
    assert not built

    assert [ask(app) for _ in range(3)] == [("200 OK", str(os.getpid()).encode())] * 3

    assert len(built) == 1


def test_of_many_first_requests_one_builds_it(built: list[FakeServices]) -> None:
    both = threading.Barrier(8)

    def build(_: Settings) -> Any:
        built.append(FakeServices())
        return built[-1]

    app = LazyApplication(build)

    def first(_: int) -> str:
        both.wait(WITHIN)
        return ask(app)[0]

    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(first, range(8))) == {"200 OK"}
    assert len(built) == 1


def test_a_hook_of_the_server_may_start_it_before(
    app: LazyApplication, built: list[FakeServices]
) -> None:
    app.start()

    assert [each.started_in for each in built] == [os.getpid()]
    ask(app)
    assert len(built) == 1


def test_a_fork_has_its_own(
    app: LazyApplication, built: list[FakeServices], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(app)
    monkeypatch.setattr("os.getpid", lambda: 12345)

    assert ask(app) == ("200 OK", b"12345")
    assert len(built) == 2


def test_a_wrong_setting_is_said_and_asked_for_again(
    app: LazyApplication,
    built: list[FakeServices],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEVPISERVER_THREADS", "many")
    status, body = ask(app)
    with pytest.raises(SystemExit) as ended:
        app.start()

    assert status == "503 devpi-server cannot start: see its log"
    assert body == b"devpi-server cannot start: see its log\n"
    assert ended.value.code == 3
    line = 'devpi-server: error: DEVPISERVER_THREADS: "many" is not a whole number\n'
    assert capsys.readouterr().err == 2 * line
    monkeypatch.setenv("DEVPISERVER_THREADS", "5")
    assert ask(app)[0] == "200 OK"


def test_the_settings_may_stand_in_a_file(
    built: list[FakeServices], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "devpi.yml"
    file.write_text("devpi-server:\n  threads: 7\n")
    monkeypatch.setenv("DEVPISERVER_CONFIGFILE", str(file))
    seen: list[Settings] = []

    def build(settings: Settings) -> Any:
        seen.append(settings)
        return FakeServices()

    ask(LazyApplication(build))

    assert [settings.threads for settings in seen] == [7]


def test_a_data_directory_that_cannot_be_used_is_told(built: list[FakeServices]) -> None:
    def build(_: Settings) -> Any:
        raise ConfigError(["cannot write to the data directory /nowhere"])

    assert ask(LazyApplication(build))[0].startswith("503 ")


def test_to_import_it_does_nothing() -> None:
    """No settings are read, no folder is made, no thread started."""
    code = "import threading, devpi_server.wsgi as w; assert threading.active_count() == 1"
    environ = {**os.environ, "DEVPISERVER_NONSENSE": "1"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=WITHIN
    )

    assert (done.returncode, done.stderr) == (0, "")
