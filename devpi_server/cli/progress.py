"""How far a long command is: a bar where somebody looks, a line now and then elsewhere."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from devpi_server.cli.command import Report

if TYPE_CHECKING:
    from typing_extensions import Self

_EVERY = 1000  # files between two lines


class Meter:
    """Counts files; to be used in a ``with``.

    :param total: bytes of all files; None: nobody knows yet.
    """

    def __init__(self, report: Report, total: int | None = None) -> None:
        self._report = report
        self._stack = ExitStack()
        self.files = self._size = 0
        self._expected: int | None = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("no files", total=total)

    def __enter__(self) -> Self:
        self._stack.enter_context(self._bar)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def expect(self, size: int | None) -> None:
        """So many bytes more will come; None: nobody knows, from now on."""
        if size is None or self._expected is None:
            self._expected = None
            return
        self._expected += size
        self._bar.update(self._task, total=self._expected)

    def count(self, size: int) -> None:
        """Another file, of so many bytes."""
        self.files += 1
        self._size += size
        if not self._bar.disable:
            self._bar.update(self._task, advance=size, description=f"{self.files} files")
        elif self.files % _EVERY == 0:
            self._report.say(f"{self.files} files, {in_words(self._size)}")


def in_words(size: int) -> str:
    """Bytes, as people read them."""
    return decimal(size)
