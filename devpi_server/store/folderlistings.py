"""Keeping the catalogue of folders true to the disk, at a bounded cost a request."""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from devpi_server.concurrency import Clock
from devpi_server.names import NormalizedName
from devpi_server.store import filenames
from devpi_server.store.foldercatalogue import Catalogue
from devpi_server.store.foldertree import (
    FINAL,
    GLANCE,
    MANY,
    Inside,
    Mark,
    Node,
    Rota,
    Timer,
    list_directory,
)
from devpi_server.store.turns import Turns

log = logging.getLogger(__name__)

_PAUSE = 4  # times what requests spent on unlikely places, until they look there again
_FEW = 64  # directories: all of them are looked at in each request
_PATIENCE = 5.0  # seconds that a request waits for a listing
_LISTED_AGAIN = 300.0  # seconds, for file systems whose directories have no times to go by
_QUIET = {errno.ENOENT, errno.ENOTDIR}  # removed between two looks: nothing to tell


class Listings:
    """The directories of the catalogue: looked at, and listed again where they have changed."""

    def __init__(self, catalogue: Catalogue, clock: Clock, timer: Timer) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._timer = timer
        self._turns: Turns[Node] = Turns("listing", self._list)
        self._lock = threading.Lock()
        self._touched: dict[NormalizedName, None] = {}
        self._glance_after = float("-inf")
        self._arrange()

    def catch_up(self, project: NormalizedName | None) -> bool:
        """Bring the catalogue up to date, as far as the project is concerned.

        :param project: None: no special one.
        :return: False: listing takes too long, and goes on.
        """
        now = self._timer()
        due = {top: None for top in self._catalogue.tops if not top.is_true()}
        if project is not None:
            own = Rota(self._catalogue.nodes(project), self._timer)
            for node in own.turn(now + GLANCE, MANY):
                if node.depth and not node.is_true():
                    due[node] = None
        self._glance(due)
        return self._have_listed(due)

    def is_true(self, project: NormalizedName) -> bool:
        """Whether nothing that concerns the project has to be listed again, as far as one sees."""
        nodes = (*self._catalogue.tops, *self._catalogue.nodes(project)[:MANY])
        return all(node.is_true() for node in nodes)

    def refresh(self, seconds: float) -> None:
        """Go on with the round through all directories, for about that time."""
        now = self._timer()
        self._have_listed(
            node
            for node in self._all.turn(now + seconds)
            if not node.is_true() or now - node.listed > _LISTED_AGAIN
        )

    def hint(self, paths: Iterable[str]) -> None:
        """Something may have happened to these files or directories."""
        due: dict[Node, None] = {}
        for path in paths:
            folder, name = os.path.split(path)
            for node in (self._catalogue.node_at(path), self._catalogue.node_at(folder)):
                if node is not None and not node.is_true():
                    due[node] = None
            said = filenames.parse(name)
            if said is not None:
                self.touch(said.project)
        self._have_listed(due)

    def touch(self, project: NormalizedName) -> None:
        """Note that files of the project have changed."""
        with self._lock:
            self._touched[project] = None

    def touched(self) -> list[NormalizedName]:
        """The projects whose files were found changed since this was asked last."""
        with self._lock:
            touched, self._touched = self._touched, {}
        return list(touched)

    def _glance(self, due: dict[Node, None]) -> None:
        """Look for what is due in places where hardly anything is."""
        now = self._timer()
        are_few = len(self._inner.items) + len(self._outer.items) <= _FEW
        if are_few or now >= self._glance_after:
            at_least = _FEW if are_few else 1
            for rota, end in ((self._inner, now + GLANCE / 2), (self._outer, now + GLANCE)):
                due.update((node, None) for node in rota.turn(end, at_least) if not node.is_true())
            over = self._timer()
            self._glance_after = over + _PAUSE * (over - now)

    def _have_listed(self, nodes: Iterable[Node]) -> bool:
        due = tuple(nodes)
        return not due or self._turns.do(due, _PATIENCE)

    def _list(self, nodes: Sequence[Node]) -> None:
        """List the directories, and those in them that are new. Takes turns."""
        waiting = deque(nodes)
        is_other = False
        while waiting:
            node = waiting.popleft()
            before = len(node.children)
            new = self._list_one(node)
            is_other = is_other or bool(new) or before != len(node.children)
            # All that are new, and what has taken the place of one that was known.
            waiting.extend(child for child in node.children.values() if not child.is_true())
        if is_other:
            self._arrange()

    def _list_one(self, node: Node) -> list[Node]:
        """Put into the catalogue what lies there; return the directories that are new."""
        begun = self._timer()
        mark = node.look()
        if isinstance(mark, int):
            self._fail(node, mark, mark, begun)
            return []
        try:
            inside = list_directory(node.path)
        except OSError as error:
            self._fail(node, mark, error.errno or errno.EIO, begun)
            return []
        new = self._put(node, inside)
        node.note(mark, begun, self._clock)
        return new

    def _fail(self, node: Node, mark: Mark | int, number: int, begun: float) -> None:
        if number != node.error and not (node.depth and number in _QUIET):
            log.warning("cannot list %s: %s", node.path, os.strerror(number))
        if node.depth and number in FINAL:
            self._put(node, Inside(set(), set()))
        node.note_error(mark, number, begun)

    def _put(self, node: Node, inside: Inside) -> list[Node]:
        new, changed = self._catalogue.put(node, inside)
        with self._lock:
            self._touched.update(dict.fromkeys(changed))
        return new

    def _arrange(self) -> None:
        """Set up the rounds anew."""
        nodes = self._catalogue.all_nodes()
        below = [node for node in nodes if node.depth]
        self._inner = Rota([node for node in below if node.children], self._timer)
        self._outer = Rota([node for node in below if not node.children], self._timer)
        self._all = Rota(nodes, self._timer)
