"""Passwords: argon2, two at a time, and no cheaper for a user that is not there.

Why two at a time: one argon2 takes 64 MB and all cores that it finds, so fifty
at once would take the machine.  A request waits for its turn with its own
patience (``concurrency``), and behind a queue of some length the server says
that it is busy: who guesses passwords must not stop the mirror.

Why what was right is remembered: pip and uv send the password with every
request, a hundred times an install.  The memory is looked up by an HMAC of hash
and password under a key of this process, so it holds no password, and a new
password is another hash: the old one is dead at once.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import HashingError, VerificationError, VerifyMismatchError

from devpi_server.concurrency import BoundedCache, Clock, Crew, SingleFlight
from devpi_server.errors import BadRequest, Overloaded, TimedOut

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST = 4096  # bytes of a password

_AT_ONCE = 2
_QUEUE = 32  # different passwords that are checked, or wait for it
_PATIENCE = 10.0  # seconds; pip has 15
_REMEMBERED = 4096  # entries
_REMEMBER = 300.0  # seconds
_HASH = re.compile(
    r"\$argon2(?:id|i|d)(?:\$v=(?:16|19))?\$m=([0-9]{1,7}),t=([0-9]{1,4}),p=([0-9]{1,2})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}\Z"
)
# A hash says itself what it costs to check, and an imported one may be made to take our memory.
# devpi's own default, 512 MiB and 16 passes, has to be affordable; this is twice as much.
_MOST_MEMORY = 1024 * 1024  # KiB
_MOST_WORK = 2 * 512 * 1024 * 16  # KiB times passes


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the password is right.

    ``renewed`` is a hash of it at today's costs, to be stored in place of the one
    that was asked about, if that is the stored one still.
    """

    ok: bool
    renewed: str | None = None


class Passwords:
    """Makes and checks hashes of passwords; the empty password is one like any other.

    :param hasher: the costs of new hashes; None: argon2-cffi's own.
    :param clock: how long what was right is remembered.
    """

    def __init__(self, hasher: PasswordHasher | None = None, clock: Clock = time.monotonic) -> None:
        self._hasher = hasher or PasswordHasher()
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._right: BoundedCache[bytes, float] = BoundedCache(_REMEMBERED)
        self._nobodys = _hash_of_nothing(self._hasher)
        crew = Crew("password", _AT_ONCE)
        self._checks: SingleFlight[Verdict] = SingleFlight(crew, most=_QUEUE)
        self._makes: SingleFlight[str] = SingleFlight(crew, most=_QUEUE)

    def hash(self, password: str) -> str:
        """What to store for the password.

        :raises BadRequest: it is too long.
        :raises Overloaded: too many passwords are being checked.
        """
        text = _encoded(password)
        if len(text) > LONGEST:
            raise BadRequest(f"a password has no more than {LONGEST} bytes")
        # A key of its own: equal passwords shall not be seen to be equal.
        return _in_time(self._makes, secrets.token_bytes(16), lambda: self._hash(text))

    def verify(self, hashed: str | None, password: str) -> Verdict:
        """Whether the hash is one of this password.

        :param hashed: None for a user that is not there, or has no password; it takes the
            time of a wrong password, so that nobody learns which names there are. An empty
            one stands for the empty password, as root has it at first.
        :raises Overloaded: too many passwords are being checked.
        """
        text = _encoded(password)
        if len(text) > LONGEST:
            return Verdict(ok=False)
        if hashed == "" and not text:
            return Verdict(ok=True)
        if hashed and not is_usable(hashed):
            log.warning("what is stored as the hash of a password is none, or costs too much")
            hashed = None
        if not hashed:
            hashed = self._nobodys
        key = self._key(hashed, text)
        until = self._right.get(key)
        if until is not None and self._clock() < until:
            return Verdict(ok=True)
        return _in_time(self._checks, key, lambda: self._check(hashed, text))

    def _check(self, hashed: str, text: bytes) -> Verdict:
        try:
            self._hasher.verify(hashed, text)
        except VerifyMismatchError:
            return Verdict(ok=False)
        except VerificationError as error:  # no memory or no threads: cannot tell
            raise Overloaded(f"no password can be checked: {error}", retry_after=5) from error
        self._remember(hashed, text)
        if not self._hasher.check_needs_rehash(hashed):
            return Verdict(ok=True)
        renewed = self._hash(text)
        self._remember(renewed, text)
        return Verdict(ok=True, renewed=renewed)

    def _hash(self, text: bytes) -> str:
        try:
            return self._hasher.hash(text)
        except HashingError as error:
            raise Overloaded(f"no password can be hashed: {error}", retry_after=5) from error

    def _remember(self, hashed: str, text: bytes) -> None:
        self._right.put(self._key(hashed, text), self._clock() + _REMEMBER, 1)

    def _key(self, hashed: str, text: bytes) -> bytes:
        return hmac.digest(self._secret, hashed.encode() + b"\0" + text, "sha256")


def _in_time(flights: SingleFlight[T], key: bytes, work: Callable[[], T]) -> T:
    try:
        return flights.do(key, work, _PATIENCE)
    except TimedOut as error:
        raise Overloaded("too many passwords are being checked", retry_after=2) from error


def _encoded(password: str) -> bytes:
    # JSON can bring half a surrogate pair; it is as good a password as any.
    return password.encode("utf-8", "surrogatepass")


def is_usable(hashed: str) -> bool:
    """Whether this is an argon2 hash, and one that can be afforded to check."""
    found = _HASH.match(hashed)
    if found is None:
        return False
    memory, passes, lanes = map(int, found.groups())
    if memory > _MOST_MEMORY or memory * passes > _MOST_WORK:
        return False
    return memory >= 8 * lanes and passes > 0 and lanes > 0


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """A hash at the hasher's costs that no known password has, without the time to make one."""
    salt, digest = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=")
        for size in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2{hasher.type.name.lower()}$v=19${costs}${salt}${digest}"
