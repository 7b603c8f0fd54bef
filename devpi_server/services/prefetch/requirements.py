"""Requirements files, as pip reads them, into lines that can be given to a pip of ours.

Nothing of a file reaches pip as it stands: addresses of other indexes, files and folders of
this machine and variables of its environment are not for whoever has written it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from packaging.requirements import Requirement

from devpi_server.services.prefetch.files import (
    MOST_LINES,
    Asked,
    Fault,
    Line,
    Pin,
    Unreadable,
    exact_version,
    file_hash,
    pin,
    requirement,
    shown,
)

_DEEPEST = 10  # files within files
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_CODING = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*((?:utf|latin|iso|cp|windows|ascii)[-\w]*)")
_OPTION = re.compile(r"(-[a-zA-Z]|--[a-z][a-z-]*)(?:[\s=]+|(?<=^-[a-zA-Z])|$)(.*)", re.DOTALL)
_OF_LINE = re.compile(r"\s--?[a-z]")
_HASHES = re.compile(r"--hash[\s=]+(\S+)")
_LINKS = re.compile(r"[a-z][a-z0-9+.-]*://|(?:git|hg|svn|bzr)\+", re.IGNORECASE)
_PATHS = re.compile(r"\.{0,2}/|\.\Z|\.\[|file:|[a-zA-Z]:\\|~", re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.(?:gz|bz2|xz)|tgz)\Z", re.IGNORECASE)
_FORMATS = ("--no-binary", "--only-binary")
_FORMAT = re.compile(r":all:|:none:|[A-Za-z0-9._,-]+\Z")
_PLAIN = {"--pre", "--prefer-binary"}
_LOCKED = "--require-hashes"
# Where to find things is for this server to say.
_NOT_HEEDED = {
    *("-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index"),
    *("-f", "--find-links", "--trusted-host", "--use-feature"),
}
_FILES = {"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c"}
_EDITABLE = {"-e", "--editable"}


class Nearby(Protocol):
    """What a file may name, seen from another one."""

    def file(self, name: str, seen_from: str) -> tuple[str, bytes]:
        """What the file is called here, and what is in it.

        :raises ValueError: it cannot be had; with the reason.
        """

    def folder(self, name: str, seen_from: str) -> str:
        """What the folder of a project is called here; it may end in extras.

        :raises ValueError: likewise.
        """


def read(name: str, data: bytes, nearby: Nearby) -> Asked:
    """A requirements file with those that it names.

    Where every line is an exact version with hashes, they are pins: pip takes such a file as
    a list of all that is needed, too.
    """
    reading = _Reading(nearby)
    reading.file(name, data, depth=0)
    return reading.asked()


class Nothing:
    """What is near a file that was sent: nothing."""

    def file(self, name: str, seen_from: str) -> tuple[str, bytes]:
        raise ValueError(f"{shown(name)} is not here: send one file with all lines")

    def folder(self, name: str, seen_from: str) -> str:
        raise ValueError("it is a file or folder, which an index does not have")


class _Reading:
    def __init__(self, nearby: Nearby) -> None:
        self._nearby = nearby
        self._lines: list[Line] = []
        self._faults: list[Fault] = []
        self._constraints: list[Requirement] = []
        self._options: list[str] = []
        self._folders: list[str] = []
        self._notes: dict[str, None] = {}
        self._seen: set[str] = set()
        self._room = MOST_LINES
        self._is_locked = False

    def asked(self) -> Asked:
        pins: list[Pin] = []
        for line in self._lines:
            version = exact_version(line.requirement)
            if version is None or not line.hashes or line.requirement.extras:
                break
            made = pin(line.text, line.requirement.name, version, hashes=[*line.hashes])
            if isinstance(made, Fault):
                break
            marker = line.requirement.marker
            pins.append(replace(made, markers=(marker,) if marker else ()))
        is_lock = bool(pins) and len(pins) == len(self._lines)
        if self._is_locked and not is_lock:
            self._notes[f"{_LOCKED}: pip takes exact versions with hashes only"] = None
        return Asked(
            () if is_lock else self._lines,
            pins if is_lock else (),
            self._faults,
            self._constraints,
            self._options,
            self._folders,
            tuple(self._notes),
        )

    def file(self, name: str, data: bytes, depth: int, *, constrains: bool = False) -> None:
        self._seen.add(name)
        try:
            text = _decoded(data)
        except (UnicodeDecodeError, LookupError):
            self._faults.append(
                Fault(shown(name), "it is not a text that can be read", is_unreadable=True)
            )
            return
        for line in _logical(text.splitlines()):
            self._room -= 1
            if self._room < 0:
                reason = f"the file has more than {MOST_LINES} lines"
                self._faults.append(Fault(shown(line), reason))
                return
            try:
                self._line(name, line, depth, constrains=constrains)
            except Unreadable as error:
                self._faults.append(Fault(shown(line), str(error), is_unreadable=True))
            except ValueError as error:
                self._faults.append(Fault(shown(line), str(error)))

    def _line(self, name: str, line: str, depth: int, *, constrains: bool) -> None:
        if line.startswith("-"):
            self._option(name, line, depth, constrains=constrains)
            return
        if _LINKS.match(line):
            raise ValueError("it is fetched from a URL, not from an index")
        head = line.split(maxsplit=1)[0]
        if _PATHS.match(line) or _ARCHIVE.search(head) or "/" in head.partition("@")[0]:
            self._folders.append(self._nearby.folder(line, name))
            return
        found = _OF_LINE.search(line)
        text = line[: found.start()] if found else line
        hashes = frozenset(
            filter(None, map(file_hash, _HASHES.findall(line[found.start() :] if found else "")))
        )
        needed = requirement(text.strip())
        if constrains:
            self._constraints.append(needed)
        else:
            self._lines.append(Line(shown(text), needed, hashes))

    def _option(self, name: str, line: str, depth: int, *, constrains: bool) -> None:
        found = _OPTION.match(line)
        option, value = (found[1], found[2].strip()) if found else (line, "")
        if option in _FILES:
            self._include(name, value, depth, constrains=constrains or _FILES[option] == "-c")
        elif option in _EDITABLE:
            if _LINKS.match(value):
                raise ValueError("it is fetched from a URL, not from an index")
            self._folders.append(self._nearby.folder(value, name))
        elif option in _FORMATS:
            if not _FORMAT.match(value):
                raise Unreadable(f"{option} has no names of projects")
            self._options.append(f"{option}={value}")
        elif option in _PLAIN:
            self._options.append(option)
        elif option == _LOCKED:
            self._is_locked = True
        elif option in _NOT_HEEDED:
            self._notes[f"{option} is not heeded: all comes from the index of this server"] = None
        else:
            raise Unreadable("it is no option of a requirements file")

    def _include(self, name: str, value: str, depth: int, *, constrains: bool) -> None:
        if depth == _DEEPEST:
            raise ValueError("the files name each other too deeply")
        try:
            other = "".join(shlex.split(value)[:1])
        except ValueError as error:
            raise Unreadable("it names no file") from error
        if not other:
            raise Unreadable("it names no file")
        if _LINKS.match(other):
            raise ValueError("it is at a URL: fetch it, and name the file")
        where, data = self._nearby.file(other, name)
        if where not in self._seen:
            self.file(where, data, depth + 1, constrains=constrains)


def _decoded(data: bytes) -> str:
    """As pip does: by its byte order mark, or what it says of itself, or UTF-8."""
    for mark, encoding in (
        (b"\xef\xbb\xbf", "utf-8-sig"),
        (b"\xff\xfe", "utf-16"),
        (b"\xfe\xff", "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding)
    for line in data.split(b"\n", 2)[:2]:
        if (found := _CODING.match(line)) is not None:
            return data.decode(found[1].decode("ascii"))
    return data.decode("utf-8")


def _logical(lines: Iterable[str]) -> Iterator[str]:
    """Lines without comments, those that a backslash continues made one."""
    parts: list[str] = []
    for line in lines:
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            parts.append(line[:-1])
            continue
        # pip: a comment within a continued line ends it.
        parts.append(" " if is_comment else line)
        joined = _COMMENT.sub("", "".join(parts)).strip()
        parts = []
        if joined:
            yield joined
    joined = _COMMENT.sub("", "".join(parts)).strip()
    if joined:
        yield joined
