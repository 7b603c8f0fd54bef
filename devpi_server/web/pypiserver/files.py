"""``/packages/<path>``: the files as they lie in the folders, whole or in part."""

from __future__ import annotations

import os

import bottle

from devpi_server.errors import NoSuchFile, Overloaded
from devpi_server.names import METADATA
from devpi_server.services.owners import folder as owned
from devpi_server.services.owners.base import Ready
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.store.incoming import translated
from devpi_server.web.heldfile import Answer, held_answer

_BELOW = "/packages/"
_TRIES = 3  # of files that are replaced while they are opened


class FolderFiles:
    """The handler.

    :param cache_control: seconds that clients may keep a file; None: they are to ask again.
    :param is_public: whether the files are for everybody.
    """

    def __init__(
        self, folder: PackageFolder, cache_control: int | None, *, is_public: bool
    ) -> None:
        self._folder = folder
        # In an answer to a request with credentials, "public" would let any cache give it away.
        who = "public" if is_public else "private"
        how = "max-age=0, must-revalidate" if cache_control is None else f"max-age={cache_control}"
        self._caching = f"{who}, {how}"

    def file(self, path: str) -> bottle.HTTPResponse:
        """The file at the path, or the metadata of a wheel (PEP 658)."""
        # bottle has decoded the path, and left out what is not UTF-8.
        raw: str = bottle.request.environ["PATH_INFO"]
        path = os.fsdecode(raw.partition(_BELOW)[2].encode("latin-1"))
        try:
            answer = self._answer(path)
        except NoSuchFile:
            shown = path.encode(errors="replace").decode()
            raise NoSuchFile(f"Not Found ({shown} does not exist)\n") from None
        headers = {**dict(answer.headers), "Cache-Control": self._caching}
        headers.pop("X-Devpi-Cache", None)
        return bottle.HTTPResponse(answer.body, answer.status, headers)

    def _answer(self, path: str) -> Answer:
        for tries in range(1, _TRIES + 1):
            try:
                with translated("read a file"):
                    return held_answer(self._ready(path), bottle.request.environ)
            except Overloaded:
                if tries == _TRIES:
                    raise
        raise AssertionError

    def _ready(self, path: str) -> Ready:
        if not path.endswith(METADATA):
            return owned.ready(self._folder.at(path))
        held = self._folder.at(path.removesuffix(METADATA))
        place, sha256 = self._folder.directory.metadata(held)
        size = place.stat().st_size
        return Ready(held.file.filename + METADATA, sha256, size, place, is_lasting=False)
