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
from devpi_server.web.hot import Environ
from devpi_server.web.pypiserver.hot import FolderHot

_BELOW = "/packages/"
_TRIES = 3  # of files that are replaced while they are opened


class FolderFiles:
    """The handler.

    :param cache_control: seconds that clients may keep a file; None: as they like.
    :param is_public: whether the files are for everybody.
    """

    def __init__(
        self, folder: PackageFolder, hot: FolderHot, cache_control: int | None, *, is_public: bool
    ) -> None:
        self._folder = folder
        self._hot = hot
        # In an answer to a request with credentials, "public" would let any cache give it away.
        who = "public" if is_public else "private"
        if cache_control is not None:
            self._caching = {"Cache-Control": f"{who}, max-age={cache_control}"}
        else:
            self._caching = {} if is_public else {"Cache-Control": f"{who}, max-age=0"}

    def file(self, path: str) -> bottle.HTTPResponse:
        """The file at the path, or the metadata of a wheel (PEP 658)."""
        environ = bottle.request.environ
        # bottle has decoded the path, and left out what is not UTF-8.
        path = os.fsdecode(environ["PATH_INFO"].partition(_BELOW)[2].encode("latin-1"))
        try:
            answer = self.answer(path, environ)
        except NoSuchFile:
            shown = path.encode(errors="replace").decode()
            raise NoSuchFile(f"Not Found ({shown} does not exist)\n") from None
        self._hot.remember_file(environ, path, answer)
        return bottle.HTTPResponse(answer.body, answer.status, dict(answer.headers))

    def answer(self, path: str, environ: Environ) -> Answer:
        """What a request for the file is answered with.

        :raises NoSuchFile: there is none.
        :raises Overloaded: it is replaced all the time.
        :raises StoreError: it cannot be read.
        """
        for tries in range(1, _TRIES + 1):
            try:
                with translated("read a file"):
                    answer = held_answer(self._ready(path), environ)
            except Overloaded:
                if tries == _TRIES:
                    raise
            else:
                break
        ours = ("Cache-Control", "X-Devpi-Cache")
        headers = {name: value for name, value in answer.headers if name not in ours}
        headers.update(self._caching)
        if not answer.status.startswith("304"):
            headers.setdefault("Content-Type", "text/plain")
        return answer._replace(headers=list(headers.items()))

    def _ready(self, path: str) -> Ready:
        if not path.endswith(METADATA):
            return owned.ready(self._folder.at(path))
        held = self._folder.at(path.removesuffix(METADATA))
        place, sha256 = self._folder.directory.metadata(held)
        size = place.stat().st_size
        return Ready(held.file.filename + METADATA, sha256, size, place, is_lasting=False)
