"""Processes that are measured or measure: started, waited for, ended."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
_START_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Running:
    """A process that listens."""

    name: str
    url: str
    pid: int

    def memory(self) -> float:
        """Resident megabytes, of the process and its children."""
        pids = [self.pid]
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            if children.exists():
                pids += [int(child) for child in children.read_text().split()]
        return sum(_resident(pid) for pid in pids)


def _resident(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(
    name: str, command: Sequence[str], url: str, env: dict[str, str] | None = None
) -> Iterator[Running]:
    """Run the command until the context ends; it answers at the URL by then."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment() | (env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(url, process)
        yield Running(name, url, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                return  # it answers
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} does not answer at {url}") from error
            time.sleep(0.05)


def clean_environment() -> dict[str, str]:
    """The environment without what would send installers elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_"))}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": str(ROOT)}


@contextmanager
def upstream(*options: str) -> Iterator[Running]:
    """The tests' own index, as a process."""
    port = free_port()
    command = [sys.executable, "-m", "tests.upstream", "--port", str(port), *options]
    with running("direct", command, f"http://127.0.0.1:{port}/simple/") as process:
        yield process


@contextmanager
def server(name: str, mirror_url: str, datadir: Path, *options: str) -> Iterator[Running]:
    """Our server; its URL is that of the index."""
    port = free_port()
    command = [sys.executable, "-m", "devpi_server", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--datadir", str(datadir), "--mirror-url", mirror_url, *options]
    with running(name, command, f"http://127.0.0.1:{port}/root/pypi/+simple/p000/") as process:
        yield Running(name, f"http://127.0.0.1:{port}/root/pypi/+simple/", process.pid)


@contextmanager
def proxpi(python: Path, mirror_url: str) -> Iterator[Running]:
    """proxpi as its documentation deploys it, from an environment that has it and gunicorn."""
    port = free_port()
    command = [str(python), "-m", "gunicorn", "--threads", "2", "-b", f"127.0.0.1:{port}"]
    command.append("proxpi.server:app")
    index = f"http://127.0.0.1:{port}/index/"
    with running("proxpi", command, f"{index}p000/", {"PROXPI_INDEX_URL": mirror_url}) as process:
        yield Running("proxpi", index, process.pid)


@contextmanager
def pypiron(program: Path, mirror_url: str, folder: Path) -> Iterator[Running]:
    """pypiron as a proxy; its upstream is named without the index's path."""
    port = free_port()
    command = [str(program), "serve", "--data-dir", str(folder)]
    command += ["--bind-addr", f"127.0.0.1:{port}", "--allow-insecure-upstream"]
    command += ["--proxy-upstream", mirror_url.removesuffix("/simple/")]
    index = f"http://127.0.0.1:{port}/simple/"
    with running("pypiron", command, f"{index}p000/") as process:
        yield Running("pypiron", index, process.pid)


_FIGURES = {
    "rps": re.compile(r"Requests/sec:\s+([\d.]+)"),
    "p50": re.compile(r"50%\s+([\d.]+)(us|ms|s)"),
    "p99": re.compile(r"99%\s+([\d.]+)(us|ms|s)"),
}
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def wrk(url: str, headers: dict[str, str], connections: int, seconds: int) -> dict[str, float]:
    """Requests a second, and latencies in milliseconds, by one thread of wrk."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    out = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out and "If-None-Match" not in headers:
        raise SystemExit(f"{url} answers with errors:\n{out}")
    figures = {}
    for name, pattern in _FIGURES.items():
        match = pattern.search(out)
        if match is None:
            raise SystemExit(f"wrk says:\n{out}")
        unit = match.group(2) if match.re.groups > 1 else "ms"
        figures[name] = float(match.group(1)) * _MILLISECONDS[unit]
    return figures
