"""What has changed upstream: one protocol, and the words of the journal.

A feed is asked "what came after this serial?".  Serials belong to one
upstream; who follows a feed keeps the serial, and keeps it last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from devpi_server.names import NormalizedName

Kind = Literal["xml-rpc", "listing"]
Scope = Literal["project", "release", "file"]


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the journal."""

    project: NormalizedName
    serial: int  # 0: not known, so no page is behind it
    version: str | None
    action: str  # as the journal words it; unknown words mean "changed"


@dataclass(frozen=True, slots=True)
class Changes:
    """What came after a serial."""

    serial: int  # the largest seen, also of rows that name no valid project
    by_project: Mapping[NormalizedName, tuple[Change, ...]]  # in upstream's order
    more: bool = False  # there is more: ask again at once


class ChangeFeed(Protocol):
    """Tells what has changed upstream."""

    @property
    def kind(self) -> Kind:
        """How it finds out."""

    def start(self) -> int:
        """The serial to begin with: whatever is fetched from now on is at least that new.

        :raises Unsupported: upstream has no such feed.
        :raises UpstreamError: cannot tell.
        """

    def since(self, serial: int) -> Changes:
        """What has changed after the serial.

        :raises FeedWentBack: upstream has not come as far: it is another one, or an older copy.
        :raises Unsupported: upstream has no such feed (any more).
        :raises UpstreamError: cannot tell; the serial stays as it is.
        """


# The journal's words that say more than "changed" (protocol.md 3.1).
_QUARANTINES: Mapping[str, Scope] = MappingProxyType(
    {"project quarantined": "project", "release quarantined": "release"}
)
_CLEARANCES: Mapping[str, Scope] = MappingProxyType(
    {"project quarantine cleared": "project", "release quarantine cleared": "release"}
)
_REMOVALS: Mapping[str, Scope] = MappingProxyType(
    {"remove project": "project", "remove release": "release"}
)
_REMOVE_FILE = "remove file "


def quarantine_of(change: Change) -> Scope | None:
    """What was put into quarantine: the project, or the change's version of it."""
    return _QUARANTINES.get(change.action)


def clearance_of(change: Change) -> Scope | None:
    """What was let out of quarantine."""
    return _CLEARANCES.get(change.action)


def removal_of(change: Change) -> Scope | None:
    """What was removed, by its owner or by the index."""
    return "file" if removed_file(change) else _REMOVALS.get(change.action)


def removed_file(change: Change) -> str | None:
    """The name of the file that was removed, if that is what happened."""
    if not change.action.startswith(_REMOVE_FILE):
        return None
    return change.action.removeprefix(_REMOVE_FILE).strip() or None
