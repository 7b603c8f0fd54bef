"""The folders in which mirrors keep what they cache, a folder a mirror.

A mirror of the database has its id in the name of its folder, which is never
given again: one that is deleted and made anew finds nothing of the old one there,
whatever another process still writes for a moment.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from devpi_server.store.incoming import translated

_OF_A_ROW = re.compile(r".*\+([1-9][0-9]*)\Z", re.DOTALL)  # no name has a plus in it
_GONE = ".gone-"  # begins the names of folders that are being deleted


class MirrorFolders:
    """The folders below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, name: str, row_id: int) -> Path:
        """The folder of a mirror.

        :param name: ``user/index``.
        :param row_id: of the mirror in the database; 0: the configuration has it.
        """
        return self._folder / (f"{name}+{row_id}" if row_id else name)

    def of_rows(self) -> Iterator[tuple[int, Path]]:
        """The folders of mirrors that the database has or had, each with its id.

        :raises StoreError: the disk is sick.
        """
        with translated("list the folders of mirrors"):
            for path in self._folder.glob("*/*"):
                match = _OF_A_ROW.match(path.name)
                if match is not None and not path.parent.name.startswith(_GONE):
                    yield int(match[1]), path

    def remove(self, path: Path) -> None:
        """Delete one of the folders: for everybody it is gone at once.

        :raises StoreError: the disk is sick.
        """
        with translated("remove the folder of a mirror"), suppress(FileNotFoundError):
            path.rename(self._folder / f"{_GONE}{secrets.token_hex(8)}")
        self.sweep()

    def sweep(self) -> None:
        """Delete what was removed, also by a process that died over it.

        :raises StoreError: the disk is sick.
        """
        with translated("remove the folder of a mirror"):
            for path in list(self._folder.glob(f"{_GONE}*")):
                with suppress(FileNotFoundError):
                    shutil.rmtree(path)
