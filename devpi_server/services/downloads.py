"""The one way from a file's path to its bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from devpi_server import names
from devpi_server.concurrency import wait_for
from devpi_server.errors import BlockedByPolicy, NoSuchFile, NoSuchProject, TimedOut, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Digests, Freshness, Link
from devpi_server.services.indexes import Index, Indexes
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror
from devpi_server.store.blobs import Blob
from devpi_server.store.heldfiles import HeldFile
from devpi_server.store.vanished import NOTHING_GONE
from devpi_server.upstream.arriving import Arriving
from devpi_server.upstream.files import Wanted
from devpi_server.upstream.wheels import lacks_metadata

log = logging.getLogger(__name__)

# A file name with many dashes names many projects; upstream is asked for the likeliest.
_GUESSES = 3
_SETTLE_WITHIN = 14.0  # seconds: below pip's 15


@dataclass(frozen=True, slots=True)
class Ready:
    """A file that is held."""

    filename: str
    sha256: str
    size: int
    path: Path


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
    """What can be said of a file without its body."""

    filename: str
    sha256: str | None
    size: int | None
    held: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file without looking into it."""

    project: NormalizedName
    version: str | None
    digests: Digests
    uploaded: datetime | None
    url: str = ""  # upstream's


ClientHas = Callable[[str], bool]  # the file of this sha256, according to its request


def _has_nothing(_sha256: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class _Owner:
    """The mirror that a file belongs to."""

    source: Source
    mirror: Mirror
    sends_elsewhere: bool


class Downloads:
    """The files of all indexes."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def open(
        self,
        index: str,
        path: str,
        client_has: ClientHas = _has_nothing,
        source: Source | None = None,
    ) -> Ready | Coming | Elsewhere | Unchanged:
        """The file at the path of the index: held, on its way, or not for us to fetch.

        :param path: ``+f/…/<filename>`` or ``+e/…/<filename>``, also of a companion
            (``.metadata``, ``.asc``); decoded once.
        :param client_has: what it has is not fetched.
        :param source: the index as who asks may see it; None: all of it.
        :raises NotFound: there is no such index, or it is known not to have the file.
        :raises UpstreamError: cannot tell.
        :raises StoreError: the disk is sick.
        """
        found = self._owner(index, path, source)
        if isinstance(found, Ready):
            return found
        files = found.mirror.files
        held = self._held(found, path)
        if held is not None:
            return held
        wanted = self._wanted(found, path)
        if isinstance(wanted, Ready):
            return wanted
        if (spared := _spared(found, wanted, client_has)) is not None:
            return spared
        try:
            joined = files.join(wanted)
        except NoSuchFile:
            made = self._metadata_of_wheel(found, path)
            if made is None:
                raise
            return made
        if isinstance(joined, Arriving):
            return self._settled(path, wanted, joined)
        again = files.find(path)
        if again is None:
            raise _removed(wanted)
        return _ready(*again)

    def held(self, index: str, path: str) -> Ready | None:
        """The file, if it is held; raises as ``open`` does.

        A request that was parked and runs again is to join what it waited for: to it,
        that is not held.
        """
        found = self._indexes.find(index)
        if found.stage is not None:
            return _uploaded(*found.stage.find(path))
        return self._held(_owned(found), path)

    def fetch(self, mirror: str, path: str, within: float) -> Ready:
        """The file of a mirror, whole and held, also where clients are sent elsewhere for it.

        :param path: as of ``open``.
        :param within: seconds; it may go on arriving after them.
        :raises TimedOut: it has not come by then.
        :raises NotFound: as ``open`` does, and the other errors, too.
        """
        owner = _owned(self._indexes.find(mirror))
        held = self._held(owner, path)
        if held is not None:
            return held
        wanted = self._wanted(owner, path)
        if isinstance(wanted, Ready):
            return wanted
        joined = owner.mirror.files.join(wanted)
        if isinstance(joined, Arriving):
            if not wait_for((path, "finished"), joined.finished, within):
                raise TimedOut(f"{wanted.link.filename} is still being fetched, try again later")
            joined.finished.result()
        again = owner.mirror.files.find(path)
        if again is None:
            raise _removed(wanted)
        return _ready(*again)

    def _held(self, index: _Owner, path: str) -> Ready | None:
        files = index.mirror.files
        held = None if files.was_awaited(path) else files.find(path)
        if held is None:
            return None
        _expect_allowed(index, NormalizedName(held[0].project), held[0].filename)
        return _ready(*held)

    def _owner(self, name: str, path: str, source: Source | None) -> _Owner | Ready:
        """The mirror that has the file at this path of the index, or the uploaded file itself.

        A base has the file if the page of the index leads to it: the page is where
        shadowing, whitelists and permissions are decided.
        """
        index = self._indexes.find(name)
        if index.stage is None:
            return _owned(index)
        try:
            return _uploaded(*index.stage.find(path))
        except NoSuchFile as missing:
            owner = self._base_with(index, path, source, missing)
        return self._owner(owner, path, None)

    def _base_with(
        self, index: Index, path: str, source: Source | None, missing: NoSuchFile
    ) -> str:
        """The base whose file the page of the index lists at this path.

        :param missing: what is raised if there is none; it may say that the file was there.
        """
        try:
            _, link = self._listed(source or index.source, names.split_companion(path)[0])
        except NoSuchFile:
            raise missing from None
        if not link.index:
            raise missing
        return link.index

    def describe(
        self,
        index: str,
        path: str,
        client_has: ClientHas = _has_nothing,
        source: Source | None = None,
    ) -> Described | Elsewhere | Unchanged:
        """What can be said of the file without fetching it; takes and raises as ``open`` does."""
        found = self._owner(index, path, source)
        if isinstance(found, Ready):
            return Described(found.filename, found.sha256, found.size, held=True)
        held = found.mirror.files.find(path)
        if held is not None:
            _expect_allowed(found, NormalizedName(held[0].project), held[0].filename)
            return Described(held[0].filename, held[0].sha256, held[0].size, held=True)
        wanted = self._wanted(found, path)
        if isinstance(wanted, Ready):
            return Described(wanted.filename, wanted.sha256, wanted.size, held=True)
        if (spared := _spared(found, wanted, client_has)) is not None:
            return spared
        size = found.mirror.files.size(wanted)
        return Described(wanted.link.filename, wanted.link.digests.get("sha256"), size, held=False)

    def facts(self, index: str, path: str, source: Source | None = None) -> Facts:
        """What is known of the file at the path; takes and raises as ``open`` does."""
        found = self._indexes.find(index)
        if found.stage is None:
            mirror = _owned(found)
            project, link = self._link(mirror, path)
            _expect_allowed(mirror, project, link.filename)
            version = names.version_of(link.filename, project)
            return Facts(project, version, link.digests, link.uploaded, link.url)
        try:
            file = found.stage.stored(path)
        except NoSuchFile as missing:
            owner = self._base_with(found, path, source, missing)
            return self.facts(owner, path)
        digests = {"sha256": file.sha256, **file.digests}
        uploaded = datetime.fromtimestamp(file.uploaded, timezone.utc)
        return Facts(file.project, file.version, digests, uploaded)

    def _settled(self, path: str, wanted: Wanted, arriving: Arriving) -> Coming:
        """Wait until there is something to send, so that what fails before has a status.

        A small file is held back whole until it is verified.
        """
        if not wait_for((path, "started"), arriving.started, _SETTLE_WITHIN):
            raise TimedOut(f"upstream does not send {wanted.link.filename} in time")
        arriving.started.result()
        return Coming(wanted.link.filename, wanted.link.digests.get("sha256"), arriving)

    def _wanted(self, index: _Owner, path: str) -> Wanted | Ready:
        """What to fetch for the path, according to the index's own page."""
        base, ending = names.split_companion(path)
        project, link = self._link(index, base)
        _expect_allowed(index, project, link.filename)
        if ending == "":
            return Wanted(path, project, link)
        if ending == names.METADATA:
            made = self._metadata_of_held(index, base, link)
            if made is not None:
                return made
            if lacks_metadata(link):
                made = self._metadata_from_afar(index, Wanted(base, project, link))
                if made is not None:
                    return made
            digests = link.core_metadata
        elif ending == names.SIGNATURE:
            digests = {} if link.gpg_sig else None
        else:
            digests = {} if link.provenance is not None else None
        if digests is None:
            raise NoSuchFile(f"there is no {ending} of {link.filename}")
        url = link.provenance if ending == names.PROVENANCE else None
        companion = Link(link.filename + ending, url or link.url + ending, digests)
        return Wanted(path, project, companion)

    def _metadata_of_held(self, index: _Owner, base: str, link: Link) -> Ready | None:
        """The metadata that a held wheel itself contains, unless the page promises other bytes."""
        keeping = index.mirror.files.is_being_kept(base)
        if keeping is not None:
            wait_for((base, "kept"), keeping, _SETTLE_WITHIN)
        wheel = index.mirror.files.find(base)
        if wheel is None or not link.filename.endswith(".whl"):
            return None
        promised = (link.core_metadata or {}).get("sha256")
        made = index.mirror.files.metadata_of(wheel[0], promised)
        return _ready(*made) if made is not None else None

    def _metadata_from_afar(self, index: _Owner, wheel: Wanted) -> Ready | None:
        """The metadata of a wheel that is not held, where upstream sends parts of files."""
        if index.sends_elsewhere or not index.mirror.files.read_metadata(wheel):
            return None
        made = index.mirror.files.find(wheel.path + names.METADATA)
        return _ready(*made) if made is not None else None

    def _metadata_of_wheel(self, index: _Owner, path: str) -> Ready | None:
        """What is advertised must be served: where upstream has lost it, fetch the wheel."""
        base, ending = names.split_companion(path)
        if ending != names.METADATA or not base.endswith(".whl"):
            return None
        project, link = self._link(index, base)
        joined = index.mirror.files.join(Wanted(base, project, link))
        if isinstance(joined, Arriving) and not wait_for(
            (base, "finished"), joined.finished, _SETTLE_WITHIN
        ):
            raise TimedOut(f"{link.filename} has to be fetched for its metadata, try again")
        return self._metadata_of_held(index, base, link)

    def _link(self, index: _Owner, path: str) -> tuple[NormalizedName, Link]:
        """The link of the page that leads to the path.

        Pages that are held come first: most files are asked for by who has
        just read one.
        """
        filename = path.rpartition("/")[2]
        try:
            return self._listed(index.source, path)
        except (NoSuchFile, UpstreamError):
            for project in names.projects_of(filename):
                for link in index.mirror.vanished.read(project).links:
                    if link.filename == filename and path in _paths(link):
                        return project, link
            raise

    def _listed(self, source: Source, path: str) -> tuple[NormalizedName, Link]:
        """The same, of what the pages list now.

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
                    if link.filename == filename and path in _paths(link):
                        return project, link
        if cannot_tell is not None:
            raise cannot_tell
        raise NoSuchFile(f"the index has no file {filename} at this address")


def _removed(wanted: Wanted) -> NoSuchFile:
    return NoSuchFile(f"{wanted.link.filename} has just been removed from the cache")


def _owned(index: Index) -> _Owner:
    mirrored = index.mirrored
    assert mirrored is not None  # noqa: S101 - an index without a stage is a mirror
    return _Owner(mirrored.source, mirrored.mirror, mirrored.sends_elsewhere)


def _expect_allowed(index: _Owner, project: NormalizedName, filename: str) -> None:
    """Raise BlockedByPolicy for a file that upstream has quarantined.

    A file that its author merely deleted is served: lock files pin it.
    """
    gone = index.mirror.vanished.read(project)
    if gone is NOTHING_GONE:
        return
    base = names.split_companion(filename)[0]
    reason = gone.refusal(base, project)
    if reason is not None:
        raise BlockedByPolicy(f"{filename} is blocked: {reason}")
    if any(link.filename == base for link in gone.links):
        log.info("serving %s, which upstream has removed", filename)


def _spared(index: _Owner, wanted: Wanted, client_has: ClientHas) -> Elsewhere | Unchanged | None:
    """Why upstream need not be asked for a file that is not held, if it need not."""
    if index.sends_elsewhere:
        return Elsewhere(wanted.link.url)
    sha256 = wanted.link.digests.get("sha256")
    if sha256 is not None and client_has(sha256):
        return Unchanged(wanted.link.filename, sha256)
    return None


def _paths(link: Link) -> Iterator[str]:
    """Where a link's file is served: also at the path it had before its digest was known."""
    yield names.file_path(link.filename, link.url, link.digests)
    yield names.file_path(link.filename, link.url, {})


def _uploaded(filename: str, blob: Blob) -> Ready:
    return Ready(filename, blob.sha256, blob.size, blob.path)


def _ready(held: HeldFile, blob: Blob) -> Ready:
    return Ready(held.filename, held.sha256, held.size, blob.path)
