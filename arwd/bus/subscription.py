"""One subscriber of the local bus: where it stands, and what it is owed.

It is a cursor, not a queue. What it is sent next is read when its last write is done: from the journal while it is
behind the ring, from the ring otherwise.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from arwd.bus.base import Selector, Start, Write
from arwd.bus.gap import with_gap
from arwd.bus.journal import Page
from arwd.bus.outlet import Outlet
from arwd.bus.replay import Replay
from arwd.bus.ring import Batch, Ring
from arwd.bus.waiting import Latest, Waiting
from arwd.events import Event, Gap, frame

log = logging.getLogger(__name__)

HEARTBEAT = b": hb\n"


class Hub(Protocol):
    """Who serves the subscriptions."""

    def join(self, subscription: "LocalSubscription") -> None:
        """From now on serve this one."""

    def leave(self, subscription: "LocalSubscription") -> None:
        """It is over."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Where a subscription reads."""

    ring: Ring
    replay: Replay
    latest: Latest


class LocalSubscription:
    """A cursor into the ring, and behind it into the journal."""

    __slots__ = (
        "_cursor",
        "_ending",
        "_hub",
        "_is_reading",
        "_last_write",
        "_latest",
        "_outlet",
        "_replay",
        "_ring",
        "_selector",
        "_waiting",
        "opening",
        "replayed",
        "start",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub,
        sources: Sources,
        selector: Selector,
        start: Start,
        *,
        journaled: int = 0,
        until_done: Iterable[str] | None = None,
    ) -> None:
        """`journaled`: how many milestones the journal has for it before the ring begins."""
        self._hub = hub
        self._ring, self._replay, self._latest = sources.ring, sources.replay, sources.latest
        self._selector = selector
        self._outlet = Outlet(lambda: hub.join(self), self.close)
        self._is_reading = False
        self._ending = False
        self._last_write = 0.0
        self.start, self._cursor, gap = self._begin(start)
        latest: list[Event] = []
        self._waiting: Waiting | None = None
        if until_done is not None:
            latest = self._wait_for(list(until_done), is_fresh=start == Start() or gap is not None)
        self.opening = latest if gap is None else with_gap(latest, self.start, gap)
        """What comes before everything else: how the jobs waited for stand, and that something may be missing."""
        recent = self._ring.select(max(self._cursor, self._ring.floor), selector)
        self.replayed = journaled + len(self.opening) + len(recent)
        """How many events come from before this moment."""

    @property
    def is_over(self) -> bool:
        """Is nothing left to deliver or to wait for?"""
        return self._waiting is not None and self._waiting.is_over and not self.replayed

    def attach(self, opening: bytes, write: Write, abort: Callable[[], None]) -> None:
        """Send `opening`, then all events from the start on. `abort` cuts the connection."""
        self._outlet.open(write, abort)
        self._last_write = asyncio.get_running_loop().time()
        self._outlet.send(opening)
        if self._outlet.is_open:
            self._hub.join(self)

    def advance(self, batches: dict[tuple[int, Selector], Batch], now: float) -> bool:
        """Send what is next, if the last write is done. Is there more to send right away?"""
        if self._waiting is not None:
            self._waiting.look()
        if self._is_occupied():
            return False
        head = self._ring.head
        end = None if self._waiting is None else self._waiting.end(head)
        # A pending milestone may have lost its place in the ring: then the ring begins beyond what may be seen.
        below = min(self._ring.floor, head if end is None else end)
        if self._cursor < below:
            if self._ending:
                self._outlet.send(b"", more=False)  # far behind at a stop: it comes back with the id it has
            else:
                self._read_journal(below)
            return False
        if self._cursor < (head if end is None else end):
            batch = self._next_batch(batches, end)
            self._pass_by(batch.cursor)
            if batch.frames:
                self._last_write = now
                self._outlet.send(batch.frames)
        # The write may have been suspended: then its end brings us back here.
        if self._is_occupied():
            return False
        if (self._ending and self._cursor >= head) or (end is not None and self._cursor >= end):
            self._outlet.send(b"", more=False)
            return False
        return self._cursor < head

    def show_life(self, now: float, silence: float) -> None:
        """Send a heartbeat if this stream would have been silent for too long at the next opportunity."""
        if not self._is_occupied() and now - self._last_write >= silence * 13 / 15:
            self._last_write = now
            self._outlet.send(HEARTBEAT)

    def end(self) -> None:
        """From the next turn on: deliver what is visible, then end the stream."""
        self._ending = True

    def abort(self) -> None:
        """Cut the connection: its peer does not read."""
        self._outlet.abort()

    def close(self) -> None:
        """The subscriber is gone."""
        self._outlet.close()
        self._hub.leave(self)

    def _is_occupied(self) -> bool:
        return self._outlet.is_busy or self._is_reading or not self._outlet.is_open

    def _begin(self, start: Start) -> tuple[int, int, Gap | None]:
        """The position to name as the start, the one to read on from, and the gap between them."""
        head = self._ring.head
        if start.is_unknown or (start.after is not None and start.after > head):
            return head - 1, head, Gap(to=head)
        begin = head if start.after is None else start.after
        return begin, begin, None

    def _wait_for(self, job_ids: list[str], *, is_fresh: bool) -> list[Event]:
        """The newest milestones of these jobs that come before what is read."""
        self._waiting = Waiting(job_ids, self._latest, cursor=self._cursor, floor=self._ring.head)
        known = [event for event in map(self._latest, job_ids) if event is not None]
        milestones = sorted(known, key=lambda event: event.id)
        if is_fresh and milestones:
            # One id stays free below the first of them: a gap that begins nowhere is told there at the latest.
            self.start = min(self.start, milestones[0].id - 2)
        return [event for event in milestones if self.start < event.id <= self._cursor and self._selector.wants(event)]

    def _read_journal(self, end: int) -> None:
        self._is_reading = True
        self._replay.page(self._cursor, end, self._selector).add_done_callback(self._take_page)

    def _take_page(self, reading: asyncio.Task[Page]) -> None:
        self._is_reading = False
        if not self._outlet.is_open or reading.cancelled():
            return
        if (failure := reading.exception()) is not None:
            # The reader comes back with the last id it saw. To go on without would lose events without a word.
            log.error("A stream ended early: %s", failure, extra={"event": "journal_unreadable"})
            self._outlet.send(b"", more=False)
            return
        page = reading.result()
        events = page.events
        if self._cursor < page.floor:
            words = [] if self._waiting is None else self._waiting.last_words(self._cursor, page.floor)
            wanted = [event for event in words if self._selector.wants(event)]
            events = [*with_gap(wanted, self._cursor, Gap(after=self._cursor, to=page.floor)), *events]
        self._pass_by(page.cursor)
        if events:
            self._last_write = asyncio.get_running_loop().time()
            frames = [frame(event, self._selector.shape, named=self._selector.named) for event in events]
            self._outlet.send(b"".join(frames))
        if not self._is_occupied():
            self._hub.join(self)

    def _pass_by(self, cursor: int) -> None:
        if self._waiting is not None:
            self._waiting.pass_by(cursor)
        self._cursor = cursor

    def _next_batch(self, batches: dict[tuple[int, Selector], Batch], end: int | None) -> Batch:
        if end is not None:
            return self._ring.read(self._cursor, self._selector, end=end)
        key = (self._cursor, self._selector)
        batch = batches.get(key)
        if batch is None:
            batch = batches[key] = self._ring.read(self._cursor, self._selector)
        return batch
