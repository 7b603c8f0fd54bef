"""Login tokens: what a client sends in place of the password after a login.

A token is signed, and stored nowhere.  It names a user and bears a *mark*: a
digest of what the user was like when it logged in.  Whoever reads a token
compares the mark with that of the user as it is now, so a token is dead as soon
as the user is deleted, made anew, or has another password: in every process,
without a list of tokens that have been revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass

from itsdangerous import BadData, URLSafeSerializer

from devpi_server.concurrency import Clock

# Not "devpi-" or "pypi-": devpi-client takes such a password for a macaroon.
_PREFIX = "dpsl_"
_TOKEN = re.compile(_PREFIX + r"\.?[A-Za-z0-9_-]{1,2000}\.[A-Za-z0-9_-]{43}\Z")
_SIGNED_AS = b"devpi-server login 1"  # another use of the secret, or another form: another text
_MARKED_AS = b"devpi-server login mark 1"
_AHEAD = 300.0  # seconds that the clock of another process on our data may be ahead of ours


@dataclass(frozen=True, slots=True)
class Login:
    """What a token says. It counts only while the user's mark is this one."""

    user: str
    mark: str
    issued: float  # seconds since the epoch, as below
    expires: float


class LoginTokens:
    """Makes and reads the tokens.

    :param secret: as ``store.secret`` has it; every process has the same.
    :param lifetime: seconds.
    """

    def __init__(self, secret: bytes, lifetime: float, clock: Clock) -> None:
        self.lifetime = lifetime
        self._clock = clock
        self._mark_key = hmac.digest(secret, _MARKED_AS, "sha256")
        self._signed = URLSafeSerializer(
            secret,
            salt=_SIGNED_AS,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    def mark(self, *state: str) -> str:
        """A digest of what the user is like, as when it was made and its password's hash.

        It is keyed: a token is in many hands, and tells nothing of the hash.
        """
        message = b"".join(b"%d:%s," % (len(part), part) for part in map(str.encode, state))
        return urlsafe_b64encode(hmac.digest(self._mark_key, message, "sha256")[:15]).decode()

    def issue(self, user: str, mark: str) -> str:
        """A token for this user, as it is now."""
        now = self._clock()
        return _PREFIX + self._signed.dumps([user, mark, now, now + self.lifetime])

    def read(self, token: str) -> Login | None:
        """What the token says, None if it is not one of ours, or is over.

        A lifetime that was shortened since counts for the tokens of before, too; one that
        was made longer brings none back.
        """
        if not looks_like(token):
            return None
        try:
            user, mark, issued, expires = self._signed.loads(token.removeprefix(_PREFIX))
        except BadData:
            return None
        expires = min(expires, issued + self.lifetime)
        if not issued - _AHEAD <= self._clock() < expires:
            return None
        return Login(user, mark, issued, expires)


def looks_like(text: str) -> bool:
    """Whether it has the form of a token, so that it need not be tried as a password."""
    return _TOKEN.match(text) is not None
