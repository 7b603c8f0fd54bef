"""Credentials of a mirror go to its upstream and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from server import App
from upstream import Upstream

SECRET = "s3cret-w0rd"


def test_a_password_reaches_upstream_but_neither_disk_nor_log_nor_status(
    up: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What --mirror-url holds before the @ is sent with each request, and written nowhere."""
    caplog.set_level("DEBUG")
    up.release("demo", "1.0")
    address = up.simple_url.replace("://", f"://user:{SECRET}@")
    server = App("--datadir", str(tmp_path / "data"), "--mirror-url", address)
    server.tick()
    server("/root/pypi/+simple/")
    file = server.address("demo", "demo-1.0-py3-none-any.whl")
    assert server(file).status == 200
    server("/root/pypi/+simple/absent/")
    status = server("/+status").body.decode()
    server.services.close()

    assert all("authorization" in request.headers for request in up.requests)
    assert SECRET not in caplog.text + status
    for path in (tmp_path / "data").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path
