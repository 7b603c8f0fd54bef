"""Blobs as files: ``files/<aa>/<sha256>``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from devpi_server.store.blobs import Blob, IncomingBlob
from devpi_server.store.incoming import Incoming, Part, translated

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class LocalBlobs:
    """A ``BlobStore`` in a folder."""

    def __init__(self, folder: Path, incoming: Incoming) -> None:
        self._folder = folder
        self._incoming = incoming

    def _path(self, sha256: str) -> Path:
        if not _SHA256.match(sha256):
            raise ValueError(sha256)
        return self._folder / sha256[:2] / sha256

    def find(self, sha256: str) -> Blob | None:
        path = self._path(sha256)
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        except OSError:
            with translated("read a held file"):
                raise
        if not stat.S_ISREG(found.st_mode):
            return None
        return Blob(sha256, found.st_size, path)

    def incoming(self, prefix: str = "") -> IncomingBlob:
        return _LocalIncoming(self, self._incoming.part(prefix))

    def adopt(self, link: Callable[[Path], None]) -> IncomingBlob:
        return _LocalIncoming(self, self._incoming.adopted(link))

    def under_way(self, prefix: str) -> tuple[str, int] | None:
        path = self._incoming.find(prefix)
        if path is None:
            return None
        with translated("read a file under way"), suppress(FileNotFoundError):
            return path.name, os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return None

    def kept_at(self, sha256: str) -> float | None:
        with translated("read a held file"):
            try:
                found = os.stat(self._path(sha256))
            except FileNotFoundError:
                return None
        # A rename and a hard link change only the second of the two.
        return max(found.st_mtime, found.st_ctime)

    def remove(self, sha256: str) -> None:
        with translated("remove a held file"), suppress(FileNotFoundError):
            self._path(sha256).unlink()

    def digests(self) -> Iterator[str]:
        with translated("list the held files"), suppress(FileNotFoundError):
            for folder in filter(Path.is_dir, self._folder.iterdir()):
                for path in folder.iterdir():
                    if _SHA256.match(path.name):
                        yield path.name


class _LocalIncoming:
    def __init__(self, blobs: LocalBlobs, part: Part) -> None:
        self._blobs = blobs
        self._part = part

    @property
    def size(self) -> int:
        return self._part.size

    @property
    def sha256(self) -> str:
        return self._part.sha256

    def write(self, data: bytes) -> None:
        self._part.write(data)

    def reader(self) -> int:
        return self._part.reader()

    def link(self, target: Path) -> None:
        self._part.link(target)

    def commit(self) -> Blob:
        sha256 = self._part.sha256
        path = self._blobs._path(sha256)
        # Replaces equal bytes if another process was quicker.
        self._part.commit(path, durable=True)
        return Blob(sha256, self._part.size, path)

    def abandon(self) -> None:
        self._part.abandon()
