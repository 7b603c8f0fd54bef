"""All addresses of ``pypi-server`` in one visible list, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol

import bottle

from devpi_server.concurrency import Blocking
from devpi_server.services.gate import Gate
from devpi_server.services.packagefolder import PackageFolder
from devpi_server.upstream.xmlrpc import CONTENT_TYPE as XML
from devpi_server.web.app import Application, Route, add_routes, patient
from devpi_server.web.credentials import Credentials, credentials
from devpi_server.web.hot import Environ, StartResponse, WSGIApp
from devpi_server.web.plugins import ErrorsPlugin, Handler
from devpi_server.web.pypiserver import answers, welcome
from devpi_server.web.pypiserver.files import FolderFiles
from devpi_server.web.pypiserver.hot import FolderHot
from devpi_server.web.pypiserver.pages import FolderPages, nothing
from devpi_server.web.pypiserver.requestlog import Formats, logged
from devpi_server.web.pypiserver.search import FolderSearch
from devpi_server.web.pypiserver.uploads import FolderForms

LIST, DOWNLOAD, UPDATE, OPEN = "list", "download", "update", ""


@dataclass(frozen=True)
class Look:
    """How the folder is shown.

    :param welcome: the text of the template of the page at ``/``; None: ours.
    :param fallback_url: where clients are sent for what is not there; empty: nowhere.
    :param base_url: the sub-path below which all is served, without a slash at its end.
    :param has_cache: whether files of a mirror are served, too.
    """

    welcome: str | None
    fallback_url: str
    health_endpoint: str
    cache_control: int | None
    base_url: str
    formats: Formats
    has_cache: bool


def routes(
    pages: FolderPages, files: FolderFiles, search: FolderSearch, forms: FolderForms, look: Look
) -> list[Route]:
    """All routes; the action is what the gate is asked for."""
    # Who comes as far as here with such an address is not let in, or asks for nothing.
    of_cache = [Route("/root/pypi/<path:path>", DOWNLOAD, nothing)] if look.has_cache else []
    return [
        *of_cache,
        Route(look.health_endpoint, OPEN, lambda: answers.done(b"Ok")),
        Route("/favicon.ico", OPEN, nothing),
        Route("/", OPEN, pages.home),
        Route("/", UPDATE, forms.post, "POST"),
        Route("/RPC2", LIST, search.ask, "POST"),
        # Where pip asks that is given the address of the index, and not that of the server.
        Route("/", LIST, search.ask, "POST", body=XML),
        Route("/simple", LIST, search.ask, "POST"),
        Route("/simple/", LIST, search.ask, "POST"),
        Route("/simple", LIST, pages.slash),
        Route("/simple/", LIST, pages.projects),
        Route("/simple/<project>", LIST, pages.slash),
        Route("/simple/<project>/", LIST, pages.project),
        Route("/packages", LIST, pages.slash),
        Route("/packages/", LIST, pages.files),
        Route("/packages/<path:path>", DOWNLOAD, files.file),
        Route("/<project>/json", LIST, pages.described),
        Route("/<project>", OPEN, pages.below),
        Route("/<project>/", OPEN, pages.below),
    ]


def application(
    folder: PackageFolder, gate: Gate, forms: FolderForms, look: Look, places: Blocking
) -> Application:
    """The WSGI application.

    :param places: where a request waits that has to.
    :raises ConfigError: the look is no good.
    """
    hot = FolderHot(folder, look.base_url, pages=gate.is_open(LIST), files=gate.is_open(DOWNLOAD))
    pages = FolderPages(
        folder,
        hot,
        welcome.template(look.welcome),
        look.fallback_url,
        is_public=gate.is_open(LIST),
    )
    files = FolderFiles(folder, hot, look.cache_control, is_public=gate.is_open(DOWNLOAD))
    all_routes = routes(pages, files, FolderSearch(folder), forms, look)
    app = _bottle(all_routes, gate)
    app = hot.in_front_of(patient(app, places), files.answer)
    app = _below(logged(app, look.formats), look.base_url)
    return Application(app, hot, all_routes, lambda: gate.is_open(UPDATE))


class _Route(Protocol):
    config: Any


class _AtTheGate:
    """A bottle plugin: who may not is told so before anything is read."""

    name = "gate"
    api = 2

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def apply(self, callback: Handler, route: _Route) -> Handler:
        """Wrap the handler."""
        action = route.config["action"]
        if action == OPEN or self._gate.is_open(action):
            return callback

        @wraps(callback)
        def handle(**arguments: str) -> object:
            enter(self._gate, action, bottle.request.environ)
            return callback(**arguments)

        return handle


def enter(gate: Gate, action: str, environ: Environ) -> None:
    """Return if who sends the request may do this; raises as the gate does."""
    sent = credentials(environ)
    if isinstance(sent, Credentials):
        gate.require(action, sent.user, sent.password)
    else:
        gate.require(action, None)


def _bottle(all_routes: Sequence[Route], gate: Gate) -> bottle.Bottle:
    app = bottle.Bottle()
    app.install(ErrorsPlugin(answers.refusal))
    app.install(_AtTheGate(gate))
    app.default_error_handler = answers.of_bottle
    made = (
        (
            route.body,
            bottle.Route(app, route.rule, route.method, route.handler, action=route.action),
        )
        for route in all_routes
    )
    add_routes(app, made)
    return app


def _below(app: WSGIApp, base_url: str) -> WSGIApp:
    """The application at a sub-path; beside it there is nothing."""
    if not base_url:
        return app

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path != base_url and not path.startswith(f"{base_url}/"):
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"Not Found\n"]
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + base_url
        environ["PATH_INFO"] = path[len(base_url) :] or "/"
        return app(environ, start_response)

    return answer
