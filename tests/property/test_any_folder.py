"""Whatever is done to folders, the next page says what is there, and never a wrong digest."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from devpi_server.errors import NoSuchFile, NoSuchProject
from devpi_server.names import project
from devpi_server.sources.directory import Directory
from devpi_server.store import filenames
from devpi_server.store.folderfacts import FolderFacts
from devpi_server.store.folders import Folders
from devpi_server.store.incoming import Incoming
from devpi_server.store.locks import Locks
from devpi_server.workers.digests import Digests

DIRECTORIES = ("", "foo", "x", "x/foo", "x/y", ".hidden")
NAMES = (
    "foo-1.0.zip", "foo-2.0-py3-none-any.whl", "foo-1.0.zip.asc", "bar-1.0.tar.gz", "README",
    ".foo-3.0.zip",
)  # fmt: skip
CONTENTS = (b"", b"one", b"two", b"longer")

Step = tuple[str, int, str, str, bytes]
STEPS = st.tuples(
    st.sampled_from(["copy", "write over", "remove", "remove all", "move", "read", "look"]),
    st.integers(0, 1),
    st.sampled_from(DIRECTORIES),
    st.sampled_from(NAMES),
    st.sampled_from(CONTENTS),
)


class World:
    """Two folders, two processes that serve them, and what a user does.

    :param dates: gives each path that has changed a time that it never had. With it,
        listings are believed at once, as they are once some time has passed.
    """

    def __init__(self, folder: Path, *, dates: bool) -> None:
        self.roots = [folder / "first", folder / "second"]
        for root in self.roots:
            root.mkdir()
        self.times = count(1)
        self.dates = dates
        self.clock = FakeClock(1e11 if dates else 0.0)
        self.timer = FakeClock(0.0)
        self.locks = Locks(folder / "locks")
        self.incoming = Incoming(folder / "incoming")
        self.facts = folder / "facts"
        self.processes = [self.process(), self.process()]

    def process(self) -> tuple[Directory, Digests]:
        folders = Folders(self.roots, clock=self.clock)
        facts = FolderFacts(self.facts, self.incoming)
        worker = Digests(
            name="x",
            folders=folders,
            facts=facts,
            locks=self.locks,
            clock=self.clock,
            timer=self.timer,
        )
        return Directory(folders, facts), worker

    def take(self, step: Step) -> None:
        action, root, directory, name, content = step
        folder = self.roots[root] / directory
        getattr(self, action.replace(" ", "_"))(folder, name, content)

    def copy(self, folder: Path, name: str, content: bytes) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "..new").write_bytes(content)
        self.date(folder / "..new")
        (folder / "..new").replace(folder / name)
        for each in (folder, *folder.parents):
            if each.is_relative_to(self.roots[0]) or each.is_relative_to(self.roots[1]):
                self.date(each)

    def write_over(self, folder: Path, name: str, content: bytes) -> None:
        if (folder / name).exists():
            (folder / name).write_bytes(content)
            self.date(folder / name, always=True)

    def remove(self, folder: Path, name: str, content: bytes) -> None:
        if (folder / name).exists():
            (folder / name).unlink()
            self.date(folder)

    def remove_all(self, folder: Path, name: str, content: bytes) -> None:
        if folder.exists() and folder not in self.roots:
            shutil.rmtree(folder)
            self.date(folder.parent)

    def move(self, folder: Path, name: str, content: bytes) -> None:
        target = self.roots[0] / "moved"
        if folder.exists() and folder not in self.roots and not target.exists():
            folder.rename(target)
            self.date(folder.parent)
            self.date(target.parent)

    def read(self, folder: Path, name: str, content: bytes) -> None:
        for _ in range(3):
            self.processes[0][1].tick()
            self.timer.advance(10.0)

    def look(self, folder: Path, name: str, content: bytes) -> None:
        self.processes[1][0].folders.refresh(1.0)

    def date(self, path: Path, *, always: bool = False) -> None:
        # A digest is made of what has rested; in here, only the worker's clock goes that far.
        if self.dates or always:
            os.utime(path, ns=(next(self.times) * 1001,) * 2)

    def truth(self) -> dict[str, dict[str, tuple[str, bytes, bool]]]:
        """Project → file name → path, content, whether it is signed."""
        found: dict[str, dict[str, tuple[str, bytes, bool]]] = {}
        for root in self.roots:
            folders = [folder for folder, _, _ in os.walk(root) if "/." not in folder]
            for folder in sorted(folders, key=lambda path: (path.count("/"), path)):
                for name in os.listdir(folder):
                    said = filenames.parse(name)
                    path = os.path.join(folder, name)
                    if said is not None and not name.endswith(".asc"):
                        value = path, Path(path).read_bytes(), os.path.exists(f"{path}.asc")
                        found.setdefault(said.project, {}).setdefault(name, value)
        return found

    def check(self, directory: Directory) -> None:
        truth = self.truth()
        assert set(directory.listing().names()) == truth.keys()
        for name in ("foo", "bar"):
            try:
                links = directory.view(project(name)).load().links
            except NoSuchProject:
                links = ()
            expected = truth.get(name, {})
            assert {link.filename for link in links} == expected.keys()
            for link in links:
                path, content, is_signed = expected[link.filename]
                held = directory.find(link.filename)
                assert str(held.path) == path
                assert link.size == len(content)
                assert link.gpg_sig is is_signed
                digest = hashlib.sha256(content).hexdigest()
                assert link.digests.get("sha256") in (None, digest)
                assert held.sha256 == link.digests.get("sha256")
        for name in NAMES:
            if not any(name in files for files in truth.values()) and not name.endswith(".asc"):
                try:
                    directory.find(name)
                except NoSuchFile:
                    continue
                raise AssertionError(f"{name} is not there")


def run(steps: list[Step], *, dates: bool, check: Callable[[World], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), dates=dates)
        for step in steps:
            world.take(step)
            check(world)
        world.locks.close()


def check_all(world: World) -> None:
    for directory, _ in world.processes:
        world.check(directory)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_the_next_request_sees_what_was_done_just_now(steps: list[Step]) -> None:
    """However quickly one thing follows the other."""
    run(steps, dates=False, check=check_all)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_the_next_request_sees_what_was_done_after_a_while(steps: list[Step]) -> None:
    """When listings are believed."""
    run(steps, dates=True, check=check_all)


@settings(deadline=None, max_examples=40)
@given(st.lists(STEPS, max_size=40), st.integers(2, 7))
def test_a_process_that_was_not_asked_for_long_sees_all_that_was_done(
    steps: list[Step], pause: int
) -> None:
    """Many changes between two looks."""
    numbers = count()

    def check(world: World) -> None:
        if next(numbers) % pause == 0:
            world.check(world.processes[1][0])

    run(steps, dates=True, check=check)


@settings(deadline=None, max_examples=40)
@given(st.lists(STEPS, max_size=15))
def test_all_that_rests_gets_its_digest(steps: list[Step]) -> None:
    """And a restart finds it again."""

    def nothing(world: World) -> None:
        """Look at the end only."""

    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), dates=True)
        for step in steps:
            world.take(step)
        world.processes[0][0].folders.refresh(1.0)
        world.read(Path(), "", b"")
        for directory, _ in (*world.processes, world.process()):
            for name, files in world.truth().items():
                for link in directory.view(project(name)).load().links:
                    digest = hashlib.sha256(files[link.filename][1]).hexdigest()
                    assert link.digests == {"sha256": digest}
        world.locks.close()
