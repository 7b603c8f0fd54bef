"""What a file asks for, whatever its form: lines that a resolver makes releases of, or pins.

Every file here may come from anybody: one broken line is told, and the others count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement

from devpi_server import names
from devpi_server.errors import InvalidName
from devpi_server.names import NormalizedName

LARGEST = 32 * 1024 * 1024  # bytes: the lock files of the largest projects have some 5 MB
MOST_LINES = 20_000
_LONGEST_LINE = 2000  # characters that are shown or parsed
_LONGEST_VERSION = 200
_HASH = re.compile(r"(?:sha256|sha384|sha512|md5|sha1|blake2b):[0-9a-f]{32,128}\Z")
_EXACT = re.compile(r"==\s*[^*,\s]+\Z")


@dataclass(frozen=True, slots=True)
class Line:
    """One requirement that is not a pin."""

    text: str  # as it stands in the file
    requirement: Requirement
    hashes: frozenset[str] = frozenset()  # "sha256:…"; empty: any file will do
    extras: frozenset[str] = frozenset()  # of the project that requires it


@dataclass(frozen=True, slots=True)
class Pin:
    """One release, and which files of it will do."""

    text: str  # what people know it by
    project: NormalizedName
    version: str
    files: frozenset[str] = frozenset()  # names; empty: any
    hashes: frozenset[str] = frozenset()  # "sha256:…"; empty: any
    # Where it is needed: where one of these holds; none: everywhere.
    markers: tuple[Marker, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """A line of which nothing can be fetched, and why."""

    text: str
    reason: str
    is_unreadable: bool = False  # it is no requirement at all


@dataclass(frozen=True, slots=True)
class Asked:
    """What one file asks for.

    :param constraints: what holds for lines, if they come up at all.
    :param options: words for pip.
    :param folders: projects that are to be installed, too.
    :param notes: sentences about what is not heeded.
    """

    lines: Sequence[Line] = ()
    pins: Sequence[Pin] = ()
    faults: Sequence[Fault] = ()
    constraints: Sequence[Requirement] = ()
    options: Sequence[str] = ()
    folders: Sequence[str] = ()
    notes: Sequence[str] = ()


class Unreadable(ValueError):
    """What is no requirement at all; with the reason."""


def requirement(text: str) -> Requirement:
    """A requirement of an index.

    :raises Unreadable: it is none.
    :raises ValueError: it is not one of an index; with the reason.
    """
    if len(text) > _LONGEST_LINE:
        raise Unreadable("it is too long for a requirement")
    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        raise Unreadable(f"it is no requirement: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise Unreadable("it is no requirement: its marker is too deep") from error
    if found.url:
        raise ValueError("it is fetched from a URL, not from an index")
    try:
        names.project(found.name)
    except InvalidName as error:
        raise Unreadable(error.message) from error
    return found


def pin(
    text: str,
    name: object,
    version: object,
    *,
    files: Sequence[object] = (),
    hashes: Sequence[object] = (),
    markers: Sequence[object] = (),
) -> Pin | Fault:
    """A pin of what a lock file says, or why it is none.

    :param markers: one of them has to hold; what is no text or empty always does.
    """
    text = shown(text)
    if not isinstance(name, str) or not isinstance(version, str):
        return Fault(text, "it has no name or no version", is_unreadable=True)
    try:
        project = names.project(name)
        conditions = [Marker(each[:_LONGEST_LINE]) for each in markers if isinstance(each, str)]
    except InvalidName as error:
        return Fault(text, error.message, is_unreadable=True)
    except (ValueError, RecursionError):
        return Fault(text, "its marker cannot be read", is_unreadable=True)
    if not version or len(version) > _LONGEST_VERSION or not version.isprintable():
        return Fault(text, "its version is none", is_unreadable=True)
    return Pin(
        text,
        project,
        version,
        frozenset(file for file in files if isinstance(file, str) and names.is_file_name(file)),
        frozenset(filter(None, map(file_hash, hashes))),
        tuple(conditions) if len(conditions) == len(markers) else (),
    )


def exact_version(found: Requirement) -> str | None:
    """The version of ``name==version``, None for any other requirement."""
    specifier = str(found.specifier)
    return specifier[2:].strip() if _EXACT.match(specifier) else None


def file_hash(text: object) -> str | None:
    """``sha256:…`` in lower case, None for anything else."""
    lower = text.strip().lower() if isinstance(text, str) else ""
    return lower if _HASH.match(lower) else None


def shown(text: str) -> str:
    """The text as one line of bearable length."""
    line = " ".join(text.split())
    printable = "".join(char if char.isprintable() else "?" for char in line[:_LONGEST_LINE])
    return printable if len(printable) <= 200 else f"{printable[:197]}..."
