"""Policies over a source: seen through, never walked around."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import pytest
from fakes import FakeClock, FakeSource

from devpi_server.errors import NoSuchProject, Unreachable
from devpi_server.names import project
from devpi_server.records import Link, Page
from devpi_server.sources.policy import Guarded

DEMO = project("demo")
PAGE = Page(
    DEMO, (Link("demo-1.0.zip", "https://u.test/1"), Link("demo-2.0.zip", "https://u.test/2"))
)


class FirstOnly:
    """Keeps the first link, and decides anew every ten seconds."""

    def stamp(self, now: float) -> Hashable:
        return now // 10

    def keep(self, page: Page, now: float) -> Page:
        return replace(page, links=page.links[:1])


@pytest.fixture
def source() -> FakeSource:
    return FakeSource(PAGE)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def guarded(source: FakeSource, clock: FakeClock) -> Guarded:
    return Guarded(source, FirstOnly(), clock)


def test_a_guarded_page_is_what_the_policy_keeps(guarded: Guarded) -> None:
    """The rest is not there for anybody behind."""
    assert [link.filename for link in guarded.view(DEMO).load().links] == ["demo-1.0.zip"]


def test_a_view_costs_no_page(guarded: Guarded, source: FakeSource) -> None:
    """Comparing stamps loads nothing."""
    assert guarded.view(DEMO).stamp == guarded.view(DEMO).stamp
    assert source.loads == 0


def test_the_stamp_changes_with_the_page_and_with_the_policy(
    guarded: Guarded, source: FakeSource, clock: FakeClock
) -> None:
    """Equal stamps mean equal pages, so either must show."""
    first = guarded.view(DEMO).stamp
    source.put(PAGE)
    second = guarded.view(DEMO).stamp
    clock.advance(10)
    assert len({first, second, guarded.view(DEMO).stamp}) == 3


def test_errors_and_listings_come_through(guarded: Guarded, source: FakeSource) -> None:
    """A policy hides files, not reasons."""
    with pytest.raises(NoSuchProject):
        guarded.view(project("other"))
    source.error = Unreachable("gone")
    with pytest.raises(Unreachable):
        guarded.view(DEMO)
    assert list(guarded.listing().names()) == ["demo"]
