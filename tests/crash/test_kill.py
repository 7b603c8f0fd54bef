"""Killed at any moment: nothing wrong is ever served after it, and nothing is left lying about.

``DEVPI_CRASHES`` says how many rounds of random moments there are.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from crashing import ROUNDS, ForkedServer
from server import INDEX, BrokenOff, Http, mirror_of
from upstream import File, HangInBody, Slow, Upstream

SIZES = (2_000, 60_000, 300_000, 3_000_000)  # bytes
LATEST = 0.06  # seconds after the first request: by then all of it is held


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def publish(up: Upstream, number: int) -> list[File]:
    """Cold files: small and large, one of them without a digest."""
    return [
        up.release(f"demo{number}", f"1.{minor}", size=size, hashed=minor != 2)
        for minor, size in enumerate(SIZES)
    ]


def parts(datadir: Path) -> set[str]:
    """The files under way, or left by a process that was killed."""
    folder = datadir / "incoming"
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def verify_disk(datadir: Path, begun: set[str]) -> None:
    """A start has swept the parts that were begun; under each digest lie the bytes that have it."""
    assert not begun & parts(datadir)
    for path in (datadir / "files").rglob("*"):
        if path.is_file():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def ask_for_all(server: Http, number: int, files: list[File]) -> None:
    """Page, files and metadata: each answer is right, whatever came before."""
    links = server.links(f"demo{number}")
    for file in files:
        path = links[file.filename]["url"]
        answer = server(path)
        assert (answer.status, answer.body) == (200, file.data)
        assert server(f"{path}.metadata").body == file.metadata


def ask_at_once(
    server: Http, number: int, files: list[File], clients: ThreadPoolExecutor
) -> list[Future[None]]:
    """Let clients ask for all of it side by side, and do not wait for them."""

    def ask(file: File) -> None:
        with suppress(BrokenOff):
            path = server.address(f"demo{number}", file.filename)
            answer = server(path)
            assert (answer.status, answer.body) == (200, file.data)
            assert server(f"{path}.metadata").body == file.metadata

    return [clients.submit(ask, file) for file in files]


@pytest.mark.timeout(60 + ROUNDS * 2)
def test_no_wrong_byte_after_a_kill_at_a_random_moment(up: Upstream, tmp_path: Path) -> None:
    """Each start on the same data directory serves what upstream has, and sweeps what was begun."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    chance = random.Random(seed)
    datadir, log = tmp_path / "data", tmp_path / "log"
    never = threading.Event()
    before: list[File] = []
    cut_short = 0
    with ThreadPoolExecutor(len(SIZES)) as clients:
        for number in range(ROUNDS):
            files = publish(up, number)
            begun = parts(datadir)
            cut_short += bool(begun)
            with ForkedServer(*mirror_of(up, datadir), log=log) as server:
                verify_disk(datadir, begun)
                if before:
                    ask_for_all(server, number - 1, before)
                asked = ask_at_once(server, number, files, clients)
                never.wait(chance.uniform(0, LATEST))
                server.kill()
            for each in asked:
                each.result()
            before = files
        begun = parts(datadir)
        with ForkedServer(*mirror_of(up, datadir), log=log) as server:
            verify_disk(datadir, begun)
            ask_for_all(server, ROUNDS - 1, before)
    print(f"{cut_short} of {ROUNDS} kills left files under way")
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_a_download_killed_at_a_byte_leaves_nothing(
    up: Upstream, tmp_path: Path, share: float
) -> None:
    """Upstream stands still at the byte, the server is killed there, and the next one is clean."""
    file = up.release("demo", "1.0", size=1_000_000)
    options = mirror_of(up, tmp_path / "data")
    rule = up.fail("/packages/", HangInBody(int(file.size * share)))
    with ForkedServer(*options, log=tmp_path / "log") as server, ThreadPoolExecutor(1) as client:
        path = server.address("demo", file.filename)

        def ask() -> bytes:
            try:
                return server(path).body
            except BrokenOff:
                return file.data

        asked = client.submit(ask)
        up.wait_for("/packages/")
        server.kill()
        assert asked.result() == file.data
    rule.remove()
    begun = parts(tmp_path / "data")

    with ForkedServer(*options, log=tmp_path / "log") as server:
        verify_disk(tmp_path / "data", begun)
        assert server(path).body == file.data


def test_a_start_sweeps_the_parts_of_the_dead_only(up: Upstream, tmp_path: Path) -> None:
    """Another process's download goes on while a second one starts on the same folder."""
    file = up.release("demo", "1.0", size=1_000_000)
    options = mirror_of(up, tmp_path / "data")
    rule = up.fail("/packages/", HangInBody(500_000))
    with ForkedServer(*options, log=tmp_path / "log") as first:
        path = first.address("demo", file.filename)
        with closing(first.open(path)) as answer:
            start = answer.read(100_000)
            with ForkedServer(*options, log=tmp_path / "log") as second:
                assert second(f"{INDEX}demo/").status == 200
                rule.remove()
                assert start + answer.read() == file.data
                assert second(path).body == file.data
    assert up.count("/packages/") == 1


def test_a_page_is_the_old_or_the_new_one_after_a_kill(up: Upstream, tmp_path: Path) -> None:
    """Pages are replaced in one step, never half."""
    for minor in range(200):
        up.release("demo", f"1.{minor}", sdist=True, wheel=False)
    up.fail("/simple/demo/", Slow(2_000_000))
    options = mirror_of(up, tmp_path / "data", "--mirror-cache-expiry", "0")
    log = tmp_path / "log"
    never = threading.Event()
    with ThreadPoolExecutor(1) as client:
        for number in range(min(ROUNDS, 10)):
            begun = parts(tmp_path / "data")
            with ForkedServer(*options, log=log) as server:
                verify_disk(tmp_path / "data", begun)
                assert len(server.page("demo")["files"]) == 200 + number
                up.release("demo", f"2.{number}", sdist=True, wheel=False)

                def ask(server: Http = server) -> None:
                    with suppress(BrokenOff):
                        server.page("demo")

                asked = client.submit(ask)
                never.wait(0.005 * number)
                server.kill()
                asked.result()
    assert "Traceback" not in log.read_text()
