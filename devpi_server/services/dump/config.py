"""The users and the indexes of a dump."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from mmap import mmap

from devpi_server.errors import BadDump
from devpi_server.services.dump import fields
from devpi_server.services.dump.order import bases_first
from devpi_server.services.dump.outline import Outline
from devpi_server.services.dump.records import DumpedIndex, DumpedUser
from devpi_server.services.dump.scan import Span, decode, place


def users_of(
    text: bytes | mmap, spans: Mapping[str, Span], warn: fields.Warn
) -> tuple[DumpedUser, ...]:
    """The users, by name.

    :raises BadDump: one that cannot be.
    """
    bad = [f"no user can be called {name!r}" for name in spans if not fields.is_name(name)]
    if bad:
        raise BadDump("; ".join(bad))
    found = []
    for name, span in sorted(spans.items()):
        with place(f"user {name}"):
            given = fields.object_of(decode(text, span), "what is said of it")
            found.append(fields.user(name, given, warn))
    return tuple(found)


def indexes_of(
    text: bytes | mmap,
    where: Outline,
    known: Collection[str],
    skipped_types: Collection[str],
    warn: fields.Warn,
) -> tuple[DumpedIndex, ...]:
    """The indexes but those of skipped types; bases come before what builds on them.

    :param known: full names of indexes that can be bases without being there.
    :raises BadDump: one that cannot be.
    """
    found = {}
    for full_name, parts in where.indexes.items():
        with place(f"index {full_name}"):
            given = None if parts.config is None else decode(text, parts.config)
            index = fields.index(full_name, fields.object_of(given, "indexconfig"))
        if index.type not in skipped_types:
            found[full_name] = index
    _check_names(found, where.users)
    bases = {name: index.bases for name, index in found.items()}
    ordered = bases_first(bases, known, warn)
    return tuple(replace(found[name], bases=kept) for name, kept in ordered.items())


def _check_names(indexes: Mapping[str, DumpedIndex], users: Collection[str]) -> None:
    bad = []
    for full_name, index in indexes.items():
        if not fields.is_name(index.name):
            bad.append(f"no index can be called {full_name!r}")
        elif index.user not in users:
            bad.append(f"the index {full_name!r} is of a user who is not there")
    if bad:
        raise BadDump("; ".join(bad))
