"""Who is next. First come, first served, in as many slots as the limit allows."""

import collections
from typing import Protocol

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much happens at once."""

    max_jobs: int = 3
    """Jobs that download at the same time."""


class Startable(Protocol):
    """What waits for a slot."""

    def start(self) -> None:
        """A slot is yours."""


class Scheduler:
    """The queue and the slots. All mutable state: who waits, who runs, and whether anybody may begin."""

    def __init__(self, options: Options) -> None:
        self._queue: collections.deque[Startable] = collections.deque()
        self._running: set[Startable] = set()
        self._is_open = True
        self.max_jobs = options.max_jobs

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def next_position(self) -> int:
        """The place in the queue that the next offer gets, from 1."""
        return len(self._queue) + 1

    def position(self, item: Startable) -> int | None:
        """Its place in the queue, from 1; None if it does not wait."""
        return self._queue.index(item) + 1 if item in self._queue else None

    def offer(self, item: Startable) -> None:
        """It wants a slot; it need not say so twice."""
        if item in self._running or item in self._queue:
            return
        self._queue.append(item)
        self._fill()

    def release(self, item: Startable) -> None:
        """It no longer wants one, running or not."""
        self._running.discard(item)
        if item in self._queue:
            self._queue.remove(item)
        self._fill()

    def set_limit(self, max_jobs: int) -> None:
        """Change the number of slots; running jobs are left alone."""
        self.max_jobs = max_jobs
        self._fill()

    def close(self) -> None:
        """Nobody begins any more."""
        self._is_open = False

    def _fill(self) -> None:
        while self._is_open and self._queue and len(self._running) < self.max_jobs:
            item = self._queue.popleft()
            self._running.add(item)
            item.start()
