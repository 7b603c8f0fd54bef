"""``devpi_server.wsgi:application``, for gunicorn, uWSGI and whoever else takes a WSGI application.

The settings are those of the environment, or of the file that ``DEVPISERVER_CONFIGFILE``
names; where and with how many threads to serve is for the other server to say.

Why it is built by the first request, or by ``start``: such servers import it first and
fork then, and threads, locks and connections do not survive that.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable

from devpi_server.cli import fail, logs
from devpi_server.errors import DevpiError
from devpi_server.settings import Settings, read
from devpi_server.web.foreign import adapted
from devpi_server.web.hot import Environ, StartResponse, WSGIApp
from devpi_server.wiring import Services, build

log = logging.getLogger(__name__)

_NOT_STARTED = "503 devpi-server cannot start: see its log"
_NO_WORKER = 3  # gunicorn: do not try again


class LazyApplication:
    """Builds itself, and begins its background work, once in each process that serves."""

    def __init__(self, build: Callable[[Settings], Services] = build) -> None:
        self._build = build
        self._building = threading.Lock()
        self._built: tuple[int, WSGIApp] | None = None  # with the process that it is for

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        built = self._built
        if built is not None and built[0] == os.getpid():
            return built[1](environ, start_response)
        try:
            app = self._started()
        except DevpiError as error:
            fail(error)
            body = f"{_NOT_STARTED[4:]}\n".encode()
            headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
            start_response(_NOT_STARTED, headers)
            return [body]
        return app(environ, start_response)

    def start(self) -> None:
        """Begin now: for a hook of the server that runs in the process that will serve.

        :raises SystemExit: it cannot, and has said why.
        """
        try:
            self._started()
        except DevpiError as error:
            fail(error)
            raise SystemExit(_NO_WORKER) from error

    def _started(self) -> WSGIApp:
        with self._building:
            if self._built is None or self._built[0] != os.getpid():
                settings = read([])
                logs.configure(debug=settings.debug)
                services = self._build(settings)
                services.start()
                log.info("serving in process %d", os.getpid())
                self._built = os.getpid(), adapted(services.app)
            return self._built[1]


application = LazyApplication()
