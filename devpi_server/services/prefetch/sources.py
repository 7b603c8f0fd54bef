"""Where the files that are prefetched for come from: this machine's disk, or somebody who sends."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from devpi_server.errors import BadRequest, TooLarge
from devpi_server.services.prefetch import locks, requirements
from devpi_server.services.prefetch.files import LARGEST, Asked, shown
from devpi_server.store.incoming import translated

STDIN = "-"
_PROJECT_FILES = ("pyproject.toml", "setup.py", "setup.cfg")
_EXTRAS = re.compile(r"\[[A-Za-z0-9._, -]*\]\Z")


def of_disk(name: str) -> Asked:
    """What a file of this machine asks for, or a project's folder, or ``-`` for stdin.

    :param name: a folder may end in extras, as ``.[test]``.
    :raises BadRequest: there is no such file, or it cannot be read.
    :raises TooLarge: it has more than we take.
    """
    if name == STDIN:
        data = sys.stdin.buffer.read(LARGEST + 1)
        _expect_small(name, len(data))
        return requirements.read(str(Path.cwd() / "stdin"), data, _Disk())
    path = Path(name)
    if path.name in _PROJECT_FILES:
        return Asked(folders=(_folder(path.parent, ""),))
    extras = _EXTRAS.search(name)
    if path.is_dir() or extras:
        folder = Path(name[: extras.start()]) if extras else path
        return Asked(folders=(_folder(folder, extras[0] if extras else ""),))
    data = _read(path)
    if locks.is_lock(path.name):
        return locks.read(path.name, data)
    return requirements.read(str(path.absolute()), data, _Disk())


def of_sender(name: str, data: bytes) -> Asked:
    """What a file that was sent asks for.

    :param name: as it was sent: any text.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    if locks.is_lock(last):
        return locks.read(last, data)
    return requirements.read(last, data, requirements.Nothing())


class _Disk:
    """What a requirements file names, relative to itself."""

    def file(self, name: str, seen_from: str) -> tuple[str, bytes]:
        path = Path(seen_from).parent / name
        try:
            return str(path), _read(path)
        except (BadRequest, TooLarge) as error:
            raise ValueError(error.message) from error

    def folder(self, name: str, seen_from: str) -> str:
        extras = _EXTRAS.search(name)
        place = name[: extras.start()] if extras else name
        path = Path(seen_from).parent / place.removeprefix("file://").removeprefix("file:")
        if not path.is_dir():
            raise ValueError("it is a file, which an index does not have")
        try:
            return _folder(path, extras[0] if extras else "")
        except BadRequest as error:
            raise ValueError(error.message) from error


def _folder(path: Path, extras: str) -> str:
    if not any((path / name).is_file() for name in _PROJECT_FILES):
        raise BadRequest(f"{shown(str(path))} is no folder of a project: it has no pyproject.toml")
    return f"{path.absolute()}{extras}"


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise BadRequest(f"there is no file {shown(str(path))}")
    with translated(f"read {path}"), path.open("rb") as file:
        data = file.read(LARGEST + 1)
    _expect_small(str(path), len(data))
    return data


def _expect_small(name: str, size: int) -> None:
    if size > LARGEST:
        raise TooLarge(f"{shown(name)} has more than {LARGEST} bytes")
