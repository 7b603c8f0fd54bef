"""What is known beside the bytes: users, indexes, releases, files, tokens, the audit trail.

``MetaStore`` is the protocol; ``database`` is the implementation on SQLite.
Everything here cannot be fetched again, so a transaction that has ended is on
disk.  A reader sees one moment; a writer is alone.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, NOTHING, Digests


class FileKind(enum.Enum):
    """What a file is to its release; the values are devpi's ``rel``."""

    RELEASE = "releasefile"
    DOCS = "doczip"
    TOX_RESULT = "toxresult"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    created: float
    pwhash: str | None = field(
        default=None, repr=False
    )  # None: no password opens it; "": the empty one does
    modified: float | None = None
    details: Mapping[str, object] = field(default_factory=lambda: NOTHING)  # email, title, …
    password_serial: int = 0  # of the transaction that set the password
    id: int = 0  # given by the store, never again to another user


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An index as it was configured."""

    user: str
    name: str
    type: str  # stage or mirror
    options: Mapping[str, object]  # what was set, without defaults
    id: int = 0  # given by the store, never again to another index
    serial: int = 0  # of its last change: configuration, or list of projects

    @property
    def full_name(self) -> str:
        """``user/index``."""
        return f"{self.user}/{self.name}"


@dataclass(frozen=True, slots=True)
class Release:
    """A version of a project in one index."""

    project: NormalizedName
    version: str  # as it was spelled first
    fields: Mapping[str, object]  # the metadata as devpi names it (devpi.md 1.6)
    id: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseLine:
    """A release in one line of a list."""

    project: NormalizedName
    version: str
    name: str  # of the project, as its metadata spells it
    summary: str  # may be empty


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What happened to a file (devpi.md 1.6)."""

    what: str  # upload, push, overwrite
    who: str | None  # None: nobody knows, as of old overwrites
    when: float
    dst: str | None = None
    src: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a release, its documentation, or a tox result."""

    project: NormalizedName
    version: str  # of the release, as that spells it
    kind: FileKind
    filename: str
    sha256: str
    size: int
    uploaded: float
    digests: Digests = field(default_factory=lambda: NO_DIGESTS)  # others than sha256
    requires_python: str | None = None
    metadata: str | None = None  # sha256 of the blob that is served as .metadata
    signature: str | None = None  # of the one that is served as .asc
    provenance: str | None = None  # of the attestations that came with the upload (PEP 740)
    yanked: str | None = None  # None: not yanked; may be empty: no reason given
    for_file: str | None = None  # of a tox result: the file that was tested
    log: tuple[LogEntry, ...] = ()
    id: int = 0

    @property
    def blobs(self) -> tuple[str, ...]:
        """The sha256 of all blobs that it names."""
        named = (self.sha256, self.metadata, self.signature, self.provenance)
        return tuple(sha256 for sha256 in named if sha256 is not None)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An API token. The token itself is not kept."""

    id: str
    user: str
    hash: str = field(repr=False)
    scope: Mapping[str, object]
    created: float
    expires: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A change of state."""

    at: float
    who: str
    origin: str  # the address that it came from, or the command
    action: str
    target: str
    detail: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes something, and from where: for the audit trail."""

    who: str
    origin: str


class UsersTable(Protocol):
    """The users. Names are compared as they are spelled."""

    def get(self, name: str) -> User | None: ...
    def all(self) -> list[User]:
        """By name."""

    def add(self, user: User) -> User:
        """:raises Conflict: there is one of this name."""

    def change(self, user: User) -> None:
        """Replace what is known of the user with this ``id``; the name stays."""

    def remove(self, name: str) -> None:
        """With indexes, files and tokens."""


class IndexesTable(Protocol):
    """The configurations of the indexes."""

    def get(self, full_name: str) -> IndexRow | None: ...
    def all(self) -> list[IndexRow]:
        """By user and name."""

    def add(self, row: IndexRow) -> IndexRow:
        """:raises Conflict: there is one of this name.
        :raises NoSuchUser: of its user."""

    def change(self, row: IndexRow) -> None:
        """Set the options of the index with this ``id``."""

    def remove(self, index_id: int) -> None:
        """With everything in it."""


class ReleasesTable(Protocol):
    """Projects and their releases. A project is there while it has a release."""

    def projects(self, index_id: int) -> list[NormalizedName]:
        """By name."""

    def project_serial(self, index_id: int, project: NormalizedName) -> int | None:
        """Serial of the last change of the project; None: there is none."""

    def of(self, index_id: int, project: NormalizedName) -> list[Release]:
        """The releases, oldest first."""

    def lines(self, index_id: int) -> list[ReleaseLine]:
        """Every release of the index, by project, oldest first."""

    def get(self, index_id: int, project: NormalizedName, version: str) -> Release | None:
        """The release of this version, however it is spelled."""

    def put(self, index_id: int, release: Release) -> Release:
        """Add the release, or replace the fields of the one that is there."""

    def remove(self, index_id: int, release: Release) -> None:
        """With its files; the last one takes the project with it."""


class FilesTable(Protocol):
    """The files of releases."""

    def find(self, index_id: int, filename: str) -> StoredFile | None:
        """No two files of an index have one name."""

    def of(self, index_id: int, project: NormalizedName) -> list[StoredFile]:
        """All kinds, oldest first."""

    def all(self, index_id: int) -> Iterator[StoredFile]:
        """Every file of the index, by project."""

    def put(self, index_id: int, file: StoredFile) -> StoredFile:
        """Add the file to its release, or replace the one of its name.

        :raises NoSuchVersion: there is no such release.
        """

    def remove(self, index_id: int, filename: str) -> None:
        """It has been there: see ``was_removed``."""

    def was_removed(self, index_id: int, filename: str, sha256_start: str) -> bool:
        """Whether a file of this name and the start of this digest was removed."""

    def names_blob(self, sha256: str) -> bool:
        """Whether any row names this blob."""


class TokensTable(Protocol):
    """The API tokens."""

    def get(self, token_id: str) -> TokenRow | None: ...
    def of(self, user: str) -> list[TokenRow]:
        """Oldest first."""

    def add(self, token: TokenRow) -> None:
        """:raises NoSuchUser: of its user."""

    def remove(self, token_id: str) -> None: ...


class AuditTable(Protocol):
    """The audit trail; ``Tables.note`` writes it."""

    def last(self, count: int, *, before: int | None = None) -> Sequence[AuditRow]:
        """The newest rows first; of serials below ``before``."""


class OrphansTable(Protocol):
    """Blobs that rows have let go of."""

    def since(self, before: float) -> list[str]:
        """The sha256 of those that were let go before this time."""

    def forget(self, sha256: str) -> None:
        """It is dealt with."""


class Tables(Protocol):
    """Everything, at one moment."""

    @property
    def users(self) -> UsersTable: ...
    @property
    def indexes(self) -> IndexesTable: ...
    @property
    def releases(self) -> ReleasesTable: ...
    @property
    def files(self) -> FilesTable: ...
    @property
    def tokens(self) -> TokensTable: ...
    @property
    def audit(self) -> AuditTable: ...
    @property
    def orphans(self) -> OrphansTable: ...

    @property
    def serial(self) -> int:
        """Of this transaction; of a reading one: of the last one before it."""

    def config_serial(self) -> int:
        """Serial of the last change of any user, index or token."""

    def fact(self, key: str) -> str | None:
        """A fact about the whole store."""

    def set_fact(self, key: str, value: str) -> None: ...
    def note(self, action: str, target: str, detail: Mapping[str, object] = NOTHING) -> None:
        """Add a row to the audit trail, as of the actor of this transaction."""


class MetaStore(Protocol):
    """Where the tables are. All methods raise StoreError for a sick disk, Busy past a deadline."""

    def reading(self) -> AbstractContextManager[Tables]:
        """What there is now; writing through it raises."""

    def writing(self, actor: Actor) -> AbstractContextManager[Tables]:
        """A transaction: when the block ends well, it is on disk; else nothing has happened.

        Not for waiting in: neither for a network nor for the body of a request.
        """

    def generation(self) -> int:
        """Changes when any process has written. A matter of microseconds."""

    def faults(self) -> list[str]:
        """What is wrong with the store itself, a sentence each. It takes its time."""

    def close(self) -> None: ...
