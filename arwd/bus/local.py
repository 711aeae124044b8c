"""The bus of one process: a ring in memory, a journal in SQLite behind it, and a hub that serves the subscribers.

All mutable state here: the ring, the newest milestone of each job, and the facts that wait for ids.
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
from arwd.bus.hub import Hub
from arwd.bus.ids import Ids
from arwd.bus.replay import Replay
from arwd.bus.ring import Ring
from arwd.bus.subscription import LocalSubscription, Sources
from arwd.database import After, Change, Database
from arwd.events import Durability, Event, Fact, publishable

log = logging.getLogger(__name__)

_CROWD = 256
"""A reader more events behind than this is spared the ticks that were overtaken."""
_BATCH_BYTES = 64 * 1024
"""Bytes of one write: uvicorn's high-water mark, so that one write at most waits in its buffer."""
_QUIET = 2.0
"""Seconds that a reader of lists waits for commits at the most: a full disk must not keep it from an answer."""
_PRUNE_EVERY = 1_000
"""Milestones after which the journal is brought back to its bounds."""

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
        self._latest = database.read_now(journal.load_latest_of_jobs)
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
        self._replay = Replay(database)
        self._journaled = 0
        self._waiting: collections.deque[_Publication] = collections.deque()
        self._hub = Hub(self._ring, options.heartbeat)
        self.published = 0
        """Events given an id since the start."""

    async def begin(self) -> None:
        """Reserve ids and begin to beat. StorageError."""
        await self._ids.begin()
        if self._floor is None:
            await self._database.write(journal.begin_after(self._ids.last))
        self._hub.begin()

    @property
    def head(self) -> int:
        """The newest id that everyone may see."""
        return self._ring.head

    @property
    def is_closed(self) -> bool:
        """Is no stream opened any more?"""
        return self._hub.is_closed

    @property
    def subscribers(self) -> int:
        """How many streams are open."""
        return len(self._hub)

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
            self._hub.wake()

    async def subscribe(
        self, selector: Selector, start: Start, *, until_done: Iterable[str] | None = None
    ) -> LocalSubscription:
        """A place in the stream. `until_done`: the stream ends when these jobs are final. StorageError."""
        if start.replay:
            head = self._ring.head
            first = await self._replay.first_of_last(start.replay, head, selector)
            start = Start(after=head if first is None else first - 1)
        journaled = 0
        if start.after is not None:
            journaled = await self._replay.count(start.after, self._ring_floor, selector)
        # No await between reading the ring and taking the place: no gap and no duplicate.
        sources = Sources(ring=self._ring, replay=self._replay, latest=self.latest)
        return LocalSubscription(self._hub, sources, selector, start, journaled=journaled, until_done=until_done)

    async def close(self, patience: float) -> None:
        """End every stream: healthy ones with all they are due, after `patience` seconds the rest by force."""
        await self._hub.close(patience)

    def _ring_floor(self) -> int:
        return min(self._ring.floor, self._ring.head)

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
            self._journaled += len(events)
            if self._journaled >= _PRUNE_EVERY:
                self._journaled = 0
                self._database.write(journal.prune).add_done_callback(asyncio.Future.exception)
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
        self._hub.wake()
        if failure is not None:
            log.error("A state change could not be recorded: %s", failure, extra={"event": "commit_failed"})
        if outcome.done():
            return
        if failure is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(failure)
            outcome.exception()  # told above; whoever awaits the future gets it as well
