"""A server or a command that kills itself at the n-th durable step after it was armed.

``python stepping.py ARMED STEP PROGRAM WORD...``: from when the file ARMED is there, steps are
counted; at step STEP the process is gone, as by SIGKILL.  A step is an fsync, a rename, a link, a
removal, or a commit of the database, each once before and once after it happens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect


class Steps:
    """Counts, and kills."""

    def __init__(self, armed: Path, last: int) -> None:
        self._armed = armed
        self._left = last

    def step(self) -> None:
        if self._armed.exists():
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return stepped


PROGRAMS: Mapping[str, str] = {  # the module that has its ``main``
    "devpi-server": "devpi_server.main",
    "devpi-import": "devpi_server.cli.import_",
    "putting": "putting",
}


def run(armed: Path, last: int, program: str, words: Sequence[str]) -> int:
    steps = Steps(armed, last)
    for name in ("fsync", "replace", "link", "unlink", "rename"):
        setattr(os, name, steps.around(getattr(os, name)))
    DefaultDialect.do_commit = steps.around(DefaultDialect.do_commit)
    code: int = import_module(PROGRAMS[program]).main(words)
    return code


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
