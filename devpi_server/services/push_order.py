"""What a client asks for that pushes a release (devpi.md 1.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from devpi_server import names
from devpi_server.errors import BadRequest, Corrupt, InvalidName
from devpi_server.names import NormalizedName
from devpi_server.store.meta import FileKind
from devpi_server.upstream.addresses import expect_web_address
from devpi_server.upstream.publish import Target

_LONGEST = 2000  # characters of a word
_OF_ALL = frozenset({"name", "version", "no_docs", "only_docs"})
_INTERNAL = _OF_ALL | {"targetindex"}
_EXTERNAL = _OF_ALL | {"posturl", "username", "password", "register_project"}


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be pushed."""

    name: str  # as it was spelled
    project: NormalizedName
    version: str
    kinds: frozenset[FileKind]


@dataclass(frozen=True, slots=True)
class ToIndex:
    """To an index of this server."""

    index: str  # user/index


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """To another server."""

    target: Target
    registers: bool  # before the first upload


def read(body: object, index: str) -> tuple[Order, ToIndex | Elsewhere]:
    """What is asked for, in JSON.

    :param index: that it is to be pushed from, for the messages.
    :raises BadRequest: it cannot be understood, or wants two things at once.
    """
    if not isinstance(body, Mapping):
        raise BadRequest("a push is an object with name and version")
    is_internal = body.get("targetindex") is not None
    unknown = sorted(map(str, body.keys() - (_INTERNAL if is_internal else _EXTERNAL)))
    if unknown:
        raise BadRequest(f"unknown additional options: {', '.join(unknown)[:200]}")
    order = _order(body, index)
    return order, _to_index(body) if is_internal else _elsewhere(body)


def _order(body: Mapping[str, object], index: str) -> Order:
    name, version = _word(body, "name"), _word(body, "version")
    if not name or not version:
        raise BadRequest("a push needs name and version")
    try:
        project = names.project(name)
    except InvalidName as error:
        raise BadRequest(f"there are no files for {name} {version} on stage {index}") from error
    without, only = _flag(body, "no_docs"), _flag(body, "only_docs")
    if without and only:
        raise BadRequest("can't use 'no_docs' and 'only_docs' together")
    kinds = frozenset({FileKind.DOCS}) if only else frozenset(FileKind)
    return Order(name, project, version, kinds - {FileKind.DOCS} if without else kinds)


def _to_index(body: Mapping[str, object]) -> ToIndex:
    name = _word(body, "targetindex")
    if name.count("/") != 1 or name[0] == "/" or name[-1] == "/":
        raise BadRequest("targetindex not in format user/index")
    return ToIndex(name)


def _elsewhere(body: Mapping[str, object]) -> Elsewhere:
    url = _word(body, "posturl")
    if not url:
        raise BadRequest("a push needs a targetindex or a posturl")
    try:
        expect_web_address(url)
    except Corrupt as error:
        raise BadRequest("posturl is not an address of http or https") from error
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        raise BadRequest(
            "posturl is to be an address alone; who uploads there is said by username and password"
        )
    target = Target(url, _word(body, "username"), _word(body, "password"))
    return Elsewhere(target, _flag(body, "register_project"))


def _word(body: Mapping[str, object], key: str) -> str:
    """The text; empty where it is not given."""
    value = body.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise BadRequest(f"{key} of a push is a line of text")
    return value


def _flag(body: Mapping[str, object], key: str) -> bool:
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} of a push is true or false")
    return value
