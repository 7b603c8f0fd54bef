"""The files that were uploaded to an index."""

from __future__ import annotations

from datetime import datetime, timezone

from devpi_server.services.owners.base import ClientHas, Facts, Ready
from devpi_server.sources.stage import Stage
from devpi_server.store.blobs import Blob


class StageFiles:
    """They are all held, and may be gone: then ``Gone`` is raised."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def open(self, path: str, client_has: ClientHas) -> Ready:
        return self.held(path)

    def held(self, path: str) -> Ready:
        filename, blob = self._stage.find(path)
        return Ready(filename, blob.sha256, blob.size, blob.path)

    def describe(self, path: str, client_has: ClientHas) -> Ready:
        return self.held(path)

    def facts(self, path: str) -> Facts:
        file = self._stage.stored(path)
        digests = {"sha256": file.sha256, **file.digests}
        uploaded = datetime.fromtimestamp(file.uploaded, timezone.utc)
        return Facts(file.project, file.version, digests, uploaded)

    def fetch(self, path: str, within: float) -> Blob:
        return self._stage.find(path)[1]
