"""Other names for users and indexes of a dump: a name may be taken here, or be none here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devpi_server.services.dump.records import DumpedIndex, DumpedUser


class Renaming:
    """Old names → new names.

    :param pairs: of users, or of indexes as ``user/index``.
    """

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._pairs = pairs

    def user(self, user: DumpedUser) -> DumpedUser:
        """The user by its new name."""
        return replace(user, name=self._user(user.name))

    def index(self, index: DumpedIndex) -> DumpedIndex:
        """The index by its new name, with the new names of those that it builds on or lets in."""
        user, _, name = self._index(index.full_name).partition("/")
        options = {
            key: self._users(value) if key.startswith("acl_") else value
            for key, value in index.options.items()
        }
        bases = tuple(map(self._index, index.bases))
        return replace(index, user=user, name=name, bases=bases, options=options)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """The old names that are none of these."""
        known = set(names)
        return [old for old in self._pairs if old not in known]

    def _user(self, name: str) -> str:
        return self._pairs.get(name, name)

    def _users(self, value: object) -> object:
        if isinstance(value, str):  # as some old dumps have lists
            value = value.split(",")
        if not isinstance(value, list | tuple):
            return value
        return [self._user(each.strip()) if isinstance(each, str) else each for each in value]

    def _index(self, full_name: str) -> str:
        if full_name in self._pairs:
            return self._pairs[full_name]
        user, slash, name = full_name.partition("/")
        return f"{self._user(user)}{slash}{name}"
