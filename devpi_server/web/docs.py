"""Documentation of releases, for browsers (devpi.md 1.11)."""

from __future__ import annotations

import mimetypes
from urllib.parse import quote

import bottle

from devpi_server import names
from devpi_server.services.docs import Docs
from devpi_server.web import conditional
from devpi_server.web.simple import found

# Uploaded pages are somebody's: their scripts get no access to what else is served here.
_POLICY = "sandbox allow-scripts allow-popups allow-forms"


class DocPages:
    """The handlers."""

    def __init__(self, docs: Docs) -> None:
        self._docs = docs

    def page(
        self, user: str, index: str, project: str, version: str, path: str = ""
    ) -> bottle.HTTPResponse:
        """``…/<project>/<version>/+doc/<path>``; ``latest`` and ``stable`` are versions, too."""
        if not path or path.endswith("/"):
            return found("index.html")
        name = names.project(project)
        page = self._docs.page(f"{user}/{index}", name, version, path)
        headers = {
            "ETag": f'"{page.tag}"',
            "Cache-Control": "max-age=60, private",
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
        }
        if conditional.is_held_by_client(bottle.request.headers.raw("If-None-Match"), page.tag):
            return bottle.HTTPResponse(b"", "304 Not Modified", headers)
        headers["Content-Type"] = mimetypes.guess_type(path)[0] or "application/octet-stream"
        headers["Content-Length"] = str(len(page.content))
        return bottle.HTTPResponse(page.content, "200 OK", headers)

    def framed(self, path: str = "", **_: str) -> bottle.HTTPResponse:
        """``…/+d/<path>``, where devpi has the page in a frame: there is none here."""
        steps = path.count("/") + 1
        return found(f"{'../' * steps}+doc/{quote(path)}")

    def slash(self, **_: str) -> bottle.HTTPResponse:
        """``…/+doc`` without its slash."""
        return found("+doc/")
