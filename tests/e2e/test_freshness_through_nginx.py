"""Nobody sees, through nginx, an answer that is older than the last acknowledged change.

Each address has a history: what was to be seen there, from when a change was asked for, and
from when it was acknowledged.  An answer is sound if it shows a state that may have been the
present one between the moment it was asked for and the moment it was there.

``DEVPI_CHANGES=1000`` is how many changes are made, ``DEVPI_SEED`` repeats a run.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from people import Person, join
from server import JSON, BrokenOff, Http, Response
from upstream import Upstream
from upstream.artefacts import Artefact, wheel

from .deployed import Deployed

CHANGES = int(os.environ.get("DEVPI_CHANGES", "60"))
READERS = 8
PROJECTS = 4  # of each kind
PAUSE = 0.2  # seconds, at most, between two changes: for what is published meanwhile
PIP = {
    "Accept": f"{JSON}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01",
}

State = object


class Moment(NamedTuple):
    """From when on a state is to be seen."""

    state: State
    asked: float
    acknowledged: float


@dataclass
class Subject:
    """An address, what its answers show, and what they were to show."""

    path: str
    seen: Callable[[Response], State]
    headers: dict[str, str] = field(default_factory=dict)
    history: list[Moment] = field(default_factory=list)

    def may_be(self, begin: float, end: float) -> list[State]:
        """What an answer may show that was asked for and came at these times."""
        moments = self.history.copy()
        following = itertools.chain(moments[1:], [None])
        return [
            moment.state
            for moment, after in zip(moments, following, strict=True)
            if moment.asked <= end and (after is None or after.acknowledged >= begin)
        ]


def files_of(answer: Response) -> State:
    """What a page says."""
    if answer.status == 404:
        return frozenset()
    assert answer.status == 200, answer
    return frozenset(
        (file["filename"], bool(file.get("yanked")), file["hashes"]["sha256"])
        for file in answer.json["files"]
    )


def names_of(answer: Response) -> State:
    """Which files a page has."""
    assert answer.status == 200, answer
    return frozenset(file["filename"] for file in answer.json["files"])


def is_open(answer: Response) -> State:
    """Whether anybody may read it."""
    assert answer.status in (200, 401), answer
    return answer.status == 200


class Project:
    """A project of alice's, seen in her index and in one that has it for a base."""

    def __init__(self, alice: Person, name: str, chance: random.Random) -> None:
        self._alice = alice
        self._name = name
        self._chance = chance
        self._files: dict[str, tuple[Artefact, bool]] = {}  # version → file, is yanked
        self._number = itertools.count()
        self.subjects = [
            Subject(f"/alice/{index}/+simple/{name}/", files_of, PIP) for index in ("dev", "next")
        ]

    def change(self) -> tuple[Callable[[], object], State]:
        """What to do, and what is to be seen after it."""
        kinds = ["upload"] * 2 + ["delete", "yank", "replace"] * bool(self._files)
        kind = self._chance.choice(kinds)
        path = f"/alice/dev/{self._name}"
        work: Callable[[], object]
        if kind in ("upload", "replace"):
            number = next(self._number)
            version = f"1.{number}"
            if kind == "replace":
                version = self._chance.choice(list(self._files))
            file = wheel(self._name, version, requires=[f"x{number}"])
            self._files[version] = file, False
            work = lambda: self._alice.upload("alice/dev", file)  # noqa: E731
        else:
            version = self._chance.choice(list(self._files))
            file, is_yanked = self._files.pop(version)
            if kind == "delete":
                work = lambda: self._alice.ok("DELETE", f"{path}/{version}")  # noqa: E731
            else:
                self._files[version] = file, not is_yanked
                method = "DELETE" if is_yanked else "POST"
                reason = None if is_yanked else {"reason": "bad"}
                yank = f"{path}/{version}/+yank"
                work = lambda: self._alice.ok(method, yank, reason)  # noqa: E731
        return work, frozenset(
            (file.filename, yanked, hashlib.sha256(file.data).hexdigest())
            for file, yanked in self._files.values()
        )


class Index:
    """An index that anybody may read, or nobody but alice; its page and its file."""

    def __init__(self, alice: Person, name: str) -> None:
        self._alice = alice
        self._path = f"/alice/{name}"
        self._is_open = True
        alice.ok("PUT", self._path, {"bases": []})
        path = alice.upload(f"alice/{name}", wheel("demo", "1.0"))
        self.subjects = [
            Subject(f"{self._path}/+simple/demo/", is_open, PIP),
            Subject(path, is_open),
        ]

    def change(self) -> tuple[Callable[[], object], State]:
        self._is_open = not self._is_open
        who = ":ANONYMOUS:" if self._is_open else "alice"
        return lambda: self._alice.ok("PATCH", self._path, [f"acl_read={who}"]), self._is_open


class Mirrored:
    """A project upstream; that it has changed is acknowledged when the server was told to look."""

    def __init__(self, up: Upstream, server: Http, name: str) -> None:
        self._up = up
        self._server = server
        self._name = name
        self._number = itertools.count()
        self._names: set[str] = set()
        page = f"/root/pypi/+simple/{name}/"
        self._refresh = f"{page}refresh"
        self.subjects = [
            Subject(path, names_of, PIP) for path in (page, f"/ext/pypi/simple/{name}/")
        ]

    def change(self) -> tuple[Callable[[], object], State]:
        version = f"1.{next(self._number)}"
        self._names.add(f"{self._name}-{version}-py3-none-any.whl")

        def release() -> None:
            self._up.release(self._name, version)
            assert self._server.request("POST", self._refresh).status in (200, 302)

        return release, frozenset(self._names)


class Reader:
    """Asks for one address after the other, and believes nothing."""

    def __init__(self, nginx: Http, subjects: list[Subject], chance: random.Random) -> None:
        self._nginx = nginx
        self._subjects = subjects
        self._chance = chance
        self._held: dict[str, tuple[str, State]] = {}  # path → its ETag, and what it shows
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []

    def read(self) -> None:
        subject = self._chance.choice(self._subjects)
        headers = dict(subject.headers)
        held = self._held.get(subject.path)
        if held is not None and self._chance.random() < 0.5:
            headers["If-None-Match"] = held[0]
        begin = time.monotonic()
        try:
            answer = self._nginx(subject.path, headers)
        except BrokenOff as error:
            self.faults.append(f"{subject.path}: {error}")
            return
        end = time.monotonic()
        if answer.status == 304:
            assert held is not None
            state = held[1]
        else:
            state = subject.seen(answer)
        if "ETag" in answer.headers and answer.status == 200:
            self._held[subject.path] = answer.headers["ETag"], state
        self.counts["server" if "X-Devpi-Serial" in answer.headers else "nginx"] += 1
        self.counts[str(answer.status)] += 1
        allowed = subject.may_be(begin, end)
        if state not in allowed:
            self.faults.append(
                f"{subject.path} at {begin:.4f} to {end:.4f}: {answer.status} {state}, "
                f"by {answer.headers}; may have been {allowed}"
            )


@pytest.fixture
def deployed(up: Upstream, need: Callable[[str], str], tmp_path: Path) -> Iterator[Deployed]:
    with ExitStack() as stack:
        yield Deployed(need("nginx"), tmp_path, up, stack)


@pytest.mark.timeout(120 + CHANGES)
def test_no_answer_is_older_than_the_last_acknowledged_change(
    up: Upstream, deployed: Deployed
) -> None:
    """Uploads, replacements, yanks, deletions, permissions and upstream, under eight readers."""
    seed = int(os.environ.get("DEVPI_SEED") or random.randrange(10**9))
    print(f"seed {seed}")
    chance = random.Random(seed)
    alice = join(deployed.client, "alice")
    alice.ok("PUT", "/alice/dev", {"bases": []})
    alice.ok("PUT", "/alice/next", {"bases": ["alice/dev"]})
    numbers = range(PROJECTS)
    changing: list[Project | Index | Mirrored] = [
        *(Project(alice, f"own{number}", chance) for number in numbers),
        *(Index(alice, f"index{number}") for number in numbers),
        *(Mirrored(up, deployed.client, f"theirs{number}") for number in numbers),
    ]
    for each in changing:
        make(each)
    subjects = [subject for each in changing for subject in each.subjects]
    readers = [
        Reader(deployed.client, subjects, random.Random(seed + number)) for number in range(READERS)
    ]
    over, never = threading.Event(), threading.Event()

    def hammer(reader: Reader) -> None:
        while not over.is_set():
            reader.read()

    with ThreadPoolExecutor(READERS) as threads:
        running = [threads.submit(hammer, reader) for reader in readers]
        try:
            for _ in range(CHANGES):
                make(chance.choice(changing))
                never.wait(chance.uniform(0, PAUSE))
        finally:
            over.set()
        for each in running:
            each.result()

    counts: Counter[str] = sum((reader.counts for reader in readers), Counter())
    print(f"{CHANGES} changes, answers: {dict(counts)}")
    faults = [fault for reader in readers for fault in reader.faults]
    assert not faults, "\n".join([f"{len(faults)} answers", *faults[:5]])
    assert counts["nginx"] > CHANGES
    assert counts["server"] > 0


def make(changing: Project | Index | Mirrored) -> None:
    """Make a change, and write the history of all that shows it.

    The state is in the history before it can be seen, acknowledged at no time yet.
    """
    work, state = changing.change()
    asked = time.monotonic()
    at = len(changing.subjects[0].history)
    for subject in changing.subjects:
        subject.history.append(Moment(state, asked, float("inf") if at else asked))
    work()
    done = time.monotonic()
    for subject in changing.subjects:
        subject.history[at] = Moment(state, asked, done)
