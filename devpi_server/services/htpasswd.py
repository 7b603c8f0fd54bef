"""Passwords in a file that Apache's ``htpasswd`` has made, in all its formats.

The file is read again when it has changed; one that cannot be read lets nobody
in.  ``htpasswd`` itself writes it in place, so half a file may be seen for a
moment: who is in the other half is let in a moment later.

Checks are made two at a time and right answers are remembered for some minutes,
for the reasons that ``services.passwords`` gives: a hash may cost seconds, and
pip sends the password with every request.
"""

from __future__ import annotations

import codecs
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
from passlib.hash import apr_md5_crypt, des_crypt, md5_crypt, sha256_crypt, sha512_crypt

from devpi_server.concurrency import BoundedCache, Crew, SingleFlight
from devpi_server.errors import Overloaded, StoreError, TimedOut
from devpi_server.store.foldertree import Timer, rest
from devpi_server.store.incoming import translated

log = logging.getLogger(__name__)

LONGEST = 4096  # bytes of a password

_LARGEST = 64 * 1024 * 1024  # bytes of the file
_AT_ONCE = 2
_QUEUE = 32  # different passwords that are checked, or wait for it
_PATIENCE = 10.0  # seconds; pip has 15
_REMEMBERED = 4096  # entries
_REMEMBER = 300.0  # seconds
_COUNTS_FOR_BCRYPT = 72  # bytes of a password
_MOST_COST = 17  # of bcrypt; htpasswd makes no more
_MOST_ROUNDS = 2_000_000  # of SHA-2: some seconds


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read, and of which state of the file."""

    mark: tuple[int, ...]
    since: float  # when the mark was first seen
    is_settled: bool  # a later change shows in the mark
    hashes: Mapping[str, str]


class Htpasswd:
    """The users in one file.

    :param timer: how long what was right is remembered.
    """

    def __init__(self, path: Path, timer: Timer = time.monotonic) -> None:
        self.path = path
        self._timer = timer
        self._secret = secrets.token_bytes(32)
        self._right: BoundedCache[bytes, float] = BoundedCache(_REMEMBERED)
        self._checks: SingleFlight[bool] = SingleFlight(Crew("htpasswd", _AT_ONCE), most=_QUEUE)
        self._read = _Read((), 0.0, is_settled=False, hashes={})

    def verify(self, user: str, password: str) -> bool:
        """Whether this is the user's password, by the file as it is now.

        :raises StoreError: the file cannot be read.
        :raises Overloaded: too many passwords are being checked.
        """
        hashes = self._hashes()
        text = password.encode("utf-8", "surrogatepass")
        if len(text) > LONGEST or b"\0" in text:
            return False
        hashed = hashes.get(user)
        if hashed is None:
            # It takes as long as for a user that is there: nobody learns which there are.
            self._check(b"nobody", next(iter(hashes.values()), ""), text)
            return False
        key = self._key(hashed, text)
        until = self._right.get(key)
        if until is not None and self._timer() < until:
            return True
        is_right = self._check(key, hashed, text)
        if is_right:
            self._right.put(key, self._timer() + _REMEMBER, 1)
        return is_right

    def _check(self, key: bytes, hashed: str, text: bytes) -> bool:
        try:
            return self._checks.do(key, lambda: matches(hashed, text), _PATIENCE)
        except TimedOut as error:
            raise Overloaded("too many passwords are being checked", retry_after=2) from error

    def _key(self, hashed: str, text: bytes) -> bytes:
        return hmac.digest(self._secret, hashed.encode() + b"\0" + text, "sha256")

    def _hashes(self) -> Mapping[str, str]:
        """User → hash, as the file has it now. One stat, as a rule."""
        begun = self._timer()
        with translated("read the password file"):
            found = os.stat(self.path)
            mark = (
                found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns,
            )  # fmt: skip
            read = self._read
            if mark == read.mark and read.is_settled:
                return read.hashes
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                raise StoreError("cannot read the password file: it is none")
            hashes = parse(self.path.read_bytes())
        since = read.since if mark == read.mark else begun
        is_settled = begun - since >= rest(found.st_mtime_ns)
        self._read = _Read(mark, since, is_settled, hashes)
        return hashes


def parse(data: bytes) -> Mapping[str, str]:
    """User → hash; of two lines for one user the first counts, as for Apache."""
    hashes: dict[str, str] = {}
    for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n"):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        user, colon, rest_of_line = text.partition(":")
        if colon and user and not user.startswith("#"):
            hashes.setdefault(user, rest_of_line.partition(":")[0].strip())
    return hashes


def matches(hashed: str, text: bytes) -> bool:
    """Whether the hash, in any of Apache's formats, is one of the password.

    What has the form of a hash that we do not know, or that costs too much to check, is
    one of no password; what has no such form is the password itself (``htpasswd -p``).
    """
    try:
        for form, check in _FORMATS:
            found = form.match(hashed)
            if found is not None:
                return check(found, text)
    except ValueError as error:
        log.warning("a hash in the password file is damaged: %s", error)
        return False
    if _PLAIN.match(hashed):
        return hmac.compare_digest(hashed.encode(), text)
    log.warning("the password file has a hash of a kind that cannot be checked")
    return False


def _bcrypt(found: re.Match[str], text: bytes) -> bool:
    if int(found[1]) > _MOST_COST:
        raise ValueError("it costs too much to check")
    return bcrypt.checkpw(text[:_COUNTS_FOR_BCRYPT], found[0].encode())


def _sha2(scheme: Any) -> _Check:
    def check(found: re.Match[str], text: bytes) -> bool:
        if int(found[1] or 0) > _MOST_ROUNDS:
            raise ValueError("it costs too much to check")
        return bool(scheme.verify(text, found[0]))

    return check


def _by(scheme: Any) -> _Check:
    return lambda found, text: bool(scheme.verify(text, found[0]))


def _sha1(found: re.Match[str], text: bytes) -> bool:
    digest = hashlib.sha1(text, usedforsecurity=False).digest()
    return hmac.compare_digest(found[1].encode(), b64encode(digest))


_Check = Callable[[re.Match[str], bytes], bool]

_FORMATS: Sequence[tuple[re.Pattern[str], _Check]] = (
    (re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}\Z"), _bcrypt),
    (re.compile(r"\$5\$(?:rounds=([0-9]{1,9})\$)?[^$]*\$[./A-Za-z0-9]+\Z"), _sha2(sha256_crypt)),
    (re.compile(r"\$6\$(?:rounds=([0-9]{1,9})\$)?[^$]*\$[./A-Za-z0-9]+\Z"), _sha2(sha512_crypt)),
    (re.compile(r"\$apr1\$.+\Z"), _by(apr_md5_crypt)),
    (re.compile(r"\$1\$.+\Z"), _by(md5_crypt)),
    (re.compile(r"\{SHA\}([A-Za-z0-9+/]{27}=)\Z"), _sha1),
    (re.compile(r"[./A-Za-z0-9]{13}\Z"), _by(des_crypt)),
)
# A hash of another kind, or one that somebody has put out of use by a mark in front of it.
_PLAIN = re.compile(r"(?!\$[A-Za-z0-9-]+\$|\{[A-Za-z0-9-]+\}|[!*]).")
