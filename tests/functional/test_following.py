"""Following upstream's changes: fresh at once, and no request for what has not changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeClock
from server import App, ServerProcess, until
from upstream import OldSerial, RpcFault, Status, Upstream

Make = Callable[..., App]

PAGE = "/root/pypi/+simple/demo/"
EXPIRY = 1800
MONTH = 30 * 24 * 3600


@pytest.fixture
def following(app: Make, up: Upstream, clock: FakeClock) -> App:
    """A server that has begun to follow, and then cached the page of a project."""
    up.release("demo", "1.0")
    server = app()
    server.tick()
    clock.advance(2)
    assert server(PAGE).origin == "miss"
    return server


def versions(server: App) -> list[str]:
    found: list[str] = server.page("demo")["versions"]
    return found


def tick_later(server: App, clock: FakeClock, seconds: float = 60) -> None:
    clock.advance(seconds)
    server.tick()


def test_a_release_is_visible_after_the_next_poll(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """What upstream published is on the page as soon as the feed has named it."""
    up.release("demo", "2.0")
    assert versions(following) == ["1.0"]

    tick_later(following, clock)

    assert versions(following) == ["1.0", "2.0"]


def test_a_page_that_nobody_named_costs_no_request(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """While the feed answers, a page is current however old it is."""
    up.clear()
    for _ in range(10):
        tick_later(following, clock, 100)
        up.release("other", "1.0")
    clock.advance(100)
    for _ in range(3):
        clock.advance(EXPIRY)
        following.tick()
        assert following(PAGE).origin == "hit"

    assert up.count("/simple/demo/") == 0


def test_a_project_in_use_is_refreshed_before_anybody_asks(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A named project that was asked for in the last days, if only once, is fetched at once."""
    following.tick("interest root/pypi")
    up.release("demo", "2.0")
    up.clear()

    tick_later(following, clock)

    up.wait_for("/simple/demo/")
    until(lambda: following(PAGE).origin == "hit")
    assert up.count("/simple/demo/") == 1
    assert versions(following) == ["1.0", "2.0"]


def test_what_is_asked_for_all_day_is_checked_before_it_expires(
    app: Make, up: Upstream, clock: FakeClock
) -> None:
    """Without a feed, so that no client waits, though something in front answers most of them."""
    up.release("demo", "1.0")
    server = app("--mirror-cache-expiry=36000")
    server(PAGE)
    up.clear()

    for _ in range(20):
        clock.advance(1500)
        assert server(PAGE).origin == "hit"
        server.tick("interest root/pypi")
    assert up.count("/simple/demo/") == 0
    server.tick("ahead root/pypi")

    up.wait_for("/simple/demo/")


def test_a_project_that_nobody_uses_is_only_marked(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A named project that nobody has asked for lately waits for the next request."""
    assert following(PAGE).origin == "hit"
    following.tick("interest root/pypi")
    clock.advance(MONTH)
    up.release("demo", "2.0")
    up.clear()

    following.tick()

    assert up.count("/simple/demo/") == 0
    assert versions(following) == ["1.0", "2.0"]


def test_past_the_trust_window_pages_expire_by_age(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A feed that does not answer vouches for nothing: old pages are revalidated."""
    up.fail("/pypi", Status(503))
    tick_later(following, clock)
    clock.advance(EXPIRY)

    assert following(PAGE).origin == "revalidated"


def test_it_catches_up_when_the_network_is_back(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """After an outage the changes in between are named, and pages are covered again."""
    up.stop()
    for _ in range(20):
        tick_later(following, clock)
    up.start()
    up.release("demo", "2.0")

    tick_later(following, clock, 3600)

    assert versions(following) == ["1.0", "2.0"]
    up.clear()
    tick_later(following, clock, 120)
    clock.advance(60)
    assert following(PAGE).origin == "hit"
    assert up.count("/simple/demo/") == 0


@pytest.mark.parametrize(
    "fault",
    [
        Status(500),
        Status(200, body=b"<html>portal</html>"),
        RpcFault.rate_limited(30),
        RpcFault("boom"),
    ],
    ids=["500", "garbage", "rate limit", "fault"],
)
def test_a_sick_feed_is_logged_once_and_tried_again(
    following: App,
    up: Upstream,
    clock: FakeClock,
    fault: Status | RpcFault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the feed says, following goes on, and the log holds one line a state."""
    rule = up.fail("/pypi", fault)
    for _ in range(5):
        tick_later(following, clock, 3600)
    complaints = [record for record in caplog.records if "no answer" in record.message]
    assert len(complaints) == 1

    rule.remove()
    up.release("demo", "2.0")
    tick_later(following, clock, 3600)

    assert versions(following) == ["1.0", "2.0"]


def test_a_rate_limited_feed_is_left_alone(following: App, up: Upstream, clock: FakeClock) -> None:
    """The wait that a rate-limit fault names is kept."""
    up.fail("/pypi", RpcFault.rate_limited(500))
    tick_later(following, clock)
    asked = up.count("/pypi", "POST")

    tick_later(following, clock, 120)

    assert up.count("/pypi", "POST") == asked


def test_a_stale_node_does_not_replace_what_is_held(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A page below the promised serial is not taken: what is held stays, and it is tried again."""
    up.release("demo", "2.0")
    tick_later(following, clock)
    assert versions(following) == ["1.0", "2.0"]
    old = up.serial - 1
    up.release("demo", "3.0")
    rule = up.fail("/simple/demo/", OldSerial(old))
    tick_later(following, clock)

    assert following(PAGE).origin == "stale"
    assert versions(following) == ["1.0", "2.0"]

    rule.remove()
    clock.advance(2)
    assert versions(following) == ["1.0", "2.0", "3.0"]


def test_serials_never_freeze_a_project(following: App, up: Upstream, clock: FakeClock) -> None:
    """An upstream that stays behind its promise is believed after a bounded time."""
    old = up.serial
    up.release("demo", "2.0")
    up.fail("/simple/demo/", OldSerial(old))
    tick_later(following, clock)
    assert following(PAGE).origin == "stale"

    clock.advance(700)
    following(PAGE)
    clock.advance(700)

    assert following(PAGE).origin in ("revalidated", "hit")


def test_a_feed_that_goes_backwards_is_followed_anew(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A restored upstream restarts the cursor, and pages of before are revalidated."""
    up.release("other", "1.0")
    up.touch_serial("other", 3)
    tick_later(following, clock)
    up.rewind(up.serial - 3)
    for _ in range(12):
        tick_later(following, clock)
    clock.advance(EXPIRY)
    following.tick()

    assert following(PAGE).origin == "revalidated"
    up.release("demo", "2.0")
    tick_later(following, clock)
    assert versions(following) == ["1.0", "2.0"]


def test_the_cursor_survives_a_restart(
    following: App, app: Make, up: Upstream, clock: FakeClock
) -> None:
    """Changes that happened while the server was down are named when it is up again."""
    up.release("demo", "2.0")
    clock.advance(EXPIRY * 10)
    del following

    again = app()
    # The lock of the first application in this process is still held by it.
    leader = next(worker for worker in again.services.workers if worker.name.startswith("follow"))
    leader.tick()

    assert versions(again) == ["1.0", "2.0"]


def test_a_quarantined_project_is_refused_by_the_address_of_its_files(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """Files that are cached are refused with a reason, once upstream quarantines their project."""
    address = following.address("demo", "demo-1.0-py3-none-any.whl")
    assert following(address).status == 200
    up.quarantine("demo")
    tick_later(following, clock)

    refused = following(address)

    assert refused.status == 403
    assert "quarantined" in refused.reason
    assert following(f"{address}.metadata").status == 403
    assert following(address, method="HEAD").status == 403
    assert following.page("demo")["files"] == []

    up.clear_quarantine("demo")
    tick_later(following, clock)
    assert following.page("demo")["files"] != []
    assert following(address).status == 200


def test_a_quarantined_release_is_refused(following: App, up: Upstream, clock: FakeClock) -> None:
    """Of a project with one release in quarantine, the others are served."""
    up.release("demo", "2.0")
    tick_later(following, clock)
    bad = following.address("demo", "demo-2.0-py3-none-any.whl")
    good = following.address("demo", "demo-1.0-py3-none-any.whl")
    assert following(bad).status == 200
    up.quarantine("demo", "2.0")
    tick_later(following, clock)

    assert following(bad).status == 403
    assert following(good).status == 200
    assert versions(following) == ["1.0"]


def test_a_quarantined_release_is_refused_in_every_spelling(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """The journal has the version as it was uploaded, file names may have another form of it."""
    file = up.release("demo", "2.0rc1", filename="demo-2.0rc1.zip", content=b"x" * 100)
    tick_later(following, clock)
    address = following.address("demo", file.filename)
    assert following(address).status == 200
    up.publish("demo", replace(file, version="2.0.0-rc.1"))
    up.quarantine("demo", "2.0.0-rc.1")
    tick_later(following, clock)

    assert following(address).status == 403


def test_a_deleted_file_leaves_the_page_but_its_pinned_address_works(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """What an author deleted is not listed any more, and still served to lock files."""
    up.release("demo", "2.0")
    tick_later(following, clock)
    address = following.address("demo", "demo-2.0-py3-none-any.whl")
    held = following.address("demo", "demo-1.0-py3-none-any.whl")
    assert following(held).status == 200
    up.remove_release("demo", "2.0")
    up.remove_release("demo", "1.0")
    tick_later(following, clock)

    assert following.links("demo") == {}
    assert following(held).status == 200
    assert following(address).status == 200


def test_a_project_that_upstream_removed_is_gone_at_once(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """A removed project is a 404 as soon as the feed has named it; its files stay."""
    address = following.address("demo", "demo-1.0-py3-none-any.whl")
    assert following(address).status == 200
    up.remove_project("demo")
    tick_later(following, clock)

    assert following(PAGE).status == 404
    assert following(address).status == 200


def test_the_status_says_which_feed_is_followed(
    following: App, up: Upstream, clock: FakeClock
) -> None:
    """/+status names the feed, its serial and its lag in seconds."""
    tick_later(following, clock)
    clock.advance(5)

    mirror = following("/+status").json["result"]["mirrors"]["root/pypi"]

    assert mirror["feed"] == "xml-rpc"
    assert mirror["serial"] == up.serial
    assert mirror["lag"] == 5


def test_only_one_process_follows(
    app: Make, spawn: Callable[..., ServerProcess], up: Upstream
) -> None:
    """Of those that share a data directory, one asks the feed."""
    spawn("--refresh", "86400")
    up.wait_for("/pypi", 2, method="POST")
    asked = up.count("/pypi", "POST")

    app().tick()

    assert up.count("/pypi", "POST") == asked


def test_vanished_files_stay_listed_where_the_mirror_keeps_them(
    app: Make, up: Upstream, clock: FakeClock, tmp_path: Path
) -> None:
    """With mirror_keep_vanished, what upstream removed goes on being listed and served."""
    config = tmp_path / "devpi.yml"
    config.write_text("mirrors:\n  root/pypi:\n    mirror_keep_vanished: yes\n")
    up.release("demo", "1.0")
    up.release("demo", "2.0")
    server = app("-c", str(config))
    server.tick()
    clock.advance(2)
    before = set(server.links("demo"))

    up.remove_release("demo", "1.0")
    tick_later(server, clock)
    assert set(server.links("demo")) == before

    up.quarantine("demo", "2.0")
    tick_later(server, clock)
    assert set(server.links("demo")) == {"demo-1.0-py3-none-any.whl"}

    up.remove_project("demo")
    tick_later(server, clock)
    assert "demo-1.0-py3-none-any.whl" in server.links("demo")
