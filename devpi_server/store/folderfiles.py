"""The files of the projects in folders of packages, each as a stat says it is now."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType

from devpi_server.concurrency import BoundedCache
from devpi_server.names import SIGNATURE, NormalizedName
from devpi_server.store import filenames
from devpi_server.store.foldercatalogue import Catalogue, Member
from devpi_server.store.foldertree import FINAL, GLANCE, MANY, Rota, Timer

log = logging.getLogger(__name__)

_KNOWN = 32 * 1024 * 1024  # bytes of projects in memory
_COST = 500  # bytes that a file takes there, about


@dataclass(frozen=True, slots=True)
class File:
    """A distribution file, or its signature, as it is now."""

    project: NormalizedName
    version: str  # as the name says it; empty: it says none
    filename: str
    root: str
    path: str
    size: int
    modified: int  # nanoseconds since the epoch
    inode: int
    is_signed: bool  # its .asc lies beside it
    changed: int = field(compare=False)  # nanoseconds: when it came, or thereabouts

    @property
    def relative(self) -> str:
        """The path from its root."""
        return self.path[len(self.root) :].lstrip("/")

    def is_still(self) -> bool:
        """Whether a stat says the same of it now."""
        try:
            found = os.stat(self.path)
        except OSError:
            return False
        return (
            found.st_mtime_ns == self.modified
            and found.st_size == self.size
            and found.st_ino == self.inode
        )


_NONE: Mapping[str, File] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of one project."""

    stamp: bytes  # equal stamps: equal files
    files: tuple[File, ...]  # one a file name, sorted by name


@dataclass(frozen=True, slots=True)
class _Known:
    revision: int
    contents: Contents
    rota: Rota[File]
    is_whole: bool  # all that was listed was there


class Files:
    """What the files in the catalogue are."""

    def __init__(self, catalogue: Catalogue, timer: Timer) -> None:
        self._catalogue = catalogue
        self._timer = timer
        self._known: BoundedCache[NormalizedName, _Known] = BoundedCache(_KNOWN)

    def contents(self, project: NormalizedName, *, look: bool) -> tuple[Contents | None, bool]:
        """The files of the project, None if there are none; and whether one has changed.

        :param look: whether to find out if one was written over.
        """
        known = self._known.get(project)
        is_current = known is not None and known.revision == self._catalogue.revision(project)
        if known is not None and is_current and not (look and self._has_changed(known)):
            return known.contents, False
        members = self._catalogue.members(project)
        if members is None:
            self._known.discard(project)
            return None, False
        held = {each.path: each for each in known.contents.files} if known is not None else _NONE
        files = tuple(self.stat(members.members, held))
        contents = Contents(_stamp(files), files)
        is_whole = len(files) == len({member.name for member in members.members})
        now = _Known(members.revision, contents, Rota(files, self._timer), is_whole)
        self._known.put(project, now, (len(files) + 1) * _COST)
        is_other = known is not None and known.contents.stamp != contents.stamp
        return contents if files else None, is_other

    def stat(self, members: Iterable[Member], held: Mapping[str, File] = _NONE) -> Iterator[File]:
        """The files that are there, one a name, by name.

        :param held: path → what is believed of one that cannot be asked just now.
        """
        last = ""
        for member in sorted(members, key=_order):
            if member.name != last:
                file = self._file(member, held)
                if file is not None:
                    last = member.name
                    yield file

    def _file(self, member: Member, held: Mapping[str, File]) -> File | None:
        node, name = member
        path = os.path.join(node.path, name)
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno in FINAL:
                return None
            log.warning("cannot look at %s: %s", path, error.strerror)
            return held.get(path)
        said = filenames.parse(name)
        if said is None or not stat.S_ISREG(found.st_mode):
            return None
        return File(
            said.project,
            said.version,
            name,
            self._catalogue.tops[node.root].path,
            path,
            found.st_size,
            found.st_mtime_ns,
            found.st_ino,
            self._catalogue.has(node, name + SIGNATURE),
            found.st_ctime_ns,
        )

    def _has_changed(self, known: _Known) -> bool:
        """Whether a file is another than it was; of very many, some are asked each time."""
        if not known.is_whole:
            return True
        looked_at = known.rota.turn(self._timer() + GLANCE, MANY)
        return any(not file.is_still() for file in looked_at)


def _order(member: Member) -> tuple[str, int, int, str]:
    """Of two with one name, the first counts."""
    return member.name, member.node.root, member.node.depth, member.node.path


def _stamp(files: Iterable[File]) -> bytes:
    said = [(each.path, each.size, each.modified, each.inode, each.is_signed) for each in files]
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=16).digest()
