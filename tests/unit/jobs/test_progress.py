"""At most four ticks a second, a rate over the last seconds, per cent that never boast: all by a clock of our own."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.jobs import progress as measured
from arwd.jobs.progress import Progress
from tests.haste import WONTED_TICK as TICK


class Timer:
    """A call that is due at some time."""

    def __init__(self, at: float, call: object) -> None:
        self.at, self.call, self.is_off = at, call, False

    def cancel(self) -> None:
        self.is_off = True


class Clock:
    """A clock that a test turns; what is due is called on the way."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.ticks: list[float] = []
        self.progress = Progress(self._tick, lambda: self.now, self.later)
        self.told: list[int] = []

    def _tick(self) -> None:
        self.ticks.append(self.now)
        self.told.append(self.progress.downloaded)

    def later(self, delay: float, call: object) -> Timer:
        self.timers.append(Timer(self.now + delay, call))
        return self.timers[-1]

    def turn(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.is_off and timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.call()  # type: ignore[operator]
        self.now = end


@pytest.fixture(autouse=True, scope="module")
def _unhurried() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured, "TICK", TICK)
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_bytes_are_told_at_once(clock: Clock) -> None:
    clock.progress.begin(0, 100)
    clock.progress.add(10)
    assert clock.told == [10]


def test_what_follows_waits_for_the_rhythm_and_is_told_once(clock: Clock) -> None:
    clock.progress.begin(0, 100)
    for _ in range(5):
        clock.progress.add(10)
    assert clock.told == [10]
    clock.turn(TICK)
    assert clock.told == [10, 50]
    clock.turn(10)
    assert clock.told == [10, 50]


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 1000)), max_size=60))
def test_no_second_ever_has_more_than_four_ticks_and_none_is_lost(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    clock.progress.begin(0, None)
    for seconds, count in steps:
        clock.turn(seconds)
        clock.progress.add(count)
    clock.turn(1)
    assert TICK * 4 == 1
    assert all(later - earlier >= TICK - 1e-6 for earlier, later in zip(clock.ticks, clock.ticks[1:], strict=False))
    assert clock.told == sorted(set(clock.told))
    assert clock.told[-1:] == [clock.progress.downloaded] * bool(steps)


def test_before_it_begins_and_after_its_end_nothing_is_told(clock: Clock) -> None:
    clock.progress.ask()
    clock.progress.begin(0, 100)
    clock.progress.add(1)
    clock.progress.add(1)
    clock.progress.end()
    clock.turn(5)
    clock.progress.ask()
    clock.turn(5)
    assert clock.told == [1]


def test_a_newcomer_is_told_even_if_nothing_moves(clock: Clock) -> None:
    clock.progress.begin(40, 100)
    clock.turn(5)
    clock.progress.ask()
    assert clock.told == [40]
    for _ in range(3):
        clock.progress.ask()
    clock.turn(5)
    assert clock.told == [40, 40]


def test_the_end_is_told_at_once_and_once(clock: Clock) -> None:
    clock.progress.begin(0, 100)
    clock.progress.add(60)
    clock.progress.add(40)
    clock.progress.finish()
    clock.turn(5)
    assert clock.told == [60, 100]


def test_an_end_that_was_told_already_is_not_told_again(clock: Clock) -> None:
    clock.progress.begin(0, 100)
    clock.progress.add(100)
    clock.progress.finish()
    assert clock.told == [100]


def test_an_empty_file_is_told_to_be_whole(clock: Clock) -> None:
    clock.progress.begin(0, 0)
    clock.progress.finish()
    assert (clock.told, clock.progress.percent) == ([0], 100)


@pytest.mark.parametrize(
    ("downloaded", "total", "percent"),
    [
        (0, 100, 0),
        (1, 1000, 0),
        (999, 1000, 99),
        (1000, 1000, 100),
        (2**53 - 2, 2**53 - 1, 99),
        (0, 0, 100),
        (5, None, None),
    ],
)
def test_per_cent_are_rounded_down_and_100_means_all(downloaded: int, total: int | None, percent: int | None) -> None:
    progress = Clock().progress
    progress.begin(downloaded, total)
    assert progress.percent == percent


def test_the_rate_is_that_of_the_last_seconds(clock: Clock) -> None:
    clock.progress.begin(0, 1_000_000)
    for _ in range(40):
        clock.turn(0.25)
        clock.progress.add(250)
    assert clock.progress.bytes_per_second == 1_000
    for _ in range(40):
        clock.turn(0.25)
        clock.progress.add(25)
    assert clock.progress.bytes_per_second == 100


def test_bytes_held_from_before_do_not_count_as_speed(clock: Clock) -> None:
    clock.progress.begin(1_000_000, 2_000_000)
    clock.turn(1)
    clock.progress.add(500)
    assert clock.progress.bytes_per_second == 500


def test_a_stall_shows_in_the_rate(clock: Clock) -> None:
    clock.progress.begin(0, None)
    clock.turn(1)
    clock.progress.add(1_000)
    clock.turn(9)
    assert clock.progress.bytes_per_second == 100


def test_a_job_that_does_not_run_has_no_rate_and_no_time_left(clock: Clock) -> None:
    assert (clock.progress.bytes_per_second, clock.progress.eta_seconds) == (0, None)
    clock.progress.begin(0, 100)
    assert (clock.progress.bytes_per_second, clock.progress.eta_seconds) == (0, None)
    clock.turn(1)
    clock.progress.add(50)
    clock.progress.end()
    assert (clock.progress.bytes_per_second, clock.progress.eta_seconds) == (0, None)


@pytest.mark.parametrize(("total", "left"), [(100, 9), (101, 10), (10, 0), (5, 0), (None, None)])
def test_the_time_left_is_rounded_up(clock: Clock, total: int | None, left: int | None) -> None:
    clock.progress.begin(0, total)
    clock.turn(1)
    clock.progress.add(10)
    assert clock.progress.eta_seconds == left


def test_the_last_tick_of_a_run_still_tells_its_rate(clock: Clock) -> None:
    rates: list[int] = []
    progress = Progress(lambda: rates.append(progress.bytes_per_second), lambda: clock.now, clock.later)
    progress.begin(0, 1_000)
    clock.turn(1)
    progress.add(500)
    progress.add(500)
    progress.finish()
    assert rates == [500, 1_000]
