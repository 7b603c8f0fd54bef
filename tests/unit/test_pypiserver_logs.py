"""Logging as ``pypi-server`` is told to do it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from devpi_server.cli.pypiserver_logs import configure
from devpi_server.errors import ConfigError
from devpi_server.pypiserver_settings import LogSettings

CONF = """\
[loggers]
keys=root
[handlers]
keys=file
[formatters]
keys=
[logger_root]
level=INFO
handlers=file
[handler_file]
class=FileHandler
args=({path!r},)
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger, which is as before in the end."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)


def settings(
    verbosity: int = 0,
    file: Path | None = None,
    stream: str = "none",
    form: str = "%(levelname)s|%(message)s",
    conf: Path | None = None,
) -> LogSettings:
    return LogSettings(verbosity, file, stream, form, conf)


@pytest.mark.parametrize(
    ("verbosity", "level"),
    [(0, logging.WARNING), (1, logging.INFO), (2, logging.DEBUG), (3, logging.NOTSET)],
)
def test_verbosity_is_counted(root: logging.Logger, verbosity: int, level: int) -> None:
    configure(settings(verbosity))

    assert root.level == level


def test_lines_go_to_the_stream_and_to_the_file_in_the_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(settings(1, tmp_path / "my.log", "stdout"))
    logging.getLogger("x").info("told")

    assert capsys.readouterr().out == "INFO|told\n"
    assert (tmp_path / "my.log").read_text() == "INFO|told\n"


def test_a_file_of_configuration_counts_alone(tmp_path: Path) -> None:
    """Also ``log.conf`` in the working directory, if it cannot be somebody else's."""
    conf = tmp_path / "log.conf"
    conf.write_text(CONF.format(path=str(tmp_path / "configured.log")))
    conf.chmod(0o644)
    configure(settings(0, tmp_path / "my.log"))
    logging.getLogger("x").info("told")

    assert "told" in (tmp_path / "configured.log").read_text()
    assert not (tmp_path / "my.log").exists()


def test_a_file_that_anybody_can_write_to_is_not_taken(tmp_path: Path) -> None:
    conf = tmp_path / "log.conf"
    conf.write_text(CONF.format(path=str(tmp_path / "configured.log")))
    conf.chmod(0o666)
    configure(settings(1, tmp_path / "my.log"))

    assert (tmp_path / "my.log").exists()


def test_faults_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("nothing")
    for wrong in (
        settings(form="%(message"),
        settings(file=tmp_path / "no" / "such" / "folder"),
        settings(conf=tmp_path / "bad"),
    ):
        with pytest.raises(ConfigError):
            configure(wrong)
