"""A server or a command that kills itself at the n-th durable step after it was armed.

``python stepping.py ARMED PROGRAM WORD...`` reads numbers of steps from stdin, and runs the
program once for each, in a process of its own: from when the file ARMED is there, steps are
counted; at that step the process is gone, as by SIGKILL.  A step is an fsync, a rename, a link, a
removal, or a commit of the database, each once before and once after it happens.

Each process is forked from this one, which has imported everything: that is most of a start.
It says ``pid N`` first; when it has ended, ``ended CODE`` is said of it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from sqlalchemy.engine.default import DefaultDialect

from devpi_server import wiring
from devpi_server.services.passwords import Passwords

Main = Callable[[Sequence[str]], int]


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


def run(armed: Path, last: int, main: Main, words: Sequence[str]) -> int:
    steps = Steps(armed, last)
    for name in ("fsync", "replace", "link", "unlink", "rename"):
        setattr(os, name, steps.around(getattr(os, name)))
    DefaultDialect.do_commit = steps.around(DefaultDialect.do_commit)
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    wiring.Passwords = lambda: Passwords(cheap)
    return main(words)


def main_loop(armed: Path, program: str, words: Sequence[str]) -> None:
    main: Main = import_module(PROGRAMS[program]).main
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            print(f"pid {os.getpid()}", flush=True)
            sys.exit(run(armed, int(line), main, words))
        _, status = os.waitpid(pid, 0)
        # On a line of its own, wherever it was that the process fell silent.
        print(f"\nended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main_loop(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
