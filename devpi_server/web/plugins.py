"""Around every handler: errors become answers.

The one table from our errors to HTTP.  What a client gets to see differs: pip,
twine and devpi-client show the reason phrase, uv shows a problem document,
people read a plain line; so the same short message goes into all of them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from http import HTTPStatus

import bottle

from devpi_server import errors
from devpi_server.errors import DevpiError
from devpi_server.web import asking
from devpi_server.web.outside import root_url

log = logging.getLogger(__name__)

Handler = Callable[..., object]
Failure = Callable[[int, str, int | None], bottle.HTTPResponse]

STATUS: dict[type[DevpiError], HTTPStatus] = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Gone: HTTPStatus.GONE,
    errors.Refused: HTTPStatus.BAD_REQUEST,
    # A name that no project can have is a project that is not there.
    errors.InvalidName: HTTPStatus.NOT_FOUND,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.UpstreamError: HTTPStatus.BAD_GATEWAY,
    errors.TimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Full: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.ConfigError: HTTPStatus.SERVICE_UNAVAILABLE,
}

# RFC 9112: a reason phrase is visible ASCII and spaces; anything longer is for the body.
_NOT_REASON = re.compile(r"[^\x20-\x7e]+")
_LONGEST_REASON = 200


def status_of(error: DevpiError) -> HTTPStatus:
    """The status for the nearest class that the table names."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            status = STATUS[kind]
            break
    else:  # only for DevpiError itself, which nobody raises
        status = HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, errors.UpstreamError) and error.retry_after is not None:
        return HTTPStatus.SERVICE_UNAVAILABLE  # Retry-After belongs to 503
    return status


def reason(message: str) -> str:
    """The message as an HTTP reason phrase."""
    return _NOT_REASON.sub(" ", message)[:_LONGEST_REASON].strip()


def failure(status: int, message: str, retry_after: int | None = None) -> bottle.HTTPResponse:
    """An answer that says what went wrong, in the form that the client reads."""
    accept = bottle.request.headers.raw("Accept", "")
    if "application/problem+json" in accept:
        content_type = "application/problem+json"
        problem = {"status": int(status), "title": HTTPStatus(status).phrase, "detail": message}
        body = json.dumps(problem) + "\n"
    elif "application/json" in accept:
        content_type = "application/json"
        body = json.dumps({"message": message}) + "\n"
    else:
        content_type = "text/plain; charset=utf-8"
        body = message + "\n"
    encoded = body.encode(errors="replace")
    headers = {
        "Content-Type": content_type,
        "Content-Length": str(len(encoded)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="pypi"'
        if asking.principal().tried and bottle.request.headers.raw("X-Devpi-Auth"):
            # By this, devpi-client knows that its login is dead, and forgets it.
            headers["Location"] = f"{root_url(bottle.request.environ)}/+login"
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return bottle.HTTPResponse(encoded, f"{int(status)} {reason(message)}", headers)


class ErrorsPlugin:
    """A bottle plugin: every error of ours becomes an answer.

    :param answer: makes it of the status, the message and the seconds to wait.
    """

    name = "errors"
    api = 2

    def __init__(self, answer: Failure = failure) -> None:
        self._answer = answer

    def apply(self, callback: Handler, route: object) -> Handler:
        """Wrap the handler."""

        def handle(**arguments: str) -> object:
            try:
                return callback(**arguments)
            except DevpiError as error:
                status = status_of(error)
                level = logging.WARNING if status >= 500 else logging.DEBUG
                log.log(level, "%s: %s", bottle.request.path, error.message)
                return self._answer(status, error.message, getattr(error, "retry_after", None))

        return handle


def put_in_place(answer: bottle.HTTPResponse, of: bottle.HTTPError) -> bytes:
    """Answer this where bottle itself refuses; return the body.

    :param of: what bottle would have answered.
    """
    if allow := of.headers.get("Allow"):
        answer.set_header("Allow", allow)
    answer.apply(bottle.response)
    return answer.body  # type: ignore[no-any-return]
