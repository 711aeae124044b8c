"""When a server is so slow that another connection is worth a try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.transfer.pace import Pace


class Body:
    """A body that arrives by a clock of its own. At least 100 bytes a second, over 10 seconds."""

    def __init__(self, least: float = 100.0) -> None:
        self.now = 0.0
        self.pace = Pace(least=least, window=10.0, clock=lambda: self.now)

    def chunk(self, count: int, *, waited: float, written: float = 0.0) -> bool:
        self.pace.wait()
        self.now += waited
        is_fast_enough = self.pace.arrived(count)
        self.now += written
        return is_fast_enough


def test_a_window_with_too_few_bytes_is_too_slow() -> None:
    body = Body()
    assert [body.chunk(99, waited=1.0) for _ in range(10)] == [True] * 9 + [False]


def test_a_window_with_just_enough_is_not() -> None:
    body = Body()
    assert all(body.chunk(100, waited=1.0) for _ in range(100))


def test_what_came_earlier_excuses_nothing() -> None:
    body = Body()
    assert body.chunk(10**9, waited=10.0)
    assert [body.chunk(1, waited=5.0) for _ in range(2)] == [True, False]


def test_a_single_long_wait_is_judged_by_its_own_length() -> None:
    body = Body()
    assert body.chunk(2_000, waited=20.0)
    assert not body.chunk(1_999, waited=20.0)


def test_time_in_which_the_disk_was_behind_does_not_count() -> None:
    body = Body()
    assert all(body.chunk(1, waited=0.009, written=100.0) for _ in range(1_000))


def test_bytes_that_were_not_waited_for_count() -> None:
    """They arrived while something else was done."""
    body = Body()
    body.pace.wait()
    assert body.pace.arrived(500)
    assert body.pace.arrived(500)
    assert body.chunk(0, waited=10.0)


def test_the_present_wait_can_be_asked_for() -> None:
    body = Body()
    assert body.pace.waiting == 0.0
    body.pace.wait()
    body.now += 3.0
    assert body.pace.waiting == 3.0
    body.pace.arrived(1)
    body.now += 3.0
    assert body.pace.waiting == 0.0


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1_000)), max_size=50))
def test_without_a_least_speed_everything_is_fast_enough(chunks: list[tuple[int, float]]) -> None:
    body = Body(least=0.0)
    assert all(body.chunk(count, waited=waited) for count, waited in chunks)


@pytest.mark.parametrize("speed", [101, 150, 10**6])
@given(st.lists(st.integers(1, 25), min_size=1, max_size=50))
def test_whoever_never_falls_below_the_least_speed_is_never_too_slow(speed: int, waits: list[int]) -> None:
    body = Body()
    assert all(body.chunk(speed * waited, waited=float(waited)) for waited in waits)
