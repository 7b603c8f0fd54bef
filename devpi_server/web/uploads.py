"""What clients post to an index: files, documentation, metadata (devpi.md 1.7)."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import bottle
import orjson

from devpi_server import names
from devpi_server.errors import InvalidForm
from devpi_server.services.access import Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.received import Form
from devpi_server.services.results import LARGEST, Results
from devpi_server.services.uploads import Uploads
from devpi_server.store.blobs import BlobStore
from devpi_server.web import asking, bodies, envelope
from devpi_server.web.forms import received
from devpi_server.web.plugins import reason
from devpi_server.web.simple import found

_Action = Callable[[Principal, Origin, str, Form], object]
_IDENTICAL = "Upload of identical file to non volatile index."


class UploadForms:
    """The handlers."""

    def __init__(self, uploads: Uploads, results: Results, blobs: BlobStore) -> None:
        self._uploads = uploads
        self._results = results
        self._blobs = blobs
        self._actions: dict[str, _Action] = {
            "file_upload": self._file,
            "submit": uploads.submit,
            "verify": uploads.submit,
            "doc_upload": uploads.upload_docs,
        }

    def post(self, user: str, index: str) -> bottle.HTTPResponse:
        """``POST /<user>/<index>/``: a form, whose field ``:action`` says what it is."""
        with received(bottle.request.environ, self._blobs) as form:
            name = form.one(":action")
            if name is None:
                raise InvalidForm("the form has no :action")
            action = self._actions.get(name)
            if action is None:
                raise InvalidForm(f"action {name[:50]!r} not supported")
            said = action(asking.principal(), asking.origin(), f"{user}/{index}", form)
        return _done(said if isinstance(said, str) else "OK")

    def result(self, user: str, index: str, head: str, tail: str, file: str) -> bottle.HTTPResponse:
        """``POST`` to a file: what came out of testing it."""
        sent = bodies.json_body(LARGEST)
        kept = self._results.add(
            asking.principal(),
            asking.origin(),
            f"{user}/{index}",
            f"+f/{head}/{tail}/{file}",
            orjson.dumps(sent),
        )
        where = f"{user}/{index}/{self._results.path(kept)}#sha256={kept.sha256}"
        return envelope.answer("toxresultpath", where)

    def shown_result(
        self, user: str, index: str, project: str, file: str, result: str | None = None, **_: str
    ) -> bottle.HTTPResponse:
        """``…/<version>/+toxresults/<file>[/<result>]``: the way to the result, or the newest."""
        kept = self._results.find(f"{user}/{index}", names.project(project), file, result)
        steps = "../../../" if result is None else "../../../../"
        return found(f"{steps}{quote(self._results.path(kept), safe='/+')}")

    def _file(self, principal: Principal, origin: Origin, index: str, form: Form) -> str:
        uploaded = self._uploads.upload(principal, origin, index, form)
        return "OK" if uploaded.is_new else _IDENTICAL


def _done(said: str) -> bottle.HTTPResponse:
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": "0"}
    return bottle.HTTPResponse(b"", f"200 {reason(said)}", headers)
