"""What an index can be told, as users say it: the words, and how their values are read.

A value may come as JSON, or as a text from ``devpi index key=value`` (devpi.md 1.5).
What is read is what is stored, and what JSON shows again.  Words of a mirror that
name files of this machine, or open a private network, are for the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from devpi_server import mirror_settings, names, option_values
from devpi_server.errors import BadRequest, InvalidName
from devpi_server.services.index_options import (
    ANONYMOUS,
    AUTHENTICATED,
    DIRECTORY,
    MIRROR,
    STAGE,
)
from devpi_server.upstream.addresses import without_userinfo

_MOST_WORDS = 1000  # of a list
_LONGEST_WORD = 200  # characters
_LONGEST_TEXT = 100_000
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
_INHERITANCES = ("intersection", "union")
_ONLY_CONFIGURED = frozenset({"mirror_ca_file", "mirror_client_cert", "mirror_allow_networks"})
ADDRESSES = frozenset({"mirror_url", "mirror_changelog_url"})
# Of older dumps, and of who turns a stage's JSON into a mirror.
_IGNORED: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        STAGE: frozenset({"pypi_whitelist"}),
        MIRROR: frozenset({"bases", "acl_upload", "mirror_whitelist", "pypi_whitelist"}),
    }
)


@dataclass(frozen=True, slots=True)
class Word:
    """One word."""

    read: Callable[[Any], object]  # raises BadRequest
    default: Callable[[str], object] | None = None  # by the owner's name; None: it has none
    is_shown_unset: bool = True

    @property
    def is_list(self) -> bool:
        """Whether single values can be added and removed."""
        return self.default is not None and isinstance(self.default(""), list)


def words(kind: str) -> Mapping[str, Word]:
    """The words of a type of index.

    :raises BadRequest: there is no such type.
    """
    found = _WORDS.get(kind)
    if found is None:
        raise BadRequest(f"unknown index type {kind[:50]!r}")
    return found


def read(kind: str, given: Mapping[str, Any]) -> dict[str, object]:
    """The options that these words and values stand for; None: without this one.

    :raises BadRequest: a word or a value cannot be.
    """
    known = words(kind)
    asked = {word: value for word, value in given.items() if word not in _IGNORED[kind]}
    for word in asked.keys() & (_ONLY_CONFIGURED if kind == MIRROR else frozenset()):
        raise BadRequest(f"{word} can be set in the configuration file of the server only")
    unknown = [f"{word}={value}" for word, value in asked.items() if word not in known]
    if unknown:
        listed = ", ".join(unknown)[:300]
        raise BadRequest(f"indexconfig got unexpected keyword arguments: {listed}")
    options = {}
    for word, value in asked.items():
        is_empty = known[word].default is None and value in (None, "")
        options[word] = None if is_empty else known[word].read(value)
    return options


def shown(kind: str, owner: str, options: Mapping[str, object]) -> dict[str, object]:
    """The options as everybody may see them, with what devpi fills in."""
    found: dict[str, object] = {"type": kind}
    for name, word in words(kind).items():
        if name in options:
            value = options[name]
            is_secret = name in ADDRESSES and isinstance(value, str)
            found[name] = without_secrets(str(value)) if is_secret else value
        elif word.default is not None and word.is_shown_unset:
            found[name] = word.default(owner)
    return found


def defaults(kind: str, owner: str) -> dict[str, object]:
    """What an index is told where nobody tells it."""
    known = words(kind)
    return {name: word.default(owner) for name, word in known.items() if word.default is not None}


def without_secrets(urls: str) -> str:
    """The addresses, separated by blanks, without names and passwords."""
    return " ".join(map(without_userinfo, urls.split()))


# Values


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    raise BadRequest(f"Unknown boolean value {str(value)[:50]!r}.")


def listed(value: object) -> list[str]:
    """The words of a list, each once; a text has commas between them.

    :raises BadRequest: it is no list of words, or too long.
    """
    found = value.split(",") if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise BadRequest(f"Unknown list value {str(value)[:50]!r}.")
    stripped = dict.fromkeys(text for each in found if (text := each.strip()))
    for text in stripped:
        if len(text) > _LONGEST_WORD or not text.isprintable():
            raise BadRequest(f"a list has {text[:50]!r}, which is not a name")
    if len(stripped) > _MOST_WORDS:
        raise BadRequest(f"a list has more than {_MOST_WORDS} values")
    return list(stripped)


def _principals(value: object) -> list[str]:
    special = (ANONYMOUS, AUTHENTICATED)
    found = (name.upper() if name.upper() in special else name for name in listed(value))
    return list(dict.fromkeys(found))


def _whitelist(value: object) -> list[str]:
    try:
        found = [name if name == "*" else names.project(name) for name in listed(value)]
    except InvalidName:
        raise BadRequest("mirror_whitelist has what is not a name of a project") from None
    return list(dict.fromkeys(found))


def _bases(value: object) -> list[str]:
    """Whether they exist is for who knows the indexes."""
    found = listed(value)
    faults = [name for name in found if name.count("/") != 1]
    if faults:
        raise BadRequest(", ".join(f"invalid base index spec: {name!r}" for name in faults[:5]))
    return found


def _inheritance(value: object) -> str:
    found = value.lower() if isinstance(value, str) else ""
    if found not in _INHERITANCES:
        raise BadRequest(
            f"Unknown value {str(value)[:50]!r} for mirror_whitelist_inheritance, "
            "must be 'intersection' or 'union'."
        )
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise BadRequest("a description is a text of at most 100,000 characters")
    return value


def _title(value: object) -> str:
    found = _text(value).strip()
    if not found.isprintable():
        raise BadRequest("a title is one line of text")
    return found


def _anything(value: object) -> object:
    if len(orjson.dumps(value)) > _LONGEST_TEXT:
        raise BadRequest("custom_data is too large")
    return value


def _of_mirror(word: mirror_settings.Word, value: object) -> object:
    """The value of one of a mirror's own words."""
    if word.parse is option_values.switch:
        return _boolean(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | list):
        raise BadRequest(f"{word.name} is not a value of a mirror")
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        found = option_values.read(word.parse, text)
    except ValueError as fault:
        raise BadRequest(f"{word.name}: {fault}") from None
    if isinstance(found, tuple):
        return " ".join(found)
    return int(found) if isinstance(found, float) and found.is_integer() else found


_COMMON = {
    "volatile": Word(_boolean, lambda _: True),
    "acl_read": Word(_principals, lambda _: [ANONYMOUS], is_shown_unset=False),
    "title": Word(_title),
    "description": Word(_text),
    "custom_data": Word(_anything),
}
_BASED = {
    "bases": Word(_bases, lambda _: []),
    "mirror_whitelist": Word(_whitelist, lambda _: []),
}
_WORDS: Mapping[str, Mapping[str, Word]] = MappingProxyType(
    {
        # Only the configuration makes such an index, so nothing of it is ever read.
        DIRECTORY: {**_BASED, **_COMMON},
        STAGE: {
            "acl_upload": Word(_principals, lambda owner: [owner]),
            "acl_toxresult_upload": Word(_principals, lambda _: [ANONYMOUS]),
            **_BASED,
            "mirror_whitelist_inheritance": Word(_inheritance, lambda _: _INHERITANCES[0]),
            **_COMMON,
        },
        MIRROR: {
            # devpi's word for what is always done here.
            "mirror_provides_core_metadata": Word(_boolean),
            **{
                word.name: Word(partial(_of_mirror, word))
                for word in mirror_settings.WORDS
                if word.name not in _ONLY_CONFIGURED
            },
            **_COMMON,
        },
    }
)
