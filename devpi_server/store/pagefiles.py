"""Upstream's project pages on disk, a file a project.

The first line is JSON (where it came from, ETag, digest of the rest), the rest
is upstream's document as it came.

Why freshness is the file's mtime: every process sees a refresh, a 304 or an
invalidation with one ``stat``, and a restart forgets nothing.  The *seconds*
of the mtime say when the page was last known to be current; its *fraction* is
a random tag that each rewrite draws anew and that a revalidation keeps, so
(inode, size, tag) tells versions apart although inodes are reused.  An odd tag
marks a page that came from another address than the one whose changes are
followed, so only its age says whether it is current.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import Incoming, translated
from devpi_server.store.published import NOTHING_PUBLISHED, Changing

_SECOND = 1_000_000_000
# The tag is whole microseconds: finer is lost on some file systems.
_TAGS, _TAG = 1_000_000, 1_000


@dataclass(frozen=True, slots=True)
class HeldPage:
    """That a page is held, from one stat."""

    stamp: Hashable  # equal stamps: the same document
    checked: int  # seconds since the epoch: when it was last known to be current
    followed: bool = True  # whether a change of it would be named by the feed
    size: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class PageHead:
    """Where a held document came from."""

    base: str  # the address of the upstream index
    url: str  # of the document itself, after redirects
    content_type: str
    etag: str | None
    serial: int | None
    sha256: str  # of the document


class PageFiles:
    """The pages held from one mirror's upstream."""

    def __init__(
        self,
        folder: Path,
        incoming: Incoming,
        clock: Clock,
        published: Changing = NOTHING_PUBLISHED,
    ) -> None:
        self._folder = folder
        self._published = published
        # String concatenation: this is on the hot path, and pathlib is not quick.
        self._prefix = f"{folder}{os.sep}"
        self._incoming = incoming
        self._clock = clock

    def find(self, project: NormalizedName) -> HeldPage | None:
        """Whether and since when the page is held. One stat."""
        try:
            found = os.stat(self._prefix + project)
        except FileNotFoundError:
            return None
        except OSError:
            with translated("read a held page"):
                raise
        seconds, tag = divmod(found.st_mtime_ns, _SECOND)
        stamp = (found.st_ino, found.st_size, tag)
        return HeldPage(stamp, seconds, tag // _TAG % 2 == 0, found.st_size)

    def head(self, project: NormalizedName) -> PageHead | None:
        """Where the held page came from; None if there is none, or it is damaged."""
        found = self._open(project, whole=False)
        return found[0] if found else None

    def read(self, project: NormalizedName) -> tuple[PageHead, bytes] | None:
        """The held page; None if there is none, or it is damaged."""
        found = self._open(project, whole=True)
        if found is None or hashlib.sha256(found[1]).hexdigest() != found[0].sha256:
            return None
        return found

    def _open(self, project: NormalizedName, *, whole: bool) -> tuple[PageHead, bytes] | None:
        with (
            translated("read a held page"),
            suppress(FileNotFoundError),
            open(self._prefix + project, "rb") as file,
        ):
            head = _head(file.readline(65536))
            return (head, file.read() if whole else b"") if head else None
        return None

    def write(
        self, project: NormalizedName, head: PageHead, document: bytes, *, followed: bool = True
    ) -> HeldPage:
        """Hold the page, current as of now.

        :param followed: whether it came from the address whose changes are followed.
        :raises StoreError: the page held before is as it was.
        """
        tag = (secrets.randbelow(_TAGS // 2) * 2 + (not followed)) * _TAG
        with self._published.changing((project,)):
            self._incoming.write(
                self._folder / project,
                orjson.dumps(head) + b"\n" + document,
                durable=False,  # the digest in the head tells a torn page; it costs a fetch
                mtime_ns=int(self._clock()) * _SECOND + tag,
            )
        held = self.find(project)
        if held is None:  # removed in this very moment: it is not an error, only not held
            return HeldPage((), 0)
        return held

    def touch(self, project: NormalizedName) -> HeldPage | None:
        """Note that the held page is current as of now."""
        return self._date(project, int(self._clock()))

    def expire(self, project: NormalizedName) -> None:
        """Note that the held page is not known to be current any more."""
        with self._published.changing((project,)):
            self._date(project, 0)

    def _date(self, project: NormalizedName, seconds: int) -> HeldPage | None:
        with translated("date a held page"), suppress(FileNotFoundError):
            tag = os.stat(self._prefix + project).st_mtime_ns % _SECOND
            os.utime(self._prefix + project, ns=(seconds * _SECOND + tag,) * 2)
        return self.find(project)

    def remove(self, project: NormalizedName) -> None:
        """Hold the page no longer."""
        with (
            self._published.changing((project,)),
            translated("remove a held page"),
            suppress(FileNotFoundError),
        ):
            os.unlink(self._prefix + project)

    def belong_to(self, base: str) -> None:
        """Expire all pages if they were those of another upstream until now."""
        place = self._folder.parent / "base"
        with translated("read which upstream the pages belong to"), suppress(FileNotFoundError):
            if place.read_text("utf-8") == base:
                return
            for project in self.projects():
                self.expire(project)
        self._incoming.write(place, base.encode(), durable=False)

    def stamp(self) -> Hashable:
        """Changes with each page that comes or goes. One stat."""
        try:
            return os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            return None
        except OSError:
            with translated("read the held pages"):
                raise

    def projects(self) -> Iterator[NormalizedName]:
        """The projects whose page is held, sorted."""
        found: list[str] = []
        with translated("list the held pages"), suppress(FileNotFoundError):
            found = os.listdir(self._folder)
        for name in sorted(found):
            if names.is_normalized(name):
                yield NormalizedName(name)


def _head(line: bytes) -> PageHead | None:
    try:
        fields: dict[str, Any] = orjson.loads(line)
        return PageHead(**fields)
    except (orjson.JSONDecodeError, TypeError):
        return None
