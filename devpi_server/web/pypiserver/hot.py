"""The hot path: pages and files that were sent before, without going through bottle.

As in ``web.hot``, it decides nothing: each request still asks the folder whether
the page or the file is as it was.  What needs a user is never hot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from devpi_server.concurrency import BoundedCache
from devpi_server.errors import DevpiError
from devpi_server.names import NormalizedName
from devpi_server.records import Origin
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.services.pages import PageKey
from devpi_server.store import filenames
from devpi_server.web.heldfile import Answer
from devpi_server.web.hot import (
    ONLY_HOT,
    Environ,
    NotHot,
    StartResponse,
    WSGIApp,
    page_answer,
    sent,
)

_BUDGET = 4 * 1024 * 1024  # bytes of keys in memory, twice
_LONGEST = 1000  # characters of a key
_COST = 500  # bytes that one takes beside its text, about

AnswerFile = Callable[[str, Environ], Answer]  # of the path below the folders
_Key = tuple[str, str, str, str]  # sub-path, path, Accept, Accept-Encoding


class _Page(NamedTuple):
    project: NormalizedName
    key: PageKey
    content_type: str


class _File(NamedTuple):
    project: NormalizedName
    path: str


class FolderHot:
    """Which requests lead to which pages and files; ``remember…`` is how they get here.

    :param base_url: the sub-path at which it is asked whether something is ready.
    :param pages: whether everybody may see pages.
    :param files: whether everybody may have files.
    """

    def __init__(self, folder: PackageFolder, base_url: str, *, pages: bool, files: bool) -> None:
        self._folder = folder
        self._base_url = base_url
        self._has_pages = pages
        self._has_files = files
        self._pages: BoundedCache[_Key, _Page] = BoundedCache(_BUDGET)
        self._files: BoundedCache[str, _File] = BoundedCache(_BUDGET)

    def remember_page(
        self, environ: Environ, project: NormalizedName, key: PageKey, content_type: str
    ) -> None:
        """Answer requests like this one with this page, as long as it is as it was."""
        found = _key(environ)
        size = sum(map(len, found))
        if self._has_pages and _may_be_hot(environ) and size <= _LONGEST:
            self._pages.put(found, _Page(project, key, content_type), size + _COST)

    def remember_file(self, environ: Environ, path: str, answer: Answer) -> None:
        """Answer requests for this file from now on."""
        said = filenames.parse(path.rpartition("/")[2])
        asked = environ["PATH_INFO"]
        is_whole = answer.status.startswith("200")
        if self._has_files and said is not None and is_whole and len(asked) <= _LONGEST:
            self._files.put(asked, _File(said.project, path), len(asked) + _COST)

    def is_ready(self, path: str, accept: str, accept_encoding: str) -> bool:
        """Whether a GET like this is answered without waiting: a matter of microseconds."""
        if self._base_url:
            if not path.startswith(f"{self._base_url}/"):
                return False
            path = path[len(self._base_url) :]
        known = self._files.get(path) or self._pages.get(
            (self._base_url, path, accept, accept_encoding)
        )
        return known is not None and self._folder.is_at_hand(known.project)

    def in_front_of(self, app: WSGIApp, answer_file: AnswerFile) -> WSGIApp:
        """The application, with the known requests answered before it."""

        def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            if _may_be_hot(environ):
                try:
                    found = self._file(environ, answer_file) or self._page(environ)
                except DevpiError:  # the long way finds out what to say
                    found = None
                if found is not None:
                    start_response(found.status, found.headers)
                    return sent(found.body, environ)
            if environ.get(ONLY_HOT):
                raise NotHot
            return app(environ, start_response)

        return answer

    def _page(self, environ: Environ) -> Answer | None:
        known = self._pages.get(_key(environ))
        if known is None:
            return None
        rendered = self._folder.held(known.project, known.key)
        if rendered is None:
            return None
        return Answer(*page_answer(rendered, known.content_type, known.key, Origin.HIT, environ))

    def _file(self, environ: Environ, answer_file: AnswerFile) -> Answer | None:
        known = self._files.get(environ["PATH_INFO"])
        return answer_file(known.path, environ) if known is not None else None


def _may_be_hot(environ: Environ) -> bool:
    # What a front server says of its path changes the links.
    return (
        environ["REQUEST_METHOD"] == "GET"
        and not environ.get("QUERY_STRING")
        and "HTTP_X_FORWARDED_HOST" not in environ
    )


def _key(environ: Environ) -> _Key:
    return (
        environ.get("SCRIPT_NAME", ""),
        environ.get("PATH_INFO", ""),
        environ.get("HTTP_ACCEPT", ""),
        environ.get("HTTP_ACCEPT_ENCODING", ""),
    )
