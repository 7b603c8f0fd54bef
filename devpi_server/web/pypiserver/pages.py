"""Pages: of a project, of all projects, of all files, and those that lead to them."""

from __future__ import annotations

from urllib.parse import urljoin

import bottle
import orjson

from devpi_server import __version__, names
from devpi_server.errors import InvalidName, NoSuchProject, NotFound
from devpi_server.names import NormalizedName
from devpi_server.records import Origin
from devpi_server.services.packagefolder import PACKAGES, PackageFolder
from devpi_server.services.pages import PageKey
from devpi_server.simple.negotiate import Form
from devpi_server.web.hot import page_answer
from devpi_server.web.pypiserver import answers
from devpi_server.web.pypiserver.answers import found, moved
from devpi_server.web.pypiserver.hot import FolderHot
from devpi_server.web.simple import negotiated

_SIMPLE = "simple/"


class FolderPages:
    """The handlers.

    :param welcome: the template of the page at ``/``.
    :param fallback_url: where clients are sent for a project that is not here, with a slash
        behind it; empty: nowhere.
    :param is_public: whether the pages are for everybody.
    """

    def __init__(
        self,
        folder: PackageFolder,
        hot: FolderHot,
        welcome: bottle.SimpleTemplate,
        fallback_url: str,
        *,
        is_public: bool,
    ) -> None:
        self._folder = folder
        self._hot = hot
        self._welcome = welcome
        self._fallback_url = fallback_url
        self._is_public = is_public

    def home(self) -> bottle.HTTPResponse:
        """``/``."""
        prefix = answers.prefix(bottle.request.environ)
        shown = self._welcome.render(
            URL=bottle.request.url.rstrip("/") + "/",
            VERSION=__version__,
            NUMPKGS=self._folder.count(),
            PACKAGES=prefix + PACKAGES,
            SIMPLE=prefix + _SIMPLE,
        )
        return answers.done(shown.encode())

    def slash(self, **_: str) -> bottle.HTTPResponse:
        """An address without the slash at its end."""
        return moved(f"{answers.here(bottle.request.environ)}/")

    def projects(self) -> bottle.HTTPResponse:
        """``/simple/``."""
        form, encoding = negotiated()
        key = PageKey("", None, form is Form.JSON, encoding, "")
        rendered = self._folder.projects(key)
        environ = bottle.request.environ
        answer = page_answer(rendered, form.content_type, key, Origin.HIT, environ, self._is_public)
        return _response(*answer)

    def project(self, project: str) -> bottle.HTTPResponse:
        """``/simple/<project>/``."""
        name = _normal(project)
        prefix = answers.prefix(bottle.request.environ)
        if name != project:
            return moved(f"{prefix}{_SIMPLE}{name}/")
        form, encoding = negotiated()
        key = PageKey("", name, form is Form.JSON, encoding, prefix)
        try:
            rendered = self._folder.project(name, key)
        except NoSuchProject:
            if self._fallback_url:
                return found(f"{self._fallback_url}{name}/")
            raise NoSuchProject(f"Not Found ({name} does not exist)\n") from None
        environ = bottle.request.environ
        self._hot.remember_page(environ, name, key, form.content_type)
        answer = page_answer(rendered, form.content_type, key, Origin.HIT, environ, self._is_public)
        return _response(*answer)

    def files(self) -> bottle.HTTPResponse:
        """``/packages/``."""
        parts = self._folder.files(answers.prefix(bottle.request.environ))
        return answers.done(b"".join(parts))

    def described(self, project: str) -> bottle.HTTPResponse:
        """``/<project>/json``."""
        name = _normal(project)
        prefix = answers.prefix(bottle.request.environ)
        if name != project:
            return moved(f"{prefix}{name}/json")
        try:
            held = self._folder.releases(name)
        except NoSuchProject:
            raise NoSuchProject(f"package {name} not found") from None
        parts = bottle.request.urlparts
        root = f"{parts.scheme}://{parts.netloc.partition('/')[0]}{prefix}{PACKAGES}"
        releases: dict[str, list[dict[str, str]]] = {}
        for version, path in held:
            releases.setdefault(version, []).append({"url": urljoin(root, path)})
        said = {"info": {"version": held[0][0]}, "releases": releases}
        return answers.done(orjson.dumps(said), "application/json")

    def below(self, project: str) -> bottle.HTTPResponse:
        """``/<project>``: the address without ``simple/``."""
        path = answers.here(bottle.request.environ).rstrip("/")
        return found(f"{answers.prefix(bottle.request.environ)}{_SIMPLE}{path.rpartition('/')[2]}/")


def nothing(**_: str) -> bottle.HTTPResponse:
    """An address at which there never is anything."""
    raise NotFound("there is no such thing")


def _normal(project: str) -> NormalizedName:
    try:
        return names.project(project)
    except InvalidName:
        raise NoSuchProject("Not Found (this is not the name of a project)") from None


def _response(status: str, headers: list[tuple[str, str]], body: bytes) -> bottle.HTTPResponse:
    return bottle.HTTPResponse(body, status, dict(headers))
