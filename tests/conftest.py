"""Rules for all tests: no skipping where tools must be there, no network but loopback."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
from collections.abc import Callable
from typing import Any

import pytest


class NotLoopback(RuntimeError):
    """Not an OSError: the code under test must not take it for a network failure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--through",
        choices=["nginx"],
        help="what stands in front of the servers of tests/functional",
    )


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """``need("nginx")``: the path of a program, else the test is skipped.

    With ``DEVPI_TESTS_NEED_TOOLS=1`` it fails instead: ``.ci/run`` installs all of them.
    """

    def path_of(tool: str) -> str:
        path = shutil.which(tool)
        if path is not None:
            return path
        if os.environ.get("DEVPI_TESTS_NEED_TOOLS") == "1":
            pytest.fail(f"{tool} is not installed, and no test may be skipped here")
        pytest.skip(f"{tool} is not installed")

    return path_of


@pytest.fixture(autouse=True)
def _loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets connect to this machine only, but in ``tests/e2e``."""
    if "e2e" in request.path.parts:
        return
    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, _guarded(getattr(socket.socket, method)))


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            self.close()  # its opener cleans up after an OSError only
            raise NotLoopback(f"a test wants to connect to {address[0]}")
        return connect(self, address)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
