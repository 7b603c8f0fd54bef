"""The truth of the index: projects, files, the journal and its serial."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from . import artefacts
from .answers import Bytes, Generated
from .artefacts import Artefact, normalized

Row = tuple[str, "str | None", int, str, int]  # name, version, timestamp, action, serial

ACTIVE = "active"
ARCHIVED = "archived"
QUARANTINED = "quarantined"
_HISTORY = 50


@dataclass(frozen=True)
class File:
    """One file of a project, with what its page says of it."""

    filename: str
    version: str
    content: Bytes | Generated
    uploaded: datetime
    requires_python: str | None = None
    yanked: bool | str = False
    metadata: bytes | None = None  # served beside it; None: not offered
    signature: bytes | None = None  # served beside it as .asc
    provenance: bool = False
    hashed: bool = True  # False: its page gives no digest

    @property
    def path(self) -> str:
        address = self.content.address
        return f"/packages/{address[:2]}/{address[2:4]}/{address[4:]}/{self.filename}"

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def sha256(self) -> str:
        return self.content.sha256

    @property
    def data(self) -> bytes:
        """The bytes of a file that is held in memory."""
        if isinstance(self.content, Generated):
            raise TypeError(f"{self.filename} is never held in memory")
        return self.content.data


@dataclass(frozen=True)
class Snapshot:
    """A project as it was from one serial on; keeps the pages that were made of it."""

    serial: int
    files: tuple[File, ...] = ()
    status: str = ACTIVE
    pages: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def visible(self) -> tuple[File, ...]:
        return () if self.status == QUARANTINED else self.files


class Project:
    """A name and what it has stood for lately."""

    def __init__(self, name: str, serial: int) -> None:
        self.name = name
        self.normalized = normalized(name)
        self.history: deque[Snapshot] = deque([Snapshot(serial)], maxlen=_HISTORY)

    @property
    def now(self) -> Snapshot:
        return self.history[-1]

    def as_of(self, serial: int) -> Snapshot:
        """The newest snapshot that is not newer than the serial; else the oldest, under it."""
        for snapshot in reversed(self.history):
            if snapshot.serial <= serial:
                return snapshot
        return replace(self.history[0], serial=serial, pages={})


class Catalog:
    """Everything that is published.  Each change but archiving is journalled, as on PyPI."""

    def __init__(self, *, serial: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self.serial = serial
        self.journal: list[Row] = []
        self._clock = clock
        self._lock = threading.RLock()
        self._projects: dict[str, Project] = {}
        self._stored: dict[str, File] = {}
        self._roots: dict[object, Any] = {}

    # Reading

    @property
    def projects(self) -> list[Project]:
        with self._lock:
            return list(self._projects.values())

    def project(self, name: str) -> Project | None:
        return self._projects.get(normalized(name))

    def file(self, filename: str) -> File:
        """The file of that name that some page shows; LookupError if none does."""
        for project in self.projects:
            for file in project.now.files:
                if file.filename == filename:
                    return file
        raise LookupError(filename)

    def changes_since(self, serial: int) -> list[Row]:
        with self._lock:
            return [row for row in self.journal if row[4] > serial]

    # Publishing

    def add_project(self, name: str, files: Iterable[File] = ()) -> Project:
        """Publish any number of files as one change of the page; the project may exist."""
        with self._lock:
            project = self._known(name)
            held = {file.filename: file for file in project.now.files}
            versions = {file.version for file in held.values()}
            for file in files:
                if file.version not in versions:
                    versions.add(file.version)
                    self._row(project, file.version, "new release")
                tag = "py3" if file.filename.endswith(".whl") else "source"
                self._row(project, file.version, f"add {tag} file {file.filename}")
                held[file.filename] = file
                self._stored[file.path] = file
            self._change(project, files=tuple(held.values()))
            return project

    def publish(self, project: str, file: File) -> File:
        """Publish a file; it takes the place of one of the same name."""
        self.add_project(project, [file])
        return file

    def release(
        self,
        project: str,
        version: str,
        *,
        wheel: bool = True,
        sdist: bool = False,
        requires_python: str | None = None,
        requires: Sequence[str] = (),
        size: int | None = None,
        content: bytes | None = None,
        filename: str | None = None,
        yanked: bool | str = False,
        metadata: bool = True,
        upload_time: datetime | None = None,
        signature: bool = False,
        provenance: bool = False,
        hashed: bool = True,
    ) -> File:
        """Publish a wheel, an sdist (so with ``wheel=False``) or both; the first is returned.

        :param size: pad the wheel to so many bytes.
        :param content: publish these bytes in its place, without metadata.
        :param filename: publish it under this name.
        """
        built: list[Artefact] = []
        if wheel:
            built.append(
                artefacts.wheel(
                    project,
                    version,
                    requires_python=requires_python,
                    requires=requires,
                    size=size,
                )
            )
        if sdist or not wheel:
            built.append(
                artefacts.sdist(
                    project, version, requires_python=requires_python, requires=requires
                )
            )
        if content is not None:
            built = [replace(built[0], data=content)]
            metadata = False
        if filename is not None:
            built[0] = replace(built[0], filename=filename)
        files = [
            File(
                filename=each.filename,
                version=version,
                content=Bytes(each.data),
                uploaded=upload_time or self._now(),
                requires_python=requires_python,
                yanked=yanked,
                metadata=each.metadata if metadata and each.filename.endswith(".whl") else None,
                signature=_armored(each.filename) if signature else None,
                provenance=provenance,
                hashed=hashed,
            )
            for each in built
        ]
        self.add_project(project, files)
        return files[0]

    def blob(
        self,
        project: str,
        filename: str,
        size: int,
        *,
        version: str = "1.0",
        upload_time: datetime | None = None,
        hashed: bool = True,
    ) -> File:
        """Publish a file of any size that is made while it is sent.

        Its digest is computed when the page is first asked for (seconds for gigabytes),
        unless ``hashed`` is false.
        """
        content = Generated(filename, size)
        uploaded = upload_time or self._now()
        return self.publish(project, File(filename, version, content, uploaded, hashed=hashed))

    # Changing

    def yank(self, project: str, version: str, reason: str = "") -> None:
        self._mark(project, version, yanked=reason or True, action="yank release")

    def unyank(self, project: str, version: str) -> None:
        self._mark(project, version, yanked=False, action="unyank release")

    def remove_file(self, file: File | str, *, keep_blob: bool = True) -> None:
        """Take a file off its page.  As on PyPI its URL goes on working, unless told."""
        filename = file if isinstance(file, str) else file.filename
        with self._lock:
            for project in self._projects.values():
                for each in project.now.files:
                    if each.filename == filename:
                        self._row(project, each.version, f"remove file {filename}")
                        self._drop(project, [each], keep_blob=keep_blob)
                        return
        raise LookupError(filename)

    def remove_release(self, project: str, version: str, *, keep_blob: bool = True) -> None:
        with self._lock:
            found = self._existing(project)
            self._row(found, version, "remove release")
            self._drop(found, self._files_of(found, version), keep_blob=keep_blob)

    def remove_project(self, project: str, *, keep_blob: bool = True) -> None:
        with self._lock:
            found = self._existing(project)
            self._row(found, None, "remove project")
            self._drop(found, found.now.files, keep_blob=keep_blob)
            del self._projects[found.normalized]

    def quarantine(self, project: str, version: str | None = None) -> None:
        """The whole project: an empty page that says so.  One release: its files vanish."""
        with self._lock:
            found = self._existing(project)
            if version is None:
                self._row(found, None, "project quarantined")
                self._change(found, status=QUARANTINED)
            else:
                self._row(found, version, "release quarantined")
                self._drop(found, self._files_of(found, version), keep_blob=True)

    def clear_quarantine(self, project: str) -> None:
        with self._lock:
            found = self._existing(project)
            self._row(found, None, "project quarantine cleared")
            self._change(found, status=ACTIVE)

    def archive(self, project: str) -> None:
        """Changes the page but, as on PyPI, neither journal nor serial."""
        with self._lock:
            self._change(self._existing(project), status=ARCHIVED)

    def unarchive(self, project: str) -> None:
        with self._lock:
            self._change(self._existing(project), status=ACTIVE)

    def touch_serial(self, project: str, times: int = 1) -> None:
        """Journal rows that change nothing but the serial, as a new maintainer would."""
        with self._lock:
            found = self._existing(project)
            for _ in range(times):
                self._row(found, None, "add Maintainer someone")
            self._change(found)

    def rewind(self, serial: int) -> None:
        """Go back to an older serial, as an index that was restored from a backup."""
        with self._lock:
            self.serial = serial
            self.journal = [row for row in self.journal if row[4] <= serial]
            for project in self._projects.values():
                project.history = deque([project.as_of(serial)], maxlen=_HISTORY)
            self._roots.clear()

    # Inside

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), timezone.utc)

    def _known(self, name: str) -> Project:
        project = self._projects.get(normalized(name))
        if project is None:
            project = self._projects[normalized(name)] = Project(name, self.serial)
            self._row(project, None, "create")
            project.history[-1] = Snapshot(self.serial)
        return project

    def _existing(self, name: str) -> Project:
        return self._projects[normalized(name)]

    def _files_of(self, project: Project, version: str) -> list[File]:
        return [file for file in project.now.files if file.version == version]

    def _row(self, project: Project, version: str | None, action: str) -> None:
        self.serial += 1
        self.journal.append((project.name, version, int(self._clock()), action, self.serial))

    def _change(
        self,
        project: Project,
        *,
        files: tuple[File, ...] | None = None,
        status: str | None = None,
    ) -> None:
        now = project.now
        # Only what is journalled moves the serial of a project.
        serial = now.serial
        if self.journal and self.journal[-1][0] == project.name:
            serial = self.journal[-1][4]
        files = now.files if files is None else files
        project.history.append(Snapshot(serial, files, status or now.status))
        self._roots.clear()

    def _drop(self, project: Project, gone: Sequence[File], *, keep_blob: bool) -> None:
        self._change(project, files=tuple(f for f in project.now.files if f not in gone))
        if not keep_blob:
            for file in gone:
                self._stored.pop(file.path, None)

    def _mark(self, project: str, version: str, *, yanked: bool | str, action: str) -> None:
        with self._lock:
            found = self._existing(project)
            self._row(found, version, action)
            files = tuple(
                replace(file, yanked=yanked) if file.version == version else file
                for file in found.now.files
            )
            self._change(found, files=files)


def _armored(filename: str) -> bytes:
    return f"-----BEGIN PGP SIGNATURE-----\n{filename}\n-----END PGP SIGNATURE-----\n".encode()
