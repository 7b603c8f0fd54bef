"""What holds for every chain of indexes, whoever may see what of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fakes import FakeSource
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.errors import ConfigError, NoSuchProject, Unreachable, UpstreamError
from devpi_server.names import NormalizedName, project
from devpi_server.records import Freshness, Link, Page, View
from devpi_server.sources.union import Member, Union

DEMO = project("demo")
FILES = ("demo-1.zip", "demo-2.zip", "demo-3.zip")


class Source(FakeSource):
    """Says whether it was asked."""

    was_asked = False

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        self.was_asked = True
        return super().view(project, freshness)


@dataclass(frozen=True)
class Chain:
    """Stages, then mirrors."""

    members: tuple[Member, ...]
    any_whitelist: bool
    lacks_base: bool

    def union(self) -> Union:
        return Union(self.members, any_whitelist=self.any_whitelist, lacks_base=self.lacks_base)

    @property
    def sources(self) -> list[Source]:
        return [each.source for each in self.members if isinstance(each.source, Source)]

    @property
    def is_whitelisted(self) -> bool:
        deciding = self.members if self.any_whitelist else self.members[:1]
        return any(member.whitelist & {"demo", "*"} for member in deciding)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    kinds = [False] * draw(st.integers(1, 3)) + [True] * draw(st.integers(0, 2))
    members = []
    for number, is_mirror in enumerate(kinds):
        source = Source()
        state = draw(st.sampled_from(["absent", "there", "there", "sick"]))
        if state == "there":
            names = draw(st.sets(st.sampled_from(FILES)))
            links = tuple(Link(name, f"https://u.test/{number}") for name in sorted(names))
            source.put(Page(DEMO, links))
        elif state == "sick":
            source.error = Unreachable("sick")
        whitelist = draw(st.sampled_from([(), ("demo",), ("*",), ("other",)]))
        members.append(
            Member(
                f"u/i{number}",
                source,
                is_mirror,
                frozenset() if is_mirror else frozenset(whitelist),
                draw(st.sampled_from([True, True, False])),
            )
        )
    return Chain(tuple(members), draw(st.booleans()), draw(st.sampled_from([False, False, True])))


def seen(chain: Chain) -> tuple[Link, ...] | str:
    """The links, or why there are none."""
    try:
        return chain.union().view(DEMO).load().links
    except (NoSuchProject, UpstreamError, ConfigError) as error:
        return type(error).__name__


def holds(member: Member) -> bool:
    assert isinstance(member.source, Source)
    return member.source.error is None and DEMO in dict(member.source._pages)


@given(chains())
def test_no_mirror_is_told_a_private_name(chain: Chain) -> None:
    seen(chain)

    is_private = chain.lacks_base or any(
        holds(member) for member in chain.members if not member.is_mirror
    )
    for member in chain.members:
        assert isinstance(member.source, Source)
        if member.is_mirror and is_private and not chain.is_whitelisted:
            assert not member.source.was_asked


@given(chains())
def test_every_file_is_the_first_members_that_has_it_and_is_shown(chain: Chain) -> None:
    found = seen(chain)
    if isinstance(found, str):
        return
    assert len({link.filename for link in found}) == len(found)
    for link in found:
        owner = next(
            member
            for member in chain.members
            if member.is_shown
            and isinstance(member.source, Source)
            and member.source.was_asked
            and link.filename in {each.filename for each in _links(member)}
        )
        assert link.index == (owner.name if owner is not chain.members[0] else "")
        assert link.url == f"https://u.test/{owner.name[-1]}"


def _links(member: Member) -> tuple[Link, ...]:
    return member.source.view(DEMO).load().links if holds(member) else ()


@given(chains())
def test_cannot_tell_is_never_not_there(chain: Chain) -> None:
    found = seen(chain)
    asked_and_sick = any(source.was_asked and source.error for source in chain.sources)

    assert (found == "Unreachable") == asked_and_sick
    if chain.lacks_base:
        assert found != "NoSuchProject"


@given(chains())
def test_who_may_see_more_loses_no_file(chain: Chain) -> None:
    """And what is shown to nobody else is not shown in another's place."""
    found = seen(chain)
    everything = seen(
        replace(chain, members=tuple(replace(each, is_shown=True) for each in chain.members))
    )
    if isinstance(found, str):
        return
    assert not isinstance(everything, str)
    assert {link.filename for link in found} <= {link.filename for link in everything}
    hidden = {member.name for member in chain.members if not member.is_shown}
    assert not {link.index or chain.members[0].name for link in found} & hidden


@given(chains())
def test_equal_stamps_mean_equal_pages(chain: Chain) -> None:
    try:
        first, second = chain.union().view(DEMO), chain.union().view(DEMO)
    except (NoSuchProject, UpstreamError, ConfigError):
        return
    assert first.stamp == second.stamp
    assert first.load() == second.load()
