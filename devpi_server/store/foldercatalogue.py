"""The names of the files in folders of packages, by directory and by project; no disk here.

One thread at a time changes it, many read it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from devpi_server import names
from devpi_server.errors import InvalidName
from devpi_server.names import SIGNATURE, NormalizedName
from devpi_server.store import filenames
from devpi_server.store.foldertree import Inside, Node

_ALIKE = 16  # directories of one name: it says where to look, not more


class Member(NamedTuple):
    """A distribution file that a listing has named."""

    node: Node
    name: str


class Members(NamedTuple):
    """The files of a project, as far as listings tell."""

    revision: int  # equal revisions of one project: equal members, and equal signatures
    members: tuple[Member, ...]


@dataclass(slots=True)
class _Project:
    revision: int
    names: set[Member] = field(default_factory=set)
    nodes: tuple[Node, ...] | None = None  # None: to be gathered


class Catalogue:
    """Which directories there are, and which files lie in them.

    :param tops: the roots, first things first.
    """

    def __init__(self, tops: Sequence[Node]) -> None:
        self.tops = tuple(tops)
        self.generation = 0  # changes with the projects that there are
        self.count = 0  # distribution files and signatures
        self._lock = threading.Lock()
        self._revisions = 0
        self._nodes = {node.path: node for node in reversed(self.tops)}
        self._files: dict[Node, dict[str, NormalizedName]] = {node: {} for node in self.tops}
        self._projects: dict[NormalizedName, _Project] = {}
        self._named: dict[NormalizedName, dict[Node, None]] = {}

    def members(self, project: NormalizedName) -> Members | None:
        """The files of the project, None if there are none."""
        with self._lock:
            held = self._projects.get(project)
            return Members(held.revision, tuple(held.names)) if held is not None else None

    def revision(self, project: NormalizedName) -> int | None:
        """The one of its members. None: there are none."""
        held = self._projects.get(project)
        return held.revision if held is not None else None

    def nodes(self, project: NormalizedName) -> tuple[Node, ...]:
        """Where its files lie, and where one would expect them: in directories of its name."""
        held = self._projects.get(project)
        found = held.nodes if held is not None else None
        if found is None:
            with self._lock:
                named = islice(self._named.get(project, ()), _ALIKE)
                members = held.names if held is not None else ()
                found = tuple(dict.fromkeys((*(member.node for member in members), *named)))
                if held is not None:
                    held.nodes = found
        return found

    def projects(self) -> list[NormalizedName]:
        """Those that have files."""
        with self._lock:
            return list(self._projects)

    def node_at(self, path: str) -> Node | None:
        """The directory at the path."""
        return self._nodes.get(path)

    def all_nodes(self) -> list[Node]:
        """All directories."""
        with self._lock:
            return list(self._files)

    def files(self, node: Node) -> list[str]:
        """The distribution files and signatures in the directory."""
        with self._lock:
            return list(self._files.get(node, ()))

    def has(self, node: Node, name: str) -> bool:
        """Whether a file of this name lies in the directory."""
        return name in self._files.get(node, ())

    def put(self, node: Node, inside: Inside) -> tuple[list[Node], set[NormalizedName]]:
        """Note what lies in the directory now.

        :return: the directories in it that were not known, and the projects whose files
            have changed.
        """
        known = self._files.get(node)
        if known is None:  # it has been dropped together with one above it
            return [], set()
        gone = set(known).difference(inside.files)
        come = {}
        for name in inside.files.difference(known):
            said = filenames.parse(name)
            if said is not None:
                come[name] = said.project
        changed = set(come.values())
        with self._lock:
            for name in gone:
                changed.add(known[name])
                self._remove(node, name, known.pop(name))
            for name, project in come.items():
                self._add(node, name, project)
            known.update(come)
            for name in node.children.keys() - inside.folders:
                changed |= self._drop(node.children.pop(name))
            new = [self._make(node, name) for name in sorted(inside.folders - node.children.keys())]
        return new, changed

    def _add(self, node: Node, name: str, project: NormalizedName) -> None:
        self.count += 1
        self._revisions += 1
        held = self._projects.get(project)
        if name.endswith(SIGNATURE):
            if held is not None:
                held.revision = self._revisions
            return
        if held is None:
            held = self._projects[project] = _Project(self._revisions)
            self.generation += 1
        held.names.add(Member(node, name))
        held.revision, held.nodes = self._revisions, None

    def _remove(self, node: Node, name: str, project: NormalizedName) -> None:
        self.count -= 1
        self._revisions += 1
        held = self._projects.get(project)
        if held is not None:
            held.names.discard(Member(node, name))
            held.revision, held.nodes = self._revisions, None
            if not held.names:
                del self._projects[project]
                self.generation += 1

    def _make(self, parent: Node, name: str) -> Node:
        node = parent.children[name] = parent.child(name)
        self._nodes.setdefault(node.path, node)
        self._files[node] = {}
        project = _project(name)
        if project is not None:
            self._named.setdefault(project, {})[node] = None
            self._expect_elsewhere(project)
        return node

    def _drop(self, top: Node) -> set[NormalizedName]:
        """Forget the directory and all below it."""
        changed = set()
        waiting = [top]
        while waiting:
            node = waiting.pop()
            waiting.extend(node.children.values())
            for name, named in self._files.pop(node).items():
                changed.add(named)
                self._remove(node, name, named)
            if self._nodes.get(node.path) is node:
                del self._nodes[node.path]
            project = _project(os.path.basename(node.path))
            if project is not None:
                del self._named[project][node]
                if not self._named[project]:
                    del self._named[project]
                self._expect_elsewhere(project)
        return changed

    def _expect_elsewhere(self, project: NormalizedName) -> None:
        held = self._projects.get(project)
        if held is not None:
            held.nodes = None


def _project(folder: str) -> NormalizedName | None:
    try:
        return names.project(folder)
    except InvalidName:
        return None
