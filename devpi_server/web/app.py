"""The application: every route in one visible list, and what stands in front of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import bottle

from devpi_server.concurrency import Blocking, Clock, waiting_with
from devpi_server.observe import Observer
from devpi_server.services.access import ACTIONS, Access
from devpi_server.services.accounts import Accounts
from devpi_server.services.downloads import Downloads
from devpi_server.services.indexes import Indexes
from devpi_server.services.pages import Pages
from devpi_server.services.status import Status
from devpi_server.web.files import Files
from devpi_server.web.guard import AccessPlugin
from devpi_server.web.hot import Environ, Hot, StartResponse, WSGIApp, event
from devpi_server.web.ops import Ops
from devpi_server.web.outside import Outside
from devpi_server.web.plugins import ErrorsPlugin, Handler, failure
from devpi_server.web.simple import SimplePages, found, moved

# Set in the environ by a server that knows a better way to wait than to block a thread.
PATIENCE = "devpi.patience"

_PYPI = ("root", "pypi")
_PYPI_NAME = "/".join(_PYPI)
_OWN_WORDS = {
    404: "there is nothing at this address",
    405: "this address does not take the method",
    500: "internal error, see the server's log",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One route; the action is the permission that it needs."""

    rule: str
    action: str
    handler: Handler
    method: str = "GET"  # HEAD goes wherever GET goes
    index: str | None = None  # the index that it is about, where the address does not name it


def routes(simple: SimplePages, files: Files, ops: Ops) -> list[Route]:
    """All routes."""

    index = "/<user>/<index>"

    def held() -> object:
        return simple.held_projects(*_PYPI)

    def page(root: str) -> Handler:
        return lambda project: simple.project(*_PYPI, project, f"{root}/{_PYPI_NAME}/")

    return [
        Route("/", "home", lambda: found("ext/pypi/simple/")),
        Route("/+status", "status", ops.status),
        # The address of 2013. Who forgets its last part is led there.
        Route("/ext/pypi", "home", lambda: found("pypi/simple/")),
        Route("/ext/pypi/", "home", lambda: found("simple/")),
        Route("/ext/pypi/<project>/", "home", simple.below),
        Route("/ext/pypi/simple", "pkg_list", lambda: moved("simple/"), index=_PYPI_NAME),
        Route("/ext/pypi/simple/", "pkg_list", held, index=_PYPI_NAME),
        Route("/ext/pypi/simple/<project>", "pkg_read", simple.slash, index=_PYPI_NAME),
        Route("/ext/pypi/simple/<project>/", "pkg_read", page("../../../.."), index=_PYPI_NAME),
        # The address that every other server has.
        Route("/simple", "pkg_list", lambda: moved("simple/"), index=_PYPI_NAME),
        Route("/simple/", "pkg_list", held, index=_PYPI_NAME),
        Route("/simple/<project>", "pkg_read", simple.slash, index=_PYPI_NAME),
        Route("/simple/<project>/", "pkg_read", page("../.."), index=_PYPI_NAME),
        # Every index by its own name.
        Route(f"{index}/+simple", "pkg_list", lambda **_: moved("+simple/")),
        Route(f"{index}/+simple/", "pkg_list", simple.all_projects),
        Route(f"{index}/+simple/<project>", "pkg_read", simple.slash),
        Route(f"{index}/+simple/<project>/", "pkg_read", simple.project),
        Route(f"{index}/+f/<head>/<tail>/<file>", "pkg_read", files.with_hash),
        Route(f"{index}/+e/<folder>/<file>", "pkg_read", files.without_hash),
    ]


@dataclass(frozen=True, slots=True)
class Application:
    """The WSGI application."""

    serve: WSGIApp
    hot: Hot  # tells a server which requests need no thread of their own

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.serve(environ, start_response)


def application(
    *,
    indexes: Indexes,
    access: Access,
    accounts: Accounts,
    pages: Pages,
    downloads: Downloads,
    places: Blocking,
    observer: Observer,
    clock: Clock,
    status: Status,
    outside_url: str | None,
    trusted_proxy: str | None,
) -> Application:
    """The WSGI application, from the outside in: patience, sub-path, what is hot, log, bottle."""
    hot = Hot(indexes, pages, downloads, observer, clock)
    simple = SimplePages(indexes, pages, hot)
    files = Files(indexes, downloads, hot, places)
    guard = AccessPlugin(access, accounts)
    app = _without_bad_bytes(_bottle(routes(simple, files, Ops(status)), guard))
    app = hot.in_front_of(_observed(app, observer, clock))
    app = Outside(app, outside_url, trusted_proxy)
    return Application(_patient(app, places), hot)


def _bottle(all_routes: list[Route], guard: AccessPlugin) -> bottle.Bottle:
    app = bottle.Bottle()
    app.install(ErrorsPlugin())
    app.install(guard)
    app.default_error_handler = _error
    for route in all_routes:
        if route.action not in ACTIONS:
            raise ValueError(f"{route.method} {route.rule} needs {route.action}, which is nothing")
        options = {"action": route.action, "index": route.index}
        app.route(route.rule, route.method, route.handler, **options)
    return app


def _error(response: bottle.HTTPError) -> bytes:
    """What bottle itself refuses, or a fault of ours: the body, and the rest put in place."""
    status = response.status_code
    message = _OWN_WORDS.get(status, str(response.body))
    answer = failure(status, message)
    if allow := response.headers.get("Allow"):
        answer.set_header("Allow", allow)
    answer.apply(bottle.response)
    return answer.body  # type: ignore[no-any-return]


def _without_bad_bytes(app: WSGIApp) -> WSGIApp:
    """bottle drops what is not UTF-8 from a path, and would find another thing with the rest."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.isascii():  # WSGI: bytes as latin-1
            readable = path.encode("latin-1").decode("utf-8", "replace")
            environ["PATH_INFO"] = readable.encode().decode("latin-1")
        return app(environ, start_response)

    return answer


def _observed(app: WSGIApp, observer: Observer, clock: Clock) -> WSGIApp:
    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            origin = next((value for name, value in headers if name == "X-Devpi-Cache"), "-")
            observer.answered(event(environ, status, origin, clock))
            return start_response(status, headers, *rest)

        return app(environ, start)

    return answer


def _patient(app: WSGIApp, places: Blocking) -> WSGIApp:
    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with waiting_with(environ.get(PATIENCE, places)):
            return app(environ, start_response)

    return answer
