"""What ``--log-req-frmt`` and its like say of each request, where somebody listens to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import bottle

from devpi_server.errors import ConfigError
from devpi_server.web.hot import Environ, StartResponse, WSGIApp

log = logging.getLogger("devpi_server.pypiserver")

_REFUSED = 400


class _Lenient(dict[str, Any]):
    """A format may name what this request does not have."""

    def __missing__(self, key: str) -> str:
        return "-"


@dataclass(frozen=True)
class Formats:
    """How requests, answers and refusals are told.

    :raises ConfigError: a format is not one.
    """

    request: str
    response: str
    error: str

    def __post_init__(self) -> None:
        faults = []
        for option, text in (
            ("--log-req-frmt", self.request),
            ("--log-res-frmt", self.response),
            ("--log-err-frmt", self.error),
        ):
            try:
                _ = text % _Lenient()
            except (TypeError, ValueError) as error:
                faults.append(f"{option}: {error}")
        if faults:
            raise ConfigError(faults)


def logged(app: WSGIApp, formats: Formats) -> WSGIApp:
    """The application, with a line for each request and each answer."""

    def answer(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not log.isEnabledFor(logging.INFO):
            return app(environ, start_response)
        _tell(formats.request, {"bottle.request": bottle.Request(environ), **environ})

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> object:
            shown = {"status": status, "headers": dict(headers), "body": "", "cookies": None}
            _tell(formats.response, {"response": status, **shown})
            if int(status[:3]) >= _REFUSED:
                error = {"body": status[4:], "exception": None, "traceback": None}
                _tell(formats.error, {**shown, **error})
            return start_response(status, headers, *rest)

        return app(environ, start)

    return answer


def _tell(text: str, said: Mapping[str, Any]) -> None:
    # Made here: what is wrong with a format is not to be told with a traceback a request.
    try:
        line = text % _Lenient(said)
    except (TypeError, ValueError) as error:
        line = f"cannot be told as {text!r}: {error}"
    log.info("%s", line if line.isprintable() else line.encode("unicode_escape").decode())
