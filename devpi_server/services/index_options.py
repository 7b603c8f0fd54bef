"""What an index can be told, with devpi's defaults (devpi.md 1.5); ``acl_read`` is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from devpi_server.store.meta import IndexRow

ANONYMOUS = ":ANONYMOUS:"
AUTHENTICATED = ":AUTHENTICATED:"
STAGE, MIRROR, DIRECTORY = "stage", "mirror", "directory"


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """The options of one index that the server heeds, of either type."""

    name: str  # user/index
    owner: str
    type: str
    volatile: bool = True
    acl_read: tuple[str, ...] = (ANONYMOUS,)
    acl_upload: tuple[str, ...] = ()
    acl_toxresult_upload: tuple[str, ...] = (ANONYMOUS,)
    bases: tuple[str, ...] = ()
    mirror_whitelist: tuple[str, ...] = ()
    any_whitelist: bool = False

    @property
    def is_public(self) -> bool:
        """Whether anybody may read it."""
        return ANONYMOUS in self.acl_read


def options_of(row: IndexRow) -> IndexOptions:
    """The options of an index, where they are not set with their defaults."""
    found: Mapping[str, Any] = row.options

    def words(key: str, default: Sequence[str]) -> tuple[str, ...]:
        return tuple(found.get(key, default))

    return IndexOptions(
        name=row.full_name,
        owner=row.user,
        type=row.type,
        volatile=found.get("volatile", True),
        acl_read=words("acl_read", (ANONYMOUS,)),
        acl_upload=words("acl_upload", (row.user,)),
        acl_toxresult_upload=words("acl_toxresult_upload", (ANONYMOUS,)),
        bases=() if row.type == MIRROR else words("bases", ()),
        mirror_whitelist=words("mirror_whitelist", ()),
        any_whitelist=found.get("mirror_whitelist_inheritance") == "union",
    )
