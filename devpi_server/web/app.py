"""The application: every route in one visible list, and what stands in front of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import bottle

from devpi_server.concurrency import Blocking, Clock, waiting_with
from devpi_server.observe import Observer
from devpi_server.services.access import ACTIONS, Access
from devpi_server.services.accounts import RESERVED, Accounts
from devpi_server.services.downloads import Downloads
from devpi_server.services.folder_uploads import FolderUploads
from devpi_server.services.identity import Identity
from devpi_server.services.index_config import IndexConfig
from devpi_server.services.indexes import Indexes
from devpi_server.services.listings import Listings
from devpi_server.services.local import Local
from devpi_server.services.metrics import Metrics
from devpi_server.services.pages import Pages
from devpi_server.services.prefetch.on_request import PrefetchRequests
from devpi_server.services.readymade import ReadyMade
from devpi_server.services.releases import Releases
from devpi_server.services.status import Status
from devpi_server.store.blobs import BlobStore
from devpi_server.store.incoming import Incoming
from devpi_server.web.accounts import AccountsApi
from devpi_server.web.docs import DocPages
from devpi_server.web.files import Files
from devpi_server.web.guard import AccessPlugin
from devpi_server.web.hot import Environ, Hot, Readiness, StartResponse, WSGIApp, event
from devpi_server.web.indexes import IndexesApi
from devpi_server.web.ops import Ops
from devpi_server.web.outside import Outside
from devpi_server.web.plugins import ErrorsPlugin, Handler, failure, put_in_place
from devpi_server.web.projects import ProjectsApi
from devpi_server.web.push import PushApi
from devpi_server.web.pypicache import Pypicache, in_json
from devpi_server.web.search import SearchApi
from devpi_server.web.simple import SimplePages, found, moved
from devpi_server.web.uploads import UploadForms

# Set in the environ by a server that knows a better way to wait than to block a thread.
PATIENCE = "devpi.patience"
# Set by a server that runs a request several times: when it ran first, by the monotonic clock.
BEGIN = "devpi.begin"

_PYPI = "root/pypi"
# What begins with a plus is ours, and so are the words at which we serve something else.
_NAME = "[^+/][^/]*"
_USER = f"(?!(?:{'|'.join(sorted(RESERVED))})(?:/|$)){_NAME}"
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
    body: str = ""  # content type that it is for, beside a route of the same rule for the others


def routes(
    simple: SimplePages,
    files: Files,
    ops: Ops,
    people: AccountsApi,
    forms: UploadForms,
    docs: DocPages,
    config: IndexesApi,
    projects: ProjectsApi,
    pushes: PushApi,
    search: SearchApi,
    guard: AccessPlugin,
    cache: Pypicache,
) -> list[Route]:
    """All routes."""

    front = cache.front
    index = "/<user>/<index>"

    def held(name: str) -> Handler:
        return lambda: simple.held_projects(*name.split("/"))

    def page(root: str, name: str) -> Handler:
        user, _, own = name.partition("/")
        return lambda project: simple.project(user, own, project, f"{root}/{name}/")

    return [
        Route("/", "user_list", lambda: home(people, front)),
        Route("/+status", "status", ops.status),
        Route("/+metrics", "status", ops.metrics),
        # What devpi-client asks first, and who it says that it is.
        Route("/+api", "api", people.api),
        Route("/<user>/+api", "api", people.api),
        Route(f"{index}/+api", "index_read", people.api),
        Route("/+login", "login", people.login, "POST"),
        Route("/+authcheck", "authcheck", guard.authcheck),
        Route("/+changelog/<serial>", "status", ops.changelog),
        # The address of 2013. Who forgets its last part is led there.
        Route("/ext/pypi", "home", lambda: found("pypi/simple/")),
        Route("/ext/pypi/", "home", lambda: found("simple/")),
        Route("/ext/pypi/<project>/", "home", simple.below),
        Route("/ext/pypi/simple", "pkg_list", lambda: moved("simple/"), index=_PYPI),
        Route("/ext/pypi/simple/", "pkg_list", held(_PYPI), index=_PYPI),
        Route("/ext/pypi/simple/<project>", "pkg_read", simple.slash, index=_PYPI),
        Route("/ext/pypi/simple/<project>/", "pkg_read", page("../../../..", _PYPI), index=_PYPI),
        # The address that every other server has.
        Route("/simple", "pkg_list", lambda: moved("simple/"), index=front),
        Route("/simple/", "pkg_list", held(front), index=front),
        Route("/simple/<project>", "pkg_read", simple.slash, index=front),
        Route("/simple/<project>/", "pkg_read", page("../..", front), index=front),
        # Those of pypicache.
        Route("/simple/<project>/<version>", "pkg_read", cache.simple_version, index=front),
        Route("/simple/<project>/<version>/", "pkg_read", cache.simple_version, index=front),
        Route("/local", "pkg_list", lambda: moved("local/"), index=front),
        Route("/local/", "pkg_list", cache.projects, index=front),
        Route("/local/<project>", "pkg_read", simple.slash, index=front),
        Route("/local/<project>/", "pkg_read", cache.project, index=front),
        Route("/local/<project>/<version>", "pkg_read", cache.version, index=front),
        Route("/local/<project>/<version>/", "pkg_read", cache.version, index=front),
        Route("/packages/<folder>/<file>", "pkg_read", cache.file, index=front),
        Route("/packages/<kind>/<letter>/<folder>/<file>", "pkg_read", cache.file, index=front),
        Route(
            "/packages/<kind>/<letter>/<folder>/<file>",
            "upload",
            in_json(cache.put),
            "PUT",
            index=front,
        ),
        Route("/uploadpackage", "upload", in_json(cache.upload), "POST", index=front),
        Route("/uploadpackage/", "upload", in_json(cache.upload), "POST", index=front),
        Route("/requirements.txt", "prefetch", in_json(cache.requirements), "POST", index=front),
        # Users and their tokens.
        *_at("/<user>", "user_read", people.user),
        *_at("/<user>", "user_create", people.create, "PUT"),
        *_at("/<user>", "user_modify", people.modify, "PATCH"),
        *_at("/<user>", "user_delete", people.delete, "DELETE"),
        Route("/<user>/+token-create", "token", people.create_token, "POST"),
        Route("/<user>/+tokens", "token", people.tokens),
        Route("/<user>/+tokens/<token>", "token", people.revoke_token, "DELETE"),
        # Every index by its own name.
        *_at(index, "upload", forms.post, "POST"),
        *_at(index, "push", pushes.push, "PUSH"),
        *_at(index, "push", pushes.push, "POST", "application/json"),
        *_at(index, "pkg_list", search.ask, "POST", "text/xml"),
        Route(f"{index}/+simple", "pkg_list", lambda **_: moved("+simple/")),
        Route(f"{index}/+simple/", "pkg_list", simple.all_projects),
        Route(f"{index}/+simple/<project>", "pkg_read", simple.project_or_slash),
        Route(f"{index}/+simple/<project>/", "pkg_read", simple.project),
        Route(f"{index}/+simple/<project>/refresh", "refresh", projects.refresh, "POST"),
        *_at(index, "index_read", config.show),
        *_at(index, "index_create", config.create, "PUT"),
        *_at(index, "index_modify", config.modify, "PATCH"),
        *_at(index, "index_delete", config.delete, "DELETE"),
        Route(f"{index}/+f/<head>/<tail>/<file>", "pkg_read", files.with_hash),
        Route(f"{index}/+f/<head>/<tail>/<file>", "toxresult_upload", forms.result, "POST"),
        Route(f"{index}/+f/<head>/<tail>/<file>", "remove", projects.delete_file, "DELETE"),
        Route(f"{index}/+f/<head>/<tail>/<file>/+yank", "yank", projects.yank_file, "POST"),
        Route(f"{index}/+f/<head>/<tail>/<file>/+yank", "yank", projects.unyank_file, "DELETE"),
        Route(f"{index}/+e/<folder>/<file>", "pkg_read", files.without_hash),
        Route(f"{index}/+e/<folder>/<file>", "remove", projects.delete_unhashed, "DELETE"),
        Route(f"{index}/<project>/<version>/+toxresults/<file>", "pkg_read", forms.shown_result),
        Route(
            f"{index}/<project>/<version>/+toxresults/<file>/<result>",
            "pkg_read",
            forms.shown_result,
        ),
        *_at(f"{index}/<project>", "pkg_read", projects.project),
        *_at(f"{index}/<project>", "remove", projects.delete, "DELETE"),
        *_at(f"{index}/<project>/<version>", "pkg_read", projects.version),
        *_at(f"{index}/<project>/<version>", "remove", projects.delete_version, "DELETE"),
        Route(f"{index}/<project>/<version>/+yank", "yank", projects.yank, "POST"),
        Route(f"{index}/<project>/<version>/+yank", "yank", projects.unyank, "DELETE"),
        Route(f"{index}/<project>/<version>/+doc", "pkg_read", docs.slash),
        Route(f"{index}/<project>/<version>/+doc/", "pkg_read", docs.page),
        Route(f"{index}/<project>/<version>/+doc/<path:path>", "pkg_read", docs.page),
        Route(f"{index}/<project>/<version>/+d/", "pkg_read", docs.framed),
        Route(f"{index}/<project>/<version>/+d/<path:path>", "pkg_read", docs.framed),
    ]


def home(people: AccountsApi, front: str) -> object:
    """``/``: the users for programs, the way to the packages for people."""
    if "text/html" in bottle.request.headers.raw("Accept", ""):
        return found("ext/pypi/simple/" if front == _PYPI else "simple/")
    return people.users()


def _at(
    rule: str, action: str, handler: Handler, method: str = "GET", body: str = ""
) -> tuple[Route, Route]:
    """The route with and without a slash at its end, as devpi has both."""
    with_slash, without = (
        Route(each, action, handler, method, body=body) for each in (f"{rule}/", rule)
    )
    return without, with_slash


@dataclass(frozen=True, slots=True)
class Application:
    """The WSGI application."""

    serve: WSGIApp
    hot: Readiness  # tells a server which requests need no thread of their own
    routes: Sequence[Route]
    # Tells a server whether large bodies of nobody known are worth receiving; quick.
    takes_from_anybody: Callable[[], bool] = lambda: False

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        return self.serve(environ, start_response)


def application(
    *,
    indexes: Indexes,
    access: Access,
    accounts: Accounts,
    people: AccountsApi,
    forms: UploadForms,
    docs: DocPages,
    config: IndexConfig,
    releases: Releases,
    incoming: Incoming,
    pushes: PushApi,
    search: SearchApi,
    pages: Pages,
    listings: Listings,
    downloads: Downloads,
    places: Blocking,
    observer: Observer,
    clock: Clock,
    status: Status,
    metrics: Metrics,
    identity: Identity,
    outside_url: str | None,
    absolute_urls: bool,
    trusted_proxy: str | None,
    ready_made: ReadyMade | None,
    sent_from: str | None,
    local: Local,
    prefetches: PrefetchRequests,
    folder: FolderUploads | None,
    snapshots: FolderUploads | None,
    blobs: BlobStore,
    front: str = _PYPI,
) -> Application:
    """The WSGI application, from the outside in: patience, sub-path, what is hot, log, bottle."""
    hot = Hot(indexes, pages, downloads, observer, clock, ready_made)
    simple = SimplePages(indexes, pages, listings, hot, absolute_urls=absolute_urls)
    files = Files(indexes, downloads, hot, places)
    guard = AccessPlugin(access, accounts)
    own = IndexesApi(indexes, config, simple, incoming.spool)
    projects = ProjectsApi(indexes, releases, simple)
    ops = Ops(status, metrics)
    cache = Pypicache(front, indexes, local, simple, files, prefetches, folder, snapshots, blobs)
    all_routes = routes(
        simple, files, ops, people, forms, docs, own, projects, pushes, search, guard, cache
    )
    app = _without_bad_bytes(_bottle(all_routes, guard))
    app = hot.in_front_of(_observed(app, observer, clock))
    app = _named(Outside(app, outside_url, trusted_proxy, sent_from), identity)
    return Application(patient(app, places), hot, all_routes, access.anybody_uploads)


def _bottle(all_routes: list[Route], guard: AccessPlugin) -> bottle.Bottle:
    app = bottle.Bottle()
    app.router.add_filter("user", lambda _: (_USER, None, None))
    app.router.add_filter("name", lambda _: (_NAME, None, None))
    app.install(ErrorsPlugin())
    app.install(guard)
    app.default_error_handler = _error
    made = []
    for route in all_routes:
        if route.action not in ACTIONS:
            raise ValueError(f"{route.method} {route.rule} needs {route.action}, which is nothing")
        options = {"action": route.action, "index": route.index}
        rule = route.rule.replace("<user>", "<user:user>")
        for part in ("index", "project", "version"):
            rule = rule.replace(f"<{part}>", f"<{part}:name>")
        made.append((route.body, bottle.Route(app, rule, route.method, route.handler, **options)))
    add_routes(app, made)
    return app


def add_routes(app: bottle.Bottle, routes: Iterable[tuple[str, bottle.Route]]) -> None:
    """Add the routes, each with the content type of the body that it is for, or none.

    Of the same rule and method, there may be one for each.
    """
    by_body: dict[tuple[str, str], dict[str, bottle.Route]] = {}
    for body, route in routes:
        by_body.setdefault((route.rule, route.method), {})[body] = route
    for (rule, method), same in by_body.items():
        if len(same) == 1:
            app.add_route(same[""])
        else:
            app.route(rule, method, _chosen_by_body(same), skip=[True])  # it has the plugins


def _chosen_by_body(routes: Mapping[str, bottle.Route]) -> Handler:
    """The route for the content type of the body, or the one for all others."""

    def handle(**arguments: str) -> object:
        content_type = (bottle.request.environ.get("CONTENT_TYPE") or "").partition(";")[0]
        route = routes.get(content_type.strip().lower(), routes[""])
        answer: object = route.call(**arguments)
        return answer

    return handle


def _error(response: bottle.HTTPError) -> bytes:
    """What bottle itself refuses, or a fault of ours: the body, and the rest put in place."""
    status = response.status_code
    message = _OWN_WORDS.get(status, str(response.body))
    return put_in_place(failure(status, message), response)


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
        begin: float = environ.get(BEGIN) or time.monotonic()

        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            origin = next((value for name, value in headers if name == "X-Devpi-Cache"), "-")
            took = time.monotonic() - begin
            observer.answered(event(environ, status, origin, clock, headers, took))
            return start_response(status, headers, *rest)

        return app(environ, start)

    return answer


def _named(app: WSGIApp, identity: Identity) -> WSGIApp:
    """Every response says which server it is from."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            return start_response(status, [*headers, *identity.headers()], *rest)

        return app(environ, start)

    return answer


def patient(app: WSGIApp, places: Blocking) -> WSGIApp:
    """The application, with requests that wait as their server can."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        with waiting_with(environ.get(PATIENCE, places)):
            return app(environ, start_response)

    return answer
