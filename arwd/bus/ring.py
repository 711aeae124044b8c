"""The recent events, in the order of their ids, and how far they may be seen. No clock, no socket, no disk.

An event keeps the place it took. A milestone takes it *pending*, before its commit, and the **visible head** stops
before the first pending one, so nobody hears of a later event first. A commit that fails leaves a hole.
"""

import bisect
from collections.abc import Iterable, Iterator

import msgspec

from arwd.bus.base import Selector
from arwd.events import Durability, Event, frame

_SLACK = 1024
"""Places beyond the capacity before old ones are cut off: one cut for many events."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber at some position is sent next."""

    frames: bytes
    cursor: int
    """Its position afterwards."""


class Ring:
    """Bounded memory of events. Ids only grow; a position is the id of the last event before it."""

    def __init__(
        self, *, capacity: int, crowd: int, batch_bytes: int, head: int, floor: int, recent: Iterable[Event] = ()
    ) -> None:
        """`crowd`: a reader behind by more events than this gets them conflated. `recent`: the milestones after
        `floor`, all of them, from before this start; `head`: the position that the next event follows.
        """
        self._capacity = capacity
        self._crowd = crowd
        self._batch_bytes = batch_bytes
        self._events: list[Event | None] = list(recent)  # None: pending, or a hole
        self._ids = [event.id for event in self._events if event is not None]
        self._pending: list[int] = []
        self._newest = head
        self.floor = floor
        """Every milestone after this id is still here."""

    @property
    def head(self) -> int:
        """The visible head: the newest position that may be named."""
        return self._pending[0] - 1 if self._pending else self._newest

    @property
    def has_pending(self) -> bool:
        """Does a milestone wait for its commit?"""
        return bool(self._pending)

    def append(self, event: Event) -> None:
        """Take the next place with an event that is visible as soon as all before it are."""
        self._take(event.id, event)

    def reserve(self, event_id: int) -> None:
        """Take the next place for an event that is not committed yet."""
        self._take(event_id, None)
        self._pending.append(event_id)

    def reveal(self, event: Event) -> None:
        """The pending event is committed."""
        place = self._place(event.id) - 1
        if 0 <= place < len(self._ids) and self._ids[place] == event.id:
            self._events[place] = event
        else:
            self.floor = max(self.floor, event.id)  # forgotten while it was pending: a gap for those before it
        self.give_up(event.id)

    def give_up(self, event_id: int) -> None:
        """Nothing stands at this place any longer; it holds nobody up, and no gap counts it."""
        self._pending.remove(event_id)

    def read(self, cursor: int, selector: Selector, *, end: int | None = None) -> Batch:
        """The next frames for a subscriber, bounded in bytes; nothing beyond `end`."""
        frames: list[bytes] = []
        size = 0
        for event in self.select(cursor, selector, end=end):
            encoded = frame(event, selector.shape, named=selector.named)
            size += len(encoded)
            if frames and size > self._batch_bytes:
                return Batch(frames=b"".join(frames), cursor=cursor)
            frames.append(encoded)
            cursor = event.id
        return Batch(frames=b"".join(frames), cursor=self.head if end is None else end)

    def select(self, cursor: int, selector: Selector, *, end: int | None = None) -> list[Event]:
        """The visible events after `cursor` that the selector wants; of a crowd, without overtaken ticks."""
        upper = self.head if end is None else end
        events = [event for event in self._visible(cursor, upper) if selector.wants(event)]
        return events if len(events) <= self._crowd else conflate(events)

    def _visible(self, cursor: int, upper: int) -> Iterator[Event]:
        for place in range(self._place(cursor), self._place(upper)):
            event = self._events[place]
            if event is not None:
                yield event

    def _place(self, event_id: int) -> int:
        return bisect.bisect_right(self._ids, event_id)

    def _take(self, event_id: int, event: Event | None) -> None:
        assert event_id > self._newest, "ids only grow"
        self._ids.append(event_id)
        self._events.append(event)
        self._newest = event_id
        if len(self._ids) > self._capacity + _SLACK:
            self._cut(len(self._ids) - self._capacity)

    def _cut(self, count: int) -> None:
        for event in self._events[:count]:
            if event is not None and event.durability is Durability.MILESTONE:
                self.floor = max(self.floor, event.id)
        del self._ids[:count], self._events[:count]


def conflate(events: Iterable[Event]) -> list[Event]:
    """Without the ticks that a later event of the same job has overtaken. Milestones and answers all stay."""
    kept: list[Event] = []
    overtaken: set[str | None] = set()
    for event in reversed(list(events)):
        if event.durability is Durability.TICK and event.job_id in overtaken:
            continue
        if event.job_id is not None:
            overtaken.add(event.job_id)
        kept.append(event)
    kept.reverse()
    return kept
