"""Passwords: what is right, what it costs, and what nobody learns from it."""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

import pytest
from argon2 import PasswordHasher, Type
from argon2.exceptions import HashingError, VerificationError
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from devpi_server.concurrency import waiting_with
from devpi_server.errors import BadRequest, Overloaded
from devpi_server.services.passwords import LONGEST, Passwords, Verdict

LONG = 30.0  # seconds that no test takes unless it fails
RIGHT, WRONG = Verdict(ok=True), Verdict(ok=False)


class Counting(PasswordHasher):
    """argon2 at the lowest costs, which counts its computations."""

    def __init__(self, **costs: Any) -> None:
        super().__init__(**{"time_cost": 1, "memory_cost": 8, "parallelism": 1, **costs})
        self.verified: list[str] = []
        self.hashed = 0

    def verify(self, hashed: str | bytes, password: str | bytes) -> Any:
        self.verified.append(str(hashed))
        return super().verify(hashed, password)

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.hashed += 1
        return super().hash(password, salt=salt)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def hasher() -> Counting:
    return Counting()


@pytest.fixture
def passwords(hasher: Counting, clock: FakeClock) -> Passwords:
    return Passwords(hasher, clock)


class Impatient:
    """The patience of a request that does not wait at all."""

    def recall(self, key: Hashable) -> Future[Any] | None:
        return None

    def wait(self, key: Hashable, flight: Future[Any], seconds: float) -> None:
        pass


# What is right


def test_the_password_of_a_hash_is_right_and_others_are_not(passwords: Passwords) -> None:
    hashed = passwords.hash("secret")

    assert passwords.verify(hashed, "secret") == RIGHT
    assert passwords.verify(hashed, "Secret") == WRONG
    assert passwords.verify(hashed, "secret\0") == WRONG
    assert passwords.verify(hashed, "") == WRONG


def test_the_empty_password_is_right_for_its_own_hash_only(passwords: Passwords) -> None:
    hashed = passwords.hash("")

    assert passwords.verify(hashed, "") == RIGHT
    assert passwords.verify(hashed, " ") == WRONG
    assert passwords.verify(None, "") == WRONG


def test_an_empty_hash_is_that_of_the_empty_password(
    passwords: Passwords, hasher: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    """Of root, before anybody has set one; a wrong password costs what it costs elsewhere."""
    assert passwords.verify("", "") == RIGHT
    assert len(hasher.verified) == 0
    assert passwords.verify("", "x") == WRONG
    assert len(hasher.verified) == 1
    assert caplog.text == ""


def test_hashes_of_one_password_differ(passwords: Passwords) -> None:
    assert passwords.hash("secret") != passwords.hash("secret")


def test_new_hashes_have_the_costs_that_argon2_cffi_defaults_to() -> None:
    assert Passwords().hash("x").startswith("$argon2id$v=19$m=65536,t=3,p=4$")


any_password = st.text(st.characters(), max_size=40)  # half surrogate pairs, too
ONE = Passwords(Counting())


@settings(max_examples=50)
@given(any_password, any_password)
def test_any_password_is_right_for_its_own_hash_only(password: str, other: str) -> None:
    hashed = ONE.hash(password)

    assert ONE.verify(hashed, password).ok
    assert ONE.verify(hashed, other).ok == (other == password)


# Of real devpi-servers: made by passlib, of the password "grün"
PASSLIB = [
    "$argon2i$v=19$m=16,t=1,p=2$Wsv5H2Os9X6PsXZu7V1rTQ$VLrYY92Jayvg5JbE//pBlR6hCeViDvGN3wWCIiI1bhY",
    "$argon2id$v=19$m=16,t=2,p=1$cI6xdu4dwziHcG4tRSjFeA$bOuG/VogYnwI2+dC+/ejlKIfTXYZh4pU6d0uNXNue34",
    "$argon2d$v=19$m=8,t=1,p=1$h1CKcU5JSYlRSikFQIjR+g$/MxSdxsMOfGROWHIWjixhw",
]


@pytest.mark.parametrize("imported", PASSLIB)
def test_a_hash_of_another_devpi_is_verified_and_renewed(
    imported: str, passwords: Passwords, hasher: Counting, clock: FakeClock
) -> None:
    verdict = passwords.verify(imported, "grün")

    assert verdict.ok
    assert verdict.renewed is not None
    assert not hasher.check_needs_rehash(verdict.renewed)
    clock.advance(3600)
    assert passwords.verify(verdict.renewed, "grün") == RIGHT
    assert passwords.verify(imported, "grau") == WRONG


def test_a_hash_that_cost_more_than_today_is_renewed_too(passwords: Passwords) -> None:
    dear = Counting(time_cost=3, memory_cost=64).hash("x")

    renewed = passwords.verify(dear, "x").renewed

    assert renewed is not None
    assert "$m=8,t=1,p=1$" in renewed


def test_a_hash_of_the_old_form_without_a_version_is_verified(passwords: Passwords) -> None:
    """Version 16 of argon2; its digest is of argon2's own reference."""
    old = "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY"

    assert passwords.verify(old, "password").ok


# What it costs


def test_an_unknown_user_costs_as_many_computations_as_a_known_one(
    passwords: Passwords, hasher: Counting
) -> None:
    """A08: no oracle of names. Computations are counted, because times vary."""
    hashed = passwords.hash("secret")

    passwords.verify(hashed, "wrong")
    known = len(hasher.verified)
    passwords.verify(None, "wrong")

    assert (known, len(hasher.verified)) == (1, 2)
    assert hasher.hashed == 1


def test_the_hash_for_unknown_users_has_the_costs_of_the_others(
    passwords: Passwords, hasher: Counting
) -> None:
    passwords.verify(None, "x")

    (nobodys,) = hasher.verified
    assert not hasher.check_needs_rehash(nobodys)
    assert len(nobodys) == len(passwords.hash("x"))


@pytest.mark.parametrize("kind", [Type.I, Type.D])
def test_so_it_is_of_another_kind_of_argon2(kind: Type) -> None:
    hasher = Counting(type=kind)

    assert not Passwords(hasher).verify(None, "x").ok
    assert not hasher.check_needs_rehash(hasher.verified[0])


def test_an_unknown_user_costs_as_much_again_the_next_time(
    passwords: Passwords, hasher: Counting
) -> None:
    passwords.verify(None, "x")
    passwords.verify(None, "x")

    assert len(hasher.verified) == 2


SALT, DIGEST = "c29tZXNhbHRzYWx0", "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY"
UNFIT = [
    f"$argon2id$v=19$m=1048577,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=4294967295,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=524288,t=33,p=8${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=4294967295,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=134217720,t=1,p=16777215${SALT}${DIGEST}",
    f"$argon2id$v=19$m=7,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=0,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=0${SALT}${DIGEST}",
    f"$argon2id$v=19$m=-8,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=٨,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=99$m=8,t=1,p=1${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=1,data=x${SALT}${DIGEST}",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}$YWJj",  # a digest that many passwords have
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST}\n",
    f"$argon2id$v=19$m=8,t=1,p=1${SALT}${DIGEST * 1000}",
    "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    "$argon2id$",
    "secret",
    "",
    "\0",
    "\ud800",
]


@pytest.mark.parametrize("hashed", UNFIT)
def test_a_hash_that_is_none_or_asks_for_too_much_is_never_computed(
    hashed: str, passwords: Passwords, hasher: Counting, caplog: pytest.LogCaptureFixture
) -> None:
    """An import brings what it likes; it costs what an unknown user costs."""
    with caplog.at_level(logging.WARNING):
        assert passwords.verify(hashed, "secret") == WRONG

    assert len(hasher.verified) == 1
    assert hashed not in hasher.verified
    assert not hashed or hashed not in caplog.text


def test_devpis_own_default_costs_are_not_too_much() -> None:
    """512 MiB in 16 passes, which are not computed here."""
    asked: list[str] = []

    class Lazy(Counting):
        def verify(self, hashed: str | bytes, password: str | bytes) -> Any:
            asked.append(str(hashed))
            return True

    default = f"$argon2id$v=19$m=524288,t=16,p=8${SALT}${DIGEST}"

    assert Passwords(Lazy()).verify(default, "x").ok
    assert asked == [default]


def test_a_password_of_megabytes_is_neither_hashed_nor_verified(
    passwords: Passwords, hasher: Counting
) -> None:
    hashed = passwords.hash("x" * LONGEST)
    assert passwords.verify(hashed, "x" * LONGEST).ok
    before = len(hasher.verified)

    with pytest.raises(BadRequest, match="no more than 4096 bytes"):
        passwords.hash("x" * (LONGEST + 1))
    assert passwords.verify(hashed, "ü" * LONGEST) == WRONG
    assert passwords.verify(None, "ü" * LONGEST) == WRONG
    assert len(hasher.verified) == before


# What is remembered


def test_a_right_password_is_computed_once(passwords: Passwords, hasher: Counting) -> None:
    hashed = passwords.hash("secret")

    verdicts = {passwords.verify(hashed, "secret") for _ in range(5)}

    assert verdicts == {RIGHT}
    assert len(hasher.verified) == 1


def test_a_wrong_password_is_computed_each_time(passwords: Passwords, hasher: Counting) -> None:
    hashed = passwords.hash("secret")

    for _ in range(3):
        passwords.verify(hashed, "wrong")

    assert len(hasher.verified) == 3


def test_what_was_right_is_forgotten_after_some_minutes(
    passwords: Passwords, hasher: Counting, clock: FakeClock
) -> None:
    hashed = passwords.hash("secret")
    passwords.verify(hashed, "secret")

    clock.advance(299)
    passwords.verify(hashed, "secret")
    assert len(hasher.verified) == 1
    clock.advance(1)
    assert passwords.verify(hashed, "secret") == RIGHT
    assert len(hasher.verified) == 2


def test_a_password_that_was_changed_is_wrong_at_once(passwords: Passwords) -> None:
    old = passwords.hash("old")
    assert passwords.verify(old, "old").ok

    new = passwords.hash("new")

    assert not passwords.verify(new, "old").ok


def test_what_was_right_for_one_user_is_not_for_another(passwords: Passwords) -> None:
    one, other = passwords.hash("same"), passwords.hash("other")
    assert passwords.verify(one, "same").ok

    assert not passwords.verify(other, "same").ok


def test_a_renewed_hash_needs_no_computation_of_its_own(
    passwords: Passwords, hasher: Counting
) -> None:
    renewed = passwords.verify(PASSLIB[0], "grün").renewed

    assert passwords.verify(renewed, "grün") == RIGHT
    assert len(hasher.verified) == 1


def test_the_memory_is_bounded_and_holds_no_password(passwords: Passwords) -> None:
    hashed = passwords.hash("secret")
    passwords.verify(hashed, "secret")

    keys = list(passwords._right._items)
    assert [len(key) for key in keys] == [32]
    for number in range(5000):
        passwords._remember(hashed, str(number).encode())
    assert len(passwords._right) == 4096


# How many at once


class Blocked(Counting):
    """Computes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self._guard = threading.Lock()
        self._running = 0
        self.most = 0

    def verify(self, hashed: str | bytes, password: str | bytes) -> Any:
        with self._guard:
            self._running += 1
            self.most = max(self.most, self._running)
        self.inside.release()
        assert self.go.wait(LONG)
        with self._guard:
            self._running -= 1
        return super().verify(hashed, password)


def test_no_more_than_two_are_computed_at_once() -> None:
    hasher = Blocked()
    passwords = Passwords(hasher)
    hashed = passwords.hash("x")
    verdicts: list[Verdict] = []
    threads = [
        threading.Thread(target=lambda n=n: verdicts.append(passwords.verify(hashed, str(n))))
        for n in range(8)
    ]

    for thread in threads:
        thread.start()
    assert hasher.inside.acquire(timeout=LONG)
    assert hasher.inside.acquire(timeout=LONG)
    hasher.go.set()
    for thread in threads:
        thread.join(LONG)

    assert verdicts == [WRONG] * 8
    assert hasher.most <= 2


def impatiently(passwords: Passwords, hashed: str, password: str) -> str:
    """The message of the refusal."""

    def ask() -> str:
        with waiting_with(Impatient()), pytest.raises(Overloaded) as caught:
            passwords.verify(hashed, password)
        assert caught.value.retry_after > 0
        return caught.value.message

    return contextvars.copy_context().run(ask)


def test_who_waited_too_long_finds_the_outcome_the_next_time() -> None:
    """The computation goes on; an imported hash may take longer than a client waits."""
    hasher = Blocked()
    passwords = Passwords(hasher)
    hashed = passwords.hash("x")

    assert impatiently(passwords, hashed, "x") == "too many passwords are being checked"
    hasher.go.set()

    assert passwords.verify(hashed, "x") == RIGHT
    assert len(hasher.verified) == 1


def test_a_queue_that_is_too_long_is_refused_but_not_who_is_remembered_or_joins() -> None:
    hasher = Blocked()
    passwords = Passwords(hasher)
    hashed = passwords.hash("x")
    passwords._remember(hashed, b"x")

    refusals = [impatiently(passwords, hashed, str(n)) for n in range(33)]

    assert set(refusals[:32]) == {"too many passwords are being checked"}
    assert refusals[32] == "too many requests are waiting, try again"
    assert impatiently(passwords, hashed, "0") == refusals[0]
    assert passwords.verify(hashed, "x") == RIGHT
    hasher.go.set()


def test_a_machine_without_memory_is_no_wrong_password() -> None:
    class Poor(Counting):
        def verify(self, hashed: str | bytes, password: str | bytes) -> Any:
            raise VerificationError("Memory allocation error")

        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            raise HashingError("Memory allocation error")

    passwords = Passwords(Poor())

    with pytest.raises(Overloaded, match="Memory allocation error"):
        passwords.verify(PASSLIB[0], "grün")
    with pytest.raises(Overloaded, match="Memory allocation error"):
        passwords.verify(None, "x")
    with pytest.raises(Overloaded, match="Memory allocation error"):
        passwords.hash("x")
