"""The hub walks over the subscribers: once in each round of the loop every one is sent what is next for it."""

import asyncio
import logging

from arwd.bus.base import Selector
from arwd.bus.ring import Batch, Ring
from arwd.bus.subscription import LocalSubscription

log = logging.getLogger(__name__)

_TURN = 128
"""Subscribers served before the loop gets its turn: it holds 5,000 subscribers' flush to 3 ms at a stretch."""


class Hub:
    """Who listens. All mutable state: the subscriptions, and whether a walk is under way."""

    def __init__(self, ring: Ring, heartbeat: float) -> None:
        """`heartbeat`: seconds of silence after which a stream gets a comment."""
        self._ring = ring
        self._silence = heartbeat
        self._subscriptions: set[LocalSubscription] = set()
        self._is_flushing = False
        self._has_news = False
        self._heartbeat: asyncio.TimerHandle | None = None
        self.is_closed = False
        """No stream is opened any more."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    def begin(self) -> None:
        """Begin to beat."""
        loop = asyncio.get_running_loop()
        for subscription in list(self._subscriptions):
            subscription.show_life(loop.time(), self._silence)
        # A beat may be late by one round: the rounds are short against the silence allowed.
        self._heartbeat = loop.call_later(self._silence / 15, self.begin)

    async def close(self, patience: float) -> None:
        """End every stream: healthy ones with all they are due, after `patience` seconds the rest by force."""
        self.is_closed = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for subscription in self._subscriptions:
            subscription.end()
        self.wake()
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
        self.wake()

    def leave(self, subscription: LocalSubscription) -> None:
        """The subscription is over."""
        self._subscriptions.discard(subscription)

    def wake(self) -> None:
        """There is something new."""
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
