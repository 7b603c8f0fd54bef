"""Users: who they are, how they prove it, how they come and go (devpi.md 1.3, 1.4).

Root begins with the empty password, as in devpi.  It opens only from this very
machine, until another one is set: a server that is new must not belong to whoever
finds it first.

A new password ends all logins, but root's first one: until then nobody could log in
from elsewhere, and who has set it goes on as root, as users of devpi have learnt it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from devpi_server import names
from devpi_server.concurrency import Clock
from devpi_server.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    NoSuchUser,
    Unauthenticated,
)
from devpi_server.services import apitokens, scopes
from devpi_server.services.access import NOBODY, ROOT, Access, Principal
from devpi_server.services.index_options import options_of
from devpi_server.services.logins import LoginTokens
from devpi_server.services.logins import looks_like as looks_like_login
from devpi_server.services.passwords import Passwords
from devpi_server.services.throttle import Throttle
from devpi_server.store.meta import Actor, MetaStore, Tables, TokenRow, User
from devpi_server.store.remembered import UntilWritten

T = TypeVar("T")

# No user can have these names: other things are served there.
RESERVED = frozenset(
    {"ext", "simple", "pkg", "local", "packages", "pypi", "legacy", "uploadpackage"}
)
_DETAILS = ("email", "title", "description", "custom_data")
_LONGEST_DETAIL = 100_000  # characters


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from."""

    address: str
    is_local: bool = False  # from this very machine, through nobody else


@dataclass(frozen=True, slots=True)
class Token:
    """What a login gives: used in place of the password."""

    text: str
    lifetime: float  # seconds


class Accounts:
    """The users of this server."""

    def __init__(
        self,
        meta: MetaStore,
        access: Access,
        passwords: Passwords,
        logins: LoginTokens,
        throttle: Throttle,
        clock: Clock,
    ) -> None:
        self._meta = meta
        self._access = access
        self._passwords = passwords
        self._logins = logins
        self._throttle = throttle
        self._clock = clock
        self._users: UntilWritten[User | None] = UntilWritten(meta)
        self._tokens: UntilWritten[TokenRow | None] = UntilWritten(meta)

    # Who asks

    def identify(self, name: str, password: str, origin: Origin) -> Principal:
        """Who that is; nobody known, if the password or token is wrong.

        :raises TooManyAttempts: too many were wrong, from there.
        :raises Overloaded: too many passwords are being checked.
        """
        if apitokens.looks_like(password):
            return self._of_api_token(name, password)
        if looks_like_login(password):
            return self._of_login(name, password)
        if self._is_password(name, password, origin):
            return Principal(name)
        return replace(NOBODY, tried=True)

    def login(self, name: str, password: str, origin: Origin) -> Token:
        """A login token for a password, or for a login token that is good still.

        :raises Unauthenticated: the password is wrong, or there is no such user.
        """
        principal = self.identify(name, password, origin)
        if principal.user is None or principal.scope is not None:
            raise Unauthenticated(f"user {name!r} could not be authenticated")
        return self._token(self._known(name))

    def _of_api_token(self, name: str, text: str) -> Principal:
        parsed = apitokens.parse(text)
        if parsed is None:
            return replace(NOBODY, tried=True)
        id_, secret = parsed
        row = self._tokens.get(id_, lambda: self._read(lambda tables: tables.tokens.get(id_)))
        is_good = (
            row is not None
            and apitokens.matches(row.hash, secret)
            and (row.expires is None or self._clock() < row.expires)
            and name in (row.user, apitokens.USER, "")
        )
        if row is None or not is_good:
            return replace(NOBODY, tried=True)
        return Principal(row.user, scopes.from_json(row.scope))

    def _of_login(self, name: str, text: str) -> Principal:
        login = self._logins.read(text)
        user = self._find(login.user) if login is not None else None
        if login is None or user is None or login.mark != self._mark(user):
            return replace(NOBODY, tried=True)
        return Principal(user.name) if name == user.name else replace(NOBODY, tried=True)

    def _is_password(self, name: str, password: str, origin: Origin) -> bool:
        self._throttle.check(origin.address, name)
        user = self._find(name)
        if user is not None and user.pwhash == "":
            is_right = password == "" and origin.is_local
        else:
            verdict = self._passwords.verify(user.pwhash if user is not None else None, password)
            is_right = verdict.ok
            if user is not None and verdict.renewed is not None:
                self._renew(user, verdict.renewed)
        if is_right:
            self._throttle.succeeded(origin.address, name)
        else:
            self._throttle.failed(origin.address, name)
        return is_right

    def _renew(self, user: User, pwhash: str) -> None:
        """Store the hash at today's costs. It is the same password, so logins go on."""
        with self._meta.writing(Actor(user.name, "login")) as tables:
            now = tables.users.get(user.name)
            if now is not None and now.pwhash == user.pwhash:
                tables.users.change(replace(now, pwhash=pwhash))

    def _token(self, user: User) -> Token:
        return Token(self._logins.issue(user.name, self._mark(user)), self._logins.lifetime)

    def _mark(self, user: User) -> str:
        return self._logins.mark(str(user.id), str(user.password_serial))

    # Users

    def get(self, name: str) -> User:
        """:raises NoSuchUser: there is none."""
        return self._known(name)

    def all(self) -> list[User]:
        """By name."""
        return self._read(lambda tables: tables.users.all())

    def create(self, principal: Principal, origin: Origin, name: str, values: object) -> User:
        """A new user.

        :param values: ``password``, which may be empty, and what else is known of it.
        :raises Conflict: there is one of this name.
        :raises BadRequest: the name or a value cannot be.
        """
        given = _object(values)
        expect_name(name)
        if not isinstance(given.get("password"), str):
            raise BadRequest("password needs to be set")
        details = details_of(given)
        if self._find(name) is not None:
            raise Conflict("user already exists")
        pwhash = self._hash(given["password"])
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            user = User(name, self._clock(), pwhash, None, details, tables.serial)
            added = tables.users.add(user)
            tables.note("user_create", name)
        return added

    def modify(
        self, principal: Principal, origin: Origin, name: str, values: object
    ) -> tuple[User, Token | None]:
        """Change what is known of a user; what is not given stays.

        :return: the user, and a new login token if the password has changed.
        :raises Forbidden: ``--restrict-modify`` does not let this one change more than a password.
        """
        given = _object(values)
        user = self._known(name)
        details = {**user.details, **details_of(given)}
        details = {key: value for key, value in details.items() if value is not None}
        changed = sorted(key for key in _DETAILS if details.get(key) != user.details.get(key))
        password = given.get("password")
        if password is not None and not isinstance(password, str):
            raise BadRequest("a password is a text")
        if changed and not self._access.may_configure(principal):
            raise Forbidden("no permission to modify user")
        pwhash = self._hash(password) if password is not None else user.pwhash
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            now = _there(tables, name)
            modified = replace(now, details=details, pwhash=pwhash, modified=self._clock())
            if password is not None and now.pwhash != "":
                modified = replace(modified, password_serial=tables.serial)
            tables.users.change(modified)
            what = [*changed, "password"] if password is not None else changed
            tables.note("user_modify", name, {"changed": what})
        return modified, self._token(modified) if password is not None else None

    def delete(self, principal: Principal, origin: Origin, name: str) -> None:
        """Remove the user with all of its indexes.

        :raises Forbidden: it is root, or one of the indexes is not volatile.
        """
        if name == ROOT:
            raise Forbidden("root cannot be deleted")
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            _there(tables, name)
            for row in tables.indexes.all():
                if row.user == name and not options_of(row).volatile:
                    raise Forbidden(f"user {name!r} has non-volatile index: {row.name}")
            tables.users.remove(name)
            tables.note("user_delete", name)

    def _hash(self, password: str) -> str:
        if apitokens.looks_like(password) or looks_like_login(password):
            raise BadRequest("a password cannot look like one of our tokens")
        return self._passwords.hash(password)

    # API tokens

    def create_token(
        self,
        principal: Principal,
        origin: Origin,
        user: str,
        scope: scopes.Scope,
        lifetime: float | None,
        note: str = "",
    ) -> tuple[TokenRow, str]:
        """A new API token of the user.

        :param lifetime: seconds; None: until it is revoked.
        :return: what is kept of it, and its text, which is known this one time.
        :raises NoSuchUser: there is none.
        """
        made = apitokens.new()
        now = self._clock()
        expires = None if lifetime is None else now + lifetime
        row = TokenRow(made.id, user, made.hash, scope.to_json(), now, expires, note)
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            tables.tokens.add(row)
            tables.note("token_create", f"{user} {row.id}", scope.to_json())
        return row, made.text

    def tokens(self, user: str) -> list[TokenRow]:
        """The user's API tokens.

        :raises NoSuchUser: there is none.
        """
        self._known(user)
        return self._read(lambda tables: tables.tokens.of(user))

    def revoke_token(self, principal: Principal, origin: Origin, user: str, token_id: str) -> None:
        """From now on, the token opens nothing, in any process.

        :raises NoSuchUser: there is no such token of this user.
        """
        with self._meta.writing(Actor(principal.name, origin.address)) as tables:
            row = tables.tokens.get(token_id)
            if row is None or row.user != user:
                raise NoSuchUser(f"user {user!r} has no token {token_id!r}")
            tables.tokens.remove(token_id)
            tables.note("token_revoke", f"{user} {token_id}")

    def _find(self, name: str) -> User | None:
        return self._users.get(name, lambda: self._read(lambda tables: tables.users.get(name)))

    def _known(self, name: str) -> User:
        user = self._find(name)
        if user is None:
            raise NoSuchUser(f"user {name!r} not found")
        return user

    def _read(self, ask: Callable[[Tables], T]) -> T:
        with self._meta.reading() as tables:
            return ask(tables)


def _there(tables: Tables, name: str) -> User:
    user = tables.users.get(name)
    if user is None:
        raise NoSuchUser(f"user {name!r} not found")
    return user


def _object(values: object) -> Mapping[str, Any]:
    if not isinstance(values, Mapping):
        raise BadRequest("the configuration of a user is an object")
    return values


def expect_name(name: str) -> None:
    """Return if a user can have this name.

    :raises BadRequest: none can.
    """
    if not names.is_plain(name):
        raise BadRequest(
            f"the user name {name[:50]!r} has characters that a name cannot have; "
            "of the ASCII signs, it may have - . @ _ inside"
        )
    if name in RESERVED:
        raise BadRequest(f"the name {name!r} is taken by the server itself")


def details_of(given: Mapping[str, Any]) -> dict[str, object]:
    """What is known of a user, of what a client sent. Names and indexes are not among it.

    :raises BadRequest: it has something that a user has not.
    """
    unknown = sorted(
        given.keys() - {*_DETAILS, "password", "username", "indexes", "created", "modified"}
    )
    if unknown:
        raise BadRequest(f"Unknown keys in user config: {', '.join(unknown)[:200]}")
    details = {key: given[key] for key in _DETAILS if key in given}
    for key, value in details.items():
        is_text = value is None or isinstance(value, str)
        if key != "custom_data" and not is_text:
            raise BadRequest(f"the {key} of a user is a text")
        if len(str(value)) > _LONGEST_DETAIL:
            raise BadRequest(f"the {key} of a user is too long")
    return details
