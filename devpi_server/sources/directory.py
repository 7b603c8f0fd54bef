"""Folders of packages as an index: what somebody copies in is what its pages show.

A file is listed as it is, at once, and at first without a digest and without
metadata: nothing is read in a request.  ``workers.digests`` reads the files
soon after they have come, and the pages say more from then on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote_from_bytes

from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.concurrency import BoundedCache
from devpi_server.errors import NoSuchFile, Overloaded
from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, Digests, Freshness, Link, Listing, Page, View
from devpi_server.store import artefact, filenames, folderdigest
from devpi_server.store.folderfacts import Fact, FolderFacts, Stamp
from devpi_server.store.folderfiles import Contents, File
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import translated

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_VERSION = Version("0")
_BUDGET = 8 * 1024 * 1024  # bytes of files in memory
_FEW = 300  # files
_COST = 900  # bytes that one takes there, about


def _now() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Held:
    """A file of the folders, and what is known of its content as it is now."""

    file: File
    fact: Fact | None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.file.path)

    @property
    def sha256(self) -> str | None:
        """None: not read yet."""
        return self.digests.get("sha256")

    @property
    def digests(self) -> Digests:
        """Those that are known by now."""
        return self.fact.digests if self.fact is not None else NO_DIGESTS

    @property
    def uploaded(self) -> datetime | None:
        """When it was modified. None: in no year that has a date."""
        try:
            return _EPOCH + timedelta(microseconds=self.file.modified // 1000)
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class Located:
    """What is served at a path of the index."""

    filename: str
    path: Path
    size: int
    sha256: str | None  # None: not read yet
    held: Held | None = None  # None: it is no file of the folders, but of the data directory


class _Known(NamedTuple):
    """A file that was found, and what this depends on beside the file."""

    held: Held
    located: Located  # the same
    revision: int | None
    stamp: Stamp


class Directory:
    """The folders as a source, and the way from a file's name to its bytes."""

    def __init__(self, folders: Folders, facts: FolderFacts) -> None:
        self.folders = folders
        self.facts = facts
        self._known: BoundedCache[str, _Known] = BoundedCache(_BUDGET)

    @property
    def first(self) -> Path:
        """The folder that counts first."""
        return Path(self.folders.roots[0])

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        contents = self.folders.contents(project, look=freshness is Freshness.CURRENT)
        known = self.facts.stamp(project)
        return View(
            (contents.stamp, known),
            lambda: self._page(project, contents, known),
            # What is known of few files is read faster than another thread takes over.
            at_hand=len(contents.files) <= _FEW,
            until=_now,  # nobody tells when a folder changes
        )

    def listing(self) -> Listing:
        generation, projects = self.folders.listing()
        return Listing(generation, lambda: iter(sorted(projects)))

    def at(self, path: str) -> Located:
        """What is served at this path of the index, as ``names.file_path`` has it.

        :param path: also of a companion, ``.asc`` or ``.metadata``.
        :raises NoSuchFile: there is none, or what is there is not what the path says.
        :raises Overloaded: it has not been read as it is now, so this cannot be told yet.
        :raises StoreError: the disk is sick.
        """
        base, ending = names.split_companion(path)
        if ending:
            return self._locate(base, ending)
        return self._remembered(base, lambda: self._held_at(base)).located

    def _remembered(self, key: str, find: Callable[[], Held]) -> _Known:
        """What was found for the key, if it is as it was; else what is found now.

        :param key: ends with the name of a file.
        """
        known = self._known.get(key)
        if known is not None and self._is_as_it_was(known):
            return known
        said = filenames.parse(key.rpartition("/")[2])
        if said is None:
            raise NoSuchFile("the folder has no such file")
        # Asked for before the file is, so that what changes meanwhile is found out.
        revision, stamp = self.folders.revision(said.project), self.facts.stamp(said.project)
        held = find()
        file = held.file
        located = Located(file.filename, held.path, file.size, held.sha256, held)
        known = _Known(held, located, revision, stamp)
        self._known.put(key, known, _COST + 2 * len(key))
        return known

    def _is_as_it_was(self, known: _Known) -> bool:
        file = known.held.file
        return (
            self.folders.revision(file.project) == known.revision
            and file.is_still()
            and self.facts.stamp(file.project) == known.stamp
        )

    def _held_at(self, base: str) -> Held:
        filename = base.rpartition("/")[2]
        held = self.find(filename)
        link = _link(held)
        if base not in (
            names.file_path(filename, link.url, link.digests),
            names.file_path(filename, link.url, {}),
        ):
            if base.startswith("+f/") and held.sha256 is None:
                raise Overloaded(f"{filename} is being read, try again", retry_after=2)
            raise NoSuchFile(f"there is no such {filename} any more")
        return held

    def _locate(self, base: str, ending: str) -> Located:
        """A companion."""
        held = self._held_at(base)
        filename = held.file.filename + ending
        if ending == names.METADATA:
            place, sha256 = self.metadata(held)
            with translated("read metadata"):
                return Located(filename, place, place.stat().st_size, sha256)
        held = self.find(filename)
        return Located(filename, held.path, held.file.size, held.sha256, held)

    def find(self, filename: str) -> Held:
        """The distribution file or signature of this name.

        :raises NoSuchFile: there is none.
        :raises StoreError: the disk is sick.
        """
        return self._held(self.folders.locate(filename))

    def find_at(self, relative: str) -> Held:
        """The distribution file or signature at this path below one of the folders.

        :raises NoSuchFile: there is none.
        :raises StoreError: the disk is sick.
        """
        key = f"/{relative}"
        return self._remembered(key, lambda: self._held(self.folders.locate_at(relative))).held

    def open(self, held: Held) -> tuple[BinaryIO, Held]:
        """The bytes of a file, and what is known of just these bytes.

        The owner may replace it between ``find`` and now: send no digest and no length
        but those that come with the bytes.

        :raises NoSuchFile: it is gone.
        :raises StoreError: it cannot be read.
        """
        opened, file = folderdigest.open_file(held.file)
        try:
            return opened, held if file == held.file else self._held(file)
        except BaseException:
            opened.close()
            raise

    def metadata(self, held: Held) -> tuple[Path, str]:
        """Where the metadata of a wheel lies (PEP 658), and its digest.

        :raises NoSuchFile: there is none, or it has not been read yet.
        :raises StoreError: the disk is sick.
        """
        missing = f"there is no {names.METADATA} of {held.file.filename}"
        sha256 = held.fact.metadata if held.fact is not None else None
        if sha256 is None:
            raise NoSuchFile(missing)
        place = self.facts.metadata(sha256)
        if place is None:
            # Its place is a cache, which anybody may clean.
            opened, _ = self.open(held)
            with opened:
                metadata = artefact.wheel_metadata(opened)
            if metadata is not None and self.facts.put_metadata(metadata) == sha256:
                place = self.facts.metadata(sha256)
        if place is None:
            raise NoSuchFile(missing)
        return place, sha256

    def held(self, project: NormalizedName) -> list[Held]:
        """The files of the project, by version and name.

        :raises NoSuchProject: there are none.
        :raises StoreError: the disk is sick.
        """
        files = self.folders.contents(project).files
        return _sorted(files, self.facts.of(files))

    def everything(self) -> Iterator[Held]:
        """All files and signatures, directory by directory; also hidden ones."""
        for file in self.folders.everything():
            yield self._held(file)

    def _held(self, file: File) -> Held:
        return Held(file, next(self.facts.of([file])))

    def _page(self, project: NormalizedName, contents: Contents, known: Stamp) -> Page:
        held = _sorted(contents.files, self.facts.of(contents.files, known))
        versions = dict.fromkeys(each.file.version for each in held if each.file.version)
        return Page(project, tuple(_link(each) for each in held), tuple(versions))


def version_of(filename: str, _: NormalizedName) -> str | None:
    """The version that the name of a file states; as ``names.version_of`` of other indexes."""
    said = filenames.parse(filename)
    return said.version or None if said is not None else None


def _sorted(files: tuple[File, ...], facts: Iterator[Fact | None]) -> list[Held]:
    """By version, what has no proper one first; then by name."""
    held = [Held(file, fact) for file, fact in zip(files, facts, strict=True)]
    versions = {file.version: _version(file.version) for file in files}
    return sorted(
        held, key=lambda each: (*versions[each.file.version], each.file.version, each.file.filename)
    )


def _version(text: str) -> tuple[bool, Version]:
    try:
        return True, Version(text)
    except InvalidVersion:
        return False, _NO_VERSION


def _link(held: Held) -> Link:
    file, fact = held.file, held.fact
    return Link(
        file.filename,
        # Unlike any other of the index, and not telling where the folder lies.
        f"file:///{quote_from_bytes(os.fsencode(file.relative))}",
        held.digests,
        file.size,
        held.uploaded,
        fact.requires_python if fact is not None else None,
        core_metadata={"sha256": fact.metadata} if fact is not None and fact.metadata else None,
        gpg_sig=file.is_signed,
    )
