"""Indexes come, change and go, by the hands of their owners (devpi.md 1.5).

A base that one may not read does not exist.  One that is in the list already and
may not be read any more is not shown, and stays unless it is removed by name: to
lose it unnoticed would send its names to the mirrors.

Where a mirror may lead depends on who has set its addresses last: root may name
machines of a private network, anybody else public ones only.  That is kept as an
option that nobody is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from devpi_server import names
from devpi_server.errors import BadRequest, Conflict, Forbidden, NoSuchIndex, OffLimits
from devpi_server.mirror_settings import OWN_HOST_IS_TRUSTED
from devpi_server.services import index_patch, index_words
from devpi_server.services.access import ROOT, Principal, is_owner, may_read
from devpi_server.services.index_options import DIRECTORY, MIRROR, STAGE, options_of
from devpi_server.services.index_words import ADDRESSES
from devpi_server.services.indexes import Indexes
from devpi_server.store.meta import Actor, IndexRow, MetaStore, Tables
from devpi_server.upstream.network import Boundary, endpoint

Options = Mapping[str, Any]


class IndexConfig:
    """The configurations of the indexes."""

    def __init__(self, meta: MetaStore, indexes: Indexes) -> None:
        self._meta = meta
        self._indexes = indexes

    def described(self, principal: Principal, row: IndexRow) -> dict[str, object]:
        """What JSON says of the index to somebody who may read it, without its projects."""
        found = index_words.shown(row.type, row.user, row.options)
        if row.type != MIRROR:
            unseen = self._unseen(principal, row)
            found["bases"] = [base for base in options_of(row).bases if base not in unseen]
        return found

    def create(self, principal: Principal, address: str, name: str, body: object) -> None:
        """A new index.

        :param address: where the request comes from.
        :param name: ``user/index``.
        :param body: its type and options.
        :raises Conflict: there is one of this name.
        :raises NoSuchUser: there is no such user.
        :raises BadRequest: the name or an option cannot be.
        """
        user, _, own_name = name.partition("/")
        if not names.is_plain(own_name):
            raise BadRequest(
                f"indexname {own_name[:50]!r} contains characters that aren't allowed. "
                "Any ascii symbol besides -.@_ is blocked."
            )
        if self._indexes.is_declared(name):
            raise Conflict(f"index {name!r} exists")
        if not isinstance(body, dict):
            raise BadRequest("the configuration of an index is an object")
        given = {key: value for key, value in body.items() if key not in ("projects", "index")}
        kind = given.pop("type", STAGE)
        if not isinstance(kind, str):
            raise BadRequest(f"unknown index type {str(kind)[:50]!r}")
        if kind == DIRECTORY:
            raise BadRequest("only the configuration of the server makes an index of a folder")
        asked = index_words.read(kind, given)
        with self._meta.writing(Actor(principal.name, address)) as tables:
            if tables.indexes.get(name) is not None:
                raise Conflict(f"index {name!r} exists")
            options = self._checked(principal, tables, IndexRow(user, own_name, kind, {}), asked)
            row = tables.indexes.add(IndexRow(user, own_name, kind, options))
            tables.note("index_create", row.full_name, index_words.shown(kind, user, options))

    def modify(self, principal: Principal, address: str, name: str, body: object) -> bool:
        """Change the options; return whether anything is another than before.

        :param body: of one of the forms that ``index_patch`` knows.
        :raises NoSuchIndex: there is none.
        :raises Forbidden: the configuration of the server says what it is.
        :raises BadRequest: the body asks for what cannot be.
        """
        self._expect_changeable(name)
        fixed = self._indexes.configured(name).fixed
        with self._meta.writing(Actor(principal.name, address)) as tables:
            row = _there(tables, name)
            before = {**index_words.defaults(row.type, row.user), **row.options}
            unseen = self._unseen(principal, row)
            asked = index_patch.asked(row.type, {**before, **fixed}, body, unseen)
            _expect_free(name, fixed, asked)
            asked = {key: value for key, value in asked.items() if key not in fixed}
            options = self._checked(principal, tables, row, asked)
            after = {**index_words.defaults(row.type, row.user), **options}
            changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
            if changed:
                tables.indexes.change(replace(row, options=options))
                seen = index_words.shown(row.type, row.user, options)
                tables.note("index_modify", name, {key: seen.get(key) for key in changed})
        return bool(changed)

    def delete(self, principal: Principal, address: str, name: str) -> None:
        """Remove the index with everything in it.

        Indexes that have it as a base go on with what they hold themselves, but ask no
        mirror for a name that could have been in it (``sources.union``).

        :raises NoSuchIndex: there is none.
        :raises Forbidden: it is not volatile, or the configuration of the server has it.
        """
        self._expect_changeable(name)
        with self._meta.writing(Actor(principal.name, address)) as tables:
            row = _there(tables, name)
            if not options_of(row).volatile:
                raise Forbidden(f"index {name} non-volatile, cannot delete")
            tables.indexes.remove(row.id)
            tables.note("index_delete", name, {"type": row.type})

    def _expect_changeable(self, name: str) -> None:
        if self._indexes.is_declared(name):
            raise Forbidden(
                f"index {name} is declared in the configuration of the server, "
                "it can be changed there only"
            )

    def _unseen(self, principal: Principal, row: IndexRow) -> list[str]:
        """The bases that somebody is not told of; of one that is no more, its owner is."""
        rows = self._indexes.by_name()
        return [
            name
            for name in options_of(row).bases
            if not (
                may_read(principal, options_of(rows[name]))
                if name in rows
                else is_owner(principal, row.user)
            )
        ]

    def _checked(
        self, principal: Principal, tables: Tables, row: IndexRow, asked: Options
    ) -> dict[str, object]:
        """The options of the index as they are to be.

        :param row: as it is.
        :param asked: what is to be another.
        """
        options = {**row.options, **asked}
        if "bases" in asked:
            self._expect_bases(principal, tables, row, asked["bases"])
        for word in ADDRESSES & asked.keys():
            if asked[word] is not None:
                options[word] = _with_secrets(asked[word], str(row.options.get(word, "")))
        options = {key: value for key, value in options.items() if value is not None}
        if row.type == MIRROR:
            configured = self._indexes.configured(row.full_name)
            if "mirror_url" not in {**configured.defaults, **options, **configured.fixed}:
                raise BadRequest(f"the mirror {row.full_name} needs a mirror_url")
            if any(options.get(word) != row.options.get(word) for word in ADDRESSES):
                options[OWN_HOST_IS_TRUSTED] = principal.user == ROOT
                if principal.user != ROOT:
                    _expect_public(options)
        return options

    def _expect_bases(
        self, principal: Principal, tables: Tables, row: IndexRow, asked: Sequence[str]
    ) -> None:
        """Let pass what is a base already, and what may be read."""
        rows = {**self._indexes.by_name(), **{row.full_name: row for row in tables.indexes.all()}}
        missing = [
            name
            for name in asked
            if name not in options_of(row).bases
            and (name not in rows or not may_read(principal, options_of(rows[name])))
        ]
        if missing:
            raise BadRequest(", ".join(f"base index {name!r} does not exist" for name in missing))


def _there(tables: Tables, name: str) -> IndexRow:
    row = tables.indexes.get(name)
    if row is None:
        raise NoSuchIndex(f"The stage {name} could not be found.")
    return row


def _expect_free(name: str, fixed: Options, asked: Options) -> None:
    """Let pass what the configuration of the server does not say, or says, too."""
    for key in asked.keys() & fixed.keys():
        value = asked[key]
        if key in ADDRESSES and value is not None:
            value = index_words.without_secrets(value)
        if value != fixed[key]:
            raise Forbidden(
                f"{key} of index {name} is set by the configuration of the server, "
                "it can be changed there only"
            )


def _with_secrets(asked: str, before: str) -> str:
    """The addresses, with the credentials that they had before and nobody has been shown.

    ``https://@host/`` says that there are to be none.
    """
    known = {index_words.without_secrets(url): url for url in before.split()}
    return " ".join(
        known.get(url, url) if "@" not in urlsplit(url).netloc else url.replace("://@", "://")
        for url in asked.split()
    )


def _expect_public(options: Options) -> None:
    """Refuse what is a private address by its looks; names are looked at when they are used."""
    nothing_private = Boundary([], [])
    for word in ADDRESSES & options.keys():
        for url in str(options[word]).split():
            try:
                nothing_private.expect_name(*endpoint(url))
            except OffLimits:
                raise BadRequest(
                    f"{word} leads into a private network, where only root may let a mirror lead"
                ) from None
