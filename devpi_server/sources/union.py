"""A stage with its bases: one index made of several.

*Dependency confusion is closed here.*  A name that a stage of the chain holds
is never asked of a mirror behind it, nor so much as told to it, unless it is
whitelisted.  A member that cannot tell lets no lower one answer in its place:
with one of its sources missing, a page would be another page.

A base that has been deleted cannot tell either.  The stages that are left go on,
as in devpi; but mirrors are asked for whitelisted names only until the bases are
put right, because any other name may have been one of that base's.  Otherwise who
deletes an index would hand the names in it to whoever takes them on PyPI, for all
indexes that had it as a base, and nobody there would see it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from devpi_server.errors import ConfigError, NoSuchProject
from devpi_server.names import NormalizedName
from devpi_server.records import Freshness, Link, Listing, Origin, Page, View
from devpi_server.sources.base import Source

EVERYTHING = "*"  # in a whitelist

# The worse one of two is said of both.
_WORST = (Origin.MISS, Origin.STALE, Origin.REVALIDATED, Origin.HIT)


@dataclass(frozen=True, slots=True)
class Member:
    """One index of the chain."""

    name: str  # user/index
    source: Source
    is_mirror: bool
    whitelist: frozenset[str] = frozenset()  # of a stage: names that mirrors may have, too
    # False: who asks may not see what it holds; mirrors are shut out for it all the same.
    is_shown: bool = True
    tells: bool = True  # False: it may have one project more at any moment, unnoticed


class Union:
    """The members as one source, for the first of them.

    :param members: in the order of resolution, mirrors last.
    :param any_whitelist: a name counts as whitelisted if any stage says so, not only the first
        (devpi.md 1.5, ``mirror_whitelist_inheritance``).  Why the first alone decides otherwise,
        although devpi calls that "intersection": it goes down the chain, and what was whitelisted
        so far stays so, also where a base's own list does not have it.
    :param lacks_base: a base of the chain is no more.
    """

    def __init__(
        self, members: Sequence[Member], *, any_whitelist: bool, lacks_base: bool = False
    ) -> None:
        self._members = tuple(members)
        self._any_whitelist = any_whitelist
        self._lacks_base = lacks_base

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        """The page of the project.

        :raises ConfigError: cannot tell, because a base is no more.
        """
        found = self.views(project, freshness)
        stamp = tuple((member.name, view.stamp) for member, view in found)
        origins = {view.origin for _, view in found}
        origin = next(each for each in _WORST if each in origins)
        at_hand = all(view.at_hand for _, view in found)
        return View(
            stamp,
            lambda: self._page(project, found),
            origin,
            at_hand,
            lambda: self._until(project, found),
        )

    def views(
        self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT
    ) -> list[tuple[Member, View]]:
        """The members that the page is made of, each with its own page; raises as ``view`` does."""
        found = list(self._views(project, freshness))
        if not found:
            name = self._members[0].name
            if self._lacks_base:
                raise ConfigError(
                    [f"a base of {name} is no more, so no mirror is asked: change its bases"]
                )
            raise NoSuchProject(f"{name} has no project {project}")
        return found

    def listing(self) -> Listing:
        """All names of the stages, and those that the mirrors hold."""
        listings = [member.source.listing() for member in self._members if member.is_shown]
        stamp: Hashable = tuple(listing.stamp for listing in listings)
        return Listing(stamp, lambda: _merged(listing.names() for listing in listings))

    def _views(
        self, project: NormalizedName, freshness: Freshness
    ) -> Iterator[tuple[Member, View]]:
        is_private = self._lacks_base  # for all that one can tell
        for member in self._members:
            if member.is_mirror and is_private and not self._is_whitelisted(project):
                continue
            try:
                view = member.source.view(project, freshness)
            except NoSuchProject:
                continue
            is_private = is_private or not member.is_mirror
            if member.is_shown:
                yield member, view

    def _is_whitelisted(self, project: NormalizedName) -> bool:
        deciding = self._members if self._any_whitelist else self._members[:1]
        return any({project, EVERYTHING} & member.whitelist for member in deciding)

    def _until(self, project: NormalizedName, found: Sequence[tuple[Member, View]]) -> float:
        """Of what a member does not have, but may have soon: now."""
        if not all(member.tells for member in self._members):
            return 0.0
        shown = {member.name for member, _ in found}
        is_private = self._lacks_base or any(not member.is_mirror for member, _ in found)
        are_asked = not is_private or self._is_whitelisted(project)
        if are_asked and any(each.is_mirror and each.name not in shown for each in self._members):
            return 0.0
        return min(view.until() for _, view in found)

    def _page(self, project: NormalizedName, found: Sequence[tuple[Member, View]]) -> Page:
        pages = [(member, view.load()) for member, view in found]
        links: dict[str, Link] = {}
        for member, page in pages:
            index = member.name if member.name != self._members[0].name else ""
            for link in page.links:
                if link.filename not in links:
                    links[link.filename] = replace(link, index=index) if index else link
        versions = dict.fromkeys(version for _, page in pages for version in page.versions)
        first = pages[0][1] if len(pages) == 1 else Page(project)
        return replace(first, links=tuple(links.values()), versions=tuple(versions))


def _merged(listings: Iterable[Iterator[str]]) -> Iterator[str]:
    return iter(sorted({name for names in listings for name in names}))
