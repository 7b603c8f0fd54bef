"""Brute force: who has to wait, and who has not (A08)."""

from __future__ import annotations

import pytest
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st

from devpi_server.errors import TooManyAttempts
from devpi_server.services.throttle import Throttle

HOME, OFFICE = "192.0.2.1", "198.51.100.7"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def throttle(clock: FakeClock) -> Throttle:
    return Throttle(clock)


def fail(throttle: Throttle, times: int, address: str = HOME, user: str = "alice") -> None:
    for _ in range(times):
        throttle.failed(address, user)


def test_mistyping_costs_nothing(throttle: Throttle) -> None:
    fail(throttle, 4)

    assert throttle.wait(HOME, "alice") == 0
    throttle.check(HOME, "alice")


def test_the_wait_doubles_with_each_failure_up_to_a_minute(throttle: Throttle) -> None:
    fail(throttle, 4)
    waits = []
    for _ in range(9):
        fail(throttle, 1)
        waits.append(throttle.wait(HOME, "alice"))

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_million_failures_are_no_error(throttle: Throttle) -> None:
    fail(throttle, 5000)

    assert throttle.wait(HOME, "alice") == 60


def test_the_wait_runs_out(throttle: Throttle, clock: FakeClock) -> None:
    fail(throttle, 8)

    clock.advance(5.5)
    assert throttle.wait(HOME, "alice") == 2.5
    clock.advance(2.5)
    assert throttle.wait(HOME, "alice") == 0


def test_who_asks_too_early_is_told_when_to_ask_again(throttle: Throttle, clock: FakeClock) -> None:
    fail(throttle, 8)
    clock.advance(0.5)

    with pytest.raises(TooManyAttempts) as caught:
        throttle.check(HOME, "alice")

    assert caught.value.retry_after == 8
    assert caught.value.message == "too many wrong passwords, try again in 8 s"


def test_the_right_password_forgives_what_was_wrong_before(
    throttle: Throttle, clock: FakeClock
) -> None:
    fail(throttle, 8)
    throttle.succeeded(HOME, "alice")

    assert throttle.wait(HOME, "alice") == 0
    fail(throttle, 4)
    assert throttle.wait(HOME, "alice") == 0


def test_nobody_is_locked_out_from_elsewhere(throttle: Throttle) -> None:
    """Neither the user at another address, nor yet another user at this one."""
    fail(throttle, 29)

    assert throttle.wait(OFFICE, "alice") == 0
    assert throttle.wait(HOME, "bob") == 0


def test_who_tries_many_names_has_to_wait_too(throttle: Throttle) -> None:
    for number in range(33):
        throttle.failed(HOME, f"user{number}")

    assert throttle.wait(HOME, "someone-else") == 8
    assert throttle.wait(OFFICE, "someone-else") == 0


def test_a_robot_with_a_wrong_password_stops_no_colleague_who_was_right_before(
    throttle: Throttle,
) -> None:
    throttle.succeeded(OFFICE, "bob")
    fail(throttle, 100, OFFICE, "robot")

    assert throttle.wait(OFFICE, "bob") == 0
    assert throttle.wait(OFFICE, "carol") == 60
    throttle.succeeded(OFFICE, "carol")
    assert throttle.wait(OFFICE, "carol") == 0


def test_who_was_right_before_has_to_wait_for_failures_of_his_own(throttle: Throttle) -> None:
    throttle.succeeded(HOME, "alice")
    fail(throttle, 8)

    assert throttle.wait(HOME, "alice") == 8


def test_an_account_of_ones_own_does_not_wipe_out_guesses_at_others(throttle: Throttle) -> None:
    for number in range(40):
        throttle.failed(HOME, f"victim{number}")
        throttle.failed(HOME, "mallory")
        throttle.succeeded(HOME, "mallory")

    assert throttle.wait(HOME, "victim99") == 60
    assert throttle.wait(HOME, "mallory") == 0


def test_forgiveness_counts_for_the_address_too(throttle: Throttle) -> None:
    fail(throttle, 29)
    throttle.succeeded(HOME, "alice")
    fail(throttle, 29, user="bob")

    assert throttle.wait(HOME, "carol") == 0


def test_failures_are_forgotten_after_half_an_hour(throttle: Throttle, clock: FakeClock) -> None:
    fail(throttle, 12)
    clock.advance(1800)
    fail(throttle, 4)

    assert throttle.wait(HOME, "alice") == 0


def test_what_keeps_failing_is_not_forgotten(throttle: Throttle, clock: FakeClock) -> None:
    fail(throttle, 12)
    for _ in range(10):
        clock.advance(1000)
        fail(throttle, 1)

    assert throttle.wait(HOME, "alice") == 60


def test_who_was_right_long_ago_is_as_anybody(throttle: Throttle, clock: FakeClock) -> None:
    throttle.succeeded(OFFICE, "bob")
    clock.advance(7 * 86400 - 1)
    fail(throttle, 100, OFFICE, "robot")

    assert throttle.wait(OFFICE, "bob") == 0
    clock.advance(1)
    assert throttle.wait(OFFICE, "bob") == 59


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
        ("unix:", "127.0.0.1", False),
    ],
)
def test_one_client_is_one_address_or_one_network_of_ipv6(
    one: str, other: str, same: bool, throttle: Throttle
) -> None:
    fail(throttle, 12, one)

    assert (throttle.wait(other, "alice") > 0) == same


def test_the_memory_is_bounded_in_entries_and_in_their_length(throttle: Throttle) -> None:
    for number in range(10_050):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x" * 10_000)
        throttle.succeeded("y" * 10_000, f"{number}" + "z" * 10_000)

    for kept in (throttle._pairs, throttle._addresses, throttle._known):
        assert len(kept) == 10_000
    for place, user in [*throttle._pairs, *throttle._known]:
        assert len(place) + len(user) <= 264


def test_the_oldest_failure_goes_first(throttle: Throttle) -> None:
    fail(throttle, 12, "192.0.2.1")
    fail(throttle, 12, "192.0.2.2")
    fail(throttle, 1, "192.0.2.1")
    for number in range(9_999):
        throttle.failed(f"10.0.{number >> 8}.{number & 255}", "alice")

    assert throttle.wait("192.0.2.1", "alice") == 60
    assert throttle.wait("192.0.2.2", "alice") == 0


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_makes_nobody_wait_longer_than_the_delay(
    jump: float, throttle: Throttle, clock: FakeClock
) -> None:
    fail(throttle, 8)
    clock.advance(jump)

    assert throttle.wait(HOME, "alice") <= 8


@given(st.text(max_size=40), st.text(st.characters(), max_size=40), st.integers(0, 50))
def test_any_address_and_name_can_be_counted(address: str, user: str, failures: int) -> None:
    throttle = Throttle(FakeClock())
    fail(throttle, failures, address, user)

    assert 0 <= throttle.wait(address, user) <= 60
    throttle.succeeded(address, user)
    assert throttle.wait(address, user) == 0
