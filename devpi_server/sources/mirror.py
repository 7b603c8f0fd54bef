"""A mirror: the source that answers from another index and keeps what it got."""

from __future__ import annotations

from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Listing, View
from devpi_server.store.vanished import Vanished
from devpi_server.upstream.files import FileFetcher
from devpi_server.upstream.pages import PageCache
from devpi_server.upstream.roots import RootCache


class Mirror:
    """One upstream index: its pages, its files, its list of projects."""

    def __init__(
        self, pages: PageCache, files: FileFetcher, root: RootCache, vanished: Vanished
    ) -> None:
        self.pages = pages
        self.files = files
        self.root = root
        self.vanished = vanished

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        return self.pages.view(project, freshness)

    def listing(self) -> Listing:
        return self.pages.listing()
