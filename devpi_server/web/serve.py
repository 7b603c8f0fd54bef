"""Serving the application: bind, announce, run until told to stop."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

import bottle

from devpi_server.errors import ConfigError
from devpi_server.settings import Settings
from devpi_server.store.incoming import Incoming
from devpi_server.web import listening
from devpi_server.web.app import Application
from devpi_server.web.foreign import adapted
from devpi_server.web.hot import Environ, StartResponse, WSGIApp
from devpi_server.web.intake import Intake, shows_credentials
from devpi_server.web.waitress_adapter import WaitressServer

SERVERS = frozenset({"waitress", "granian", *bottle.server_names})

# What a kind of server needs, where that is not called the same; None: nothing.
_MODULES = {
    "auto": None,
    "cgi": None,
    "wsgiref": None,
    "fapws3": "fapws",
    "gae": "google.appengine",
    "uvloop": "aiohttp_wsgi",
}
_ON_UNIX_SOCKETS = ("waitress", "granian")
# granian holds a thread for each answer that is being sent.
_GRANIAN_THREADS = 64

_IDLE = 10  # seconds
_GRACE = 40  # seconds that its worker gets to send what it has begun with

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - only compared with

Announce = Callable[[str], None]


class Served(Protocol):
    """What can be served."""

    @property
    def app(self) -> Application:
        """The application."""

    @property
    def incoming(self) -> Incoming:
        """Where what is being received may lie."""

    def start(self) -> None:
        """Begin the background work of this process."""

    def rebuild(self) -> Served:
        """The same once more, for a process of its own."""


def serve(served: Served, settings: Settings, announce: Announce) -> int:
    """Serve until told to stop, and return the exit code.

    :param announce: is told the server's URL once it listens.
    :raises ConfigError: the address cannot be used, or the server is not installed.
    """
    kind = settings.bottleserver
    if settings.unix_socket is not None and kind not in _ON_UNIX_SOCKETS:
        raise ConfigError([f"--unix-socket: --bottleserver {kind} cannot serve at one"])
    place = _listen(settings)
    if kind == "waitress":
        server = embedded(served, settings, place.sockets)
        served.start()
        server.heed_signals()
        server.run(lambda: announce(place.url), place.leave)
        return 0
    place.leave()
    for sock in place.sockets:
        sock.close()  # only tried: the other servers bind for themselves
    module = _MODULES.get(kind, kind)
    if module and not _is_installed(module):
        package = "'devpi-server[fast]'" if kind == "granian" else module
        raise ConfigError([f"--bottleserver {kind} needs: pip install {package}"])
    if kind == "granian":
        _serve_granian(served, settings, place, announce)
    else:
        announce(place.url)
        app = _started_where_it_serves(served)
        bottle.run(app, server=kind, host=settings.host, port=place.port, quiet=True)
    return 0


def embedded(served: Served, settings: Settings, sockets: list[socket.socket]) -> WaitressServer:
    """The server that comes with this one, on sockets that listen."""
    intake = Intake(
        served.incoming.scratch,
        settings.max_request_body_size,
        partial(_takes_large, served.app),
    )
    return WaitressServer(served.app, sockets, settings.threads, intake)


def _takes_large(app: Application, _method: str, _path: str, headers: Mapping[str, str]) -> bool:
    """Whether a large body is worth receiving; who may send it is found out later."""
    return shows_credentials(headers) or app.takes_from_anybody()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where it listens."""

    sockets: list[socket.socket]
    url: str
    address: str = ""  # these two for a server that takes one address only
    port: int = 0
    leave: Callable[[], None] = lambda: None  # lets nobody come any more


def _listen(settings: Settings) -> _Place:
    path = settings.unix_socket
    if path is not None:
        file = listening.bind_file(path, settings.unix_socket_perms)
        url = f"http+unix://{quote(str(path), safe='')}/"
        return _Place([file.sock], url, leave=file.remove)
    sockets = listening.bind(settings.host, settings.port)
    # IPv4 where there is a choice.
    first = min(sockets, key=lambda sock: sock.family != socket.AF_INET)
    address, port = first.getsockname()[:2]
    return _Place(sockets, _url(settings.host, port), address, port)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def _started_where_it_serves(served: Served) -> WSGIApp:
    """The application; its background work begins with the first request, in whatever process.

    Some servers fork after they have been given the application, and threads do not survive that.
    """
    app = adapted(served.app)
    starting = threading.Lock()
    started: list[int] = []  # the process where it was

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if os.getpid() not in started:
            with starting:
                if os.getpid() not in started:
                    started.append(os.getpid())
                    served.start()
        return app(environ, start_response)

    return answer


def _serve_granian(served: Served, settings: Settings, place: _Place, announce: Announce) -> None:
    from granian import Granian  # noqa: PLC0415 - optional: the extra "fast"
    from granian.constants import Interfaces  # noqa: PLC0415

    where: dict[str, Any] = {"address": place.address, "port": place.port}
    if settings.unix_socket is not None:
        perms = settings.unix_socket_perms
        where = {"uds": settings.unix_socket, "uds_permissions": perms}
    server = Granian(
        "devpi_server",
        interface=Interfaces.WSGI,
        blocking_threads=max(_GRANIAN_THREADS, settings.threads),
        # At a stop it may wait for threads that have nothing to do.
        blocking_threads_idle_timeout=_IDLE,
        workers_kill_timeout=_GRACE,
        log_enabled=settings.debug,
        **where,
    )
    server.on_startup(lambda: announce(place.url))
    server.serve(target_loader=partial(_load, served.rebuild))


def _load(rebuild: Callable[[], Served], _target: str) -> WSGIApp:
    """What granian's worker process calls to get its application."""
    # Until it listens to signals itself, it has the handler of its parent, which would make a
    # stop wait until the worker is killed.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    served = rebuild()
    served.start()
    return adapted(served.app)


def _url(host: str, port: int) -> str:
    if host in _EVERYWHERE:
        host = socket.gethostname()  # an address that other machines can use
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
