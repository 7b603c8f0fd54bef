"""What in folders of packages is older than what an index has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from devpi_server import names
from devpi_server.concurrency import Crew
from devpi_server.errors import InvalidName, UpstreamError
from devpi_server.names import SIGNATURE, NormalizedName
from devpi_server.records import Page
from devpi_server.simple import parse
from devpi_server.store import filenames
from devpi_server.store.folderfiles import File
from devpi_server.upstream.base import Fresh, UpstreamClient

_AT_ONCE = 8  # questions

_Age = tuple[bool, Version, str]
_NO_VERSION = Version("0")


@dataclass(frozen=True, slots=True)
class Held:
    """The newest file of a project."""

    project: NormalizedName
    name: str  # as the file spells it
    version: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Found:
    """What the index says of a project.

    :param newer: the newest version, if it is newer than the held one.
    :param is_known: whether the index has any version.
    """

    held: Held
    newer: str | None
    is_known: bool


def newest(files: Iterable[File], ignored: Collection[str]) -> list[Held]:
    """The newest file of each project, by name.

    :param ignored: names of projects, in any spelling.
    """
    left_alone = {_normal(name) for name in ignored}
    found: dict[NormalizedName, File] = {}
    for file in files:
        if file.project in left_alone or file.filename.endswith(SIGNATURE):
            continue
        before = found.get(file.project)
        if before is None or _age(file.version) > _age(before.version):
            found[file.project] = file
    return [
        Held(project, filenames.name_in(file.filename), file.version, Path(file.path).parent)
        for project, file in sorted(found.items())
    ]


class Updates:
    """Asks an index.

    :param index: its URL, with a slash at the end.
    :param allow_unstable: whether versions count that are no final ones.
    """

    def __init__(self, client: UpstreamClient, index: str, *, allow_unstable: bool) -> None:
        self._client = client
        self._index = index
        self._allow_unstable = allow_unstable

    def check(self, held: Iterable[Held]) -> Iterator[Found]:
        """Ask about each of them; what is found comes in their order, as it is known."""
        crew = Crew("update", _AT_ONCE)

        def ask(each: Held) -> Future[Found]:
            return crew.submit(lambda: self._found(each))

        for asked in [ask(each) for each in held]:
            yield asked.result()

    def _found(self, held: Held) -> Found:
        try:
            versions = self._versions(held.project)
        except UpstreamError:
            versions = set()
        wanted = {each for each in versions if self._allow_unstable or names.is_final(each)}
        latest = max(wanted, key=_age, default=held.version)
        newer = latest if _age(latest)[:2] > _age(held.version)[:2] else None
        return Found(held, newer, bool(versions))

    def _versions(self, project: NormalizedName) -> set[str]:
        """Those with a file that has not been yanked."""
        url = f"{self._index}{project}/"
        answer = self._client.get(url)
        if not isinstance(answer, Fresh):
            return set()
        page = parse.page(answer.document, answer.content_type, answer.url, project)
        return set(_offered(page))


def _offered(page: Page) -> Iterator[str]:
    for link in page.links:
        version = names.version_of(link.filename, page.name)
        if version is not None and link.yanked is False:
            yield version


def _age(version: str) -> _Age:
    try:
        return True, Version(version), version
    except InvalidVersion:  # older than all that can be read
        return False, _NO_VERSION, version


def _normal(name: str) -> str:
    try:
        return names.project(name)
    except InvalidName:
        return name
