"""What upstream has taken away: links that its pages no longer show, and refusals.

A link that vanished is remembered with its address, so that lock files which
pin it keep working.  A refusal says that it must not: upstream has quarantined
the release or the whole project.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from devpi_server import names
from devpi_server.names import NormalizedName
from devpi_server.records import Link
from devpi_server.store.incoming import Incoming, translated
from devpi_server.store.published import NOTHING_PUBLISHED, Changing

WHOLE = "*"  # in ``Gone.refused``: every version


@dataclass(frozen=True, slots=True)
class Gone:
    """What is gone of one project."""

    links: tuple[Link, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)  # version, or WHOLE → the reason

    def refusal(self, filename: str, project: NormalizedName) -> str | None:
        """Why the file is not to be served, or None."""
        if not self.refused:
            return None
        version = names.version_of(filename, project) or ""
        for refused, reason in self.refused.items():
            if refused == WHOLE or names.same_version(refused, version):
                return reason
        return None


NOTHING_GONE = Gone()


class Vanished:
    """What is gone of the projects of one mirror, a file a project that has lost something."""

    def __init__(
        self, folder: Path, incoming: Incoming, published: Changing = NOTHING_PUBLISHED
    ) -> None:
        self._folder = folder
        self._published = published
        self._prefix = f"{folder}{os.sep}"
        self._incoming = incoming

    def read(self, project: str) -> Gone:
        """What is gone of the project. One failing open, as a rule."""
        try:
            with open(self._prefix + project, "rb") as file:
                found: dict[str, Any] = orjson.loads(file.read())
        except FileNotFoundError:
            return NOTHING_GONE
        except orjson.JSONDecodeError:  # torn by a power failure
            return NOTHING_GONE
        except OSError:
            with translated("read what has vanished"):
                raise
        links = tuple(_link(fields) for fields in found["links"])
        return Gone(links, found["refused"])

    def write(self, project: NormalizedName, gone: Gone) -> None:
        """Remember it; forget the project if nothing is gone."""
        with self._published.changing((project,)):
            self._write(project, gone)

    def _write(self, project: NormalizedName, gone: Gone) -> None:
        if not gone.links and not gone.refused:
            with translated("forget what has vanished"), suppress(FileNotFoundError):
                os.unlink(self._prefix + project)
            return
        fields = {"links": [_fields(link) for link in gone.links], "refused": dict(gone.refused)}
        self._incoming.write(self._folder / project, orjson.dumps(fields), durable=True)

    def update(self, project: NormalizedName, change: Callable[[Gone], Gone]) -> None:
        """Remember what ``change`` makes of what is remembered.

        A refresh and the follower may do this at once, in different processes: who finds
        that the other was quicker looks again, so that no refusal is lost.
        """
        while True:
            stamp = self.stamp(project)
            before = self.read(project)
            after = change(before)
            if after == before:
                return
            if self.stamp(project) == stamp:
                self.write(project, after)
                return

    def stamp(self, project: NormalizedName) -> object:
        """Changes whenever ``write`` did. One stat."""
        try:
            found = os.stat(self._prefix + project)
        except FileNotFoundError:
            return None
        except OSError:
            with translated("read what has vanished"):
                raise
        return (found.st_ino, found.st_mtime_ns)


def without(links: Iterable[Link], listed: Iterable[Link]) -> tuple[Link, ...]:
    """The links whose file is not listed any more."""
    names = {link.filename for link in listed}
    return tuple(link for link in links if link.filename not in names)


def _fields(link: Link) -> dict[str, Any]:
    return {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in ((name, getattr(link, name)) for name in Link.__slots__)
    }


def _link(fields: dict[str, Any]) -> Link:
    uploaded = fields.pop("uploaded")
    when = datetime.fromisoformat(uploaded) if uploaded else None
    return Link(**fields, uploaded=when)
