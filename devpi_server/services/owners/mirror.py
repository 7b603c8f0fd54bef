"""The files of a mirror: held, or fetched from upstream when somebody asks for them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from devpi_server import names
from devpi_server.concurrency import wait_for
from devpi_server.errors import BlockedByPolicy, NoSuchFile, TimedOut, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.services.owners.base import (
    ClientHas,
    Coming,
    Described,
    Elsewhere,
    Facts,
    Ready,
    Unchanged,
    listed,
    paths,
)
from devpi_server.sources.base import Source
from devpi_server.sources.mirror import Mirror
from devpi_server.store.blobs import Blob
from devpi_server.store.heldfiles import HeldFile
from devpi_server.store.vanished import NOTHING_GONE
from devpi_server.upstream.arriving import Arriving
from devpi_server.upstream.files import Wanted
from devpi_server.upstream.wheels import lacks_metadata

log = logging.getLogger(__name__)

_SETTLE_WITHIN = 14.0  # seconds: below pip's 15


@dataclass(frozen=True, slots=True)
class MirrorFiles:
    """What the pages of a mirror lead to."""

    source: Source  # what its pages show
    mirror: Mirror
    sends_elsewhere: bool = False  # clients fetch files that are not held from upstream

    def open(self, path: str, client_has: ClientHas) -> Ready | Coming | Elsewhere | Unchanged:
        wanted = self.held(path) or self._unless_spared(path, client_has)
        if not isinstance(wanted, Wanted):
            return wanted
        try:
            joined = self.mirror.files.join(wanted)
        except NoSuchFile:
            made = self._metadata_of_wheel(path)
            if made is None:
                raise
            return made
        if isinstance(joined, Arriving):
            return _settled(path, wanted, joined)
        again = self.mirror.files.find(path)
        if again is None:
            raise _removed(wanted)
        return _ready(*again)

    def held(self, path: str) -> Ready | None:
        files = self.mirror.files
        return None if files.was_awaited(path) else self._found(path)

    def describe(
        self, path: str, client_has: ClientHas
    ) -> Ready | Described | Elsewhere | Unchanged:
        wanted = self._found(path) or self._unless_spared(path, client_has)
        if not isinstance(wanted, Wanted):
            return wanted
        size = self.mirror.files.size(wanted)
        return Described(wanted.link.filename, wanted.link.digests.get("sha256"), size)

    def facts(self, path: str) -> Facts:
        project, link = self._link(path)
        self._expect_allowed(project, link.filename)
        version = names.version_of(link.filename, project)
        return Facts(project, version, link.digests, link.uploaded, link.url)

    def fetch(self, path: str, within: float) -> Blob:
        files = self.mirror.files
        if self.held(path) is None:
            wanted = self._wanted(path)
            joined = None if isinstance(wanted, Ready) else files.join(wanted)
            if isinstance(joined, Arriving):
                if not wait_for((path, "finished"), joined.finished, within):
                    filename = path.rpartition("/")[2]
                    raise TimedOut(f"{filename} is still being fetched, try again later")
                joined.finished.result()
        found = files.find(path)
        if found is None:
            filename = path.rpartition("/")[2]
            raise NoSuchFile(f"{filename} has just been removed from the cache")
        return found[1]

    def _found(self, path: str) -> Ready | None:
        found = self.mirror.files.find(path)
        if found is None:
            return None
        self._expect_allowed(NormalizedName(found[0].project), found[0].filename)
        return _ready(*found)

    def _wanted(self, path: str) -> Wanted | Ready:
        """What to fetch for the path, according to the index's own page."""
        base, ending = names.split_companion(path)
        project, link = self._link(base)
        self._expect_allowed(project, link.filename)
        if ending == "":
            return Wanted(path, project, link)
        if ending == names.METADATA:
            made = self._metadata_of_held(base, link)
            if made is not None:
                return made
            if lacks_metadata(link):
                made = self._metadata_from_afar(Wanted(base, project, link))
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

    def _metadata_of_held(self, base: str, link: Link) -> Ready | None:
        """The metadata that a held wheel itself contains, unless the page promises other bytes."""
        files = self.mirror.files
        keeping = files.is_being_kept(base)
        if keeping is not None:
            wait_for((base, "kept"), keeping, _SETTLE_WITHIN)
        wheel = files.find(base)
        if wheel is None or not link.filename.endswith(".whl"):
            return None
        promised = (link.core_metadata or {}).get("sha256")
        made = files.metadata_of(wheel[0], promised)
        return _ready(*made) if made is not None else None

    def _metadata_from_afar(self, wheel: Wanted) -> Ready | None:
        """The metadata of a wheel that is not held, where upstream sends parts of files."""
        if self.sends_elsewhere or not self.mirror.files.read_metadata(wheel):
            return None
        made = self.mirror.files.find(wheel.path + names.METADATA)
        return _ready(*made) if made is not None else None

    def _metadata_of_wheel(self, path: str) -> Ready | None:
        """What is advertised must be served: where upstream has lost it, fetch the wheel."""
        base, ending = names.split_companion(path)
        if ending != names.METADATA or not base.endswith(".whl"):
            return None
        project, link = self._link(base)
        joined = self.mirror.files.join(Wanted(base, project, link))
        if isinstance(joined, Arriving) and not wait_for(
            (base, "finished"), joined.finished, _SETTLE_WITHIN
        ):
            raise TimedOut(f"{link.filename} has to be fetched for its metadata, try again")
        return self._metadata_of_held(base, link)

    def _link(self, path: str) -> tuple[NormalizedName, Link]:
        """The link of the page that leads, or has led, to the path."""
        filename = path.rpartition("/")[2]
        try:
            return listed(self.source, path)
        except (NoSuchFile, UpstreamError):
            for project in names.projects_of(filename):
                for link in self.mirror.vanished.read(project).links:
                    if link.filename == filename and path in paths(link):
                        return project, link
            raise

    def _expect_allowed(self, project: NormalizedName, filename: str) -> None:
        """Raise BlockedByPolicy for a file that upstream has quarantined.

        A file that its author merely deleted is served: lock files pin it.
        """
        gone = self.mirror.vanished.read(project)
        if gone is NOTHING_GONE:
            return
        base = names.split_companion(filename)[0]
        reason = gone.refusal(base, project)
        if reason is not None:
            raise BlockedByPolicy(f"{filename} is blocked: {reason}")
        if any(link.filename == base for link in gone.links):
            log.info("serving %s, which upstream has removed", filename)

    def _unless_spared(
        self, path: str, client_has: ClientHas
    ) -> Wanted | Ready | Elsewhere | Unchanged:
        """What to ask upstream for, for a file that is not held; or why that need not be."""
        wanted = self._wanted(path)
        if isinstance(wanted, Ready):
            return wanted
        if self.sends_elsewhere:
            return Elsewhere(wanted.link.url)
        sha256 = wanted.link.digests.get("sha256")
        if sha256 is not None and client_has(sha256):
            return Unchanged(wanted.link.filename, sha256)
        return wanted


def _settled(path: str, wanted: Wanted, arriving: Arriving) -> Coming:
    """Wait until there is something to send, so that what fails before has a status.

    A small file is held back whole until it is verified.
    """
    if not wait_for((path, "started"), arriving.started, _SETTLE_WITHIN):
        raise TimedOut(f"upstream does not send {wanted.link.filename} in time")
    arriving.started.result()
    return Coming(wanted.link.filename, wanted.link.digests.get("sha256"), arriving)


def _removed(wanted: Wanted) -> NoSuchFile:
    return NoSuchFile(f"{wanted.link.filename} has just been removed from the cache")


def _ready(held: HeldFile, blob: Blob) -> Ready:
    return Ready(held.filename, held.sha256, held.size, blob.path)
