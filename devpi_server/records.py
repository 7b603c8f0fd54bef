"""The values that travel between the layers: frozen, typed, without behaviour.

Each field of ``Link`` and ``Page`` stands under the sentence of the standard
that defines it (protocol.md 1.3).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from devpi_server.names import NormalizedName

Digests = Mapping[str, str]  # lower-case algorithm → lower-case hex

NOTHING: Mapping[str, object] = MappingProxyType({})
NO_DIGESTS: Digests = MappingProxyType({})


def _for_ever() -> float:
    return math.inf


def _nothing() -> Mapping[str, object]:
    return NOTHING


def _no_digests() -> Digests:
    return NO_DIGESTS


class Freshness(enum.Enum):
    """How current an answer has to be."""

    CURRENT = enum.auto()
    ANY = enum.auto()  # whatever is held; no network


class Origin(enum.Enum):
    """Where an answer came from; the value of the header ``X-Devpi-Cache``."""

    HIT = "hit"  # held, and known to be current
    REVALIDATED = "revalidated"  # held, and upstream has just said that it is current
    STALE = "stale"  # held, and upstream could not be asked in time
    MISS = "miss"  # fetched just now


@dataclass(frozen=True, slots=True)
class Link:
    """One file of a project page."""

    filename: str
    # PEP 503: the href; absolute here, without its fragment.
    url: str
    # PEP 691: hashes, may be empty.
    digests: Digests = field(default_factory=_no_digests)
    # PEP 700: size in bytes.
    size: int | None = None
    # PEP 700: upload-time, always aware and UTC.
    uploaded: datetime | None = None
    # PEP 345: Requires-Python, as text.
    requires_python: str | None = None
    # PEP 592: False, True, or the reason.
    yanked: bool | str = False
    # PEP 714: None: not offered; empty: offered without a digest.
    core_metadata: Digests | None = None
    # PEP 503: None: not known.
    gpg_sig: bool | None = None
    # PEP 740: an https URL; ``names.PROVENANCE``: it is served beside the file.
    provenance: str | None = None
    # Keys that we do not know; they reach the JSON clients as they came.
    extra: Mapping[str, object] = field(default_factory=_nothing)
    # The index that serves it; empty: the one whose page this is.
    index: str = ""


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """PEP 792: the status marker of a project."""

    status: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """What one index says of one project."""

    name: NormalizedName
    links: tuple[Link, ...] = ()
    # PEP 700: versions.
    versions: tuple[str, ...] = ()
    status: ProjectStatus | None = None
    # ``meta._last-serial`` or X-PyPI-Last-Serial of the one upstream it came from.
    serial: int | None = None
    # The minor number of the simple API's version that upstream claims; None: HTML.
    api_minor: int | None = None
    extra: Mapping[str, object] = field(default_factory=_nothing)
    meta_extra: Mapping[str, object] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class View:
    """A page as it is now: a cheap stamp, and a dear way to the content.

    Equal stamps of one source mean equal pages.
    """

    stamp: Hashable
    load: Callable[[], Page] = field(compare=False)
    origin: Origin = field(default=Origin.HIT, compare=False)
    at_hand: bool = field(default=False, compare=False)  # the content is in memory already
    # Seconds since the epoch: how long time alone does not change it.
    until: Callable[[], float] = field(default=_for_ever, compare=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """The names of an index's projects; equal stamps of one source mean equal names."""

    stamp: Hashable
    names: Callable[[], Iterator[str]] = field(compare=False)
