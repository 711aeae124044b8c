"""When a fault is worth another attempt, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.transfer.retry import LONGEST_PAUSE, delay

PASSING = errors.Reset("lost")


def pause(error: errors.ArwdError = PASSING, attempt: int = 1, **more: float) -> float | None:
    return delay(error, attempt, **({"idle": 0.0, "retry_for": 900.0, "first": 1.0, "jitter": 0.0} | more))


@pytest.mark.parametrize(
    "error",
    [
        errors.Tls("x"),
        errors.BadRange("x"),
        errors.OriginNotFound("x", 404),
        errors.BlockedAddress("x"),
        errors.StorageError("x"),
    ],
)
def test_a_lasting_fault_is_not_tried_again(error: errors.ArwdError) -> None:
    assert pause(error) is None


@pytest.mark.parametrize("error", [PASSING, errors.Stalled("x"), errors.Dns("x"), errors.ServerBusy("x", 503)])
def test_a_passing_fault_is(error: errors.ArwdError) -> None:
    assert pause(error) == 0.5


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10_000, 60)])
def test_each_pause_is_twice_the_one_before_up_to_a_minute(attempt: int, seconds: float) -> None:
    assert pause(attempt=attempt, jitter=0.0) == seconds / 2
    assert pause(attempt=attempt, jitter=0.5) == seconds * 0.75


@pytest.mark.parametrize("idle", [900.0, 901.0, float("inf")])
def test_after_long_enough_without_a_byte_it_is_given_up(idle: float) -> None:
    assert pause(idle=idle) is None


def test_the_last_attempt_is_made_before_the_time_is_up() -> None:
    assert pause(attempt=9, idle=890.0, jitter=0.5) == 10.0


def test_with_no_time_to_retry_it_is_given_up_at_once() -> None:
    assert pause(retry_for=0.0) is None


def test_without_a_pause_it_is_tried_again_at_once() -> None:
    assert pause(first=0.0, attempt=5) == 0.0


@given(
    st.integers(1, 10**6), st.floats(0, 2000), st.floats(0, 1000), st.floats(0, 100), st.floats(0, 1, exclude_max=True)
)
def test_every_pause_is_within_a_minute_and_within_the_time_left(
    attempt: int, idle: float, retry_for: float, first: float, jitter: float
) -> None:
    seconds = delay(PASSING, attempt, idle=idle, retry_for=retry_for, first=first, jitter=jitter)
    if idle >= retry_for:
        assert seconds is None
    else:
        assert seconds is not None
        assert 0 <= seconds <= min(LONGEST_PAUSE, retry_for - idle)
