"""Who the client says that it is: the headers of a request, read and not believed.

Credentials that cannot be read are not an error: as with wrong ones, the request
goes on as anybody's, and fails where that is not enough.  So they are a value of
their own, with a reason for that answer.

Why Latin-1 where it is not UTF-8: pip and twine (requests) send names and
passwords so, devpi-client, uv and curl in UTF-8.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

from devpi_server.services import apitokens

_DEVPI, _STANDARD = "HTTP_X_DEVPI_AUTH", "HTTP_AUTHORIZATION"
_LONGEST = 8192  # characters of a header; a password has no more than 4096 bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name, and a password or a token of any kind. A token alone comes as ``__token__``'s."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something was given, and is nothing that we understand."""

    reason: str


def credentials(environ: Mapping[str, object]) -> Credentials | Unreadable | None:
    """What the request's headers say; ``X-Devpi-Auth`` before ``Authorization``. Raises nothing.

    :param environ: WSGI's.
    """
    for header in (_DEVPI, _STANDARD):
        text = str(environ.get(header, "")).strip()
        if len(text) > _LONGEST:
            return Unreadable("the credentials are too long")
        if text:
            return _pair(text) if header == _DEVPI else _authorization(text)
    return None


def _authorization(text: str) -> Credentials | Unreadable:
    scheme, _, rest = text.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "basic":
        return _pair(rest)
    if scheme.lower() not in ("bearer", "token"):
        return Unreadable("the credentials are neither Basic nor Bearer")
    if not _VISIBLE.match(rest):
        return Unreadable("the credentials have no token")
    return Credentials(apitokens.USER, rest)


def _pair(text: str) -> Credentials | Unreadable:
    """Of ``base64(user:password)``."""
    try:
        decoded = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return Unreadable("the credentials are not in base64")
    try:
        both = decoded.decode()
    except UnicodeDecodeError:
        both = decoded.decode("latin-1")
    user, colon, password = both.partition(":")
    if not colon:
        return Unreadable("the credentials are not user:password")
    if _CONTROL.search(both):
        return Unreadable("the credentials have control characters")
    return Credentials(user, password)
