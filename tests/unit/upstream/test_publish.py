"""Forms on their way to other servers."""

from __future__ import annotations

import socket
import threading
from base64 import b64encode
from contextlib import closing, suppress
from pathlib import Path

import pytest
from fakes import FakeClock
from sink import Say, Sink

from devpi_server.errors import OffLimits, StoreError, TimedOut, Unreachable
from devpi_server.upstream.publish import Attached, HttpPublisher, Outgoing, Said, Target

FIELDS = ((":action", "file_upload"), ("classifiers", "a"), ("classifiers", "b"), ("x", "é\n\n-"))


@pytest.fixture
def wheel(tmp_path: Path) -> Attached:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(256)) * 1000)
    return Attached("content", 'demo-1.0"x".whl', path, 256_000)


def publisher(*, timeout: float = 5.0, networks: tuple[str, ...] = ()) -> HttpPublisher:
    return HttpPublisher(timeout=timeout, clock=FakeClock(), networks=networks)


def said_by(*answers: Say) -> Said:
    with Sink(*answers) as sink:
        return publisher().post(Target(sink.url), FIELDS, trusted=True)


def test_a_form_arrives_as_it_is(wheel: Attached) -> None:
    with Sink() as sink:
        said = publisher().post(Target(sink.url, "me", "sécret"), FIELDS, [wheel], trusted=True)
    (received,) = sink.received
    fields, files = received.form()

    assert said == Said(200, "")
    assert fields == {":action": ["file_upload"], "classifiers": ["a", "b"], "x": ["é\n\n-"]}
    assert files == {"content": ('demo-1.0"x".whl', wheel.path.read_bytes())}
    assert received.path == "/legacy/"
    basic = b64encode("me:sécret".encode()).decode()
    assert received.headers["authorization"] == f"Basic {basic}"
    assert "transfer-encoding" not in received.headers


def test_who_is_nobody_sends_no_credentials_and_never_those_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Sink() as sink:
        publisher().post(Target(sink.url), FIELDS, trusted=True)

    assert "authorization" not in sink.received[0].headers


def test_a_redirect_is_not_followed() -> None:
    with Sink() as other:
        elsewhere = Say(307, "Temporary Redirect", {"Location": other.url})
        with Sink(elsewhere) as sink:
            said = publisher().post(Target(sink.url, "me", "secret"), FIELDS, trusted=True)

    assert said == Said(307, f"it redirects to {other.url}, push to that address")
    assert other.received == []


@pytest.mark.parametrize(
    ("say", "text"),
    [
        (Say(201, "Created", body=b"thanks"), ""),
        (Say(400, "File already exists"), "File already exists"),
        (Say(409, "Conflict", {"Content-Type": "text/plain"}, b"is\nthere\n"),
         "Conflict - is there"),
        (Say(403, "no", {"Content-Type": "application/json"}, b'{"message": "not yours"}'),
         "no - not yours"),
        (Say(403, "no", {"Content-Type": "application/json"}, b"{"), "no"),
        (Say(403, "no", {"Content-Type": "application/json"}, b"[]"), "no"),
        (Say(403, "no", {"Content-Type": "text/html"}, b"<h1>no</h1>"), "no"),
        (Say(400, "is it so", {"Content-Type": "text/plain"}, b"is it"), "is it so"),
        (Say(500, "x" * 900), "x" * 500),
        (Say(500, "", {"Content-Type": "text/plain"}, b"\x1b[31m\xff red"), "[31m\ufffd red"),
    ],
)  # fmt: skip
def test_what_is_said_is_one_line(say: Say, text: str) -> None:
    assert said_by(say) == Said(say.status, text)


def test_what_is_said_may_be_long_and_break_off() -> None:
    long = Say(400, "no", {"Content-Type": "text/plain", "Content-Length": "900000"}, b"a" * 99)

    assert said_by(long) == Said(400, "no - " + "a" * 99)


def test_a_form_is_sent_once() -> None:
    """Also where the connection ends without an answer: it may have arrived."""
    count = 0

    def end(sink: socket.socket) -> None:
        nonlocal count
        with suppress(OSError):  # it is closed before there is a second one
            for _ in range(2):
                connection, _ = sink.accept()
                count += 1
                connection.close()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=end, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        with pytest.raises(Unreachable):
            publisher().post(Target(url), FIELDS, trusted=True)

    assert count == 1


def test_nobody_is_waited_for_without_end() -> None:
    release = threading.Event()
    with Sink(Say(first=lambda: release.wait(30))) as sink:
        with pytest.raises(TimedOut):
            publisher(timeout=0.02).post(Target(sink.url), FIELDS, trusted=True)
        release.set()


def test_an_answer_that_comes_before_the_end_of_the_form_is_heard(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    attached = Attached("content", "x.whl", large, 200_000_000)
    with Sink(Say(401, "log in", unheard=True)) as sink:
        try:
            said = publisher().post(Target(sink.url), FIELDS, [attached], trusted=True)
        except Unreachable:
            return  # the network may lose it, with what was sent in vain
    assert said == Said(401, "log in")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://10.0.0.1/"])
def test_only_who_is_trusted_sends_into_private_networks(url: str) -> None:
    with pytest.raises(OffLimits):
        publisher().post(Target(url), FIELDS, trusted=False)


@pytest.mark.parametrize(
    ("trusted", "networks"), [(True, ()), (False, ("127.0.0.0/8",)), (True, ("10.0.0.0/8",))]
)
def test_networks_can_be_opened_to_all(trusted: bool, networks: tuple[str, ...]) -> None:
    with Sink() as sink:
        sending = publisher(networks=networks)
        assert sending.post(Target(sink.url), FIELDS, trusted=trusted).status == 200


def test_nobody_at_all_is_trusted_with_the_metadata_of_a_cloud() -> None:
    with pytest.raises(OffLimits):
        publisher().post(Target("http://169.254.169.254/"), FIELDS, trusted=True)


def test_a_form_of_any_size_is_read_in_small_pieces(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(100_000_000)
    form = Outgoing(FIELDS, [Attached("content", "x", large, 100_000_000)] * 2, "there")
    with closing(form):
        sizes = [len(block) for block in form]

    assert sum(sizes) == len(form) > 200_000_000
    assert max(sizes) <= 64 * 1024


def test_a_form_that_is_taken_too_slowly_is_given_up(wheel: Attached) -> None:
    clock = FakeClock()
    with closing(Outgoing(FIELDS, [wheel], "there", clock)) as form:
        assert form.read(100)
        clock.advance(62)
        assert form.read(100)
        clock.advance(2)
        with pytest.raises(TimedOut, match="there takes the form too slowly"):
            form.read(100)


def test_a_file_that_is_gone_is_an_error_of_the_store(tmp_path: Path) -> None:
    gone = Attached("content", "x.whl", tmp_path / "gone", 10)
    with Sink() as sink, pytest.raises(StoreError):
        publisher().post(Target(sink.url), FIELDS, [gone], trusted=True)
