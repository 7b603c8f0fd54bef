"""A folder of packages: pages and files a second, next to pypiserver.

    python -m bench.folders --peers BIN [--seconds N] [--files N...]

Needs wrk; BIN is the folder of programs of an environment with
``pypiserver[passlib,cache]``, gunicorn and gevent.  Each figure is of a server that has
read all files; "slow" is while one client downloads at a few KB a second.
"""

from __future__ import annotations

import argparse
import io
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench.processes import Running, free_port, running, wrk

_OF_PROJECT = 5  # files
_ROUNDS = 2  # the better figure counts
_LARGE = 64 * 1024 * 1024  # bytes of the file that is downloaded slowly
_READ_WITHIN = 900.0  # seconds
_OURS, _THEIRS = ("devpi-server", "pypi-server"), ("default", "gunicorn")
Start = Callable[[Path, Path], AbstractContextManager[Running]]
Table = dict[tuple[str, int], dict[str, float]]


def main() -> None:
    """Measure, and print a table of requests a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--files", type=int, nargs="+", default=[10, 1000, 100_000])
    chosen = parser.parse_args()
    servers: dict[str, Start] = {
        "devpi-server": _devpi_server,
        "pypi-server": _pypi_server,
        "default": lambda folder, _: _pypiserver(chosen.peers, folder),
        "gunicorn": lambda folder, _: _gunicorn(chosen.peers, folder),
    }
    table: Table = {}
    with tempfile.TemporaryDirectory() as place:
        for count in chosen.files:
            with ExitStack() as stack:
                # All of them are up at once, so that each figure is taken next to the others.
                up = []
                for name, start in servers.items():
                    # A folder each: pypiserver has the kernel tell it of every file that is opened.
                    folder = Path(place, f"{name}-{count}")
                    _fill(folder, count)
                    begun = time.monotonic()
                    up.append(
                        stack.enter_context(start(folder, Path(place, f"{name}-data-{count}")))
                    )
                    print(f"{name}, {count} files: up in {time.monotonic() - begun:.1f} s")
                for _ in range(_ROUNDS):
                    for row, name, figure in _measured(up, chosen.seconds):
                        figures = table.setdefault((row, count), {})
                        figures[name] = max(figure, figures.get(name, 0.0))
                        print(f"{count:7} {row:12} {name:12} {figure:9.1f}", flush=True)
    _report(table)


# Servers


@contextmanager
def _devpi_server(folder: Path, data: Path) -> Iterator[Running]:
    port = free_port()
    command = [sys.executable, "-m", "devpi_server", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--datadir", str(data), "--packages", str(folder)]
    command += ["--mirror-url", "http://127.0.0.1:1/simple/"]
    with running("devpi-server", command, f"http://127.0.0.1:{port}/simple/p00000/") as server:
        _wait_until_read(folder, data)
        yield Running(server.name, f"http://127.0.0.1:{port}/", server.pid)


@contextmanager
def _pypi_server(folder: Path, data: Path) -> Iterator[Running]:
    """Ours, with the words of pypiserver."""
    port = free_port()
    start = "import sys; from devpi_server.cli.pypiserver import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "run", "-i", "127.0.0.1"]
    command += ["-p", str(port), "--datadir", str(data), str(folder)]
    with running("pypi-server", command, f"http://127.0.0.1:{port}/health") as server:
        _wait_until_read(folder, data)
        yield Running(server.name, f"http://127.0.0.1:{port}/", server.pid)


@contextmanager
def _pypiserver(peers: Path, folder: Path) -> Iterator[Running]:
    """As a plain install runs it."""
    port = free_port()
    command = [str(peers / "python"), "-m", "pypiserver", "run", "--backend", "simple-dir"]
    command += ["-i", "127.0.0.1", "-p", str(port), str(folder)]
    with running("default", command, f"http://127.0.0.1:{port}/health") as server:
        yield Running(server.name, f"http://127.0.0.1:{port}/", server.pid)


@contextmanager
def _gunicorn(peers: Path, folder: Path) -> Iterator[Running]:
    """With the worker of its Docker image, and the backend that remembers."""
    port = free_port()
    app = f'pypiserver:app(roots=["{folder}"], backend_arg="cached-dir")'
    command = [str(peers / "python"), "-m", "gunicorn", "-k", "gevent", "-w", "1"]
    command += ["-b", f"127.0.0.1:{port}", app]
    with running("gunicorn", command, f"http://127.0.0.1:{port}/health") as server:
        yield Running(server.name, f"http://127.0.0.1:{port}/", server.pid)


def _wait_until_read(folder: Path, data: Path) -> None:
    """Until what lies in the folder has digests."""
    projects = {path.name.partition("-")[0] for path in folder.iterdir()}
    deadline = time.monotonic() + _READ_WITHIN
    while not projects <= {path.name for path in data.glob("folders/*")}:
        if time.monotonic() > deadline:
            raise SystemExit("the files are not read in time")
        time.sleep(0.5)
    time.sleep(2)  # the last project has more than one file


# Content


def _fill(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count - 1):
        project, version = divmod(number, _OF_PROJECT)
        name = f"p{project:05}-1.{version}-py3-none-any.whl"
        (folder / name).write_bytes(_wheel(f"p{project:05}", f"1.{version}"))
    with (folder / "large-1.0.zip").open("wb") as large:
        large.truncate(_LARGE)


def _wheel(name: str, version: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as made:
        info = f"{name}-{version}.dist-info"
        made.writestr(f"{name}/__init__.py", "x = 1\n" * 1000)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        made.writestr(f"{info}/METADATA", metadata)
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")
    return written.getvalue()


# Measuring


def _measured(servers: list[Running], seconds: int) -> Iterator[tuple[str, str, float]]:
    """What, of whom, and how many a second."""
    places = []
    for server in servers:
        page = f"{server.url}simple/p00000/"
        file, _ = _first_link(page)
        _, once = _first_link(page)  # now it remembers what it can
        places.append((server, page, file, once))
    for connections in (1, 64):
        for server, page, _, once in places:
            yield f"page c{connections}", server.name, _rate(page, connections, seconds, once)
        for server, _, file, once in places:
            yield f"file c{connections}", server.name, _rate(file, connections, seconds, once)
    for server, page, file, once in places:
        large, _ = _first_link(f"{server.url}simple/large/")
        with _slow_client(large):
            pages = _rate(page, 64, seconds, once)
            yield "page slow", server.name, pages
            # Who is stuck would not even take the connections.
            yield "file slow", server.name, _rate(file, 64, seconds, once) if pages else 0.0


def _first_link(page: str) -> tuple[str, float]:
    """The first file of the page, and how long the page took."""
    begun = time.monotonic()
    with urllib.request.urlopen(page) as answer:
        body = answer.read().decode()
    found = re.search(r'href="([^"#]+)', body)
    assert found is not None
    return urllib.parse.urljoin(page, found[1]), time.monotonic() - begun


def _rate(url: str, connections: int, seconds: int, once: float) -> float:
    """Requests a second; of a server that takes too long for any, by how long one took."""
    if once > seconds:
        return 1 / once
    try:
        return wrk(url, {}, connections, seconds)["rps"]
    except subprocess.CalledProcessError:  # not even connections are taken
        return 0.0


@contextmanager
def _slow_client(url: str) -> Iterator[None]:
    """Somebody downloads this with patience."""
    parts = urllib.parse.urlsplit(url)
    done = threading.Event()
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((parts.hostname, parts.port))
        sock.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        sock.recv(1024)

        def read() -> None:
            while not done.wait(0.25):
                sock.recv(1024)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            done.set()
            reader.join()


def _report(table: Table) -> None:
    """The figures, and the ratio of each of ours to the best of the others."""
    servers = (*_OURS, *_THEIRS)
    heads = "".join(f"{name:>14}" for name in servers)
    print(f"\n{'files':>7} {'requests/s':12}{heads}    ratios")
    for (row, count), figures in sorted(table.items(), key=lambda item: item[0]):
        line = "".join(f"{figures[name]:14.1f}" for name in servers)
        best = max(figures[name] for name in _THEIRS)
        ratios = "".join(f"{figures[name] / best if best else 1e9:10.1f}" for name in _OURS)
        print(f"{count:7} {row:12}{line}{ratios}")


if __name__ == "__main__":
    main()
