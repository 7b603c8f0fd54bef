"""What an index is: a value that you can ask for a view of a project."""

from __future__ import annotations

from typing import Protocol

from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Listing, View


class Source(Protocol):
    """An index, or a part of one; wrappers are sources too."""

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        """The project's page, as it is now.

        :raises NoSuchProject: this source is known not to have it.
        :raises UpstreamError: cannot tell.
        :raises StoreError: the disk is sick.
        """

    def listing(self) -> Listing:
        """The projects that are held.

        :raises StoreError: the disk is sick.
        """
