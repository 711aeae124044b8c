"""Whatever happens to a ring, every reader gets each visible event it wants once and in order."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from arwd.bus import ring as rings
from arwd.bus.base import Selector
from arwd.bus.ring import Ring, conflate
from arwd.events import CHANGED, PROGRESS, Durability, Event
from tests.unit.samples import event

MILESTONE, TICK, ANSWER = Durability.MILESTONE, Durability.TICK, Durability.ANSWER
ALL = Selector()


@pytest.fixture(autouse=True)
def _no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "_SLACK", 0)


def ring(*, capacity: int = 100, crowd: int = 100, batch_bytes: int = 1 << 20, head: int = 0, **more: object) -> Ring:
    known = {"floor": head} | more
    return Ring(capacity=capacity, crowd=crowd, batch_bytes=batch_bytes, head=head, **known)  # type: ignore[arg-type]


def ids(frames: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"^id: (\d+)$", frames, re.MULTILINE)]


def read(made: Ring, cursor: int = 0, selector: Selector = ALL) -> list[int]:
    return ids(made.read(cursor, selector).frames)


def test_an_empty_ring_stands_at_its_head() -> None:
    made = ring(head=41)
    assert made.head == 41
    batch = made.read(41, ALL)
    assert (batch.frames, batch.cursor) == (b"", 41)


def test_what_is_appended_is_visible_at_once() -> None:
    made = ring()
    made.append(event(1))
    made.append(event(5))
    assert made.head == 5
    assert read(made) == [1, 5]
    assert read(made, 1) == [5]
    assert read(made, 3) == [5]


def test_the_visible_head_stops_before_the_first_pending_event() -> None:
    made = ring()
    made.append(event(1))
    made.reserve(2)
    made.append(event(3, TICK))
    made.reserve(4)
    assert made.head == 1
    assert read(made) == [1]
    made.reveal(event(4))
    assert made.head == 1
    made.reveal(event(2))
    assert made.head == 4
    assert read(made) == [1, 2, 3, 4]


def test_a_commit_that_fails_leaves_a_hole_that_holds_nobody_up() -> None:
    made = ring()
    made.reserve(1)
    made.append(event(2))
    made.give_up(1)
    assert made.head == 2
    assert read(made) == [2]
    assert made.select(0, ALL) == [event(2)]


def test_nothing_beyond_the_visible_head_is_ever_named() -> None:
    made = ring()
    made.append(event(1))
    made.reserve(2)
    made.append(event(3))
    assert made.read(0, ALL).cursor == 1


def test_an_id_that_does_not_grow_is_a_fault() -> None:
    made = ring(head=5)
    with pytest.raises(AssertionError, match="ids only grow"):
        made.append(event(5))


def test_a_reader_passes_what_it_does_not_want() -> None:
    made = ring()
    made.append(event(1, kind=CHANGED))
    made.append(event(2))
    made.append(event(3, kind=CHANGED))
    batch = made.read(0, Selector(prefixes=("Models.Download",)))
    assert ids(batch.frames) == [2]
    assert batch.cursor == 3


@pytest.mark.parametrize(
    ("selector", "wanted"),
    [
        (Selector(), True),
        (Selector(prefixes=("Models.",)), True),
        (Selector(prefixes=("Bus.", "Models.D")), True),
        (Selector(prefixes=("Service.",)), False),
        (Selector(prefixes=("models.",)), False),
        (Selector(model_ids=frozenset({"m"})), True),
        (Selector(model_ids=frozenset({"other"})), False),
        (Selector(job_ids=frozenset({"job_0123456789"})), True),
        (Selector(job_ids=frozenset({"other"})), False),
        (Selector(model_ids=frozenset({"other"}), job_ids=frozenset({"job_0123456789"})), True),
        (Selector(prefixes=("Bus.",), model_ids=frozenset({"m"})), False),
    ],
)
def test_a_selector_wants_what_it_names(selector: Selector, wanted: bool) -> None:
    assert selector.wants(event(1, kind=PROGRESS)) is wanted


def test_an_event_of_no_model_is_not_wanted_by_a_reader_of_one() -> None:
    alone = event(1, model_id=None, job_id=None)
    assert not Selector(model_ids=frozenset({"m"})).wants(alone)
    assert Selector().wants(alone)


def test_a_batch_is_bounded_in_bytes_and_the_next_goes_on_behind_it() -> None:
    made = ring(batch_bytes=len(rings.frame(event(1))) * 2)
    for number in range(1, 6):
        made.append(event(number))
    first = made.read(0, ALL)
    assert (ids(first.frames), first.cursor) == ([1, 2], 2)
    second = made.read(first.cursor, ALL)
    assert (ids(second.frames), second.cursor) == ([3, 4], 4)


def test_an_event_larger_than_a_batch_is_sent_alone() -> None:
    made = ring(batch_bytes=1)
    made.append(event(1))
    made.append(event(2))
    assert ids(made.read(0, ALL).frames) == [1]
    assert ids(made.read(1, ALL).frames) == [2]


def test_nothing_beyond_the_end_that_was_asked_for_is_read() -> None:
    made = ring()
    for number in range(1, 6):
        made.append(event(number))
    batch = made.read(0, ALL, end=3)
    assert (ids(batch.frames), batch.cursor) == ([1, 2, 3], 3)


def test_a_reader_says_how_its_frames_look() -> None:
    made = ring()
    made.append(event(1))
    assert b"event:" not in made.read(0, Selector(named=False)).frames
    assert b'"specversion":"1.0"' in made.read(0, Selector(shape="cloudevents")).frames


def test_a_crowd_loses_its_overtaken_ticks_and_a_few_lose_nothing() -> None:
    made = ring(crowd=3)
    for number in range(1, 4):
        made.append(event(number, TICK))
    assert read(made) == [1, 2, 3]
    made.append(event(4, TICK))
    assert read(made) == [4]


def test_the_newest_tick_of_every_job_and_every_milestone_stay() -> None:
    made = [
        event(1, TICK, job_id="a"),
        event(2, TICK, job_id="b"),
        event(3, MILESTONE, job_id="a"),
        event(4, TICK, job_id="a"),
        event(5, ANSWER, job_id="b"),
        event(6, TICK, job_id="a"),
        event(7, MILESTONE, job_id=None),
        event(8, TICK, job_id="c"),
    ]
    assert [e.id for e in conflate(made)] == [3, 5, 6, 7, 8]


def test_a_full_ring_forgets_the_oldest_and_raises_its_floor() -> None:
    made = ring(capacity=3)
    for number in range(1, 6):
        made.append(event(number))
    assert read(made) == [3, 4, 5]
    assert made.floor == 2


def test_forgotten_ticks_and_holes_do_not_raise_the_floor() -> None:
    made = ring(capacity=2)
    made.append(event(1))
    made.append(event(2, TICK))
    made.reserve(3)
    made.give_up(3)
    for number in range(4, 6):
        made.append(event(number, TICK))
    assert read(made) == [4, 5]
    assert made.floor == 1


def test_a_milestone_that_was_forgotten_while_it_was_pending_raises_the_floor_when_it_is_committed() -> None:
    made = ring(capacity=2)
    made.reserve(1)
    for number in range(2, 6):
        made.append(event(number, TICK))
    made.reveal(event(1))
    assert made.head == 5
    assert made.floor >= 1 or 1 in read(made)


def test_milestones_from_before_the_start_can_be_read_again() -> None:
    made = ring(head=10, floor=3, recent=[event(4), event(7)])
    made.append(event(11))
    assert (made.floor, made.head) == (3, 11)
    assert read(made, 3) == [4, 7, 11]
    assert read(made, 4) == [7, 11]


JOBS = st.sampled_from(["a", "b", "c"])
SELECTORS = [
    Selector(),
    Selector(prefixes=("Models.Changed",)),
    Selector(model_ids=frozenset({"a"})),
    Selector(job_ids=frozenset({"b", "c"}), prefixes=("Models.",)),
]


class Reader:
    """A cursor, and what it was sent."""

    def __init__(self, cursor: int, selector: Selector) -> None:
        self.start = self.cursor = cursor
        self.selector = selector
        self.got: list[int] = []


class Interleavings(RuleBasedStateMachine):
    """Publishers append, reserve, reveal and give up, readers read, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Reader] = []
        self.pending: list[Event] = []
        self.published: dict[int, Event] = {}
        self.last = 0

    @initialize(crowd=st.sampled_from([2, 1000]), batch_bytes=st.sampled_from([1, 120, 1 << 20]))
    def begin(self, crowd: int, batch_bytes: int) -> None:
        self.crowd = crowd
        self.ring = ring(capacity=10_000, crowd=crowd, batch_bytes=batch_bytes)

    def _next(self, durability: Durability, job: str, step: int, kind: str) -> Event:
        self.last += step
        return event(self.last, durability, job_id=job, model_id=job, kind=kind)

    @rule(
        durability=st.sampled_from(Durability),
        job=JOBS,
        step=st.integers(1, 3),
        kind=st.sampled_from([PROGRESS, CHANGED]),
    )
    def append(self, durability: Durability, job: str, step: int, kind: str) -> None:
        made = self._next(durability, job, step, kind)
        self.published[made.id] = made
        self.ring.append(made)

    @rule(job=JOBS, step=st.integers(1, 3), kind=st.sampled_from([PROGRESS, CHANGED]))
    def reserve(self, job: str, step: int, kind: str) -> None:
        made = self._next(MILESTONE, job, step, kind)
        self.pending.append(made)
        self.ring.reserve(made.id)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def reveal(self, data: st.DataObject) -> None:
        made = data.draw(st.sampled_from(self.pending))
        self.pending.remove(made)
        self.published[made.id] = made
        self.ring.reveal(made)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        made = data.draw(st.sampled_from(self.pending))
        self.pending.remove(made)
        self.ring.give_up(made.id)

    @rule(selector=st.sampled_from(SELECTORS), back=st.integers(0, 10))
    def join(self, selector: Selector, back: int) -> None:
        self.readers.append(Reader(max(self.ring.head - back, 0), selector))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read_once(self, data: st.DataObject) -> None:
        self._read(data.draw(st.sampled_from(self.readers)))

    def _read(self, reader: Reader) -> None:
        batch = self.ring.read(reader.cursor, reader.selector)
        assert reader.cursor <= batch.cursor <= self.ring.head
        reader.got += ids(batch.frames)
        reader.cursor = batch.cursor

    @invariant()
    def the_head_is_before_the_first_pending(self) -> None:
        if hasattr(self, "ring"):
            first = min((made.id for made in self.pending), default=None)
            assert self.ring.head == (self.last if first is None else first - 1)

    def teardown(self) -> None:
        for made in self.pending[:]:
            self.published[made.id] = made
            self.ring.reveal(made)
        for reader in self.readers:
            while reader.cursor < self.ring.head:
                self._read(reader)
            self._check(reader)

    def _check(self, reader: Reader) -> None:
        assert reader.got == sorted(set(reader.got)), "once, and in order"
        due = [e for n, e in sorted(self.published.items()) if n > reader.start and reader.selector.wants(e)]
        assert set(reader.got) <= {e.id for e in due}, "nothing that is not wanted, nothing from before the start"
        for missed in self._missed(reader, due):
            assert self.crowd < 1000, "nothing is dropped where there is no crowd"
            assert missed.durability is TICK
            assert any(e.id > missed.id and e.job_id == missed.job_id and e.id in reader.got for e in due), "overtaken"

    def _missed(self, reader: Reader, due: list[Event]) -> Iterator[Event]:
        return (e for e in due if e.id not in reader.got)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = hypothesis_settings(deadline=None, max_examples=150, stateful_step_count=40)
