"""API tokens: the form of what a machine sends in place of a password.

::

    dpsv_<id: 12><secret: 43><checksum: 6>      letters and digits only

    (?<![0-9A-Za-z_])dpsv_[0-9A-Za-z]{61}(?![0-9A-Za-z])

The regular expression is for scanners that look for secrets in public places.
The checksum is GitHub's: the CRC-32 of what stands before it, in base 62.  It
tells a token that was cut off or made up without asking the database.

Why sha256 and not argon2 for what is stored: argon2 makes guessing dear, and
here is nothing to guess.  The secret is random, of 256 bits, and a token comes
with each request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib
from typing import NamedTuple

USER = "__token__"  # the user name beside a token, where the client has to name one

# Not "devpi-" or "pypi-": devpi-client takes such a password for a macaroon.
_PREFIX = "dpsv_"
_ID, _SECRET, _CHECKSUM = 12, 43, 6  # characters; 43 of them are 256 bits
_TOKEN = re.compile(
    rf"{_PREFIX}([0-9A-Za-z]{{{_ID}}})([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})\Z"
)
_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase


class NewToken(NamedTuple):
    """A token that was just made: the one time that its text is known."""

    text: str
    id: str  # finds it again; no secret
    hash: str  # what to store

    def __repr__(self) -> str:
        return f"NewToken(id={self.id!r})"


def new() -> NewToken:
    """Another token."""
    id_, secret = _random(_ID), _random(_SECRET)
    return NewToken(f"{_PREFIX}{id_}{secret}{_checksum(id_ + secret)}", id_, _hash(secret))


def parse(text: str) -> tuple[str, str] | None:
    """Id and secret of a token, None if it is none or not whole."""
    found = _TOKEN.match(text)
    if found is None:
        return None
    id_, secret, checksum = found.groups()
    return (id_, secret) if checksum == _checksum(id_ + secret) else None


def matches(stored: str, secret: str) -> bool:
    """Whether this is the secret of the stored hash; the time tells nothing."""
    return hmac.compare_digest(stored.encode(), _hash(secret).encode())


def looks_like(text: str) -> bool:
    """Whether it is meant to be a token, so that it need not be tried as a password."""
    return text.startswith(_PREFIX)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_DIGITS) for _ in range(length))


def _checksum(text: str) -> str:
    rest = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
