"""The commands, called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Main = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Told:
    """How a command has ended, and what it has said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Calls commands on one data directory."""

    def __init__(self, datadir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.datadir = datadir
        self._capsys = capsys

    def __call__(self, main: Main, *words: str | Path) -> Told:
        self._capsys.readouterr()
        code = main(["--datadir", str(self.datadir), *map(str, words)])
        return Told(code, *self._capsys.readouterr())
