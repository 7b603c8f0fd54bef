"""What clients see while upstream is sick: the README's table, row by row.

"Held" means that the page, or the file, was asked for while upstream was well.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from fakes import FakeClock
from server import App, BrokenOff, until
from upstream import (
    CloseUnanswered,
    Cut,
    DeepJson,
    Fault,
    GzipEncoded,
    HangBeforeAnswer,
    HangInBody,
    HugePage,
    ManyLinks,
    OldSerial,
    ResetKeepAlive,
    Status,
    Substitute,
    Upstream,
    WrongLength,
)

from devpi_server.errors import Full
from devpi_server.store.pagefiles import PageFiles

Make = Callable[..., App]

EXPIRY = 1800
PAGE = "/root/pypi/+simple/demo/"
OTHER = "/root/pypi/+simple/other/"
PORTAL = Substitute(b"<html><body>Please log in</body></html>", "text/html")
QUICK = ("--request-timeout", "0.4")  # seconds; what hangs is given up soon


@pytest.fixture
def server(app: Make, up: Upstream) -> App:
    """A server that holds the page and the wheel of demo, and nothing of other."""
    up.release("demo", "1.0")
    up.release("other", "1.0")
    made = app(*QUICK)
    assert made(made.address("demo", "demo-1.0-py3-none-any.whl")).status == 200
    return made


@contextmanager
def sick(up: Upstream, *faults: Fault) -> Iterator[None]:
    rule = up.fail("/", *faults)
    try:
        yield
    finally:
        rule.remove()


CANNOT_TELL = {
    "hangs before the answer": (HangBeforeAnswer(), {504}),
    "hangs in the middle": (HangInBody(10), {502, 504}),
    "closes the connection": (CloseUnanswered(), {502}),
    "resets the connection": (CloseUnanswered(reset=True), {502}),
    "500": (Status(500), {502}),
    "502": (Status(502), {502}),
    "503": (Status(503), {502, 503}),
    "503, Retry-After": (Status(503, {"Retry-After": "7"}), {503}),
    "429, Retry-After": (Status(429, {"Retry-After": "7"}), {503}),
    "401": (Status(401), {502}),
    "403": (Status(403), {502}),
    "body cut": (Cut(20), {502}),
    "wrong length": (WrongLength(-5), {502}),
    "HTML error page with 200": (PORTAL, {502}),
    "JSON that is not": (Substitute(b'{"files": [', "application/json"), {502}),
    "deep JSON": (DeepJson(100_000), {502}),
    "a million links": (ManyLinks(1_000_000), {502, 504}),
    "1 GB page": (HugePage(1 << 30), {502, 504}),
}


@pytest.mark.parametrize("case", CANNOT_TELL)
def test_a_page_that_is_held_is_served_stale(
    server: App, up: Upstream, clock: FakeClock, case: str
) -> None:
    """Whatever upstream does, an expired page goes on being served as it was."""
    before = server.page("demo")["files"]
    clock.advance(EXPIRY + 1)

    with sick(up, CANNOT_TELL[case][0]):
        answer = server(PAGE)

    assert (answer.status, answer.origin) == (200, "stale")
    assert server.page("demo")["files"] == before


@pytest.mark.parametrize("case", CANNOT_TELL)
def test_a_page_that_is_not_held_is_an_error_with_a_reason(
    server: App, up: Upstream, case: str
) -> None:
    """It is never a 404 and never empty, and the reason phrase names what is wrong."""
    fault, statuses = CANNOT_TELL[case]

    with sick(up, fault):
        answer = server(OTHER)

    assert answer.status in statuses
    assert len(answer.reason) > len("Bad Gateway")
    if "Retry-After" in case:
        assert 1 <= int(answer.headers["Retry-After"]) <= 8


@pytest.mark.parametrize("case", CANNOT_TELL)
def test_it_heals_without_a_restart(server: App, up: Upstream, clock: FakeClock, case: str) -> None:
    """When upstream is well again, so are we: at the latest when its Retry-After is over."""
    clock.advance(EXPIRY + 1)
    with sick(up, CANNOT_TELL[case][0]):
        server(PAGE)
        server(OTHER)
    up.release("demo", "2.0")
    clock.advance(11)

    assert server(OTHER).status == 200
    assert server.page("demo")["versions"] == ["1.0", "2.0"]


@pytest.mark.parametrize("case", CANNOT_TELL)
def test_a_file_that_is_held_is_served(server: App, up: Upstream, case: str) -> None:
    """A cached file needs nobody."""
    address = server.address("demo", "demo-1.0-py3-none-any.whl")
    up.clear()

    with sick(up, CANNOT_TELL[case][0]):
        answer = server(address)

    assert (answer.status, answer.origin) == (200, "hit")
    assert up.requests == []


FILE_FAULTS = {
    **{
        case: CANNOT_TELL[case]
        for case in CANNOT_TELL
        if not case.startswith(("deep", "a million", "1 GB", "JSON"))
    },
    "wrong digest": (Substitute(), {502}),
    "gzip": (GzipEncoded(), {502}),
}


@pytest.mark.parametrize("case", FILE_FAULTS)
def test_a_file_that_is_not_held_is_an_error_or_breaks_off(
    server: App, up: Upstream, case: str
) -> None:
    """No wrong byte is taken for a whole file, and nothing is kept."""
    fault, statuses = FILE_FAULTS[case]
    address = server.address("other", "other-1.0-py3-none-any.whl")

    with sick(up, fault):
        try:
            answer = server(address)
        except BrokenOff:
            pass
        else:
            assert answer.status in statuses

    until(lambda: not any((server.datadir / "incoming").iterdir()))


def test_a_large_file_with_a_wrong_digest_breaks_off(server: App, up: Upstream) -> None:
    """A client that has been given the beginning does not get the end."""
    up.release("large", "1.0", size=1_000_000)
    address = server.address("large", "large-1.0-py3-none-any.whl")

    with sick(up, Substitute()), pytest.raises(BrokenOff):
        server(address)

    assert server(address).status == 200


def test_refused_connections(server: App, up: Upstream, clock: FakeClock) -> None:
    """An upstream that is down: what is held is served, the rest is a 502."""
    address = server.address("demo", "demo-1.0-py3-none-any.whl")
    cold = server.address("other", "other-1.0-py3-none-any.whl")
    clock.advance(EXPIRY + 1)
    up.stop()

    assert server(PAGE).origin == "stale"
    assert server("/root/pypi/+simple/third/").status == 502
    assert server(address).status == 200
    assert server(cold).status == 502

    up.start()
    clock.advance(11)
    assert server(PAGE).origin in ("revalidated", "miss")
    assert server(cold).status == 200


@contextmanager
def alone(datadir: Path, mirror_url: str) -> Iterator[App]:
    """A server with this upstream only."""
    server = App("--datadir", str(datadir), "--mirror-url", mirror_url, *QUICK)
    with closing(server.services):
        yield server


def test_a_name_that_does_not_resolve(tmp_path: Path) -> None:
    """A host that DNS does not know is named in the 502."""
    with alone(tmp_path, "http://nowhere.invalid/simple/") as server:
        answer = server(PAGE)

    assert answer.status in (502, 504)
    assert "nowhere.invalid" in answer.reason


def test_a_404_after_having_had_it_is_gone(server: App, up: Upstream, clock: FakeClock) -> None:
    """Upstream's own word counts: the page is gone at once, the file stays."""
    address = server.address("demo", "demo-1.0-py3-none-any.whl")
    up.remove_project("demo")
    clock.advance(EXPIRY + 1)

    assert server(PAGE).status == 404
    assert server(address).status == 200


def test_a_404_is_remembered_for_a_minute(server: App, up: Upstream, clock: FakeClock) -> None:
    """A project that upstream does not have is asked for once a minute."""
    path = "/root/pypi/+simple/later/"
    assert server(path).status == 404
    up.release("later", "1.0")
    clock.advance(59)
    assert server(path).status == 404

    clock.advance(2)
    assert server(path).status == 200


def test_one_bad_kept_connection_is_replaced(server: App, up: Upstream, clock: FakeClock) -> None:
    """A kept connection that upstream has dropped costs nothing but a new one."""
    up.release("demo", "2.0")
    clock.advance(EXPIRY + 1)

    with sick(up, ResetKeepAlive()):
        answer = server(PAGE)

    assert answer.origin == "miss"


def test_an_older_page_does_not_replace_a_newer_one(
    server: App, up: Upstream, clock: FakeClock
) -> None:
    """A stale node of upstream's CDN cannot take a release away."""
    old = up.serial
    up.release("demo", "2.0")
    clock.advance(EXPIRY + 1)
    assert server.page("demo")["versions"] == ["1.0", "2.0"]
    clock.advance(EXPIRY + 1)

    with sick(up, OldSerial(old)):
        answer = server(PAGE)

    assert answer.origin == "stale"
    assert server.page("demo")["versions"] == ["1.0", "2.0"]


def test_a_second_address_stands_in_for_the_first(app: Make, up: Upstream) -> None:
    """With two addresses, one that is down is passed over, and used again when it heals."""
    up.release("demo", "1.0")
    with Upstream() as second:
        second.release("demo", "1.0")
        second.release("only-there", "1.0")
        server = app("--mirror-url", second.simple_url, *QUICK)
        up.stop()
        assert server(PAGE).status == 200
        assert server("/root/pypi/+simple/only-there/").status == 200
        up.start()


@pytest.mark.parametrize(
    ("fault", "is_passed_over"),
    [
        (Status(403), False),
        (Status(200, {"Content-Type": "application/json"}, b"no page"), False),
        (Status(302), False),
        (Status(500), True),
        (CloseUnanswered(), True),
        (HangBeforeAnswer(), True),
    ],
    ids=["denied", "corrupt", "nonsense", "failed", "broken", "silent"],
)
def test_what_one_project_is_refused_is_not_held_against_the_address(
    app: Make, up: Upstream, fault: Fault, is_passed_over: bool
) -> None:
    """Only an address that is down or out of order is passed over for the other projects."""
    up.fail("/simple/secret/", fault)
    with Upstream() as second:
        for index in (up, second):
            index.release("secret", "1.0")
            index.release("demo", "1.0")
        server = app("--mirror-url", second.simple_url, *QUICK)
        assert server("/root/pypi/+simple/secret/").status == 200

        assert server(PAGE).status == 200

        assert up.count("/simple/demo/") == (0 if is_passed_over else 1)
        up.heal()


def test_back_to_the_first_address_when_it_heals(app: Make, up: Upstream, clock: FakeClock) -> None:
    """Fail-over is not for ever."""
    up.release("demo", "1.0")
    with Upstream() as second:
        second.release("demo", "1.0")
        server = app("--mirror-url", second.simple_url, *QUICK)
        up.stop()
        assert server(PAGE).status == 200
        up.start()
        clock.advance(EXPIRY + 1)
        second.clear()

        assert server(PAGE).status == 200

        assert up.count("/simple/demo/") == 1
        assert second.requests == []


def test_a_port_that_nobody_answers(tmp_path: Path) -> None:
    """Packets that are never answered: given up after the deadline."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        fillers = []
        for _ in range(3):  # the backlog is full: further connections hang
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        with alone(tmp_path, f"http://127.0.0.1:{port}/simple/") as server:
            answer = server(PAGE)

        for filler in fillers:
            filler.close()
    assert answer.status in (502, 504)


def test_a_full_disk_leaves_what_is_held(
    server: App, up: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own disk may be what keeps a page from being refreshed: what is held is served."""
    assert server(PAGE).status == 200
    up.release("demo", "7.0")
    clock.advance(EXPIRY + 1)

    def refuse(*_: object, **__: object) -> None:
        raise Full("no space left to keep a file")

    monkeypatch.setattr(PageFiles, "write", refuse)

    assert server(PAGE).origin == "stale"


def test_a_stand_in_that_lacks_a_project_does_not_make_it_absent(
    app: Make, up: Upstream, clock: FakeClock
) -> None:
    """Only the first address can say that there is no such project."""
    up.release("demo", "1.0")
    with Upstream() as second:
        server = app("--mirror-url", second.simple_url, *QUICK)
        assert server(PAGE).status == 200
        clock.advance(EXPIRY + 1)
        up.stop()

        for _ in range(2):  # the second time, the stand-in is asked first
            assert server(PAGE).origin == "stale"
            assert server(OTHER).status in (502, 504)
        up.start()
