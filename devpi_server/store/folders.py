"""What lies in folders of packages, as it is at this moment.

A folder belongs to its owner, who copies files in, replaces and removes them
with whatever tool; nothing is ever written into it.  The next request is to see
what he did, and is not to search 100,000 files for it:

* The names are in memory.  A request stats the directories (``foldertree`` says
  what that tells) and has those listed again that have changed, so a new file
  costs one listing of one directory, once, whoever asks first.
* The files of the one project that is asked for are stat'ed as well: one that
  was written over in place changes no directory.
* Thousands of stats would be too many.  Each request looks at the roots, at
  the directories that hold files of the project or bear its name, and for a
  millisecond at the others in turn, at those that have directories in them
  first; up to a thousand directories, that is all of them.  Requests that come
  thick and fast spend a fifth of the time on this, not more, unless there are
  very few directories.  ``refresh``, which a worker calls, goes on with the
  round, so a file in an unlikely place of a huge tree is seen after a second or
  so, all others at once.

Listings are made by one thread (``Turns``): who finds a directory changed waits
for one that begins after he has asked, together with all others who do, and
none uses a listing that may be older than his request.  Only where a listing
takes seconds, as of a huge directory over a slow net, what is known is served.

"Cannot tell" is never "not there": while a root cannot be read, a project that
is not in the others is a StoreError.  A directory below that is not ours to
read is skipped, as ``lost+found`` is; one that fails otherwise keeps its files.

Over NFS, "at this moment" is what this machine's client knows: changes made by
another machine are seen when its attribute cache says so (``acdirmax``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from devpi_server.concurrency import Clock
from devpi_server.errors import NoSuchFile, NoSuchProject, StoreError
from devpi_server.names import SIGNATURE, NormalizedName
from devpi_server.store import filenames
from devpi_server.store.foldercatalogue import Catalogue, Member
from devpi_server.store.folderfiles import Contents, File, Files
from devpi_server.store.folderlistings import Listings
from devpi_server.store.foldertree import Node, Timer
from devpi_server.store.mounts import is_near


class Folders:
    """The files below some folders; of two with one name the one in the first folder counts.

    Within one folder it is the one that lies less deep, then the one whose path comes
    first.

    :param roots: folders, in this order.
    """

    def __init__(
        self, roots: Sequence[Path], *, clock: Clock, timer: Timer = time.monotonic
    ) -> None:
        self.roots = tuple(os.path.abspath(root) for root in roots)
        self.are_near = all(is_near(root) for root in self.roots)
        self._tops = tuple(Node(root, number) for number, root in enumerate(self.roots))
        self._catalogue = Catalogue(self._tops)
        self._listings = Listings(self._catalogue, clock, timer)
        self._files = Files(self._catalogue, timer)

    @property
    def count(self) -> int:
        """How many distribution files and signatures there were at the last look."""
        return self._catalogue.count

    def contents(self, project: NormalizedName, *, look: bool = True) -> Contents:
        """The files of the project.

        :param look: at the disk; else what was there at the last look.
        :raises NoSuchProject: there are none.
        :raises StoreError: a folder cannot be read, or not in time, and there are none that
            are known.
        """
        is_current = self._listings.catch_up(project) if look or not self._is_listed() else True
        contents, is_other = self._files.contents(project, look=look)
        if is_other:
            self._listings.touch(project)
        if contents is None:
            self._expect_known(is_current=is_current)
            raise NoSuchProject(f"the folder has no file of {project}")
        return contents

    def files(self, project: NormalizedName) -> list[File]:
        """Its files as they are now, as far as they were there at the last look; not remembered."""
        members = self._catalogue.members(project)
        return list(self._files.stat(members.members)) if members is not None else []

    def places(self, project: NormalizedName) -> list[Path]:
        """Where its distribution files lie, also those that others hide, as of now."""
        self._listings.catch_up(project)
        members = self._catalogue.members(project)
        found = members.members if members is not None else ()
        return [Path(os.path.join(node.path, name)) for node, name in found]

    def locate(self, filename: str) -> File:
        """The distribution file or signature of this name.

        :raises NoSuchFile: there is none.
        :raises StoreError: a folder cannot be read, or not in time, and there is none that
            is known.
        """
        base = filename.removesuffix(SIGNATURE)
        file = self._locate(base)
        if file is not None and file.filename != filename:
            node = self._catalogue.node_at(os.path.dirname(file.path))
            file = self._at(node, filename)
        if file is None:
            raise NoSuchFile(f"the folder has no file {filename}")
        return file

    def revision(self, project: NormalizedName) -> int | None:
        """Another one as soon as a file of the project has come or gone; None: it has none.

        :raises StoreError: a folder cannot be read, or not in time.
        """
        is_current = self._listings.catch_up(project)
        found = self._catalogue.revision(project)
        if found is None:
            self._expect_known(is_current=is_current)
        return found

    def locate_at(self, relative: str) -> File:
        """The distribution file or signature at this path below one of the roots.

        :raises NoSuchFile: there is none.
        :raises StoreError: a folder cannot be read, or not in time, and there is none that
            is known.
        """
        folder, _, filename = relative.rpartition("/")
        said = filenames.parse(filename)
        if said is not None and not relative.startswith("/"):
            is_current = self._listings.catch_up(said.project)
            for root in self.roots:
                # No path but one that a listing has led to: nothing is resolved here.
                node = self._catalogue.node_at(f"{root}/{folder}" if folder else root)
                file = self._at(node, filename)
                if file is not None:
                    return file
            self._expect_known(is_current=is_current)
        raise NoSuchFile("the folder has no such file")

    def listing(self) -> tuple[int, list[NormalizedName]]:
        """The projects that have files, and a number that changes with them.

        :raises StoreError: a folder cannot be read, or not in time, and there are none that
            are known.
        """
        is_current = self._listings.catch_up(None)
        generation = self._catalogue.generation
        found = self._catalogue.projects()
        if not found:
            self._expect_known(is_current=is_current)
        return generation, found

    def everything(self) -> Iterator[File]:
        """All distribution files and signatures, directory by directory; also the hidden ones."""
        self._listings.catch_up(None)
        for node in sorted(self._catalogue.all_nodes(), key=lambda node: (node.root, node.path)):
            names = self._catalogue.files(node)
            yield from self._files.stat(Member(node, name) for name in names)

    def is_at_hand(self, project: NormalizedName) -> bool:
        """Whether a question about the project waits for nothing but stats on this machine."""
        return self.are_near and self._listings.is_true(project)

    def refresh(self, seconds: float) -> None:
        """Go on with the round through all directories, for about that time."""
        self._listings.refresh(seconds)

    def hint(self, paths: Iterable[str]) -> None:
        """Something may have happened to these files or directories."""
        self._listings.hint(paths)

    def touched(self) -> list[NormalizedName]:
        """The projects whose files were found changed since this was asked last."""
        return self._listings.touched()

    def projects(self) -> list[NormalizedName]:
        """Those that had files at the last look."""
        return self._catalogue.projects()

    def _is_listed(self) -> bool:
        return all(top.mark is not None or top.error is not None for top in self._tops)

    def _locate(self, filename: str) -> File | None:
        said = filenames.parse(filename)
        if said is None:
            return None
        is_current = self._listings.catch_up(said.project)
        members = self._catalogue.members(said.project)
        named = [each for each in members.members if each.name == filename] if members else []
        file = next(self._files.stat(named), None)
        if file is None:
            self._expect_known(is_current=is_current)
        return file

    def _at(self, node: Node | None, filename: str) -> File | None:
        if node is None or not self._catalogue.has(node, filename):
            return None
        return next(self._files.stat([Member(node, filename)]), None)

    def _expect_known(self, *, is_current: bool) -> None:
        """Raise StoreError if what was not found may be there."""
        if not is_current:
            raise StoreError("the folder is slow to list, try again")
        for top in self._tops:
            if top.error is not None:
                raise StoreError(f"cannot read the folder {top.path}: {os.strerror(top.error)}")
