"""What every change feed keeps to, over real sockets: XML-RPC, and the serials of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeClock
from upstream import Cut, Mode, Redirect, RpcFault, Status, Substitute, Upstream

from devpi_server.errors import (
    Denied,
    Failed,
    FeedWentBack,
    Unreachable,
    Unsupported,
    UpstreamError,
)
from devpi_server.names import NormalizedName
from devpi_server.store.incoming import Incoming
from devpi_server.upstream import feeds
from devpi_server.upstream.changes import ChangeFeed, quarantine_of, removal_of, removed_file
from devpi_server.upstream.client import RequestsClient
from devpi_server.upstream.feeds import XmlRpcFeed
from devpi_server.upstream.listings import SPARINGLY, ListingFeed

DEMO = NormalizedName("demo")
OTHER = NormalizedName("other-thing")


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as up:
        up.release("demo", "1.0")
        up.release("Other.Thing", "1.0")
        yield up


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client(up: Upstream, clock: FakeClock) -> RequestsClient:
    return RequestsClient(timeout=10.0, clock=clock, urls=[up.simple_url])


@pytest.fixture
def listing(
    up: Upstream, client: RequestsClient, clock: FakeClock, tmp_path: Path
) -> Callable[[], ListingFeed]:
    """Make a feed of the list; another one shares what is remembered on disk."""

    def make() -> ListingFeed:
        return ListingFeed(
            client,
            up.simple_url,
            path=tmp_path / "serials",
            incoming=Incoming(tmp_path / "incoming"),
            clock=clock,
        )

    return make


@pytest.fixture
def rpc(up: Upstream, client: RequestsClient) -> XmlRpcFeed:
    return XmlRpcFeed(client, f"{up.url}pypi")


@pytest.fixture(params=["xml-rpc", "listing"])
def feed(
    request: pytest.FixtureRequest, rpc: XmlRpcFeed, listing: Callable[[], ListingFeed]
) -> ChangeFeed:
    return rpc if request.param == "xml-rpc" else listing()


@pytest.fixture
def choose(
    up: Upstream, client: RequestsClient, clock: FakeClock, tmp_path: Path
) -> Callable[..., ChangeFeed | None]:
    def choose(changelog_url: str | None = None) -> ChangeFeed | None:
        return feeds.choose(
            client,
            up.simple_url,
            changelog_url,
            path=tmp_path / "serials",
            incoming=Incoming(tmp_path / "incoming"),
            clock=clock,
        )

    return choose


# Every feed


def test_it_begins_with_the_serial_of_now(up: Upstream, feed: ChangeFeed) -> None:
    """What was published before the start is no change."""
    assert feed.start() == up.serial


def test_it_names_what_has_changed_and_nothing_else(
    up: Upstream, feed: ChangeFeed, clock: FakeClock
) -> None:
    """Projects by their normalised names; the new serial is the largest seen."""
    begin = feed.start()
    up.release("Other.Thing", "2.0")
    clock.advance(SPARINGLY)

    changes = feed.since(begin)

    assert set(changes.by_project) == {OTHER}
    assert max(change.serial for change in changes.by_project[OTHER]) == up.serial
    assert changes.serial == up.serial
    assert not changes.more


def test_nothing_new_is_no_change(feed: ChangeFeed, clock: FakeClock) -> None:
    """The serial stays, and nobody is named."""
    begin = feed.start()
    clock.advance(SPARINGLY)
    changes = feed.since(begin)
    assert (changes.serial, dict(changes.by_project)) == (begin, {})


def test_serials_may_have_gaps(up: Upstream, feed: ChangeFeed, clock: FakeClock) -> None:
    """A serial is no count of rows (the fault of 2013)."""
    begin = feed.start()
    up.serial += 1000
    up.release("demo", "2.0")
    clock.advance(SPARINGLY)
    assert feed.since(begin).serial == up.serial


def test_one_that_asks_again_with_the_same_serial_is_told_again(
    up: Upstream, feed: ChangeFeed, clock: FakeClock
) -> None:
    """A follower that died before it acted loses nothing."""
    begin = feed.start()
    up.release("demo", "2.0")
    clock.advance(SPARINGLY)
    first = feed.since(begin)
    assert DEMO in first.by_project
    assert feed.since(begin) == first


def test_a_vanished_project_is_named(up: Upstream, feed: ChangeFeed, clock: FakeClock) -> None:
    """By its row in the journal, or by its name that has left the list."""
    begin = feed.start()
    up.remove_project("demo")
    clock.advance(SPARINGLY)
    assert set(feed.since(begin).by_project) == {DEMO}


def test_an_upstream_that_went_back_is_told(
    up: Upstream, feed: ChangeFeed, clock: FakeClock
) -> None:
    """A restored backup: with its serial, once it is sure."""
    begin = feed.start()
    up.rewind(begin - 1)
    told = None
    for _ in range(10):
        clock.advance(SPARINGLY)
        try:
            assert feed.since(begin).serial == begin
        except FeedWentBack as error:
            told = error.serial
    assert told == begin - 1


def test_no_network_is_no_answer(up: Upstream, feed: ChangeFeed, clock: FakeClock) -> None:
    """It cannot tell, and it can again when the network is back."""
    begin = feed.start()
    up.release("demo", "2.0")
    clock.advance(SPARINGLY)
    up.stop()
    with pytest.raises(Unreachable):
        feed.since(begin)
    up.start()
    assert DEMO in feed.since(begin).by_project


@pytest.mark.parametrize("fault", [Status(500), Cut(20), Substitute(b"<html>"), Substitute(b"")])
def test_a_sick_answer_is_no_change(
    up: Upstream, feed: ChangeFeed, clock: FakeClock, fault: Status | Cut | Substitute
) -> None:
    """Half of an answer counts as none of it."""
    begin = feed.start()
    up.release("demo", "2.0")
    clock.advance(SPARINGLY)
    rule = up.fail("/", fault)
    with pytest.raises(UpstreamError):
        feed.since(begin)
    rule.remove()
    assert DEMO in feed.since(begin).by_project


# XML-RPC


def test_the_journal_says_what_happened(up: Upstream, rpc: XmlRpcFeed) -> None:
    """Version and action of each row, in their order."""
    begin = rpc.start()
    up.remove_file("demo-1.0-py3-none-any.whl")
    up.quarantine("demo")

    first, second = rpc.since(begin).by_project[DEMO]

    assert (first.version, removed_file(first)) == ("1.0", "demo-1.0-py3-none-any.whl")
    assert removal_of(first) == "file"
    assert (second.version, quarantine_of(second)) == (None, "project")


def test_a_long_answer_is_asked_on(up: Upstream, client: RequestsClient) -> None:
    """Upstream caps its answers; what is far behind says that there is more."""
    feed = XmlRpcFeed(client, f"{up.url}pypi", many=10)
    up.changelog_cap = 10
    begin = feed.start()
    up.touch_serial("demo", 15)
    assert len(feed.since(begin).by_project[DEMO]) == 15
    up.touch_serial("demo", 10)

    changes = feed.since(begin)
    assert (changes.serial, changes.more) == (begin + 20, True)
    changes = feed.since(changes.serial)
    assert (changes.serial, changes.more) == (begin + 25, False)


def test_it_costs_one_request(up: Upstream, rpc: XmlRpcFeed) -> None:
    """Whether upstream went back is looked at sparingly."""
    begin = rpc.start()
    up.clear()
    for _ in range(10):
        rpc.since(begin)
    assert up.count("/pypi", "POST") == 11


def test_a_rate_limit_says_when_to_come_back(up: Upstream, rpc: XmlRpcFeed) -> None:
    """Warehouse says it in the text of a fault, with status 200."""
    up.fail("/pypi", RpcFault.rate_limited(77))
    with pytest.raises(Denied) as raised:
        rpc.since(1)
    assert raised.value.retry_after == 77


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_no_xml_rpc_is_no_feed(up: Upstream, rpc: XmlRpcFeed, status: int) -> None:
    """What a server says that takes no such requests."""
    up.fail("/pypi", Status(status))
    with pytest.raises(Unsupported):
        rpc.start()


def test_other_faults_are_no_answer(up: Upstream, rpc: XmlRpcFeed) -> None:
    """An exception of upstream's is its failure."""
    up.fail("/pypi", RpcFault("KeyError: 'x'"))
    with pytest.raises(Failed, match="KeyError"):
        rpc.start()


def test_a_question_follows_a_redirect(up: Upstream, client: RequestsClient) -> None:
    """It stays a question: many a server sends http to https, or adds a slash."""
    up.fail("/rpc", Redirect(f"{up.url}pypi", 301))
    assert XmlRpcFeed(client, f"{up.url}rpc").start() == up.serial


# The list


def test_the_list_is_looked_at_sparingly(
    up: Upstream, listing: Callable[[], ListingFeed], clock: FakeClock
) -> None:
    """It is 10 MB: in between, nothing has changed."""
    feed = listing()
    begin = feed.start()
    up.release("demo", "2.0")
    up.clear()
    clock.advance(SPARINGLY / 4)
    assert feed.since(begin).by_project == {}
    assert up.requests == []


def test_an_unchanged_list_is_not_sent_again(
    up: Upstream, listing: Callable[[], ListingFeed], clock: FakeClock
) -> None:
    """It is asked for by its ETag, also after a restart."""
    begin = listing().start()
    up.clear()
    assert listing().since(begin).serial == begin
    assert [request.status for request in up.requests] == [304]


def test_a_restart_loses_no_change(
    up: Upstream, listing: Callable[[], ListingFeed], clock: FakeClock
) -> None:
    """What was told but not acted on is told again by the next process."""
    begin = listing().start()
    up.remove_project("demo")
    up.release("Other.Thing", "2.0")
    assert set(listing().since(begin).by_project) == {DEMO, OTHER}
    after = listing().since(begin)
    assert set(after.by_project) == {DEMO, OTHER}
    assert listing().since(after.serial).by_project == {}


def test_a_stale_node_is_not_an_upstream_that_went_back(
    up: Upstream, listing: Callable[[], ListingFeed], clock: FakeClock
) -> None:
    """One older list changes nothing."""
    feed = listing()
    begin = feed.start()
    old = b'{"meta": {"_last-serial": 1}, "projects": [{"name": "demo", "_last-serial": 1}]}'
    for _ in range(3):
        clock.advance(SPARINGLY)
        rule = up.fail("/simple/", Status(200, {"Content-Type": "application/json"}, old), times=1)
        assert feed.since(begin).serial == begin
        rule.remove()
        clock.advance(SPARINGLY)
        assert feed.since(begin).serial == begin


# Choosing


def test_xml_rpc_is_chosen_first(choose: Callable[..., ChangeFeed | None]) -> None:
    """At ``/pypi`` on the mirror's own origin."""
    feed = choose()
    assert feed is not None
    assert feed.kind == "xml-rpc"


def test_xml_rpc_may_be_elsewhere(up: Upstream, choose: Callable[..., ChangeFeed | None]) -> None:
    """``mirror_changelog_url`` says where."""
    with Upstream(serial=77) as other:
        feed = choose(f"{other.url}pypi")
        assert feed is not None
        assert feed.start() == 77
    assert up.requests == []


@pytest.mark.parametrize("status", [403, 405])
def test_without_xml_rpc_the_list_is_chosen(
    up: Upstream, choose: Callable[..., ChangeFeed | None], status: int
) -> None:
    """If it has serials; only its beginning is looked at."""
    up.fail("/pypi", Status(status))
    feed = choose()
    assert feed is not None
    assert feed.kind == "listing"


def test_without_serials_there_is_no_feed(
    up: Upstream, choose: Callable[..., ChangeFeed | None]
) -> None:
    """HTML, or JSON that says nothing of serials."""
    up.mode = Mode.POOR
    assert choose() is None
    up.mode = Mode.WAREHOUSE
    up.xmlrpc = False
    up.fail("/simple/", Substitute(b'{"meta": {}, "projects": [{"name": "demo"}]}'))
    assert choose() is None


def test_what_cannot_tell_chooses_nothing(
    up: Upstream, choose: Callable[..., ChangeFeed | None]
) -> None:
    """A sick upstream is asked again, it does not lose its feed."""
    up.fail("/pypi", Status(503))
    with pytest.raises(Failed):
        choose()
    up.heal()
    up.fail("/pypi", RpcFault.rate_limited())
    with pytest.raises(Denied):
        choose()
