"""When a fault is worth another attempt, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import errors
from arwd.transfer.retry import LONGEST_PAUSE, LONGEST_WISH, ROUTE_PAUSE, Patience, delay

PASSING = errors.Reset("lost")


def pause(error: errors.ArwdError = PASSING, attempt: int = 1, **more: float) -> float | None:
    return delay(
        error, attempt, **({"idle": 0.0, "repeated": 1, "retry_for": 900.0, "first": 1.0, "jitter": 0.0} | more)
    )


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


@pytest.mark.parametrize("error", [errors.TooManyRequests("x", 429, 90.0), errors.ServerBusy("x", 503, 90.0)])
def test_what_a_server_asks_for_is_the_least(error: errors.HttpStatus) -> None:
    assert pause(error) == 90.0
    assert pause(error, attempt=50, jitter=0.5) == 90.0
    assert pause(errors.ServerBusy("x", 503, 2.0), attempt=7) == 30.0
    assert pause(errors.ServerBusy("x", 503, 0.0)) == 0.5


def test_what_a_server_asks_for_is_granted_even_if_the_time_is_up_meanwhile() -> None:
    assert pause(errors.ServerBusy("x", 503, 90.0), idle=890.0) == 90.0
    assert pause(errors.ServerBusy("x", 503, 90.0), idle=900.0) is None


@pytest.mark.parametrize(("wish", "seconds"), [(LONGEST_WISH, 300.0), (LONGEST_WISH + 0.5, None), (1e12, None)])
def test_whoever_wants_to_be_left_alone_for_long_is(wish: float, seconds: float | None) -> None:
    assert pause(errors.TooManyRequests("x", 429, wish)) == seconds


@pytest.mark.parametrize(
    ("error", "most"),
    [(errors.UnknownName("x"), 3), (errors.LinkExpired("x", 403), 3), (errors.InvalidResponse("x"), 1)],
)
def test_some_faults_are_worth_so_many_retries(error: errors.ArwdError, most: int) -> None:
    assert pause(error, repeated=most) is not None
    assert pause(error, repeated=most + 1) is None


class Time:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Trial:
    """A transfer that is tried again and again: each attempt takes a while, and ends in a fault."""

    def __init__(self, retry_for: float = 900.0) -> None:
        self.time = Time()
        self.patience = Patience(0, retry_for=retry_for, first=1.0, clock=self.time)

    def fault(self, error: errors.ArwdError, *, held: int = 0, after: float = 0.0) -> float | None:
        """The pause after a fault, waited for."""
        self.time.now += after
        pause = self.patience.after(error, held, jitter=0.0)
        self.time.now += pause or 0.0
        return pause


def test_faults_in_a_row_are_counted_until_a_byte_is_new() -> None:
    trial = Trial()
    assert [trial.fault(PASSING, held=held) for held in (0, 0, 0)] == [0.5, 1.0, 2.0]
    assert trial.patience.attempt == 3
    assert trial.fault(PASSING, held=1) == 0.5
    assert trial.fault(PASSING, held=1) == 1.0
    assert trial.fault(PASSING, held=0) == 2.0
    assert trial.fault(PASSING, held=1) == 0.5, "bytes were given up, and others came"
    assert trial.fault(PASSING, held=0) == 1.0
    assert trial.fault(PASSING, held=1) == 2.0, "but that counts only once"


def test_faults_of_one_kind_in_a_row_are_counted_apart() -> None:
    trial = Trial()
    expired, lost = errors.LinkExpired("x", 403), PASSING
    assert None not in [trial.fault(error) for error in (expired, lost, expired, lost, expired, lost)]
    assert trial.fault(expired) is None


def test_a_link_that_expires_again_and_again_while_bytes_come_is_asked_for_anew_each_time() -> None:
    trial = Trial()
    assert None not in [trial.fault(errors.LinkExpired("x", 403), held=held) for held in range(50)]


def test_without_a_new_byte_a_transfer_ends_when_its_time_is_up() -> None:
    trial = Trial(retry_for=10.0)
    pauses = [trial.fault(PASSING, after=1.0) for _ in range(5)]
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert trial.fault(PASSING) is None
    assert trial.time.now <= 1_000.0 + 10.0 + 5.0


def test_time_without_a_network_does_not_count() -> None:
    trial = Trial(retry_for=10.0)
    away = errors.NoRoute("x")
    pauses = [trial.fault(away, after=1.0) for _ in range(1_000)]
    assert None not in pauses
    assert max(pause for pause in pauses if pause is not None) == ROUTE_PAUSE / 2
    assert trial.patience.attempt == 0
    assert trial.fault(PASSING, after=1.0) == 0.5, "it is as if nothing had been"
    assert trial.fault(away, after=20.0) == ROUTE_PAUSE / 2
    assert trial.fault(PASSING, after=8.0) == 0.5, "of ten seconds, one, a half and eight are gone"
    assert trial.fault(PASSING, after=0.5) is None


def test_who_has_no_time_to_retry_does_not_wait_for_a_network() -> None:
    assert Trial(retry_for=0.0).fault(errors.NoRoute("x")) is None


KINDS = [
    PASSING, errors.NoRoute("x"), errors.UnknownName("x"), errors.LinkExpired("x", 401), errors.InvalidResponse("x"),
    errors.ServerBusy("x", 503, 7.0), errors.TooManyRequests("x", 429, 299.0),
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.floats(0, 100)), max_size=60))
def test_whatever_goes_wrong_a_transfer_without_new_bytes_comes_to_its_end(
    faults: list[tuple[errors.TransferError, int, float]],
) -> None:
    trial = Trial(retry_for=60.0)
    for error, held, after in faults:
        pause = trial.fault(error, held=held, after=after)
        assert pause is None or 0.0 <= pause <= LONGEST_WISH
        if pause is None:
            break
    ends = [trial.fault(PASSING, held=3, after=10.0) for _ in range(8)]
    assert ends[-1] is None


@given(
    st.integers(1, 10**6), st.floats(0, 2000), st.floats(0, 1000), st.floats(0, 100), st.floats(0, 1, exclude_max=True)
)
def test_every_pause_is_within_a_minute_and_within_the_time_left(
    attempt: int, idle: float, retry_for: float, first: float, jitter: float
) -> None:
    seconds = delay(PASSING, attempt, repeated=attempt, idle=idle, retry_for=retry_for, first=first, jitter=jitter)
    if idle >= retry_for:
        assert seconds is None
    else:
        assert seconds is not None
        assert 0 <= seconds <= min(LONGEST_PAUSE, retry_for - idle)
