"""``pypi-server-standalone.pyz``: one file, on a machine with nothing but Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from foldering import hrefs, put
from server import Http, until
from upstream import Upstream, artefacts

from devpi_server import __version__

from .clients import PYTHON, ROOT, free_port, is_served

WHEEL = artefacts.wheel("foo", "1.0", requires_python=">=3.8")


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this Python only, which makes it quickly."""
    target = tmp_path_factory.mktemp("standalone") / "pypi-server-standalone.pyz"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run(
        [sys.executable, ROOT / ".ci" / "zipapp.py", target, "--python-version", python], check=True
    )
    return target


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment that leads to no module of ours."""
    (tmp_path / "home").mkdir()
    return {"HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def server(standalone: Path, bare: dict[str, str], tmp_path: Path) -> Iterator[Http]:
    with Upstream() as up:
        up.release("theirs", "1.0")
        put(tmp_path / "packages", WHEEL)
        port = free_port()
        words = ("-p", str(port), "-i", "localhost", "--fallback", "proxy", "-P", ".", "-a", ".")
        process = subprocess.Popen(
            [PYTHON, "-I", standalone, *words, "--fallback-url", up.simple_url, "packages"],
            cwd=tmp_path,
            env=bare,
        )
        try:
            until(lambda: is_served(port) or process.poll() is not None)
            yield Http(f"http://localhost:{port}/")
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_it_serves_with_nothing_installed(server: Http) -> None:
    (href,) = hrefs(server("/simple/foo/").body)

    assert server(href.partition("#")[0]).body == WHEEL.data
    assert hrefs(server("/simple/theirs/").body)


def test_two_first_starts_at_once_disturb_nobody(
    standalone: Path, bare: dict[str, str], tmp_path: Path
) -> None:
    command = [PYTHON, "-I", standalone, "--version"]
    starts = [
        subprocess.Popen(command, env=bare, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]

    assert [start.communicate(timeout=120)[0].strip() for start in starts] == [__version__] * 3
    (place,) = (tmp_path / "home" / ".cache").iterdir()
    assert [path.name.partition("-")[2] for path in place.iterdir() if path.name[:4] != "new-"] == [
        f"cp{sys.version_info.major}{sys.version_info.minor}"
    ]


def test_another_python_is_told_what_it_is_for(standalone: Path, tmp_path: Path) -> None:
    other = Path(tmp_path, "other.pyz")
    other.write_bytes(standalone.read_bytes())
    program = (
        "import runpy, sys; sys.version_info = (3, 5, 0); "
        f"runpy.run_path({str(other)!r}, run_name='__main__')"
    )
    told = subprocess.run([PYTHON, "-I", "-c", program], capture_output=True, text=True)

    assert told.returncode == 1
    assert told.stderr.startswith("pypi-server: error: this file is for ")
