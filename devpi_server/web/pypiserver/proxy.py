"""What the folders do not have, out of the cache: ``--fallback proxy``.

Of the usual server that is behind, clients get the pages of projects that no
folder has, and the files that these lead to; nothing else of it is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from devpi_server import names
from devpi_server.errors import DevpiError, InvalidName, NoSuchProject
from devpi_server.names import NormalizedName
from devpi_server.services.gate import Gate
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.web.app import Application
from devpi_server.web.hot import Environ, StartResponse
from devpi_server.web.pypiserver.surface import DOWNLOAD, LIST, enter

_PAGES = "/simple/"
_FILES = ("/root/pypi/+f/", "/root/pypi/+e/")


def proxied(
    own: Application, behind: Application, folder: PackageFolder, gate: Gate, base_url: str
) -> Application:
    """The application, with the one behind for what it does not have.

    :param base_url: the sub-path below which all is served, without a slash at its end.
    """

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if base_url and path.startswith(f"{base_url}/"):
            path = path[len(base_url) :]
        action = _action(environ, path, folder)
        if action is not None and _may(gate, action, environ):
            if base_url:
                environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + base_url
                environ["PATH_INFO"] = path
            return behind(environ, start_response)
        return own(environ, start_response)

    return replace(own, serve=answer, hot=_EitherIsHot(own, behind, folder, gate, base_url))


@dataclass(frozen=True, slots=True)
class _EitherIsHot:
    """Knows which requests for either of the two need no thread of their own."""

    own: Application
    behind: Application
    folder: PackageFolder
    gate: Gate
    base_url: str

    def is_ready(self, path: str, accept: str, accept_encoding: str) -> bool:
        """Whether a GET like this is answered without waiting."""
        if self.own.hot.is_ready(path, accept, accept_encoding):
            return True
        if not path.startswith(f"{self.base_url}/"):
            return False
        path = path[len(self.base_url) :]
        if path.startswith(_FILES):
            is_open = self.gate.is_open(DOWNLOAD)
        else:
            name = _project(path)
            at_hand = name is not None and self.folder.is_at_hand(name)
            is_open = at_hand and self.gate.is_open(LIST)
        return is_open and self.behind.hot.is_ready(path, accept, accept_encoding)


def _action(environ: Environ, path: str, folder: PackageFolder) -> str | None:
    """What a request asks of the one behind. None: nothing."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return None
    if path.startswith(_FILES):
        return DOWNLOAD
    name = _project(path)
    if name is None:
        return None
    try:
        folder.directory.view(name)
    except NoSuchProject:
        return LIST
    except DevpiError:  # cannot tell: nobody else is to answer for it
        return None
    return None


def _project(path: str) -> NormalizedName | None:
    """The project whose page has this path, in the one spelling that has one."""
    name = path[len(_PAGES) : -1] if path.startswith(_PAGES) and path.endswith("/") else ""
    try:
        return NormalizedName(name) if names.project(name) == name else None
    except InvalidName:
        return None


def _may(gate: Gate, action: str, environ: Environ) -> bool:
    """Who may not is told so by our own application."""
    try:
        enter(gate, action, environ)
    except DevpiError:
        return False
    return True
