"""First come, first served, in as many slots as there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd.jobs.scheduler import Options, Scheduler


class Item:
    """Remembers that it was started."""

    def __init__(self, name: str, started: list[str]) -> None:
        self.name, self._started = name, started

    def start(self) -> None:
        self._started.append(self.name)


@pytest.fixture
def started() -> list[str]:
    return []


def items(started: list[str], names: str) -> list[Item]:
    return [Item(name, started) for name in names]


def scheduler(slots: int, *offered: Item) -> Scheduler:
    made = Scheduler(Options(max_jobs=slots))
    for item in offered:
        made.offer(item)
    return made


def test_as_many_begin_as_there_are_slots_in_the_order_they_came(started: list[str]) -> None:
    made = scheduler(2, *items(started, "abcd"))
    assert started == ["a", "b"]
    assert (made.running, made.queued, made.next_position()) == (2, 2, 3)


def test_a_slot_that_is_freed_goes_to_the_next(started: list[str]) -> None:
    a, b, c = items(started, "abc")
    made = scheduler(1, a, b, c)
    made.release(a)
    assert started == ["a", "b"]
    made.release(b)
    made.release(c)
    assert started == ["a", "b", "c"]
    assert (made.running, made.queued) == (0, 0)


def test_whoever_waits_knows_its_place(started: list[str]) -> None:
    a, b, c = items(started, "abc")
    made = scheduler(1, a, b, c)
    assert [made.position(item) for item in (a, b, c)] == [None, 1, 2]
    made.release(b)
    assert made.position(c) == 1


def test_whoever_leaves_the_queue_frees_no_slot(started: list[str]) -> None:
    a, b, c = items(started, "abc")
    made = scheduler(1, a, b, c)
    made.release(b)
    assert started == ["a"]
    assert (made.running, made.queued) == (1, 1)


def test_releasing_twice_frees_one_slot(started: list[str]) -> None:
    a, b, c = items(started, "abc")
    made = scheduler(1, a, b, c)
    made.release(a)
    made.release(a)
    assert started == ["a", "b"]


def test_a_higher_limit_takes_effect_at_once_and_a_lower_one_stops_nobody(started: list[str]) -> None:
    a, b, c, d = items(started, "abcd")
    made = scheduler(1, a, b, c, d)
    made.set_limit(3)
    assert started == ["a", "b", "c"]
    made.set_limit(1)
    assert made.running == 3
    made.release(a)
    made.release(b)
    assert started == ["a", "b", "c"]
    made.release(c)
    assert started == ["a", "b", "c", "d"]


def test_a_closed_scheduler_starts_nobody(started: list[str]) -> None:
    a, b = items(started, "ab")
    made = scheduler(1, a, b)
    made.close()
    made.release(a)
    made.offer(a)
    made.set_limit(9)
    assert started == ["a"]


def test_one_that_ends_as_it_begins_does_not_upset_the_order(started: list[str]) -> None:
    made = Scheduler(Options(max_jobs=1))

    class Brief(Item):
        def start(self) -> None:
            super().start()
            made.release(self)

    for name in "abc":
        made.offer(Brief(name, started))
    assert started == ["a", "b", "c"]
    assert made.running == 0


@given(st.integers(1, 4), st.lists(st.integers(0, 9), max_size=40))
def test_the_limit_holds_and_the_order_is_that_of_the_offers(slots: int, steps: list[int]) -> None:
    started: list[str] = []
    everyone = items(started, "0123456789")
    made = Scheduler(Options(max_jobs=slots))
    offered: list[str] = []
    for step in steps:
        item = everyone[step]
        if item.name in offered:
            made.release(item)
        else:
            offered.append(item.name)
            made.offer(item)
        assert made.running <= slots
        assert made.queued == 0 or made.running == slots
    assert started == [name for name in offered if name in started]
