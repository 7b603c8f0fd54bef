"""What ``pypi-server`` is made of: where it keeps what it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devpi_server import pypiserver_wiring
from devpi_server.errors import ConfigError
from devpi_server.pypiserver_settings import RunSettings, read
from devpi_server.pypiserver_wiring import build


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    """With the data directory that nobody has named."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "packages").mkdir()
    found = read(["--disable-fallback"])
    assert isinstance(found, RunSettings)
    return found


def _keeps_in(settings: RunSettings) -> Path:
    services = build(settings)
    services.close()
    return services.settings.datadir


def test_it_keeps_what_it_learns_in_the_home_directory(
    settings: RunSettings, tmp_path: Path
) -> None:
    assert _keeps_in(settings) == tmp_path / ".devpi" / "pypi-server"


def test_who_has_no_home_directory_is_served_all_the_same(
    settings: RunSettings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As www-data of a systemd unit; what is learned is kept until the end."""
    monkeypatch.setattr(pypiserver_wiring.tempfile, "tempdir", None)
    monkeypatch.setattr(pypiserver_wiring.os, "access", lambda *_: False)

    assert _keeps_in(settings).name.startswith("pypi-server-")
    assert "give --datadir" in caplog.text


def test_a_data_directory_that_is_named_has_to_be_one(
    settings: RunSettings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot use the data directory"):
        build(replace(settings, datadir=tmp_path / "file", datadir_is_given=True))
