"""What a PATCH of an index asks for, in any of its three forms (devpi.md 1.5).

An object sets what it has and leaves the rest; the whole answer to a GET is one
with the object inside.  A list of texts says it step by step: ``key=value`` sets,
``key+=value`` adds, ``key-=value`` removes, ``key-=`` drops the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devpi_server.errors import BadRequest
from devpi_server.services import index_words

# What a GET shows and nobody changes.
_SHOWN_ONLY = ("projects", "index", "name")


def asked(
    kind: str, current: Mapping[str, object], body: object, unseen: Sequence[str] = ()
) -> dict[str, object]:
    """The options to set; None: to drop.

    :param kind: the type of the index.
    :param current: its options, with defaults.
    :param body: as it was sent.
    :param unseen: bases that who asks is not shown; only ``bases-=`` takes one away.
    :raises BadRequest: the body asks for what cannot be.
    """
    if isinstance(body, list):
        return _by_steps(kind, current, body, unseen)
    if isinstance(body, dict) and body.get("type") == "indexconfig" and "result" in body:
        body = body["result"]
    if not isinstance(body, dict):
        raise BadRequest("the configuration of an index is an object, or a list of key=value")
    given = {key: value for key, value in body.items() if key not in _SHOWN_ONLY}
    if given.pop("type", kind) != kind:
        raise BadRequest("the 'type' of an index can't be changed")
    return _read(kind, given, unseen)


def _read(kind: str, given: Mapping[str, Any], unseen: Sequence[str]) -> dict[str, object]:
    found = index_words.read(kind, given)
    bases = found.get("bases")
    if isinstance(bases, list):
        found["bases"] = [*bases, *(name for name in unseen if name not in bases)]
    return found


def _by_steps(
    kind: str, current: Mapping[str, object], steps: Sequence[object], unseen: Sequence[str]
) -> dict[str, object]:
    found: dict[str, object] = {}
    for step in steps:
        key, operator, text = _split(step)
        if key in _SHOWN_ONLY:
            continue
        if key == "type" and (operator, text) == ("=", kind):
            continue
        if key == "type":
            raise BadRequest("the 'type' of an index can't be changed")
        if operator == "=":
            found |= _read(kind, {key: text}, unseen)
        elif operator == "-=" and not text:
            _expect_no_default(kind, key)
            found[key] = None
        else:
            found[key] = _edited(kind, {**current, **found}, key, operator, text)
    return found


def _split(step: object) -> tuple[str, str, str]:
    """Key, operator and value of ``key+=value``."""
    left, equals, value = step.partition("=") if isinstance(step, str) else ("", "", "")
    sign = left[-1:] if left.endswith(("+", "-")) else ""
    key = left.removesuffix(sign).strip()
    if not equals or not key:
        raise BadRequest(f"{str(step)[:50]!r} is not key=value, key+=value or key-=value")
    return key, f"{sign}=", value.strip()


def _expect_no_default(kind: str, key: str) -> None:
    if _word(kind, key, "-=").default is not None:
        raise BadRequest("Default values can't be removed.")


def _edited(kind: str, current: Mapping[str, Any], key: str, operator: str, text: str) -> list[str]:
    """The list with values added or removed."""
    if not _word(kind, key, f"{operator}{text}").is_list:
        raise BadRequest(f"The {key!r} setting is not a list")
    values: list[str] = list(current[key])
    if operator == "+=":
        changed = index_words.read(kind, {key: text})[key]
        added = changed if isinstance(changed, list) else []
        return list(dict.fromkeys([*values, *added]))
    for value in index_words.listed(text):
        # As it is there, or as it would be spelled there.
        found = next(
            (each for each in (value, *_spelled(kind, key, value)) if each in values), None
        )
        if found is None:
            raise BadRequest(f"The {key!r} setting doesn't have value {value!r}")
        values.remove(found)
    return values


def _spelled(kind: str, key: str, value: str) -> Sequence[str]:
    try:
        found = index_words.read(kind, {key: value})[key]
    except BadRequest:
        return ()
    return found if isinstance(found, list) else ()


def _word(kind: str, key: str, rest: str) -> index_words.Word:
    known = index_words.words(kind)
    if key not in known:
        raise BadRequest(f"indexconfig got unexpected keyword arguments: {key}{rest}"[:300])
    return known[key]
