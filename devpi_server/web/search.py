"""XML-RPC at an index: ``search``, for pips that still had it (devpi.md 1.12)."""

from __future__ import annotations

from functools import partial

import bottle

from devpi_server.errors import BadRequest
from devpi_server.services import access, search
from devpi_server.services.indexes import Indexes
from devpi_server.services.search import Hit, Search
from devpi_server.upstream import xmlrpc
from devpi_server.web import asking, bodies

_LARGEST = 64 * 1024  # bytes of a question


class SearchApi:
    """The handler."""

    def __init__(self, indexes: Indexes, finder: Search) -> None:
        self._indexes = indexes
        self._search = finder

    def ask(self, user: str, index: str) -> bottle.HTTPResponse:
        """``POST /<user>/<index>/`` of XML; what is wrong with it is told in XML, too."""
        document = b"".join(bodies.blocks(bottle.request.environ, _LARGEST))
        try:
            wanted = search.query(*xmlrpc.question(document))
            body = xmlrpc.answer(self._found(f"{user}/{index}", wanted))
        except BadRequest as error:
            body = xmlrpc.fault(error.message)
        headers = {
            "Content-Type": xmlrpc.CONTENT_TYPE,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return bottle.HTTPResponse(body, "200 OK", headers)

    def _found(self, name: str, wanted: search.Query) -> list[dict[str, object]]:
        may_read = partial(access.may_read, asking.principal())
        index = self._indexes.find(name)
        return [_shown(hit) for hit in self._search.find(index, may_read, wanted)]


def _shown(hit: Hit) -> dict[str, object]:
    return {
        "name": hit.name,
        "summary": f"[{hit.index}] {hit.summary}".strip(),
        "version": hit.version,
        "_pypi_ordering": hit.score,
    }
