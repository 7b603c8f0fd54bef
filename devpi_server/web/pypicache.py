"""The addresses of pypicache (peers.md 2), for the index that ``/simple/`` is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps

import bottle
import orjson

from devpi_server import names
from devpi_server.errors import BadRequest, DevpiError, Forbidden
from devpi_server.services import local
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.local import Local
from devpi_server.services.prefetch import on_request, targets
from devpi_server.services.prefetch.choice import Wishes
from devpi_server.services.prefetch.jobs import Result
from devpi_server.services.prefetch.on_request import Outcome, PrefetchRequests
from devpi_server.services.prefetch.targets import HERE, NAMES, Target
from devpi_server.services.received import Form, ReceivedFile
from devpi_server.store.blobs import BlobStore
from devpi_server.store.incoming import translated
from devpi_server.web import asking, bodies
from devpi_server.web.files import Files
from devpi_server.web.forms import received
from devpi_server.web.plugins import Handler, failure, status_of
from devpi_server.web.simple import SimplePages, moved

_SDIST, _REQUIREMENTS = "sdist", "requirements"
_LARGEST_FORM = on_request.LARGEST + 64 * 1024
_MOST_TARGETS = 8
_TITLE = "list of projects that are held here"
# Versions that are made again and again.
_SNAPSHOTS = tuple(
    f"{version}{ending}"
    for version in ("-dev", "-SNAPSHOT")
    for ending in (".zip", ".tar.gz", ".tar.bz2")
)


@dataclass(frozen=True, slots=True)
class Pypicache:
    """The handlers.

    :param front: the index that ``/simple/`` is.
    :param uploads: where what is sent goes; None: nothing can be sent.
    :param snapshots: the same, where a file that is there gives way.
    """

    front: str
    indexes: Indexes
    local: Local
    simple: SimplePages
    files: Files
    requests: PrefetchRequests
    uploads: FolderUploads | None
    snapshots: FolderUploads | None
    blobs: BlobStore

    def projects(self) -> bottle.HTTPResponse:
        """``/local/``: the projects with files that are held."""
        index = self._index
        found = self.local.projects(index, asking.seen(index)[1])
        return self.simple.names_once(index, found, _TITLE)

    def project(self, project: str) -> bottle.HTTPResponse:
        """``/local/<project>/``: the files that are held."""
        name = names.project(project)
        if name != project:
            return moved(f"../{name}/")
        index = self._index
        page = self.local.page(index, asking.seen(index, (name,))[0], name)
        return self.simple.once(index, page, "../../")

    def version(self, project: str, version: str) -> bottle.HTTPResponse:
        """``/local/<project>/<version>``: those of one version."""
        name = names.project(project)
        index = self._index
        page = self.local.page(index, asking.seen(index, (name,))[0], name)
        return self.simple.once(index, local.of_version(page, version), _to_root())

    def simple_version(self, project: str, version: str) -> bottle.HTTPResponse:
        """``/simple/<project>/<version>``: the same of all that there are."""
        name = names.project(project)
        index = self._index
        page = asking.seen(index, (name,))[0].view(name).load()
        return self.simple.once(index, local.of_version(page, version), _to_root())

    def file(self, file: str, **_: str) -> bottle.HTTPResponse:
        """``/packages/…/<file>``: by its name, whatever stands before it."""
        base, ending = names.split_companion(file)
        index = self._index
        source = asking.seen(index, tuple(names.projects_of(base)))[0]
        link = local.named(source, base)
        path = names.file_path(link.filename, link.url, link.digests)
        return self.files.at(index.name, path + ending)

    def put(self, file: str, **_: str) -> bottle.HTTPResponse:
        """``PUT /packages/source/<letter>/<project>/<file>``: the body is the file."""
        with _receiving(self.blobs, file) as content:
            return self._kept(content)

    def upload(self) -> bottle.HTTPResponse:
        """``POST /uploadpackage/``: a form with the file ``sdist``."""
        environ = bottle.request.environ
        with received(environ, self.blobs, files=(_SDIST,)) as form:
            content = form.files.get(_SDIST)
            if content is None:
                raise BadRequest("Missing package data.")
            return self._kept(content)

    def requirements(self) -> bottle.HTTPResponse:
        """``POST /requirements.txt``: a form with the file ``requirements``, or a lock."""
        environ = bottle.request.environ
        with received(environ, self.blobs, _LARGEST_FORM, files=(_REQUIREMENTS,)) as form:
            name, data = _sent(form)
            index = self._index
            source, shown = asking.seen(index)
            wishes = _wishes(form)
        seen_by = (asking.principal().name, shown)
        return _answer(_told(self.requests(name, data, index.name, source, wishes, seen_by)))

    @property
    def _index(self) -> Index:
        return self.indexes.find(self.front)

    def _kept(self, content: ReceivedFile) -> bottle.HTTPResponse:
        is_snapshot = content.filename.endswith(_SNAPSHOTS)
        uploads = self.snapshots if is_snapshot else self.uploads
        if uploads is None:
            raise Forbidden(f"{self.front} is a mirror: --packages makes room for files of yours")
        uploads.upload(Form({}, {"content": content}))
        return _answer({"uploaded": "ok"})


def in_json(handler: Handler) -> Handler:
    """The handler, whose errors are told as pypicache does."""

    @wraps(handler)
    def handle(**arguments: str) -> object:
        try:
            return handler(**arguments)
        except DevpiError as error:
            status = status_of(error)
            answer = failure(status, error.message, getattr(error, "retry_after", None))
            answer.body = orjson.dumps({"error": True, "message": error.message})
            answer.set_header("Content-Type", "application/json")
            answer.set_header("Content-Length", str(len(answer.body)))
            return answer

    return handle


@contextmanager
def _receiving(blobs: BlobStore, filename: str) -> Iterator[ReceivedFile]:
    """The body of the request as a file; on leaving, it is abandoned if nobody has taken it.

    :raises BadRequest: there is none, or it breaks off.
    """
    incoming = blobs.incoming()
    try:
        for block in bodies.blocks(bottle.request.environ, None):
            incoming.write(block)
        if not incoming.size:
            raise BadRequest("Missing package data.")
        yield ReceivedFile(filename, incoming, incoming.size, incoming.sha256, "", "")
    finally:
        incoming.abandon()


def _sent(form: Form) -> tuple[str, bytes]:
    """The name and the bytes of what was sent as a file or, from a shell, as a text.

    :raises BadRequest: it is missing.
    """
    file = form.files.get(_REQUIREMENTS)
    if file is not None:
        with translated("read a request"), os.fdopen(file.incoming.reader(), "rb") as opened:
            return file.filename, opened.read(on_request.LARGEST)
    texts = form.fields.get(_REQUIREMENTS)
    if texts is None:
        raise BadRequest("Missing requirements data.")
    return "", "\n".join(texts).encode()


def _wishes(form: Form) -> Wishes:
    """For whom files are fetched, by fields that are called as the options of the command.

    :raises BadRequest: a field cannot be used.
    """
    try:
        pythons = tuple(map(targets.python, form.many("python_version")))
        platforms = tuple(map(targets.platform, form.many("platform")))
    except ValueError as error:
        raise BadRequest(str(error)) from error
    all_platforms = form.one("all_platforms") is not None
    if all_platforms:
        platforms = tuple(dict.fromkeys([*platforms, "", *NAMES.values()]))
    wanted = tuple(
        Target(each, where) for each in pythons or (HERE,) for where in platforms or ("",)
    )
    if len(wanted) > _MOST_TARGETS:
        raise BadRequest(f"these are more than {_MOST_TARGETS} platforms and Pythons")
    return Wishes(wanted, all_platforms, pythons)


def _told(outcome: Outcome) -> Mapping[str, object]:
    return {
        "cached": outcome.cached,
        "unparseable": outcome.lines(unreadable=True),
        "failed": outcome.lines(unreadable=False),
        "results": [_shown(result) for result in outcome.results],
        "notes": outcome.notes,
    }


def _shown(result: Result) -> Mapping[str, object]:
    return {
        "line": result.line,
        "result": result.state.value,
        "reason": result.reason or None,
        "files": result.files,
        "size": result.size,
    }


def _answer(told: Mapping[str, object]) -> bottle.HTTPResponse:
    body = orjson.dumps(told)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
    }
    return bottle.HTTPResponse(body, "200 OK", headers)


def _to_root() -> str:
    """The relative URL from a page of a version to the server's root."""
    return "../../../" if bottle.request.path.endswith("/") else "../../"
