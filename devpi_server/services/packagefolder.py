"""Folders of packages as ``pypi-server`` shows them: at ``/packages/``, by the path of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from urllib.parse import quote_from_bytes

from devpi_server.errors import NoSuchFile
from devpi_server.names import NormalizedName
from devpi_server.records import NO_DIGESTS, Digests, Link, Page, View
from devpi_server.services.freshdigests import FreshDigests, PageDigests
from devpi_server.services.pages import PageKey, Pages, Rendered
from devpi_server.simple import render
from devpi_server.sources.directory import Directory, Held
from devpi_server.store import filenames
from devpi_server.store.folderfiles import File

PACKAGES = "packages/"
_TITLE = "Simple Index"
_HEAD = """\
<!DOCTYPE html>
<html>
  <head>
    <meta charset="utf-8">
    <title>Index of packages</title>
  </head>
  <body>
    <h1>Index of packages</h1>
"""
_AT_A_TIME = 1000  # files
_FILE = len("file:///")  # what the source puts before the path of a file


@dataclass(frozen=True, slots=True)
class Release:
    """A file that was found by its name."""

    name: str  # as the file spells it
    version: str


class PackageFolder:
    """What is in the folders, in the forms of ``pypi-server``.

    :param algorithm: of the digests in links; None: there are none.
    """

    def __init__(self, directory: Directory, pages: Pages, algorithm: str | None) -> None:
        self.directory = directory
        self._pages = pages
        self._algorithm = algorithm
        self._fresh = FreshDigests(directory, algorithm)

    def count(self) -> int:
        """How many files there are.

        :raises StoreError: a folder cannot be read.
        """
        self.directory.listing()
        return self.directory.folders.count

    def project(self, project: NormalizedName, key: PageKey) -> Rendered:
        """A project page.

        :param key: its prefix is the path at which all this is served, with a slash behind it.
        :raises NoSuchProject: there is no file of it.
        :raises StoreError: a folder cannot be read.
        """
        view = self.directory.view(project)
        return self._pages.made(key, view.stamp, lambda: self._page(view, key))

    def held(self, project: NormalizedName, key: PageKey) -> Rendered | None:
        """The page, if it was rendered before and is as it was.

        :raises NoSuchProject: there is no file of it any more.
        :raises StoreError: a folder cannot be read.
        """
        rendered = self._pages.held(key)
        is_current = rendered is not None and self.directory.view(project).stamp == rendered.stamp
        return rendered if is_current else None

    def is_at_hand(self, project: NormalizedName) -> bool:
        """Whether nobody who asks for a page or a file of the project has to wait."""
        return self.directory.folders.is_at_hand(project)

    def projects(self, key: PageKey) -> Rendered:
        """The list of projects.

        :raises StoreError: a folder cannot be read.
        """
        return self._pages.listing(key, self.directory, _TITLE)

    def files(self, prefix: str) -> Iterator[bytes]:
        """The list of all files, in pieces.

        :param prefix: the path at which all this is served, with a slash behind it.
        :raises StoreError: a folder cannot be read.
        """
        found = list(self._everything())
        fresh = self._fresh.page()
        yield _HEAD.encode()
        for start in range(0, len(found), _AT_A_TIME):
            lines = [self._line(held, prefix, fresh) for held in found[start : start + _AT_A_TIME]]
            yield "".join(lines).encode("utf-8", "replace")
        yield b"  </body>\n</html>\n"

    def learn(self, filename: str, inode: int, digests: Digests) -> None:
        """These are the digests of the file of this name, if it is still this one.

        :raises StoreError: a folder cannot be read.
        """
        try:
            file = self.directory.folders.locate(filename)
        except NoSuchFile:
            return
        if file.inode == inode:
            self._fresh.learn(file, digests)

    def releases(self, project: NormalizedName) -> Sequence[tuple[str, str]]:
        """Version and quoted path of the files, the newest version first.

        :raises NoSuchProject: there are none.
        :raises StoreError: a folder cannot be read.
        """
        held = reversed(self.directory.held(project))
        return [(each.file.version, _quoted(each)) for each in held]

    def at(self, path: str) -> Held:
        """The file at this path below one of the folders.

        :raises NoSuchFile: there is none.
        :raises StoreError: a folder cannot be read.
        """
        return self.directory.find_at(path)

    def search(self, words: Sequence[str], most: int) -> list[Release]:
        """The releases with one of these words in their names.

        :param words: in lower case, with ``-`` between words.
        :param most: how many are enough.
        :raises StoreError: a folder cannot be read.
        """
        found: dict[Release, None] = {}
        for project in self.directory.listing().names():
            if any(word in project for word in words):
                for file in self.directory.folders.files(NormalizedName(project)):
                    found[Release(filenames.name_in(file.filename), file.version)] = None
            if len(found) >= most:
                break
        return list(found)[:most]

    def _everything(self) -> Iterator[Held]:
        """All files, by directory, project and name."""
        files = sorted(self.directory.folders.everything(), key=_by_directory)
        for _, group in groupby(files, key=lambda file: file.project):
            same = list(group)  # what is known of them is read at once
            for file, fact in zip(same, self.directory.facts.of(same), strict=True):
                yield Held(file, fact)

    def _page(self, view: View, key: PageKey) -> bytes:
        page = view.load()
        digests = self._digests(page)
        links = tuple(self._link(link, key, digests) for link in page.links)
        renderer = render.document if key.is_json else render.html_document
        return renderer(replace(page, links=links))

    def _digests(self, page: Page) -> Mapping[str, Digests]:
        """File name → its digests, of those that the page does not know."""
        if self._algorithm is None or all(self._algorithm in link.digests for link in page.links):
            return {}
        fresh = self._fresh.page()
        held = self.directory.held(page.name)
        return {each.file.filename: fresh.of(each) for each in held}

    def _link(self, link: Link, key: PageKey, digests: Mapping[str, Digests]) -> Link:
        known = digests.get(link.filename, link.digests)
        shown = known if key.is_json else self._shown(known)
        return replace(link, url=f"{key.prefix}{PACKAGES}{link.url[_FILE:]}", digests=shown)

    def _shown(self, digests: Digests) -> Digests:
        algorithm = self._algorithm
        if algorithm is None or algorithm not in digests:
            return NO_DIGESTS
        return {algorithm: digests[algorithm]}

    def _line(self, held: Held, prefix: str, fresh: PageDigests) -> str:
        shown = self._shown(fresh.of(held))
        fragment = "".join(f"#{algorithm}={digest}" for algorithm, digest in shown.items())
        href = escape(f"{prefix}{PACKAGES}{_quoted(held)}{fragment}")
        return f'    <a href="{href}">{escape(held.file.relative)}</a><br>\n'


def _quoted(held: Held) -> str:
    return quote_from_bytes(os.fsencode(held.file.relative))


def _by_directory(file: File) -> tuple[str, str, str]:
    return os.path.dirname(file.relative), file.project, file.filename
