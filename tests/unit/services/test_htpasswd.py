"""Password files of Apache's ``htpasswd``: all formats, as they are now, at a bounded cost."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.errors import Overloaded, StoreError
from devpi_server.services import htpasswd as module
from devpi_server.services.htpasswd import Htpasswd, matches, parse

SOON = 20.0
FORMATS = ["-m", "-B", "-2", "-5", "-d", "-s", "-p"]

# Made by the htpasswd of Apache 2.4, each of "S3cret".
HASHES = {
    "-m": "$apr1$BwJILtGN$bAMXIYboSoyPCj4/nUHzg/",
    "-B": "$2y$05$BVe17KPFpB..bnuKTjgU3e1LZ3OVqTVINh.CCE85fhOXYLVqAFO1K",
    "-2": "$5$djZLPSAEtrpIN5JR$eRd/QIfD0/0PIT6wDMOGPNXZTaD4KjIOqUvS4XZkeZ8",
    "-5": "$6$RkQBxL80GPBIaGL9$0KPNqQMN7go0KMiE15w2F9P"
    "BTkzO4sl4Y7yr8i2XS6zyif/DK9.CPRfvt0Bq/V9IrbjyC5lqj0Onw6kJa1r6J1",
    "-d": "ZkGdEH3M71DBw",
    "-s": "{SHA}U7NgyJGgXAxeOi0WZa4Bc5JlqfM=",
    "-p": "S3cret",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "htpasswd"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("password", ["S3cret", "p\u00e4ss w\u00f6rd", "x", "$apr1", "12345678"])
def test_what_the_real_htpasswd_makes_is_understood(
    form: str, password: str, path: Path, need: Callable[[str], str]
) -> None:
    """Also for a second user, and a new password."""
    tool = need("htpasswd")
    subprocess.run([tool, "-cb", form, path, "alice", password], check=True, capture_output=True)
    subprocess.run([tool, "-b", form, path, "bob", "other"], check=True, capture_output=True)
    file = Htpasswd(path)

    assert file.verify("alice", password)
    assert file.verify("bob", "other")
    assert not file.verify("alice", "other")
    assert not file.verify("alice", "")
    assert not file.verify("alice", password + "x") or form == "-d"  # of which 8 bytes count
    assert not file.verify("carol", password)
    subprocess.run([tool, "-b", form, path, "alice", "new"], check=True, capture_output=True)
    subprocess.run([tool, "-D", path, "bob"], check=True, capture_output=True)
    assert file.verify("alice", "new")
    assert not file.verify("alice", password)
    assert not file.verify("bob", "other")


@pytest.mark.parametrize("options", [["-B", "-C", "4"], ["-2", "-r", "1000"], ["-5", "-r", "9000"]])
def test_hashes_of_other_costs_are_understood(
    options: list[str], path: Path, need: Callable[[str], str]
) -> None:
    """As their options say."""
    command = [need("htpasswd"), "-cb", *options, str(path), "alice", "S3cret"]
    subprocess.run(command, check=True, capture_output=True)
    assert Htpasswd(path).verify("alice", "S3cret")
    assert not Htpasswd(path).verify("alice", "s3cret")


@pytest.mark.parametrize("hashed", HASHES.values(), ids=HASHES.keys())
def test_each_format_is_of_its_password_only(hashed: str) -> None:
    """And a hash is no password."""
    assert matches(hashed, b"S3cret")
    for wrong in (b"", b"s3cret", b"S3cre", hashed.encode()):
        assert not matches(hashed, wrong) or hashed.encode() == wrong == b"S3cret"


@pytest.mark.parametrize(
    "hashed",
    [
        "", "!", "*", "!S3cret", "*S3cret", "{SSHA}S3cret", "{SHA}S3cret", "$y$j9T$S3cret",
        "$2y$99$" + "a" * 53, "$2y$18$" + "a" * 53, "$2x$05$" + "a" * 53, "$2y$05$short",
        "$6$rounds=999999999$salt$" + "a" * 86, "$5$rounds=999999999$salt$" + "a" * 43,
        "$6$salt$short", "$apr1$salt", "$apr1$$", "$1$\u00e9", "$apr1$" + "x" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_hash_that_we_check_is_of_no_password(hashed: str) -> None:
    """Neither its own text, nor one that would take hours to find out."""
    for text in (b"S3cret", hashed.encode(), b""):
        assert not matches(hashed, text)


@given(st.text(max_size=100), st.binary(max_size=100))
def test_any_hash_is_looked_at_without_a_fault(hashed: str, text: bytes) -> None:
    """Files are edited by hand."""
    assert isinstance(matches(hashed.replace("\n", ""), text.replace(b"\0", b"")), bool)


@given(st.binary(max_size=300))
def test_any_file_is_read_without_a_fault(data: bytes) -> None:
    """As above."""
    assert all(user and "\n" not in hashed for user, hashed in parse(data).items())


def test_a_file_is_read_as_apache_reads_it() -> None:
    """Comments, odd ends of lines, fields behind the hash; the first line of a user counts."""
    data = (
        b"\xef\xbb\xbfalice:one\r\n\n  \n# bob:no\nbob:two:Bob B.:x\nalice:three\n:four\nnone\n"
        b"j\xc3\xbcrgen:five\nren\xe9:six \nempty:"
    )
    assert parse(data) == {
        "alice": "one", "bob": "two", "j\u00fcrgen": "five", "ren\u00e9": "six", "empty": "",
    }  # fmt: skip


def test_only_72_bytes_count_for_bcrypt(path: Path, need: Callable[[str], str]) -> None:
    """As for Apache; newer libraries refuse more."""
    long = "x" * 100
    command = [need("htpasswd"), "-cbB", str(path), "alice", long]
    subprocess.run(command, check=True, capture_output=True)
    assert Htpasswd(path).verify("alice", long)
    assert Htpasswd(path).verify("alice", "x" * 72)
    assert not Htpasswd(path).verify("alice", "x" * 71)


def test_a_change_is_seen_at_once_whatever_it_is(path: Path) -> None:
    """By size, by time, or neither."""
    file = Htpasswd(path)
    for password in ("one", "two", "three", "four"):
        path.write_text(f"alice:{password}\n")
        assert file.verify("alice", password)
        for other in {"one", "two", "three", "four"} - {password}:
            assert not file.verify("alice", other)


def test_a_file_that_rests_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stat a request."""
    timer = FakeClock(0.0)
    path.write_text("alice:one\n")
    file = Htpasswd(path, timer)
    read = []
    monkeypatch.setattr(module, "parse", lambda data: read.append(1) or parse(data))
    file.verify("alice", "one")
    file.verify("alice", "one")
    timer.advance(3.0)
    for _ in range(3):
        file.verify("alice", "one")
    assert len(read) == 3


def test_a_file_that_cannot_be_read_lets_nobody_in(path: Path, tmp_path: Path) -> None:
    """Not even who was in before."""
    path.write_text("alice:one\n")
    file = Htpasswd(path)
    assert file.verify("alice", "one")
    path.unlink()
    with pytest.raises(StoreError):
        file.verify("alice", "one")
    os.mkfifo(path)
    with pytest.raises(StoreError):
        file.verify("alice", "one")
    with pytest.raises(StoreError):
        Htpasswd(tmp_path).verify("alice", "one")
    path.unlink()
    path.write_text("")
    assert not file.verify("alice", "one")


@pytest.mark.parametrize("password", ["x" * 5000, "one\0", "one\0two", "\ud800"])
def test_odd_passwords_are_wrong(path: Path, password: str) -> None:
    """Not a fault."""
    path.write_text(f"alice:one\nbob:{HASHES['-B']}\n")
    assert not Htpasswd(path).verify("alice", password)
    assert not Htpasswd(path).verify("bob", password)
    assert not Htpasswd(path).verify("\ud800", password)


class Slow:
    """Checks that go on only when they are told to; counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.at_once = 0
        self.most = 0
        self.go_on = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, hashed: str, text: bytes) -> bool:
        with self._lock:
            self.count += 1
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        assert self.go_on.wait(SOON)
        with self._lock:
            self.at_once -= 1
        return matches(hashed, text)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(module, "matches", slow)
    return slow


def test_a_right_password_is_checked_once_for_some_minutes(path: Path, slow: Slow) -> None:
    """pip sends it with every request; a wrong one is checked each time."""
    slow.go_on.set()
    timer = FakeClock(0.0)
    path.write_text("alice:one\n")
    file = Htpasswd(path, timer)
    for _ in range(3):
        assert file.verify("alice", "one")
    assert slow.count == 1
    timer.advance(1000.0)
    assert file.verify("alice", "one")
    assert slow.count == 2
    path.write_text("alice:new\n")
    assert not file.verify("alice", "one")
    assert not file.verify("alice", "one")
    assert slow.count == 4


def test_who_is_not_there_costs_as_much(path: Path, slow: Slow) -> None:
    """And does not get in with somebody else's password."""
    slow.go_on.set()
    path.write_text("alice:one\n")
    file = Htpasswd(path)
    for _ in range(2):
        assert not file.verify("carol", "one")
    assert slow.count == 2


def test_two_are_checked_at_once_and_too_many_are_refused(path: Path, slow: Slow) -> None:
    """Who guesses passwords must not stop the server."""
    path.write_text("alice:one\n")
    file = Htpasswd(path)
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(file.verify, "alice", f"{number}") for number in range(40)]
        refused = []
        while len(refused) < 8:
            refused = [each for each in asked if each.done()]
            slow.go_on.wait(0.001)
        slow.go_on.set()
        for each in refused:
            with pytest.raises(Overloaded):
                each.result(SOON)
        assert [each.result(SOON) for each in asked if each not in refused] == [False] * 32
    assert slow.most == 2
