"""``POST /RPC2``: ``pip search``, for pips that still had it."""

from __future__ import annotations

from collections.abc import Sequence

import bottle

from devpi_server.errors import BadRequest
from devpi_server.services import search
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.upstream import xmlrpc
from devpi_server.web import bodies
from devpi_server.web.pypiserver import answers

_LARGEST = 64 * 1024  # bytes of a question
_MOST = 1000  # hits


class FolderSearch:
    """The handler."""

    def __init__(self, folder: PackageFolder) -> None:
        self._folder = folder

    def ask(self) -> bottle.HTTPResponse:
        """A question; what is no XML-RPC is refused, what is no search is told so in XML."""
        document = b"".join(bodies.blocks(bottle.request.environ, _LARGEST))
        try:
            method, arguments = _question(document)
        except BadRequest:
            raise BadRequest("Invalid or unsafe XML payload") from None
        try:
            # pypiserver names the method in its answer, and its clients know no other.
            body = xmlrpc.answer(self._found(search.query(method, arguments)), method)
        except BadRequest as error:
            body = xmlrpc.fault(error.message)
        return answers.done(body, xmlrpc.CONTENT_TYPE)

    def _found(self, wanted: search.Query) -> list[dict[str, object]]:
        # A folder has no summaries: pip looks for the same words in both.
        hits = self._folder.search(wanted.name or wanted.summary, _MOST)
        return [
            {
                "name": hit.name,
                "version": hit.version,
                "summary": hit.version,
                "_pypi_ordering": number,
            }
            for number, hit in enumerate(hits)
        ]


def _question(document: bytes) -> tuple[str, Sequence[object]]:
    """The method and its arguments; pypiserver has never asked for more than the names of both."""
    try:
        return xmlrpc.question(document)
    except BadRequest:
        method, word = xmlrpc.loose_question(document)
        return method, ({"name": word},)
