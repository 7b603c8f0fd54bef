"""What is not to be believed until upstream has been asked again, as all processes see it.

Why a folder a project, with a file a doubt: asking takes a while, and there may be a new
doubt meanwhile, from any process.  Who has asked takes away the files that he saw before,
and then the folder if it is empty, which the file system decides in one step.  So there is
no moment in which a doubt that nobody has asked about is not to be seen.
"""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path

from devpi_server.errors import StoreError
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import translated

_TRIES = 100  # that others settle the doubt before, in just the same moment


class Doubts:
    """Of the pages of one mirror."""

    def __init__(self, folder: Path) -> None:
        # String concatenation: this is on the hot path, and pathlib is not quick.
        self._prefix = f"{folder}{os.sep}"

    def exist(self, project: NormalizedName) -> bool:
        """Whether there is a doubt about the project."""
        return os.access(self._prefix + project, os.F_OK)  # quicker than a stat that finds nothing

    def of(self, project: NormalizedName) -> frozenset[str]:
        """The doubts that there are now, for ``settle``."""
        with translated("read a doubt"), suppress(FileNotFoundError):
            return frozenset(os.listdir(self._prefix + project))
        return frozenset()

    def add(self, project: NormalizedName) -> None:
        """What upstream has been asked until now does not count.

        :raises StoreError: the doubt could not be noted.
        """
        folder = self._prefix + project
        new = f"{folder}{os.sep}{secrets.token_hex(8)}"
        with translated("note a doubt"):
            for _ in range(_TRIES):
                with suppress(FileNotFoundError):  # settled in this very moment
                    os.makedirs(folder, exist_ok=True)
                    for older in os.listdir(folder):  # the newest is enough
                        os.rename(f"{folder}{os.sep}{older}", new)
                        return
                    os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
                    return
        raise StoreError(f"cannot note a doubt about {project}: it is settled all the time")

    def settle(self, project: NormalizedName, doubts: frozenset[str]) -> None:
        """Upstream has answered what it was asked after these; newer ones stay."""
        folder = self._prefix + project
        with translated("settle a doubt"), suppress(FileNotFoundError):
            for doubt in doubts:
                with suppress(FileNotFoundError):  # another process was quicker, or it is newer now
                    os.unlink(f"{folder}{os.sep}{doubt}")
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # a newer one
                    raise
