"""What an API token may do: read or upload, on which indexes, with which projects.

A scope narrows: its owner's own rights are asked beside it, always.  One form
for the command line, for HTTP and for the database; what it does not know, it
refuses, because a restriction that is not understood would be one that is not
there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from devpi_server import names
from devpi_server.errors import BadRequest, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.services.access import READ, UPLOAD

ACTIONS = (READ, UPLOAD)
EVERY = "*"  # in place of an index

_MOST = 100  # indexes, and projects
_INDEX = re.compile(r"[^/+*]+/[^/+*]+\Z")
_KEYS = {"actions", "indexes", "projects"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may do. Made by ``scope`` or ``from_json``, which check it."""

    actions: frozenset[str]  # of ACTIONS; none contains another
    indexes: tuple[str, ...]  # "user/index", or EVERY alone
    projects: tuple[NormalizedName, ...] = ()  # empty: all of them

    def allows(self, action: str, index: str, project: NormalizedName | None = None) -> bool:
        """Whether a token of this scope may do it.

        :param project: None where it is about an index as a whole: then a token for
            certain projects may not.
        """
        return self.reaches(action, index) and (not self.projects or project in self.projects)

    def reaches(self, action: str, index: str) -> bool:
        """Whether a token of this scope may do it with any project there."""
        return action in self.actions and (self.indexes == (EVERY,) or index in self.indexes)

    def to_json(self) -> dict[str, list[str]]:
        """The scope in plain words, for ``from_json``."""
        return {
            "actions": sorted(self.actions),
            "indexes": list(self.indexes),
            "projects": list(self.projects),
        }


def scope(
    actions: str | Iterable[str],
    indexes: str | Iterable[str] = EVERY,
    projects: str | Iterable[str] = (),
) -> Scope:
    """The scope in a user's words, each with commas or blanks between, or one by one.

    :raises BadRequest: one of the words is wrong, or there are none or too many.
    """
    allowed = _words(actions)
    for action in allowed:
        if action not in ACTIONS:
            raise BadRequest(f'a token allows {" or ".join(ACTIONS)}, not "{_shown(action)}"')
    if not allowed:
        raise BadRequest(f"a token has to allow something: {' or '.join(ACTIONS)}")
    return Scope(frozenset(allowed), _indexes(_words(indexes)), _projects(_words(projects)))


def from_json(document: object) -> Scope:
    """The scope in plain words; "indexes" and "projects" may be left out.

    :raises BadRequest: it is none.
    """
    if not isinstance(document, Mapping):
        raise BadRequest("the scope of a token is an object")
    words: dict[str, list[str]] = {"actions": []}
    for key, value in document.items():
        if key not in _KEYS:
            raise BadRequest(f'the scope of a token has no "{_shown(str(key))}"')
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise BadRequest(f'"{key}" of a token\'s scope is a list of words')
        words[key] = value
    return scope(**words)


def _indexes(found: list[str]) -> tuple[str, ...]:
    if not found:
        raise BadRequest(f'a token has to be for some index: user/index, or "{EVERY}" for all')
    for index in found:
        if index != EVERY and not (_INDEX.match(index) and index.isprintable()):
            raise BadRequest(f'"{_shown(index)}" is not the name of an index, as user/index')
    return (EVERY,) if EVERY in found else tuple(sorted(found))


def _projects(found: list[str]) -> tuple[NormalizedName, ...]:
    projects = set()
    for each in found:
        try:
            projects.add(names.project(each))
        except InvalidName as error:
            raise BadRequest(f'"{_shown(each)}" is not a valid project name') from error
    return tuple(sorted(projects))


def _words(given: str | Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for text in [given] if isinstance(given, str) else given:
        words = [word for word in re.split(r"[\s,]+", text) if word]
        if not words:  # of a script whose variable is empty; it would leave all projects
            raise BadRequest("a word of the token's scope is empty")
        found.update(dict.fromkeys(words))
    if len(found) > _MOST:
        raise BadRequest(f"a token's scope has no more than {_MOST} words of a kind")
    return list(found)


def _shown(word: str) -> str:
    return word[:100]
