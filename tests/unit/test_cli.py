"""The command: what it prints, how it ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import devpi_server.main
from devpi_server import errors
from devpi_server.cli import EXIT_CODES, dispatch, fail, logs, server
from devpi_server.errors import ConfigError, DevpiError, StoreError
from devpi_server.settings import Settings

UPSTREAM = "--mirror-url=http://upstream/simple/"


@dataclass
class FakeServer:
    """Builds nothing, serves nothing, and remembers that it was asked to."""

    url: str = "http://localhost:3141/"
    build_error: BaseException | None = None
    serve_error: BaseException | None = None
    asked: list[str] = field(default_factory=list)

    def build(self, settings: Settings) -> Any:
        self.asked.append("build")
        if self.build_error is not None:
            raise self.build_error
        return settings

    def serve(self, services: Any, settings: Settings, announce: Callable[[str], None]) -> int:
        self.asked.append("serve")
        if self.serve_error is not None:
            raise self.serve_error
        assert services is settings
        announce(self.url)
        return 0

    def run(self, *argv: str) -> int:
        return server.main([UPSTREAM, *argv], build=self.build, serve=self.serve)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


def leaves(kind: type[DevpiError] = DevpiError) -> Iterator[type[DevpiError]]:
    for below in kind.__subclasses__():
        yield below
        yield from leaves(below)


def test_every_error_has_an_exit_code() -> None:
    for kind in leaves():
        if kind.__module__ == errors.__name__:
            assert any(above in EXIT_CODES for above in kind.__mro__), kind


def test_faults_are_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(ConfigError(["one", "two"])) == 2
    assert capsys.readouterr().err == "devpi-server: error: one\ndevpi-server: error: two\n"


def test_other_errors_are_printed_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(errors.Full("no space left on /data"), program="devpi-fsck") == 1
    assert capsys.readouterr().err == "devpi-fsck: error: no space left on /data\n"


def test_once_it_listens_it_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert FakeServer().run() == 0
    assert capsys.readouterr().out == (
        "serving at url: http://localhost:3141/\n"
        "index url: http://localhost:3141/ext/pypi/simple/\n"
    )


def test_it_says_the_port_that_it_has_got(capsys: pytest.CaptureFixture[str]) -> None:
    FakeServer(url="http://127.0.0.1:40001/").run("--port=0")

    assert capsys.readouterr().out.splitlines()[0] == "serving at url: http://127.0.0.1:40001/"


def test_it_says_the_url_that_clients_use(capsys: pytest.CaptureFixture[str]) -> None:
    FakeServer().run("--outside-url=https://pypi.example/root")

    assert capsys.readouterr().out == (
        "serving at url: https://pypi.example/root/\n"
        "index url: https://pypi.example/root/ext/pypi/simple/\n"
    )


def test_wrong_settings_end_it_before_anything_is_built(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = FakeServer()

    assert fake.run("--port=x", "--prot=1") == 2
    assert fake.asked == []
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "devpi-server: error: unknown option --prot, did you mean --port?",
        'devpi-server: error: --port: "x" is not a whole number',
    ]


def test_an_unknown_bottleserver_ends_it_before_anything_is_built() -> None:
    fake = FakeServer()

    assert fake.run("--bottleserver=no-such-server") == 2
    assert fake.asked == []


def test_an_unusable_data_directory_ends_it_before_it_serves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake = FakeServer(build_error=ConfigError(["cannot write to /data: Permission denied"]))

    assert fake.run() == 2
    assert fake.asked == ["build"]
    assert capsys.readouterr().err == (
        "devpi-server: error: cannot write to /data: Permission denied\n"
    )


def test_a_busy_port_is_told_and_nothing_announced(capsys: pytest.CaptureFixture[str]) -> None:
    busy = FakeServer(serve_error=ConfigError(["port 3141 on localhost is in use"]))

    assert busy.run() == 2
    assert capsys.readouterr() == ("", "devpi-server: error: port 3141 on localhost is in use\n")


def test_a_sick_disk_is_no_fault_of_the_configuration() -> None:
    assert FakeServer(build_error=StoreError("the disk is gone")).run() == 1


def test_ctrl_c_before_it_serves_leaves_no_traceback() -> None:
    assert FakeServer(build_error=KeyboardInterrupt()).run() == 130


def test_the_exit_code_is_that_of_the_server() -> None:
    assert FakeServer().run() == 0


def test_tools_find_main_where_they_look() -> None:
    assert devpi_server.main.main is dispatch.main


@pytest.mark.parametrize(("debug", "level"), [(False, logging.INFO), (True, logging.DEBUG)])
def test_logs_go_to_stderr(debug: bool, level: int, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    root.handlers[:] = []

    logs.configure(debug=debug)
    logging.getLogger("devpi_server.x").info("hello")

    out, err = capsys.readouterr()
    assert root.level == level
    assert out == ""
    assert err.endswith(" [INFO] devpi_server.x: hello\n")
