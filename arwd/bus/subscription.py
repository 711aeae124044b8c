"""One subscriber of the local bus: where it stands, what it is owed, and the write that is under way.

The hub steps the subscriber's `write` by hand. It rarely suspends; when it does, what it yields is a future of the
loop, and the write goes on when that is done. So a subscriber needs no task and no queue of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from msgspec import UNSET

from arwd.bus.base import Selector, Start, Write
from arwd.bus.gap import with_gap
from arwd.bus.ring import Batch, Ring
from arwd.events import Event, Gap, frame

log = logging.getLogger(__name__)

HEARTBEAT = b": hb\n"


class Hub(Protocol):
    """Who serves the subscriptions."""

    def join(self, subscription: "LocalSubscription") -> None:
        """From now on serve this one."""

    def leave(self, subscription: "LocalSubscription") -> None:
        """It is over."""

    def latest(self, job_id: str) -> Event | None:
        """The newest revealed milestone of a job."""


class LocalSubscription:
    """A cursor into the ring."""

    __slots__ = (
        "_abort",
        "_bus",
        "_busy",
        "_cursor",
        "_ending",
        "_floor",
        "_last_write",
        "_ring",
        "_selector",
        "_waiting",
        "_write",
        "opening",
        "replayed",
        "start",
    )  # fmt: skip

    def __init__(
        self,
        bus: Hub,
        ring: Ring,
        selector: Selector,
        start: Start,
        *,
        until_done: Iterable[str] | None = None,
    ) -> None:
        self._bus = bus
        self._ring = ring
        self._selector = selector
        self._write: Write | None = None
        self._abort: Callable[[], None] | None = None
        self._busy = False
        self._ending = False
        self._last_write = 0.0
        self.start, self._cursor, gap = self._begin(start)
        latest: list[Event] = []
        self._waiting: set[str] | None = None
        self._floor = self._ring.head
        """A stream that ends by itself first delivers everything up to here."""
        if until_done is not None:
            latest = self._wait_for(until_done, is_fresh=start == Start() or (gap is not None and gap.after is UNSET))
        self.opening = latest if gap is None else with_gap(latest, self.start, gap)
        """What comes before the ring: how the jobs waited for stand, and what is missing."""
        self.replayed = len(self.opening) + len(ring.select(self._cursor, selector))
        """How many events come from before this moment."""

    @property
    def is_over(self) -> bool:
        """Is nothing left to deliver or to wait for?"""
        return self._waiting is not None and not self._waiting and not self.replayed

    def attach(self, opening: bytes, write: Write, abort: Callable[[], None]) -> None:
        """Send `opening`, then all events from the start on. `abort` cuts the connection."""
        self._write, self._abort = write, abort
        self._last_write = asyncio.get_running_loop().time()
        self._send(opening, more=True)
        if not self._is_gone():
            self._bus.join(self)

    def advance(self, batches: dict[tuple[int, Selector], Batch], now: float) -> bool:
        """Send what is next, if the last write is done. Is there more to send right away?"""
        if self._is_busy() or self._is_gone():
            return False
        if self._cursor < self._ring.floor:
            self._tell_gap(now)
            return True
        head = self._ring.head
        end = self._end()
        if self._cursor < (head if end is None else end):
            batch = self._next_batch(batches, end)
            self._pass_by(batch.cursor)
            if batch.frames:
                self._last_write = now
                self._send(batch.frames, more=True)
        # The write may have been suspended: then its end brings us back here.
        if self._is_busy() or self._is_gone():
            return False
        if (self._ending and self._cursor >= head) or (end is not None and self._cursor >= end):
            self._finish()
            return False
        return self._cursor < head

    def show_life(self, now: float, silence: float) -> None:
        """Send a heartbeat if this stream would have been silent for too long at the next opportunity."""
        if not self._busy and self._write is not None and now - self._last_write >= silence * 13 / 15:
            self._last_write = now
            self._send(HEARTBEAT, more=True)

    def end(self) -> None:
        """From the next turn on: deliver what is visible, then end the stream."""
        self._ending = True

    def abort(self) -> None:
        """Cut the connection: its peer does not read."""
        if self._abort is not None:
            self._abort()
        self.close()

    def close(self) -> None:
        """The subscriber is gone."""
        self._write = None
        self._bus.leave(self)

    def _is_gone(self) -> bool:
        return self._write is None

    def _is_busy(self) -> bool:
        return self._busy  # a call: the type checker would take an attribute for unchanged by a write in between

    def _begin(self, start: Start) -> tuple[int, int, Gap | None]:
        """The position to name as the start, the one to read on from, and the gap between them."""
        head = self._ring.head
        if start.is_unknown or (start.after is not None and start.after > head):
            return head - 1, head, Gap(to=head)
        if start.after is not None:
            if start.after < self._ring.floor:
                return start.after, self._ring.floor, Gap(after=start.after, to=self._ring.floor)
            return start.after, start.after, None
        if start.replay:
            milestones = self._ring.last_milestones(start.replay, self._selector)
            if milestones:
                return milestones[0].id - 1, milestones[0].id - 1, None
        return head, head, None

    def _wait_for(self, job_ids: Iterable[str], *, is_fresh: bool) -> list[Event]:
        """The newest milestones of these jobs that come before what the ring is asked for."""
        known = {job_id: self._bus.latest(job_id) for job_id in job_ids}
        milestones = sorted((event for event in known.values() if event is not None), key=lambda event: event.id)
        if is_fresh and milestones:
            # One id stays free below the first of them: a gap that begins nowhere is told there at the latest.
            self.start = min(self.start, milestones[0].id - 2)
        self._waiting = {
            job_id for job_id, event in known.items() if event is None or not event.is_final or event.id > self._cursor
        }
        return [event for event in milestones if self.start < event.id <= self._cursor and self._selector.wants(event)]

    def _end(self) -> int | None:
        """The position at which this stream is done, or None while it is not known."""
        if self._waiting is None:
            return None
        missing, end = set(self._waiting), self._cursor
        for event in self._ring.finals(self._cursor, self._ring.head):
            if not missing:
                break
            missing.discard(event.job_id or "")
            end = event.id
        return None if missing else max(end, self._floor)

    def _tell_gap(self, now: float) -> None:
        # The ring went round while this subscriber was busy: what it missed is not here any more.
        gap = Gap(after=self._cursor, to=self._ring.floor)
        finals = [event for event in map(self._bus.latest, self._waiting or ()) if event is not None and event.is_final]
        finals = [event for event in finals if self._cursor < event.id <= gap.to]
        if self._waiting:
            self._waiting -= {event.job_id or "" for event in finals}
        told = with_gap([event for event in finals if self._selector.wants(event)], self._cursor, gap)
        self._cursor, self._last_write = gap.to, now
        frames = [frame(event, self._selector.shape, named=self._selector.named) for event in told]
        self._send(b"".join(frames), more=True)

    def _pass_by(self, cursor: int) -> None:
        if self._waiting:
            self._waiting -= {event.job_id or "" for event in self._ring.finals(self._cursor, cursor)}
        self._cursor = cursor

    def _next_batch(self, batches: dict[tuple[int, Selector], Batch], end: int | None) -> Batch:
        if end is not None:
            return self._ring.read(self._cursor, self._selector, end=end)
        key = (self._cursor, self._selector)
        batch = batches.get(key)
        if batch is None:
            batch = batches[key] = self._ring.read(self._cursor, self._selector)
        return batch

    def _finish(self) -> None:
        self._send(b"", more=False)

    def _send(self, body: bytes, *, more: bool) -> None:
        assert self._write is not None
        self._step(self._write(body, more).__await__(), more=more)

    def _step(self, writing: Generator[Any, None, None], *, more: bool) -> None:
        try:
            awaited = next(writing)
        except StopIteration:
            self._busy = False
            if not more:
                self.close()
        except Exception:
            log.exception("A stream broke", extra={"event": "stream_broke"})
            self.abort()
        else:
            self._busy = True
            if awaited is None:  # a bare yield: the write only wants the others to have their turn
                asyncio.get_running_loop().call_soon(lambda: self._resume(writing, more=more))
            else:
                awaited.add_done_callback(lambda _: self._resume(writing, more=more))

    def _resume(self, writing: Generator[Any, None, None], *, more: bool) -> None:
        self._step(writing, more=more)
        if not self._busy and self._write is not None:
            self._bus.join(self)
