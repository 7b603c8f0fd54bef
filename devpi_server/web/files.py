"""Files: whole, in parts, still arriving, or only their headers."""

from __future__ import annotations

import errno
import logging
from contextlib import ExitStack
from email.utils import format_datetime

import bottle

from devpi_server import names
from devpi_server.concurrency import Blocking, wait_for
from devpi_server.errors import TimedOut, UpstreamError
from devpi_server.names import NormalizedName
from devpi_server.records import Origin
from devpi_server.services import verdata
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Index, Indexes
from devpi_server.services.owners.base import Coming, Elsewhere, Ready, Unchanged
from devpi_server.store.incoming import translated
from devpi_server.upstream.addresses import without_query
from devpi_server.upstream.arriving import Reader
from devpi_server.web import asking, conditional, envelope, simple
from devpi_server.web.asking import Wanted
from devpi_server.web.conditional import UNSATISFIABLE, Span
from devpi_server.web.heldfile import (
    Answer,
    file_headers,
    held_answer,
    is_held_by_client,
    ready_headers,
    unsatisfiable,
)
from devpi_server.web.hot import Hot

log = logging.getLogger(__name__)

# Set in the environ by a server that sends a ``Sending`` without holding a thread for it.
SENDS_READERS = "devpi.sends_readers"

# Whoever asks next may not be allowed to: only the client itself keeps it, and asks again.
_PRIVATE = "private, max-age=0, must-revalidate"
_GAP = 60.0  # seconds that a client waits for the next bytes of a file that arrives
_WHOLE_WITHIN = 14.0  # seconds that it waits where it has to have the whole; below pip's 15


class Files:
    """The handlers.

    :param places: where a request waits that has to hold a thread while a file arrives.
    """

    def __init__(self, indexes: Indexes, downloads: Downloads, hot: Hot, places: Blocking) -> None:
        self._indexes = indexes
        self._downloads = downloads
        self._hot = hot
        self._places = places

    def with_hash(
        self, user: str, index: str, head: str, tail: str, file: str
    ) -> bottle.HTTPResponse:
        """``<index>/+f/<sha256[:3]>/<sha256[3:16]>/<file>``."""
        return self.at(f"{user}/{index}", f"+f/{head}/{tail}/{file}")

    def without_hash(self, user: str, index: str, folder: str, file: str) -> bottle.HTTPResponse:
        """``<index>/+e/<scheme_host_path>/<file>``."""
        return self.at(f"{user}/{index}", f"+e/{folder}/{file}")

    def at(self, index_name: str, path: str) -> bottle.HTTPResponse:
        """The file at a path of an index, wherever it is shown."""
        index = self._indexes.find(index_name)
        if asking.wanted() is Wanted.JSON and not names.split_companion(path)[1]:
            return self._described(index, path)
        answer = self._head if bottle.request.method == "HEAD" else self._get
        response = answer(index, path)
        if not index.is_public:
            response.set_header("Cache-Control", _PRIVATE)
        return response

    def _described(self, index: Index, path: str) -> bottle.HTTPResponse:
        """What is known of the file, for devpi-client (devpi.md 1.9)."""
        source = asking.seen(index, _projects(path))[0]
        facts = self._downloads.facts(index.name, path, source)
        described = {
            "project": facts.project,
            "version": facts.version,
            **verdata.hashes(facts.digests),
            "last_modified": None,
        }
        if facts.uploaded is not None:
            described["last_modified"] = format_datetime(facts.uploaded, usegmt=True)
        if facts.url:
            described["url"] = without_query(facts.url)
        return envelope.answer("releasefilemeta", described)

    def _get(self, index: Index, path: str) -> bottle.HTTPResponse:
        source = asking.seen(index, _projects(path))[0]
        found = self._downloads.open(index.name, path, _is_held_by_client, source)
        if isinstance(found, Ready):
            environ = bottle.request.environ
            if index.is_public:
                self._hot.remember_file(environ, index.name, path)
            with translated("read a held file"):
                return _response(held_answer(found, environ))
        if isinstance(found, Elsewhere):
            return simple.found(found.url)
        if isinstance(found, Unchanged):
            return _unchanged(found.filename, found.sha256, Origin.MISS)
        return self._coming(found)

    def _head(self, index: Index, path: str) -> bottle.HTTPResponse:
        source = asking.seen(index, _projects(path))[0]
        found = self._downloads.describe(index.name, path, _is_held_by_client, source)
        if isinstance(found, Elsewhere):
            return simple.found(found.url)
        if isinstance(found, Unchanged):
            return _unchanged(found.filename, found.sha256, Origin.MISS)
        if isinstance(found, Ready):
            headers = ready_headers(found)
            if is_held_by_client(found, bottle.request.environ):
                return bottle.HTTPResponse(b"", "304 Not Modified", headers)
        elif found.sha256 is not None and _is_held_by_client(found.sha256):
            return _unchanged(found.filename, found.sha256, Origin.MISS)
        else:
            headers = file_headers(found.filename, found.sha256, Origin.MISS)
        if found.size is None:
            # bottle would say "Content-Length: 0" for an empty body; this one is not sent.
            return bottle.HTTPResponse(iter((b" ",)), "200 OK", headers)
        headers["Content-Length"] = str(found.size)
        return bottle.HTTPResponse(b"", "200 OK", headers)

    def _coming(self, coming: Coming) -> bottle.HTTPResponse:
        """A file that arrives, at the client's own speed."""
        if coming.arriving.length is None and bottle.request.get("SERVER_PROTOCOL") == "HTTP/1.0":
            _wait_for_the_length(coming)
        size = coming.arriving.length
        headers = file_headers(coming.filename, coming.sha256, Origin.MISS)
        part = None if size is None else _span(coming.sha256, size)
        if part is UNSATISFIABLE:
            return _response(unsatisfiable(size or 0))
        start, stop = part or (0, size)
        if part is not None:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        if stop is not None:
            headers["Content-Length"] = str(stop - start)
        sends = stop is not None and SENDS_READERS in bottle.request.environ
        body = Sending(coming.arriving.reader(start, stop), None if sends else self._places)
        return bottle.HTTPResponse(body, "206 Partial Content" if part else "200 OK", headers)


class Sending:
    """A file object over a reader: ``read`` waits for bytes on the thread that calls it.

    :param places: takes one until it is closed.
    :raises Overloaded: there is none.
    """

    def __init__(self, reader: Reader, places: Blocking | None) -> None:
        self.reader = reader
        self._blocks = reader.blocks(_GAP)
        self._left = b""
        self._stack = ExitStack()
        self._stack.callback(reader.close)
        if places is not None:
            try:
                self._stack.enter_context(places.place())
            except BaseException:
                reader.close()
                raise

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most size; none at the end.

        :raises ConnectionResetError: it breaks off; any server closes the connection then, and
            takes it for a client that has left, which is no fault.
        """
        try:
            block = self._left or next(self._blocks, b"")
        except UpstreamError as error:
            log.warning("an answer breaks off: %s", error.message)
            raise ConnectionResetError(errno.ECONNRESET, error.message) from None
        if size < 0 or size >= len(block):
            self._left = b""
            return block
        self._left = block[size:]
        return block[:size]

    def close(self) -> None:
        """Let go of the file and the place."""
        self._stack.close()


def _wait_for_the_length(coming: Coming) -> None:
    """HTTP/1.0 cannot tell a body that breaks off from one that ends, unless it has a length."""
    finished = coming.arriving.finished
    if not wait_for(("finished", coming.filename), finished, _WHOLE_WITHIN):
        raise TimedOut(f"upstream does not send {coming.filename} in time, try again")
    finished.result()


def _projects(path: str) -> tuple[NormalizedName, ...]:
    return tuple(names.projects_of(names.split_companion(path.rpartition("/")[2])[0]))


def _span(sha256: str | None, size: int) -> Span | None:
    request = bottle.request
    return conditional.span(
        request.headers.raw("Range"), request.headers.raw("If-Range"), sha256 or "", size
    )


def _is_held_by_client(sha256: str) -> bool:
    return conditional.is_held_by_client(bottle.request.headers.raw("If-None-Match"), sha256)


def _unchanged(filename: str, sha256: str, origin: Origin) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(b"", "304 Not Modified", file_headers(filename, sha256, origin))


def _response(answer: Answer) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(answer.body, answer.status, dict(answer.headers))
