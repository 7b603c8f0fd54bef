"""``pypi-server`` as a WSGI application, for gunicorn, mod_wsgi, uWSGI and PasteDeploy.

``app(root="…")`` takes the words that ``pypiserver.app`` of version 1 and 2
takes, and may be called several times: no application knows of another one.

Why it is built by the first request: such servers fork after they have made
it, and threads and locks do not survive that.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from devpi_server import option_values
from devpi_server import pypiserver_options as options
from devpi_server.cli import fail
from devpi_server.cli.pypiserver import main
from devpi_server.errors import ConfigError, DevpiError
from devpi_server.pypiserver_settings import OverlappingEndpoint, RunSettings, defaults, run
from devpi_server.pypiserver_wiring import FolderServices, build
from devpi_server.web.foreign import adapted
from devpi_server.web.hot import Environ, StartResponse, WSGIApp

__all__ = ["app", "main", "paste_app_factory"]

# Words of old → those of today, which mean the same but for the second of them.
_OLD = {
    "root": "roots",
    "redirect_to_fallback": "disable_fallback",
    "authenticated": "authenticate",
    "passwords": "password_file",
    "server": "server_method",
    "welcome_file": "welcome_msg",
}
# Words of the application → fields of the settings, where they are called otherwise.
_FIELDS = {
    "password_file": "passwords",
    "hash_algo": "algorithm",
    "server_method": "server",
    "welcome_msg": "welcome",
    "server_base_url": "base_url",
    "backend_arg": "backend",
    "log_frmt": "log_format",
    "log_req_frmt": "log_request",
    "log_res_frmt": "log_response",
    "log_err_frmt": "log_error",
}
_SORRY = b"pypi-server cannot start: see its log\n"
_YES = ("y", "yes", "t", "true", "on", "1")
_NO = ("n", "no", "f", "false", "off", "0")
_SWITCHES = ("disable_fallback", "redirect_to_fallback", "overwrite")


class FolderApplication:
    """Builds itself, and begins its background work, once in each process that serves."""

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self._building = threading.Lock()
        self._built: tuple[int, FolderServices, WSGIApp] | None = None  # with its process

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        built = self._built
        if built is None or built[0] != os.getpid():
            try:
                built = self._start()
            except DevpiError as error:
                fail(error, options.PROGRAM)
                headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(_SORRY)))]
                start_response("503 Service Unavailable", headers)
                return [_SORRY]
        return built[2](environ, start_response)

    def close(self) -> None:
        """Let go of files and threads, for a process that goes on without the application."""
        with self._building:
            built, self._built = self._built, None
        if built is not None and built[0] == os.getpid():
            built[1].close()

    def _start(self) -> tuple[int, FolderServices, WSGIApp]:
        with self._building:
            if self._built is None or self._built[0] != os.getpid():
                services = build(self.settings)
                services.start()
                self._built = os.getpid(), services, adapted(services.app)
            return self._built


def app(**words: Any) -> FolderApplication:
    """A WSGI application that serves folders of packages.

    :param words: ``roots`` (or ``root``, one or several), ``authenticate``, ``password_file``,
        ``auther`` (user, password → bool), ``disable_fallback`` (or ``redirect_to_fallback``),
        ``fallback_url``, ``fallback``, ``overwrite``, ``hash_algo``, ``welcome_msg``,
        ``cache_control``, ``health_endpoint``, ``server_base_url``, ``datadir`` and the formats
        of the log; others of pypiserver are taken, and are of no effect.
    :raises ValueError: an old and a new word for one thing.
    :raises TypeError: a word that there is not.
    :raises RuntimeError: the health endpoint is the address of something else.
    :raises ConfigError: a value is no good.
    """
    values = {_FIELDS.get(word, word): value for word, value in _of_today(words).items()}
    known = defaults()
    faults: list[str] = []
    for field, value in {"roots": None, **values}.items():
        if field not in known and field != "auther":
            raise TypeError(f"there is no such word: {field}")
        try:
            known[field] = _READ[field](value) if field in _READ else value
        except ValueError as fault:
            faults.append(f"{field}: {fault}")
    if faults:
        raise ConfigError(faults)
    try:
        return FolderApplication(run(**known))
    except OverlappingEndpoint as error:
        raise RuntimeError(error.message) from error


def paste_app_factory(_defaults: Mapping[str, str], **words: str) -> FolderApplication:
    """The application that a section of a PasteDeploy file describes, in texts.

    :raises ValueError: a text that is no value.
    """
    return app(**{word: _TEXTS.get(word, str.strip)(text) for word, text in words.items()})


def _of_today(words: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word, value in words.items():
        name = _OLD.get(word, word)
        if name in found:
            raise ValueError(f"there are two words for {name}")
        found[name] = _CONVERTED[word](value) if word in _CONVERTED else value
    return found


def _folders(value: str | Path | Sequence[str | Path] | None) -> tuple[Path, ...]:
    each = ["~/packages" if value is None else value]
    if isinstance(value, Sequence) and not isinstance(value, str):
        each = list(value)
    # One that is not there yet may come: a file system that is still to be mounted.
    return tuple(option_values.path(str(folder)) for folder in each)


def _actions(value: str | Sequence[str] | None) -> frozenset[str]:
    return options.actions(value if isinstance(value, str) else ",".join(value or (".",)))


def _passwords(value: str | Path | None) -> Path | None:
    return None if value is None else options.passwords(str(value))


def _algorithm(value: str | None) -> str | None:
    return None if value is None else options.algorithm(value)


def _switch(text: str) -> bool:
    if text.strip().lower() not in (*_YES, *_NO):
        raise ValueError(f"neither yes nor no: {text}")
    return text.strip().lower() in _YES


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value).expanduser().absolute()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


_CONVERTED: Mapping[str, Callable[[Any], object]] = {
    "redirect_to_fallback": lambda value: not value,
    "welcome_file": lambda value: options.page(str(value)),
}
_READ: Mapping[str, Callable[[Any], object]] = {
    "roots": _folders,
    "authenticate": _actions,
    "passwords": _passwords,
    "algorithm": _algorithm,
    "base_url": options.prefix,
    "fallback": options.fallback,
    "health_endpoint": options.endpoint,
    "datadir": _path,
}
_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "root": _lines,
    "roots": _lines,
    "authenticate": str.split,
    "authenticated": str.split,
    "cache_control": int,
    "verbosity": int,
    **dict.fromkeys(_SWITCHES, _switch),
}

if __name__ == "__main__":
    sys.exit(main())
