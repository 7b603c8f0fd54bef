"""Several indexes as one: the order, what is shadowed, and what no mirror is ever told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes import FakeSource

from devpi_server.errors import ConfigError, NoSuchProject, StoreError, Unreachable
from devpi_server.names import NormalizedName, project
from devpi_server.records import Freshness, Link, Listing, Origin, Page, View
from devpi_server.sources.union import Member, Union

DEMO = project("demo")


class Asked(FakeSource):
    """Notes what it is asked for, and how fresh."""

    def __init__(self, *pages: Page, origin: Origin = Origin.HIT) -> None:
        super().__init__(*pages)
        self.asked: list[tuple[str, Freshness]] = []
        self.origin = origin

    def view(self, project: NormalizedName, freshness: Freshness = Freshness.CURRENT) -> View:
        self.asked.append((project, freshness))
        view = super().view(project, freshness)
        return View(view.stamp, view.load, self.origin)


def page(*versions: str, of: str = "") -> Page:
    links = tuple(Link(f"demo-{each}.zip", f"https://{of or 'u'}.test/{each}") for each in versions)
    return Page(DEMO, links, versions)


def union(*members: Member, any_whitelist: bool = False, lacks_base: bool = False) -> Union:
    return Union(members, any_whitelist=any_whitelist, lacks_base=lacks_base)


def stage(name: str, source: FakeSource, *whitelist: str, is_shown: bool = True) -> Member:
    allowed = frozenset(whitelist)
    return Member(name, source, is_mirror=False, whitelist=allowed, is_shown=is_shown)


def mirror(name: str, source: FakeSource, *, is_shown: bool = True) -> Member:
    return Member(name, source, is_mirror=True, is_shown=is_shown)


def links(view: View) -> list[tuple[str, str]]:
    return [(link.filename, link.index) for link in view.load().links]


def test_files_of_all_members_are_listed_the_first_of_a_name_alone() -> None:
    merged = union(
        stage("a/x", FakeSource(page("1", of="x"))),
        stage("a/y", FakeSource(page("1", "2", of="y"))),
        stage("a/z", FakeSource(page("2", "3", of="z"))),
    ).view(DEMO)

    assert links(merged) == [("demo-1.zip", ""), ("demo-2.zip", "a/y"), ("demo-3.zip", "a/z")]
    assert [link.url[8] for link in merged.load().links] == ["x", "y", "z"]
    assert merged.load().versions == ("1", "2", "3")


def test_a_member_without_the_project_is_passed_over() -> None:
    merged = union(stage("a/x", FakeSource()), stage("a/y", FakeSource(page("1")))).view(DEMO)

    assert links(merged) == [("demo-1.zip", "a/y")]


def test_a_page_of_one_member_keeps_all_that_its_own_page_says() -> None:
    """A mirror's status and serial go on to who reads it through a stage."""
    whole = Page(DEMO, (), (), serial=7, extra={"tracks": []})

    view = union(stage("a/x", FakeSource()), mirror("m/m", FakeSource(whole))).view(DEMO)

    assert view.load() == whole


def test_what_no_member_has_is_not_there() -> None:
    empty = union(stage("a/x", FakeSource()), mirror("m/m", FakeSource()))

    with pytest.raises(NoSuchProject, match="a/x has no project demo"):
        empty.view(DEMO)


# Dependency confusion


def test_a_private_name_is_not_so_much_as_told_to_a_mirror() -> None:
    public = Asked(page("9"))
    merged = union(stage("a/x", FakeSource(page("1"))), mirror("m/m", public)).view(DEMO)

    assert links(merged) == [("demo-1.zip", "")]
    assert public.asked == []


def test_a_name_of_any_stage_is_private_wherever_it_stands() -> None:
    public = Asked(page("9"))
    members = [
        stage("a/x", FakeSource()),
        stage("a/y", FakeSource()),
        stage("a/z", FakeSource(page("1"))),
    ]

    assert links(union(*members, mirror("m/m", public)).view(DEMO)) == [("demo-1.zip", "a/z")]
    assert public.asked == []


@pytest.mark.parametrize("allowed", ["demo", "*"])
def test_a_whitelisted_name_is_merged(allowed: str) -> None:
    own = stage("a/x", FakeSource(page("1")), allowed)

    merged = union(own, mirror("m/m", FakeSource(page("9")))).view(DEMO)

    assert links(merged) == [("demo-1.zip", ""), ("demo-9.zip", "m/m")]


@pytest.mark.parametrize(
    ("above", "below", "any_whitelist", "merged"),
    [
        ((), (), False, False),
        ((), (), True, False),
        (("demo",), (), False, True),
        (("*",), ("other",), False, True),
        (("other",), ("demo",), False, False),
        ((), ("demo",), False, False),
        ((), ("*",), True, True),
        (("demo",), (), True, True),
        (("other",), ("other",), True, False),
    ],
)
def test_the_first_whitelist_decides_or_any(
    above: Sequence[str], below: Sequence[str], *, any_whitelist: bool, merged: bool
) -> None:
    """As in devpi; ``tests/e2e/test_whitelists.py`` compares it with that."""
    found = union(
        stage("a/x", FakeSource(), *above),
        stage("a/y", FakeSource(page("1")), *below),
        mirror("m/m", FakeSource(page("9"))),
        any_whitelist=any_whitelist,
    ).view(DEMO)

    assert len(links(found)) == 1 + merged


def test_mirrors_do_not_shut_each_other_out() -> None:
    merged = union(
        stage("a/x", FakeSource()),
        mirror("m/m", FakeSource(page("1"))),
        mirror("m/n", FakeSource(page("1", "2"))),
    ).view(DEMO)

    assert links(merged) == [("demo-1.zip", "m/m"), ("demo-2.zip", "m/n")]


# Sick members


@pytest.mark.parametrize("sick", [0, 1, 2])
@pytest.mark.parametrize("error", [Unreachable("gone"), StoreError("sick")])
def test_no_lower_member_answers_in_place_of_a_sick_one(sick: int, error: Exception) -> None:
    sources = [Asked(), Asked(), Asked(page("9"))]
    sources[sick].error = error
    chain = union(stage("a/x", sources[0]), stage("a/y", sources[1]), mirror("m/m", sources[2]))

    with pytest.raises(type(error)):
        chain.view(DEMO)
    assert all(not source.asked for source in sources[sick + 1 :])


def test_a_sick_mirror_does_not_matter_to_what_it_is_not_asked_for() -> None:
    broken = Asked()
    broken.error = Unreachable("gone")

    view = union(stage("a/x", FakeSource(page("1"))), mirror("m/m", broken)).view(DEMO)

    assert links(view) == [("demo-1.zip", "")]


# What may not be seen


def test_a_hidden_member_shows_nothing_and_shuts_mirrors_out() -> None:
    public = Asked(page("9"))
    hidden = stage("a/y", FakeSource(page("1")), is_shown=False)
    chain = union(stage("a/x", FakeSource()), hidden, mirror("m/m", public))

    with pytest.raises(NoSuchProject):
        chain.view(DEMO)
    assert public.asked == []
    assert list(chain.listing().names()) == ["demo"]  # the mirror's own


def test_a_hidden_mirror_shows_nothing() -> None:
    chain = union(
        stage("a/x", FakeSource(page("1")), "*"),
        mirror("m/m", FakeSource(page("9")), is_shown=False),
    )

    assert links(chain.view(DEMO)) == [("demo-1.zip", "")]


# A base that is no more


def test_without_a_base_no_mirror_is_asked_but_for_whitelisted_names() -> None:
    public = Asked(page("9"))
    chain = union(stage("a/x", FakeSource()), mirror("m/m", public), lacks_base=True)

    with pytest.raises(ConfigError, match="a base of a/x is no more"):
        chain.view(DEMO)
    assert public.asked == []

    open_chain = union(stage("a/x", FakeSource(), "demo"), mirror("m/m", public), lacks_base=True)
    assert links(open_chain.view(DEMO)) == [("demo-9.zip", "m/m")]


def test_without_a_base_the_other_stages_go_on() -> None:
    chain = union(stage("a/x", FakeSource(page("1"))), lacks_base=True)

    assert links(chain.view(DEMO)) == [("demo-1.zip", "")]


def test_without_a_base_nothing_is_known_not_to_be_there() -> None:
    with pytest.raises(ConfigError):
        union(stage("a/x", FakeSource()), lacks_base=True).view(DEMO)


# Stamps


def test_a_view_costs_no_page() -> None:
    source = FakeSource(page("1"))
    chain = union(stage("a/x", source))

    assert chain.view(DEMO).stamp == chain.view(DEMO).stamp
    assert source.loads == 0


def test_the_stamp_is_another_when_any_member_is() -> None:
    first, second = FakeSource(page("1")), FakeSource(page("2"))
    chain = union(stage("a/x", first), stage("a/y", second))
    stamps = [chain.view(DEMO).stamp]
    for source in (first, second):
        source.put(page("3"))
        stamps.append(chain.view(DEMO).stamp)

    assert len(set(stamps)) == 3


def test_who_sees_other_members_has_another_stamp() -> None:
    """Pages are kept by stamp: one that somebody else may see is not to be found under it."""
    source = FakeSource(page("1"))
    seen = union(stage("a/x", source), stage("a/y", source))
    less = union(stage("a/x", source), stage("a/y", source, is_shown=False))
    other = union(stage("a/x", source, is_shown=False), stage("a/y", source))

    assert len({each.view(DEMO).stamp for each in (seen, less, other)}) == 3


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (Origin.HIT, Origin.HIT, Origin.HIT),
        (Origin.HIT, Origin.STALE, Origin.STALE),
        (Origin.REVALIDATED, Origin.HIT, Origin.REVALIDATED),
        (Origin.MISS, Origin.STALE, Origin.MISS),
    ],
)
def test_the_worse_origin_is_said_of_the_whole(first: Origin, second: Origin, said: Origin) -> None:
    chain = union(
        stage("a/x", Asked(page("1"), origin=first), "*"),
        mirror("m/m", Asked(page("2"), origin=second)),
    )

    assert chain.view(DEMO).origin is said


def test_how_fresh_it_has_to_be_goes_on_to_all() -> None:
    sources = Asked(page("1")), Asked(page("2"))
    union(stage("a/x", sources[0]), stage("a/y", sources[1])).view(DEMO, Freshness.ANY)

    assert [source.asked for source in sources] == [[("demo", Freshness.ANY)]] * 2


def test_the_list_has_every_name_once() -> None:
    other = Page(project("other"))
    chain = union(stage("a/x", FakeSource(page("1"))), mirror("m/m", FakeSource(page("2"), other)))

    listing: Listing = chain.listing()
    assert list(listing.names()) == ["demo", "other"]
