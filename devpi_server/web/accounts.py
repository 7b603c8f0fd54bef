"""Users, logins, API tokens, and what a client asks first (devpi.md 1.2 to 1.4)."""

from __future__ import annotations

from datetime import datetime, timezone

import bottle

from devpi_server.errors import BadRequest, NotFound
from devpi_server.services import scopes
from devpi_server.services.accounts import Accounts, Token
from devpi_server.services.index_config import IndexConfig
from devpi_server.services.index_options import STAGE
from devpi_server.services.indexes import Indexes
from devpi_server.store.meta import TokenRow, User
from devpi_server.web import asking, bodies, envelope
from devpi_server.web.outside import root_url

_Shown = dict[str, dict[str, object]]  # user → name of an index → the index as devpi shows it

# What devpi-client looks for: without the last, it would send whole configurations.
_FEATURES = ["push-no-docs", "push-only-docs", "push-register-project", "server-keyvalue-parsing"]
_TOKEN_LIFETIME = 365 * 86400.0  # seconds
_TOKEN_WORDS = {"actions", "indexes", "projects", "expires", "note"}
_LONGEST_NOTE = 200


class AccountsApi:
    """The handlers."""

    def __init__(self, accounts: Accounts, indexes: Indexes, config: IndexConfig) -> None:
        self._accounts = accounts
        self._indexes = indexes
        self._config = config

    # What a client asks first

    def api(self, user: str | None = None, index: str | None = None) -> bottle.HTTPResponse:
        """``/+api``: where everything is, and whether the login is good."""
        if not _takes_json():
            raise NotFound("there is nothing at this address for a browser")
        root = root_url(bottle.request.environ)
        principal = asking.principal()
        is_known = principal.user is not None and principal.scope is None
        result: dict[str, object] = {
            "login": f"{root}/+login",
            "authstatus": ["ok", principal.user, []] if is_known else ["noauth", "", []],
            "features": _FEATURES,
        }
        if index is not None:
            name = f"{user}/{index}"
            result["index"] = f"{root}/{name}"
            result["simpleindex"] = f"{root}/{name}/+simple/"
            if self._indexes.find(name).options.type == STAGE:
                result["pypisubmit"] = f"{root}/{name}/"
        return envelope.answer("apiconfig", result)

    def login(self) -> bottle.HTTPResponse:
        """``POST /+login``: a token for a password."""
        words = bodies.json_body()
        user, password = (
            (words.get("user"), words.get("password")) if isinstance(words, dict) else (None, None)
        )
        if not isinstance(user, str) or not isinstance(password, str):
            raise BadRequest("Bad request: no user/password specified")
        token = self._accounts.login(user, password, asking.origin())
        return envelope.answer("proxyauth", _proxyauth(token), message="login successful")

    # Users

    def users(self) -> bottle.HTTPResponse:
        """``GET /``: everybody, with the indexes that who asks may know of."""
        shown = self._shown_indexes()
        users = {user.name: _described(user, shown) for user in self._accounts.all()}
        return envelope.answer("list:userconfig", users)

    def user(self, user: str) -> bottle.HTTPResponse:
        """``GET /<user>``."""
        found = self._accounts.get(user)
        return envelope.answer("userconfig", _described(found, self._shown_indexes()))

    def create(self, user: str) -> bottle.HTTPResponse:
        """``PUT /<user>``."""
        made = self._accounts.create(asking.principal(), asking.origin(), user, bodies.json_body())
        return envelope.answer("userconfig", _described(made, {}), status=201)

    def modify(self, user: str) -> bottle.HTTPResponse:
        """``PATCH /<user>``."""
        _, token = self._accounts.modify(
            asking.principal(), asking.origin(), user, bodies.json_body()
        )
        if token is None:
            return envelope.message("user updated")
        return envelope.answer(
            "userpassword", _proxyauth(token), message="user updated, new proxy auth"
        )

    def delete(self, user: str) -> bottle.HTTPResponse:
        """``DELETE /<user>``."""
        self._accounts.delete(asking.principal(), asking.origin(), user)
        return envelope.message(f"user '{user}' deleted")

    def _shown_indexes(self) -> _Shown:
        """User → name → configuration, of the indexes that who asks may read."""
        shown: _Shown = {}
        principal = asking.principal()
        for row in self._indexes.rows():
            if asking.may_know_of(row):
                described = self._config.described(principal, row)
                shown.setdefault(row.user, {})[row.name] = described
        return shown

    # API tokens

    def create_token(self, user: str) -> bottle.HTTPResponse:
        """``POST /<user>/+token-create``: the one answer that has the token's text."""
        words = bodies.json_body()
        if not isinstance(words, dict) or words.keys() - _TOKEN_WORDS:
            raise BadRequest(f"a token is described by {', '.join(sorted(_TOKEN_WORDS))}")
        note = words.get("note", "")
        if not isinstance(note, str) or len(note) > _LONGEST_NOTE or not note.isprintable():
            raise BadRequest(f"the note of a token is a line of at most {_LONGEST_NOTE} characters")
        scope = scopes.scope(
            _words(words, "actions", ["read"]),
            _words(words, "indexes", ["*"]),
            _words(words, "projects", []),
        )
        row, text = self._accounts.create_token(
            asking.principal(), asking.origin(), user, scope, _lifetime(words), note
        )
        return envelope.answer("token", {**_shown_token(row), "token": text}, status=201)

    def tokens(self, user: str) -> bottle.HTTPResponse:
        """``GET /<user>/+tokens``."""
        found = self._accounts.tokens(user)
        return envelope.answer("list:token", [_shown_token(row) for row in found])

    def revoke_token(self, user: str, token: str) -> bottle.HTTPResponse:
        """``DELETE /<user>/+tokens/<token>``."""
        self._accounts.revoke_token(asking.principal(), asking.origin(), user, token)
        return envelope.message(f"token '{token}' revoked")


def _takes_json() -> bool:
    accept = bottle.request.headers.raw("Accept", "*/*")
    return any(form in accept for form in ("application/json", "application/*", "*/*"))


def _proxyauth(token: Token) -> dict[str, object]:
    return {"password": token.text, "expiration": int(token.lifetime)}


def _described(user: User, shown: _Shown) -> dict[str, object]:
    """A user as devpi shows it."""
    described: dict[str, object] = {"username": user.name, **user.details}
    described["created"] = _time(user.created)
    if user.modified is not None:
        described["modified"] = _time(user.modified)
    described["indexes"] = shown.get(user.name, {})
    return described


def _shown_token(row: TokenRow) -> dict[str, object]:
    return {
        "id": row.id,
        **row.scope,
        "created": _time(row.created),
        "expires": None if row.expires is None else _time(row.expires),
        "note": row.note,
    }


def _words(words: dict[str, object], key: str, default: list[str]) -> str | list[str]:
    found = words.get(key, default)
    if isinstance(found, list) and all(isinstance(each, str) for each in found):
        return found
    if isinstance(found, str):
        return found
    raise BadRequest(f'"{key}" of a token is a list of words')


def _lifetime(words: dict[str, object]) -> float | None:
    seconds = words.get("expires", _TOKEN_LIFETIME)
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e10:
        raise BadRequest('"expires" of a token is a number of seconds from now, or null for never')
    return float(seconds)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
