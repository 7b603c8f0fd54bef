"""Real installers, each run at a desk: a home directory of its own, and no way out but to a server.

The README is used as it stands: ``readme(…)`` is the block of it that configures a client.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

from server import BrokenOff, Http, ServerProcess
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
PYTHON = str(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
UV = find_uv_bin()
# What people publish with, and what that needs: one environment for all of it.
TOOLS = (
    *("devpi-client==7.*", "build", "setuptools", "sphinx", "tox", "virtualenv"),
    *("flit", "hatch", "poetry", "twine==7.*"),
)
NOWHERE = "http://127.0.0.1:9/"  # the port of "discard": nobody listens
_ADDRESS = "http://localhost:3141/"  # in the README
_OURS = 10_000, 32_000  # ports
_PATIENCE = 240.0  # seconds a command may take


def free_port(count: int = 1) -> int:
    """The first of so many free ports.

    They are not of those that the kernel gives to whoever asks for any, as it may have given
    them to another test by the time that somebody listens there.
    """
    while True:
        port = random.randrange(*_OURS)
        with suppress(OSError):
            for each in range(port, port + count):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", each))
            return port


def is_served(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def asked_all_the_time(server: Http, paths: list[str]) -> Iterator[list[object]]:
    """Clients that ask again and again; all that was not a 200 is in the list."""
    ended = threading.Event()
    faults: list[object] = []
    counts: list[int] = []

    def ask(path: str) -> None:
        count = 0
        while not ended.is_set():
            try:
                status: object = server(path).status
            except (BrokenOff, AssertionError) as error:
                status = error
            if status != 200:
                faults.append(status)
            count += 1
        counts.append(count)

    with ThreadPoolExecutor(4) as clients:
        for number in range(4):
            clients.submit(ask, paths[number % len(paths)])
        try:
            yield faults
        finally:
            ended.set()
    assert all(counts)


class CommandFailed(AssertionError):
    """A client did not do what it was told; with all that it said."""


class Desk:
    """A machine with empty caches, whose programs reach localhost and nothing else.

    Call it with a command: it runs in ``folder``, and what it printed is returned.

    :param pip_is_configured: pip reads its files, which none of the other tests' pips do.
    """

    def __init__(self, folder: Path, *, pip_is_configured: bool = False) -> None:
        self.folder = folder / "work"
        self.home = folder / "home"
        temporary = folder / "tmp"
        for path in (self.folder, self.home, temporary):
            path.mkdir(parents=True)
        self._environment = {
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "TMPDIR": str(temporary),
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
            "NO_PROXY": "localhost",
            "no_proxy": "localhost",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "POETRY_VIRTUALENVS_IN_PROJECT": "true",
            "UV_PYTHON": PYTHON,
            "UV_PYTHON_DOWNLOADS": "never",
        }
        if pip_is_configured:
            del self._environment["PIP_CONFIG_FILE"]

    def __call__(self, *command: str | Path, typed: str = "", **environment: str) -> str:
        done = self.attempt(*command, typed=typed, **environment)
        if done.returncode != 0:
            words = " ".join(map(str, command))
            raise CommandFailed(f"{words}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def attempt(
        self, *command: str | Path, typed: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The same for a command that may fail.

        :param typed: what it reads from stdin; there is no terminal to ask at.
        """
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment | environment,
            input=typed,
            capture_output=True,
            start_new_session=True,
            text=True,
            timeout=_PATIENCE,
        )

    def write(self, name: str, text: str) -> Path:
        """A file in the folder, or in the home directory where the name starts with ``~/``."""
        path = self.home / name[2:] if name.startswith("~/") else self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def venv(self, name: str = "venv", python: str | Path = PYTHON) -> Path:
        """A new environment with the pip that its Python brings; returned is its ``bin``."""
        self(python, "-m", "venv", name)
        return self.folder / name / "bin"


class Shell:
    """A shell at a desk: call it with a line, and what it said, to stdout and stderr, is returned.

    :param programs: folders in which the line finds its programs first.
    """

    def __init__(self, desk: Desk, *programs: Path) -> None:
        self.desk = desk
        self._path = ":".join([*map(str, programs), os.environ["PATH"]])

    def __call__(self, line: str, typed: str = "") -> str:
        return self.desk("bash", "-ec", f"exec 2>&1; {line}", typed=typed, PATH=self._path)

    def refused(self, line: str) -> str:
        """The same for a line that has to fail."""
        done = self.desk.attempt("bash", "-ec", f"exec 2>&1; {line}", PATH=self._path)
        if done.returncode == 0:
            raise AssertionError(f"{line}\n{done.stdout}")
        return done.stdout


class Clients:
    """Installs each client once, through the server under test."""

    def __init__(self, folder: Path, desk: Desk, server: ServerProcess) -> None:
        self._folder = folder
        self._desk = desk
        self._index = index_of(server)

    def __call__(self, *requirements: str, python: str | Path = PYTHON) -> Path:
        """The ``bin`` of an environment that holds the requirements."""
        words = " ".join([*requirements, str(python)])
        venv = self._folder / hashlib.sha256(words.encode()).hexdigest()[:12]
        ready = venv / "ready"
        with _turn(venv.with_suffix(".lock")):
            if not ready.exists():
                self._desk(UV, "venv", "--quiet", "--clear", "--python", python, venv)
                self._desk(
                    *(UV, "pip", "install", "--quiet", "--default-index", self._index),
                    *("--python", venv, *requirements),
                )
                ready.touch()
        return venv / "bin"

    def pip(self) -> Path:
        """The newest pip."""
        return self("pip") / "pip"

    def old_pip(self, version: str) -> Path:
        """A pip that any Python can run from its wheel, as ``python <it> install …``."""
        folder = self._folder / f"pip-{version}"
        with _turn(folder.with_suffix(".lock")):
            self._desk(
                *(self.pip(), "download", "--quiet", "--no-deps", "--index-url", self._index),
                *("--dest", folder, f"pip=={version}"),
            )
        return next(folder.glob("*.whl")) / "pip"


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    """One after the other: the processes that share the tests share the clients."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def index_of(server: ServerProcess) -> str:
    """The URL that the README gives to installers."""
    return f"{server.url}ext/pypi/simple/"


def readme(start: str, server: ServerProcess | None = None) -> str:
    """The literal block of the README that starts so, with the address of the server."""
    text = (ROOT / "README.rst").read_text()
    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", text)
    found = [block for block in blocks if block.strip().startswith(start)]
    assert len(found) == 1, f"{len(found)} blocks of the README start with {start!r}"
    block = "\n".join(line[4:] for line in found[0].strip("\n").splitlines()) + "\n"
    if server is None:
        return block
    assert _ADDRESS in block
    return block.replace(_ADDRESS, server.url)


def addresses(lock: Path) -> list[str]:
    """The URLs in a lock file, whichever installer wrote it."""
    return [unquote(url) for url in re.findall(r'url = "([^"]+)"', lock.read_text())]


def installed(desk: Desk, python: str | Path) -> dict[str, str]:
    """Distribution → version, as any Python of the last fifteen years tells it."""
    listing = desk(UV, "pip", "list", "--python", python, "--format", "freeze")
    return dict(line.split("==") for line in listing.lower().splitlines())


NewDesk = Callable[[], Desk]
