"""A socket in the file system: there at once and whole, never in another server's place."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from devpi_server.errors import ConfigError
from devpi_server.web.listening import SocketFile, bind_file


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def bound(stack: ExitStack, path: Path, permissions: int = 0o600) -> SocketFile:
    file = bind_file(path, permissions)
    stack.callback(file.sock.close)
    return file


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_it_takes_connections_with_the_permissions_asked_for(
    stack: ExitStack, tmp_path: Path
) -> None:
    for number, mode in enumerate((0o600, 0o660, 0o666)):
        path = tmp_path / str(number)
        bound(stack, path, mode)

        assert is_answered(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nothing_else_is_left_in_the_folder(stack: ExitStack, tmp_path: Path) -> None:
    file = bound(stack, tmp_path / "s")

    assert os.listdir(tmp_path) == ["s"]
    file.remove()
    assert os.listdir(tmp_path) == []


def test_what_a_dead_server_left_is_replaced(stack: ExitStack, tmp_path: Path) -> None:
    bound(stack, tmp_path / "s").sock.close()

    bound(stack, tmp_path / "s")

    assert is_answered(tmp_path / "s")


def test_a_socket_in_use_is_refused_and_stays(stack: ExitStack, tmp_path: Path) -> None:
    first = bound(stack, tmp_path / "s")

    with pytest.raises(ConfigError, match="in use"):
        bind_file(tmp_path / "s", 0o600)

    assert is_answered(tmp_path / "s")
    assert os.listdir(tmp_path) == ["s"]
    first.remove()


def test_a_server_whose_queue_is_full_is_still_one(
    stack: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devpi_server.web.listening._PATIENCE", 0.01)
    busy = stack.enter_context(socket.socket(socket.AF_UNIX))
    busy.bind(str(tmp_path / "s"))
    busy.listen(0)
    for _ in range(2):
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(str(tmp_path / "s"))

    with pytest.raises(ConfigError, match="in use"):
        bind_file(tmp_path / "s", 0o600)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_a_socket_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("data")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError, match="not a socket"):
        bind_file(path, 0o600)

    assert os.listdir(tmp_path) == ["precious"]


def test_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "s", tmp_path / ("s" * 120)):
        with pytest.raises(ConfigError) as caught:
            bind_file(path, 0o600)
        assert len(caught.value.faults) == 1


def test_who_leaves_does_not_take_the_socket_of_the_next_one_along(
    stack: ExitStack, tmp_path: Path
) -> None:
    old = bound(stack, tmp_path / "s")
    old.sock.close()
    bound(stack, tmp_path / "s")

    old.remove()

    assert is_answered(tmp_path / "s")


def test_of_many_that_start_at_once_one_is_taken(stack: ExitStack, tmp_path: Path) -> None:
    bound(stack, tmp_path / "s").sock.close()

    def start(_: int) -> SocketFile | None:
        try:
            return bind_file(tmp_path / "s", 0o600)
        except ConfigError:
            return None

    with ThreadPoolExecutor(16) as starters:
        started = [file for file in starters.map(start, range(64)) if file]

    for file in started:
        stack.callback(file.sock.close)
    assert len(started) == 1
    assert is_answered(tmp_path / "s")
