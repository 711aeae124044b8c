"""What the bus promises, narrow enough that another implementation could stand behind it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from arwd.database import After, Change
from arwd.events import Event, Fact, Shape

Write = Callable[[bytes, bool], Awaitable[None]]
"""Writes bytes to one subscriber; the flag says whether more will follow."""


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a subscriber wants, and in which form. Empty means all."""

    prefixes: tuple[str, ...] = ()
    model_ids: frozenset[str] = frozenset()
    job_ids: frozenset[str] = frozenset()
    shape: Shape = "payload"
    named: bool = True

    def wants(self, event: Event) -> bool:
        """Does this event pass the filter?"""
        if self.prefixes and not event.kind.startswith(self.prefixes):
            return False
        if not self.model_ids and not self.job_ids:
            return True
        return event.model_id in self.model_ids or event.job_id in self.job_ids


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stream begins. The first of these that is present counts; with none it begins now."""

    after: int | None = None
    """Everything after this id."""
    is_unknown: bool = False
    """An id was given that this bus never used: begin now and say that something may be missing."""
    replay: int | None = None
    """The last so many matching milestones."""


class Subscription(Protocol):
    """One subscriber's place in the stream."""

    @property
    def start(self) -> int:
        """The position at which the stream begins."""

    @property
    def replayed(self) -> int:
        """How many events come from before this moment."""

    def attach(self, opening: bytes, write: Write, abort: Callable[[], None]) -> None:
        """Send `opening`, then everything from the start on, for as long as the subscriber is there."""

    def close(self) -> None:
        """The subscriber is gone."""


class Bus(Protocol):
    """Publish facts, subscribe to them."""

    @property
    def head(self) -> int:
        """The newest id that everyone may see: no position beyond it is ever named."""

    def publish(
        self, *facts: Fact, changes: tuple[Change, ...] = (), after: After | None = None
    ) -> asyncio.Future[None]:
        """Commit the facts with the changes they belong to, run `after`, then reveal them. Never blocks."""

    def tell(self, fact: Fact) -> None:
        """Publish a tick or an answer: nothing is written to disk."""

    async def subscribe(self, selector: Selector, start: Start) -> Subscription:
        """A place in the stream, without gap and without duplicate."""
