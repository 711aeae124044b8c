"""The bus of one process: a ring in memory, a journal in SQLite, and a hub that steps every subscriber's writes.

A subscriber is a cursor, not a queue: what it is sent next is read from the ring when its last write is done, so a
slow one costs nothing but its own delay. All mutable state: the ring, the subscriptions, the facts waiting for ids.
"""

import asyncio
import collections
import contextlib
import functools
import logging
from collections.abc import Iterable

import msgspec

from arwd.bus import journal
from arwd.bus.base import Selector, Start
from arwd.bus.ids import Ids
from arwd.bus.ring import Batch, Ring
from arwd.bus.subscription import LocalSubscription
from arwd.database import After, Change, Database
from arwd.events import Durability, Event, Fact, publishable

log = logging.getLogger(__name__)

_CROWD = 256
"""A reader more events behind than this is spared the ticks that were overtaken."""
_BATCH_BYTES = 64 * 1024
"""Bytes of one write: uvicorn's high-water mark, so that one write at most waits in its buffer."""
_QUIET = 2.0
"""Seconds that a reader of lists waits for commits at the most: a full disk must not keep it from an answer."""
_JOBS = 2_000
"""Jobs whose newest milestone is known after a start: more than are kept."""
_TURN = 128
"""Subscribers served before the loop gets its turn: it holds 5,000 subscribers' flush to 3 ms at a stretch."""

_Publication = tuple[tuple[Fact, ...], tuple[Change, ...], After | None, asyncio.Future[None]]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much the bus remembers, and how often a silent stream shows that it lives."""

    ring: int = 8192
    """Events kept in memory."""
    heartbeat: float = 15.0
    """Seconds of silence after which a stream gets a comment."""


class LocalBus:
    """Publishes facts to the subscribers of this process."""

    def __init__(self, database: Database, options: Options) -> None:
        self._database = database
        self._options = options
        self._ids = Ids(database, self._drain)
        self._floor = database.read_now(journal.load_floor)
        recent = database.read_now(lambda cursor: journal.load_recent(cursor, options.ring // 2))
        self._latest = database.read_now(lambda cursor: journal.load_latest_of_jobs(cursor, _JOBS))
        floor = self._ids.last if self._floor is None else self._floor
        if len(recent) == options.ring // 2:
            floor = recent[0].id - 1
        self._ring = Ring(
            capacity=options.ring,
            crowd=_CROWD,
            batch_bytes=_BATCH_BYTES,
            head=self._ids.last,
            floor=floor,
            recent=recent,
        )
        self._waiting: collections.deque[_Publication] = collections.deque()
        self._subscriptions: set[LocalSubscription] = set()
        self._is_flushing = False
        self._has_news = False
        self._heartbeat: asyncio.TimerHandle | None = None
        self.is_closed = False
        """No stream is opened any more."""
        self.published = 0
        """Events given an id since the start."""

    async def begin(self) -> None:
        """Reserve ids and begin to beat. StorageError."""
        await self._ids.begin()
        if self._floor is None:
            await self._database.write(journal.begin_after(self._ids.last))
        self._beat()

    @property
    def head(self) -> int:
        """The newest id that everyone may see."""
        return self._ring.head

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._subscriptions)

    def latest(self, job_id: str) -> Event | None:
        """The newest revealed milestone of a job."""
        return self._latest.get(job_id)

    def forget(self, job_id: str) -> None:
        """The job is no longer kept."""
        self._latest.pop(job_id, None)

    def publish(
        self, *facts: Fact, changes: tuple[Change, ...] = (), after: After | None = None
    ) -> asyncio.Future[None]:
        """Commit the facts with the changes they belong to, run `after` in the database's thread, then reveal them.

        The future ends at the commit, or with StorageError: then the facts were not published and the changes
        not made. Cancelling it takes nothing back.
        """
        outcome = asyncio.get_running_loop().create_future()
        self._newest = outcome
        self._waiting.append((facts, changes, after, outcome))
        self._drain()
        return outcome

    async def quiet(self) -> None:
        """Return in a moment when everything published is revealed: memory and `head` then say the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_QUIET):
                while self._waiting or self._ring.has_pending:
                    await asyncio.wait([self._newest])

    def tell(self, fact: Fact) -> None:
        """Publish a tick or an answer. It is dropped while no id can be had: nobody may wait for it."""
        assert fact.durability is not Durability.MILESTONE
        event_id = None if self._waiting else self._ids.draw()
        if event_id is not None:
            self.published += 1
            self._ring.append(publishable(fact, event_id))
            self._wake()

    def subscribe(
        self, selector: Selector, start: Start, *, until_done: Iterable[str] | None = None
    ) -> LocalSubscription:
        """A place in the stream. `until_done`: the stream ends when these jobs are final."""
        # No await between reading the ring and taking the place: no gap and no duplicate.
        return LocalSubscription(self, self._ring, selector, start, until_done=until_done)

    async def close(self, patience: float) -> None:
        """End every stream: healthy ones with all they are due, after `patience` seconds the rest by force."""
        self.is_closed = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for subscription in self._subscriptions:
            subscription.end()
        self._wake()
        deadline = asyncio.get_running_loop().time() + patience
        while self._subscriptions and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for subscription in list(self._subscriptions):
            subscription.abort()

    def join(self, subscription: LocalSubscription) -> None:
        """From now on the hub serves this subscription."""
        self._subscriptions.add(subscription)
        if self.is_closed:
            subscription.end()
        self._wake()

    def leave(self, subscription: LocalSubscription) -> None:
        """The subscription is over."""
        self._subscriptions.discard(subscription)

    def _drain(self) -> None:
        # The facts draw their ids and enter the database's queue in one step: id order is commit order.
        while self._waiting:
            facts, changes, after, outcome = self._waiting[0]
            first = self._ids.draw(len(facts))
            if first is None:
                return
            self._waiting.popleft()
            events = [publishable(fact, first + number) for number, fact in enumerate(facts)]
            for event in events:
                self._ring.reserve(event.id)
            written = self._database.write(*changes, *map(journal.record, events), after=after)
            written.add_done_callback(functools.partial(self._committed, events, outcome))

    def _committed(self, events: list[Event], outcome: asyncio.Future[None], written: asyncio.Future[None]) -> None:
        failure = written.exception()
        for event in events:
            if failure is not None:
                self._ring.give_up(event.id)
                continue
            self._ring.reveal(event)
            self.published += 1
            if event.job_id is not None:
                self._latest[event.job_id] = event
        self._wake()
        if failure is not None:
            log.error("A state change could not be recorded: %s", failure, extra={"event": "commit_failed"})
        if outcome.done():
            return
        if failure is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(failure)
            outcome.exception()  # told above; whoever awaits the future gets it as well

    def _wake(self) -> None:
        self._has_news = True
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._has_news = False
        # A snapshot: a write may end a subscription while we walk.
        self._serve(list(self._subscriptions), 0, {}, self._ring.head)

    def _serve(
        self,
        subscriptions: list[LocalSubscription],
        first: int,
        batches: dict[tuple[int, Selector], Batch],
        head: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        if self._ring.head != head:
            # What was read for others ends before the newest events.
            batches, head = {}, self._ring.head
        for subscription in subscriptions[first : first + _TURN]:
            try:
                self._has_news |= subscription.advance(batches, loop.time())
            except Exception:
                # One reader's misfortune must not silence the others.
                log.exception("A stream broke", extra={"event": "stream_broke"})
                subscription.abort()
        if first + _TURN < len(subscriptions):
            loop.call_soon(self._serve, subscriptions, first + _TURN, batches, head)
        elif self._has_news:
            loop.call_soon(self._flush)
        else:
            self._is_flushing = False

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        for subscription in list(self._subscriptions):
            subscription.show_life(loop.time(), self._options.heartbeat)
        # A beat may be late by one round: the rounds are short against the silence allowed.
        self._heartbeat = loop.call_later(self._options.heartbeat / 15, self._beat)
