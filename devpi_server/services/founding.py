"""What a new data directory has: an identity, root, and the mirror of PyPI."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType

from devpi_server.concurrency import Clock
from devpi_server.services.access import ROOT
from devpi_server.services.index_options import MIRROR
from devpi_server.store.meta import Actor, IndexRow, MetaStore, User

PYPI = "root/pypi"
UUID = "uuid"  # the fact that says that it has been founded


_PYPI_OPTIONS: Mapping[str, object] = MappingProxyType({"volatile": False, "title": "PyPI"})


def is_root_as_founded(user: User) -> bool:
    """Whether this is root as a new data directory has it."""
    return user.name == ROOT and user.pwhash == ""


def is_pypi_as_founded(row: IndexRow) -> bool:
    """Whether this is the mirror of a new data directory, as it was made."""
    return row.full_name == PYPI and row.type == MIRROR and row.options == _PYPI_OPTIONS


def is_founded(meta: MetaStore) -> bool:
    """Whether the store has been founded."""
    with meta.reading() as tables:
        return tables.fact(UUID) is not None


def found(
    meta: MetaStore,
    clock: Clock,
    *,
    with_pypi: bool = True,
    pwhash: str = "",
    origin: str = "first start",
) -> bool:
    """Found the store, unless it is. Returns whether it was not.

    :param pwhash: of root's password. It is empty at first, as in devpi; see ``accounts``
        for who may use it then.
    :param origin: the command that does it.
    """
    if is_founded(meta):
        return False
    with meta.writing(Actor(ROOT, origin)) as tables:
        if tables.fact(UUID) is not None:  # another process was quicker
            return False
        tables.set_fact(UUID, uuid.uuid4().hex)
        tables.users.add(User(ROOT, clock(), pwhash))
        tables.note("user_create", ROOT)
        if with_pypi:
            user, _, name = PYPI.partition("/")
            tables.indexes.add(IndexRow(user, name, MIRROR, _PYPI_OPTIONS))
            tables.note("index_create", PYPI, _PYPI_OPTIONS)
    return True
