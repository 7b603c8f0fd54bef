"""What a dump holds: the values that ``read`` yields and ``write`` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, NOTHING, Digests
from devpi_server.store.meta import FileKind


@dataclass(frozen=True, slots=True)
class DumpedUser:
    """Somebody who may log in. Times are aware and UTC."""

    name: str
    pwhash: str | None = field(default=None, repr=False)  # argon2; None: no password fits
    created: datetime | None = None
    modified: datetime | None = None
    # email, title, description, custom_data and what else it may be, as it was set.
    details: Mapping[str, object] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class DumpedIndex:
    """An index as it was configured."""

    user: str
    name: str
    type: str  # "stage", "mirror", or what a plugin has added
    bases: tuple[str, ...] = ()  # full names
    # All other settings, not validated; one that is not there has its default.
    options: Mapping[str, object] = field(default_factory=lambda: NOTHING)

    @property
    def full_name(self) -> str:
        """``user/index``."""
        return f"{self.user}/{self.name}"


@dataclass(frozen=True, slots=True)
class DumpedRelease:
    """A version of a project, and its metadata in devpi's words."""

    project: NormalizedName
    version: str
    metadata: Mapping[str, object]  # has always name and version


@dataclass(frozen=True, slots=True)
class DumpedEvent:
    """What happened to a file."""

    what: str  # upload, push, overwrite
    who: str | None  # None: of an overwrite it is not known
    when: datetime  # aware, UTC, whole seconds
    dst: str | None = None
    src: str | None = None
    count: int | None = None  # how often it was overwritten


@dataclass(frozen=True, slots=True)
class Subject:
    """The file that a result of tox is about."""

    filename: str
    digests: Digests  # of those bytes that were tested; empty: not known


@dataclass(frozen=True, slots=True)
class DumpedFile:
    """A file of a release, its documentation, or the result of a test of it."""

    project: NormalizedName
    version: str
    kind: FileKind
    filename: str
    path: Path  # where the bytes are now
    size: int
    uploaded: datetime  # aware, UTC
    digests: Digests = field(default_factory=lambda: NO_DIGESTS)  # may be empty
    log: tuple[DumpedEvent, ...] = ()  # oldest first
    tested: Subject | None = None  # of a result of tox, and only of one
    url: str | None = None  # of a mirror's file
    yanked: str | None = None  # None: not yanked; may be empty: without a reason
    signature: Path | None = None
    attestations: Path | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a dump."""

    users: int
    indexes: int
    releases: int
    files: int
    size: int  # bytes of all files
    faults: tuple[str, ...] = ()  # what keeps it from being imported, a line each
