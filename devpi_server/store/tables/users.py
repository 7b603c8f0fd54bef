"""Users and their API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.exc import IntegrityError

from devpi_server.errors import Conflict, NoSuchUser
from devpi_server.store import schema
from devpi_server.store.meta import TokenRow, User
from devpi_server.store.tables.base import Transaction, dumped, loaded
from devpi_server.store.tables.files import let_go

_users = schema.users
_tokens = schema.tokens


@dataclass(frozen=True, slots=True)
class Users:
    """``UsersTable``."""

    transaction: Transaction

    def get(self, name: str) -> User | None:
        row = self.transaction.run(select(_users).where(_users.c.name == name)).first()
        return _user(row) if row is not None else None

    def all(self) -> list[User]:
        return [_user(row) for row in self.transaction.run(select(_users).order_by(_users.c.name))]

    def add(self, user: User) -> User:
        try:
            self.transaction.run(_users.insert().values(name=user.name, **_values(user)))
        except IntegrityError as error:
            raise Conflict("user already exists") from error
        self.transaction.config_changed()
        added = self.get(user.name)
        assert added is not None  # noqa: S101 - it was put there two lines above
        return added

    def change(self, user: User) -> None:
        self.transaction.run(_users.update().where(_users.c.id == user.id).values(**_values(user)))
        self.transaction.config_changed()

    def remove(self, name: str) -> None:
        indexes = schema.indexes
        owned = select(indexes.c.id).where(indexes.c.user_id == self.transaction.user_id(name))
        let_go(self.transaction, schema.files.c.index_id.in_(owned))
        self.transaction.run(_users.delete().where(_users.c.name == name))
        self.transaction.config_changed()
        self.transaction.anything_changed()


def _values(user: User) -> dict[str, object]:
    return {
        "pwhash": user.pwhash,
        "password_serial": user.password_serial,
        "created": user.created,
        "modified": user.modified,
        "details": dumped(dict(user.details)),
    }


def _user(row: Row[Any]) -> User:
    return User(
        name=row.name,
        created=row.created,
        pwhash=row.pwhash,
        modified=row.modified,
        details=loaded(row.details),
        password_serial=row.password_serial,
        id=row.id,
    )


@dataclass(frozen=True, slots=True)
class Tokens:
    """``TokensTable``."""

    transaction: Transaction

    def get(self, token_id: str) -> TokenRow | None:
        row = self.transaction.run(_SELECT.where(_tokens.c.id == token_id)).first()
        return _token(row) if row is not None else None

    def of(self, user: str) -> list[TokenRow]:
        found = _SELECT.where(_users.c.name == user).order_by(_tokens.c.created, _tokens.c.id)
        return [_token(row) for row in self.transaction.run(found)]

    def add(self, token: TokenRow) -> None:
        user_id = self.transaction.user_id(token.user)
        if user_id is None:
            raise NoSuchUser(f"there is no user {token.user}")
        self.transaction.run(
            _tokens.insert().values(
                id=token.id,
                user_id=user_id,
                hash=token.hash,
                scope=dumped(dict(token.scope)),
                created=token.created,
                expires=token.expires,
                note=token.note,
            )
        )
        self.transaction.config_changed()

    def remove(self, token_id: str) -> None:
        self.transaction.run(_tokens.delete().where(_tokens.c.id == token_id))
        self.transaction.config_changed()


_SELECT = select(_tokens, _users.c.name.label("user")).join(
    _users, _users.c.id == _tokens.c.user_id
)


def _token(row: Row[Any]) -> TokenRow:
    return TokenRow(
        row.id, row.user, row.hash, loaded(row.scope), row.created, row.expires, row.note
    )
