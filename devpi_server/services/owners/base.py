"""What the files of one index can be asked, whatever the index is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from devpi_server import names
from devpi_server.errors import NoSuchFile, NoSuchProject, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Digests, Freshness, Link
from devpi_server.sources.base import Source
from devpi_server.store.blobs import Blob
from devpi_server.upstream.arriving import Arriving

# A file name with many dashes names many projects; upstream is asked for the likeliest.
_GUESSES = 3


@dataclass(frozen=True, slots=True)
class Owned:
    """Somebody else may replace or remove the file at any moment: it is his.

    Who opens it compares, and says nothing of other bytes than these.
    """

    modified: int  # nanoseconds since the epoch
    inode: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A file that is held."""

    filename: str
    sha256: str | None  # None: not known yet, only of one that is somebody else's
    size: int
    path: Path
    owned: Owned | None = None  # None: it is ours, and never another
    is_lasting: bool = True  # what is asked for is never anything else

    @property
    def tag(self) -> str:
        """Equal tags: equal bytes."""
        if self.sha256 is not None or self.owned is None:
            return self.sha256 or ""
        return f"{self.size:x}-{self.owned.modified:x}-{self.owned.inode:x}"


@dataclass(frozen=True, slots=True)
class Coming:
    """A file that is arriving."""

    filename: str
    sha256: str | None  # None: only known at the end
    arriving: Arriving


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A file that the client is to fetch from upstream itself."""

    url: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A file that is not held, and that the client has already."""

    filename: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Described:
    """What can be said of a file that is not held."""

    filename: str
    sha256: str | None
    size: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file without looking into it."""

    project: NormalizedName
    version: str | None
    digests: Digests
    uploaded: datetime | None
    url: str = ""  # upstream's


ClientHas = Callable[[str], bool]  # the file of this sha256, according to its request


class Owner(Protocol):
    """The files of one index, without those of its bases.

    A path is ``+f/…/<filename>`` or ``+e/…/<filename>``, also of a companion
    (``.metadata``, ``.asc``), decoded once.  All methods raise NoSuchFile if the index is
    known not to have it, UpstreamError if this cannot be told, and StoreError for a sick disk.
    """

    def open(self, path: str, client_has: ClientHas) -> Ready | Coming | Elsewhere | Unchanged:
        """The file: held, on its way, or not for us to fetch.

        :param client_has: what it has is not fetched.
        """

    def held(self, path: str) -> Ready | None:
        """The file, None if it has to be fetched first.

        A request that was parked and runs again is to join what it waited for: to it,
        that is not held.
        """

    def describe(
        self, path: str, client_has: ClientHas
    ) -> Ready | Described | Elsewhere | Unchanged:
        """What can be said of the file without fetching it."""

    def facts(self, path: str) -> Facts:
        """What is known of the file."""

    def fetch(self, path: str, within: float) -> Blob:
        """The file among the blobs, whole, also where clients are sent elsewhere for it.

        :param within: seconds; it may go on arriving after them.
        :raises TimedOut: it has not come by then.
        """


def listed(source: Source, path: str) -> tuple[NormalizedName, Link]:
    """The link of the source's pages that leads to the path.

    Pages that are held come first: most files are asked for by who has
    just read one.

    :raises NoSuchFile: none of them.
    :raises UpstreamError: cannot tell.
    """
    filename = path.rpartition("/")[2]
    projects = list(names.projects_of(filename))
    cannot_tell: UpstreamError | None = None
    for freshness in (Freshness.ANY, Freshness.CURRENT):
        for project in projects if freshness is Freshness.ANY else projects[:_GUESSES]:
            try:
                page = source.view(project, freshness).load()
            except NoSuchProject:
                continue
            except UpstreamError as error:
                cannot_tell = error
                continue
            for link in page.links:
                if link.filename == filename and path in paths(link):
                    return project, link
    if cannot_tell is not None:
        raise cannot_tell
    raise NoSuchFile(f"the index has no file {filename} at this address")


def paths(link: Link) -> Iterator[str]:
    """Where a link's file is served: also at the path it had before its digest was known."""
    yield names.file_path(link.filename, link.url, link.digests)
    yield names.file_path(link.filename, link.url, {})
