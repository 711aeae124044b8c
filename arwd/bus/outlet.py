"""The write to one subscriber that is under way, stepped by hand.

A write rarely suspends; when it does, what it yields is a future of the loop, and the write goes on when that is done.
So a subscriber needs no task and no queue of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any

from arwd.bus.base import Write

log = logging.getLogger(__name__)


class Outlet:
    """One subscriber's connection, one write at a time."""

    __slots__ = ("_abort", "_ended", "_freed", "_write", "is_busy")

    def __init__(self, freed: Callable[[], None], ended: Callable[[], None]) -> None:
        """`freed` is called when a suspended write is done, `ended` when the last one is, or the connection broke."""
        self._freed = freed
        self._ended = ended
        self._write: Write | None = None
        self._abort: Callable[[], None] | None = None
        self.is_busy = False
        """Is a write under way?"""

    @property
    def is_open(self) -> bool:
        """Is there somebody to write to?"""
        return self._write is not None

    def open(self, write: Write, abort: Callable[[], None]) -> None:
        """From now on this is how one writes; `abort` cuts the connection."""
        self._write, self._abort = write, abort

    def send(self, body: bytes, *, more: bool = True) -> None:
        """Write; only while no other write is under way."""
        assert self._write is not None
        self._step(self._write(body, more).__await__(), more=more)

    def abort(self) -> None:
        """Cut the connection: its peer does not read."""
        if self._abort is not None:
            self._abort()
        self._ended()

    def close(self) -> None:
        """Nothing is written any more."""
        self._write = None

    def _step(self, writing: Generator[Any, None, None], *, more: bool) -> None:
        try:
            awaited = next(writing)
        except StopIteration:
            self.is_busy = False
            if not more:
                self._ended()
        except Exception:
            log.exception("A stream broke", extra={"event": "stream_broke"})
            self.abort()
        else:
            self.is_busy = True
            if awaited is None:  # a bare yield: the write only wants the others to have their turn
                asyncio.get_running_loop().call_soon(lambda: self._resume(writing, more=more))
            else:
                awaited.add_done_callback(lambda _: self._resume(writing, more=more))

    def _resume(self, writing: Generator[Any, None, None], *, more: bool) -> None:
        self._step(writing, more=more)
        if not self.is_busy and self.is_open:
            self._freed()
