"""What other processes may do between any two lines of a module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any


@contextmanager
def stepping(step: Callable[[int], object], *modules: ModuleType) -> Iterator[list[int]]:
    """Call it before each line that is executed in the modules.

    :param step: gets how many lines these were, this one included.
    :returns: the numbers of the lines, as they are executed.
    """
    files = {module.__file__ for module in modules}
    lines: list[int] = []

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            lines.append(frame.f_lineno)
            sys.settrace(None)
            step(len(lines))
            sys.settrace(trace)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)
