"""Serving the application: bind, announce, run until told to stop."""

from __future__ import annotations

import errno
import importlib.util
import os
import socket
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import bottle

from devpi_server.errors import ConfigError
from devpi_server.settings import Settings
from devpi_server.web.app import Application
from devpi_server.web.hot import Environ, StartResponse, WSGIApp
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
_BACKLOG = 1024
# granian holds a thread for each answer that is being sent.
_GRANIAN_THREADS = 64

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - only compared with

Announce = Callable[[str], None]


class Served(Protocol):
    """What can be served."""

    @property
    def app(self) -> Application:
        """The application."""

    def start(self) -> None:
        """Begin the background work of this process."""

    def rebuild(self) -> Served:
        """The same once more, for a process of its own."""


def serve(served: Served, settings: Settings, announce: Announce) -> int:
    """Serve until told to stop, and return the exit code.

    :param announce: is told the server's URL once it listens.
    :raises ConfigError: the address cannot be used, or the server is not installed.
    """
    sockets = bind(settings.host, settings.port)
    address, port = _first(sockets)
    if settings.bottleserver == "waitress":
        server = WaitressServer(served.app, sockets, settings.threads)
        served.start()
        server.run(lambda: announce(_url(settings.host, port)))
        return 0
    for sock in sockets:
        sock.close()  # only tried: the other servers bind for themselves
    kind = settings.bottleserver
    module = _MODULES.get(kind, kind)
    if module and not _is_installed(module):
        package = "'devpi-server[fast]'" if kind == "granian" else module
        raise ConfigError([f"--bottleserver {kind} needs: pip install {package}"])
    if kind == "granian":
        _serve_granian(served, settings, address, port, announce)
    else:
        announce(_url(settings.host, port))
        app = _started_where_it_serves(served)
        bottle.run(app, server=kind, host=settings.host, port=port, quiet=True)
    return 0


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def _started_where_it_serves(served: Served) -> WSGIApp:
    """The application; its background work begins with the first request, in whatever process.

    Some servers fork after they have been given the application, and threads do not survive that.
    """
    starting = threading.Lock()
    started: list[int] = []  # the process where it was

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if os.getpid() not in started:
            with starting:
                if os.getpid() not in started:
                    started.append(os.getpid())
                    served.start()
        return served.app(environ, start_response)

    return answer


def _first(sockets: list[socket.socket]) -> tuple[str, int]:
    """Address and port for a server that takes one only: IPv4 where there is a choice."""
    first = min(sockets, key=lambda sock: sock.family != socket.AF_INET)
    address, port = first.getsockname()[:2]
    return address, port


def _serve_granian(
    served: Served, settings: Settings, address: str, port: int, announce: Announce
) -> None:
    from granian import Granian  # noqa: PLC0415 - optional: the extra "fast"
    from granian.constants import Interfaces  # noqa: PLC0415

    server = Granian(
        "devpi_server",
        address=address,
        port=port,
        interface=Interfaces.WSGI,
        blocking_threads=max(_GRANIAN_THREADS, settings.threads),
        log_enabled=settings.debug,
    )
    server.on_startup(lambda: announce(_url(settings.host, port)))
    server.serve(target_loader=partial(_load, served.rebuild))


def _load(rebuild: Callable[[], Served], _target: str) -> WSGIApp:
    """What granian's worker process calls to get its application."""
    served = rebuild()
    served.start()
    return served.app


def bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of the host, on one port.

    :param port: 0 for any free one.
    :raises ConfigError: none of the addresses, or one that another program uses.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError([f"the host {host} is not known: {error.strerror}"]) from error
    sockets: list[socket.socket] = []
    fault = f"cannot listen on {host}"
    for family, kind, protocol, _, (address, _, *rest) in dict.fromkeys(found):
        same_port = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listen(family, kind, protocol, (address, same_port, *rest)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                for sock in sockets:
                    sock.close()
                raise ConfigError([f"port {port} on {host} is in use"]) from error
            fault = f"cannot listen on {host}, port {port}: {error.strerror}"
    if not sockets:
        raise ConfigError([fault])
    return sockets


def _listen(family: int, kind: int, protocol: int, address: object) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _url(host: str, port: int) -> str:
    if host in _EVERYWHERE:
        host = socket.gethostname()  # an address that other machines can use
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
