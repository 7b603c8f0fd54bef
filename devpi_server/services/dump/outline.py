"""Where what is in ``dataindex.json``: its shape is checked, and nothing is decoded yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from mmap import mmap

from devpi_server.errors import BadDump
from devpi_server.services.dump.scan import Cursor, Span, decode

_VERSIONS = ("1", "2")


@dataclass(slots=True)
class IndexOutline:
    """Where the parts of an index are."""

    config: Span | None = None
    projects: list[tuple[str, int]] = field(default_factory=list)  # name, where its versions begin
    files: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Outline:
    """Where everything is."""

    dumpversion: int = 0
    written_by: str = "unknown"
    users: dict[str, Span] = field(default_factory=dict)
    indexes: dict[str, IndexOutline] = field(default_factory=dict)


def outline(text: bytes | mmap) -> Outline:
    """Walk once over the text.

    :raises BadDump: it is not JSON, has not the shape of a dump, or is of a version that
        is not known.
    """
    found = Outline()
    cursor = Cursor(text)
    seen = set()
    for key in cursor.members():
        seen.add(key)
        if key == "dumpversion":
            found.dumpversion = _version(decode(text, cursor.skip()))
        elif key == "devpi_server":
            found.written_by = str(decode(text, cursor.skip()))
        elif key == "users":
            _each_once(cursor, "user", found.users)
        elif key == "indexes":
            _indexes(cursor, found.indexes)
    cursor.end()
    for key in ("dumpversion", "users", "indexes"):
        if key not in seen:
            raise BadDump(f'it has no "{key}"')
    return found


def _version(value: object) -> int:
    if str(value) not in _VERSIONS:
        raise BadDump(f"dumpversion {value!r} is not known, only {' and '.join(_VERSIONS)}")
    return int(str(value))


def _each_once(cursor: Cursor, what: str, found: dict[str, Span]) -> None:
    for name in cursor.members():
        if name in found:
            raise BadDump(f"the {what} {name!r} is there twice")
        found[name] = cursor.skip()


def _indexes(cursor: Cursor, found: dict[str, IndexOutline]) -> None:
    for name in cursor.members():
        if name in found:
            raise BadDump(f"the index {name!r} is there twice")
        index = found[name] = IndexOutline()
        for key in cursor.members():
            if key == "indexconfig":
                index.config = cursor.skip()
            elif key == "projects":
                _projects(cursor, name, index)
            elif key == "files":
                for _ in cursor.elements():
                    index.files.append(cursor.skip())


def _projects(cursor: Cursor, name: str, index: IndexOutline) -> None:
    if not cursor.is_object():
        # Of an index without projects, old servers wrote an empty array.
        for _ in cursor.elements():
            raise BadDump(f"the index {name!r} has projects without versions")
        return
    for project in cursor.members():
        index.projects.append((project, cursor.skip()[0]))
