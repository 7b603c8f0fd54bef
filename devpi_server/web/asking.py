"""Who asks, and what of an index it may see: of the request under way."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Collection
from functools import partial

import bottle

from devpi_server.names import NormalizedName
from devpi_server.services import access
from devpi_server.services.access import NOBODY, Principal
from devpi_server.services.accounts import Origin
from devpi_server.services.index_options import options_of
from devpi_server.services.indexes import Index
from devpi_server.sources.base import Source
from devpi_server.store.meta import IndexRow
from devpi_server.web.hot import Environ
from devpi_server.web.outside import IS_FORWARDED

_PRINCIPAL = "devpi.principal"
_INSTALLER = re.compile(r"(?:^| )(?:distribute|setuptools|pip|pex|uv)/")


def origin() -> Origin:
    """Where the request comes from."""
    return origin_of(bottle.request.environ)


def origin_of(environ: Environ) -> Origin:
    """Where the request comes from."""
    address = environ.get("REMOTE_ADDR", "")
    try:
        is_local = ipaddress.ip_address(address).is_loopback
    except ValueError:  # a Unix socket: whoever can open it, and somebody is in front of it
        is_local = False
    return Origin(address, is_local and not environ.get(IS_FORWARDED))


def principal() -> Principal:
    """Who asks."""
    found: Principal = bottle.request.environ.get(_PRINCIPAL, NOBODY)
    return found


def may_know_of(row: IndexRow) -> bool:
    """Whether who asks may know that there is this index."""
    return access.may_read(principal(), options_of(row))


def remember(who: Principal) -> None:
    """It is this one who asks."""
    bottle.request.environ[_PRINCIPAL] = who


def seen(
    index: Index, projects: Collection[NormalizedName] = ()
) -> tuple[Source, tuple[str, ...] | None]:
    """The pages of the index as who asks may see them; see ``Index.seen``.

    :param projects: what is asked for: one of these, or the index as a whole.
    """
    return index.seen(partial(access.may_read, principal(), projects=projects))


class Wanted(enum.Enum):
    """What is wanted of an address that has several answers (devpi.md 1.10)."""

    JSON = enum.auto()  # devpi's own
    SIMPLE = enum.auto()  # a page of the simple API, in any form
    PAGE = enum.auto()  # one for people


def wanted() -> Wanted:
    """What the client wants; it is an installer by its name, or by the form that it takes."""
    accept = bottle.request.headers.raw("Accept", "")
    if "application/json" in accept:
        return Wanted.JSON
    if names_form() or _INSTALLER.search(bottle.request.headers.raw("User-Agent", "")):
        return Wanted.SIMPLE
    return Wanted.PAGE


def names_form() -> bool:
    """Whether the client names a form of the simple API, whatever its own name is."""
    return "application/vnd.pypi.simple." in bottle.request.headers.raw("Accept", "")


def chosen(answer: bottle.HTTPResponse) -> bottle.HTTPResponse:
    """The answer, telling caches that it was chosen by who asks, too."""
    answer.set_header("Vary", f"{answer.get_header('Vary', 'Accept')}, User-Agent")
    return answer
