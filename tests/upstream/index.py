"""The routes: from a request to the answer that a healthy index gives."""

from __future__ import annotations

import json
import re
import time
import xmlrpc.client
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, unquote
from xml.parsers.expat import ExpatError

from .answers import EMPTY, Answer, Body, Bytes, Part, Request
from .artefacts import normalized
from .content import Catalog, File, Snapshot
from .pages import JSON, TEXT, Form, Mode, Rendered, negotiate, project_page, root_page

_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")
_COMPANIONS = (".metadata", ".asc")


class Index(Catalog):
    """A catalog that answers requests.  The attributes may be changed at any time."""

    url: str

    def __init__(
        self,
        *,
        mode: Mode = Mode.WAREHOUSE,
        serial: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(serial=serial, clock=clock)
        self.mode = mode
        self.xmlrpc = True  # False: 405
        self.ranges = True  # False: the whole file, and no Accept-Ranges
        self.changelog_cap = 50_000
        self.files_url: str | None = None  # where links point, if not here; ends in a slash

    def answer(self, request: Request, *, serial: int | None = None) -> Answer:
        """The answer of an index in good health, or as a node that stopped at an older serial."""
        path, _, query = request.path.partition("?")
        path = unquote(path)
        if request.method == "POST":
            return self._rpc(request) if path == "/pypi" else _plain(405)
        if request.method not in {"GET", "HEAD"}:
            return _plain(405)
        if path == "/simple":
            return _moved("/simple/")
        if path == "/simple/":
            return self._root(request, query)
        if path.startswith("/simple/"):
            return self._project(request, path[len("/simple/") :], query, serial)
        if path.startswith("/packages/"):
            return self._file(request, path)
        if path.startswith("/integrity/"):
            return self._provenance(path)
        return _plain(404)

    # Pages

    def _root(self, request: Request, query: str) -> Answer:
        form = self._form(request, query)
        with self._lock:
            rendered = self._roots.get(form)
            if rendered is None:
                listed = [p for p in self.projects if p.now.status != "quarantined"]
                rendered = self._roots[form] = root_page(listed, self.serial, form)
            serial = self.serial
        assert isinstance(rendered, Rendered)
        return self._page(request, form, rendered, serial)

    def _project(self, request: Request, rest: str, query: str, serial: int | None) -> Answer:
        name = rest.removesuffix("/")
        if not name or "/" in name:
            return _plain(404)
        if rest != f"{normalized(name)}/":
            suffix = f"?{query}" if query else ""
            return _moved(f"/simple/{quote(normalized(name))}/{suffix}")
        project = self.project(name)
        if project is None:
            return _plain(404)
        snapshot: Snapshot = project.now if serial is None else project.as_of(serial)
        form = self._form(request, query)
        rendered = project_page(project, snapshot, form)
        return self._page(request, form, rendered, snapshot.serial)

    def _form(self, request: Request, query: str) -> Form:
        base = (self.files_url or self.url).removesuffix("/")
        if self.mode is Mode.POOR:
            return Form(self.mode, TEXT, gzip=False, base=base)
        asked = parse_qs(query).get("format") if query else None
        wanted = negotiate(asked[0] if asked else request.headers.get("accept", ""))
        gzip = "gzip" in request.headers.get("accept-encoding", "")
        return Form(self.mode, wanted, gzip=gzip, base=base)

    def _page(self, request: Request, form: Form, rendered: Rendered, serial: int) -> Answer:
        kind = form.type if form.type == JSON else f"{form.type}; charset=UTF-8"
        if form.mode is Mode.POOR:
            return Answer(200, {"Content-Type": kind}, Bytes(rendered.data))
        headers = {
            "Content-Type": kind,
            "Cache-Control": "max-age=600, public",
            "ETag": rendered.etag,
            "Vary": "Accept, Accept-Encoding",
            "X-PyPI-Last-Serial": str(serial),
        }
        if form.gzip:
            headers["Content-Encoding"] = "gzip"
        known = request.headers.get("if-none-match", "")
        if known and (known.strip() == "*" or rendered.etag in known):
            del headers["Content-Type"]
            return Answer(304, headers)
        return Answer(200, headers, Bytes(rendered.data))

    # Files

    def _file(self, request: Request, path: str) -> Answer:
        file = self._stored.get(path)
        if file is not None:
            return self._bytes_of(request, file, file.content, file.content.address[:32])
        for companion in _COMPANIONS:
            file = self._stored.get(path.removesuffix(companion))
            if file is None or not path.endswith(companion):
                continue
            if companion == ".asc":
                data = file.signature
            else:
                data = None if self.mode is Mode.POOR else file.metadata
            if data is not None:
                body = Bytes(data)
                return self._bytes_of(request, file, body, body.address[:32])
        return _plain(404)

    def _bytes_of(self, request: Request, file: File, body: Body, tag: str) -> Answer:
        headers = {
            "Content-Type": "application/octet-stream",
            "Cache-Control": "max-age=365000000, immutable, public",
            "ETag": f'"{tag}"',
            "Last-Modified": formatdate(file.uploaded.timestamp(), usegmt=True),
        }
        # No If-None-Match: as on PyPI a file is never answered with 304.
        if not self.ranges:
            return Answer(200, headers, body)
        headers["Accept-Ranges"] = "bytes"
        asked = _RANGE.match(request.headers.get("range", ""))
        condition = request.headers.get("if-range")
        stale = condition not in {None, headers["ETag"], headers["Last-Modified"]}
        if asked is None or stale or asked.group() == "bytes=-":
            return Answer(200, headers, body)
        first, last = asked.groups()
        if first:
            start, stop = int(first), min(int(last or body.size) + 1, body.size)
        else:
            start, stop = max(0, body.size - int(last)), body.size
        if start >= stop:
            return Answer(416, {"Content-Range": f"bytes */{body.size}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{body.size}"
        return Answer(206, headers, Part(body, start, stop))

    def _provenance(self, path: str) -> Answer:
        try:
            file = self.file(path.split("/")[-2])
        except LookupError:
            return _plain(404)
        if not file.provenance or self.mode is Mode.POOR:
            return _plain(404)
        data = json.dumps({"version": 1, "attestation_bundles": []}).encode()
        headers = {
            "Content-Type": "application/vnd.pypi.integrity.v1+json",
            "Cache-Control": "max-age=600, public",
        }
        return Answer(200, headers, Bytes(data))

    # XML-RPC

    def _rpc(self, request: Request) -> Answer:
        if self.mode is Mode.POOR or not self.xmlrpc:
            return _plain(405)
        try:
            parameters, method = xmlrpc.client.loads(request.body)
        except ExpatError:
            return _plain(400)
        result: Any
        if method == "changelog_last_serial":
            result = self.serial
        elif method == "changelog_since_serial" and _is_serial(parameters):
            rows = self.changes_since(parameters[0])  # type: ignore[arg-type]
            result = rows[: self.changelog_cap]
        elif method == "list_packages_with_serial":
            result = {project.name: project.now.serial for project in self.projects}
        else:
            return rpc_answer(xmlrpc.client.Fault(-32500, f"RuntimeError: no {method} here"))
        return rpc_answer(result)


def rpc_answer(result: object) -> Answer:
    """An XML-RPC response; a fault, too, is a 200."""
    value: Any = result if isinstance(result, xmlrpc.client.Fault) else (result,)
    text = xmlrpc.client.dumps(value, methodresponse=True, allow_none=True)
    return Answer(200, {"Content-Type": "text/xml; charset=UTF-8"}, Bytes(text.encode()))


def _is_serial(parameters: tuple[object, ...]) -> bool:
    return len(parameters) == 1 and type(parameters[0]) is int


def _moved(location: str) -> Answer:
    return Answer(301, {"Location": location, "Content-Type": "text/plain"}, EMPTY)


def _plain(status: int) -> Answer:
    text = f"{status} {HTTPStatus(status).phrase}\n"
    return Answer(status, {"Content-Type": "text/plain; charset=UTF-8"}, Bytes(text.encode()))
