"""Event ids: whole numbers that only grow, for ever. Rule: an id is used only after "up to here" is on disk.

So neither `kill -9` nor a power cut can make an id come twice; a restart skips what was reserved and not used.
Ids also begin no lower than the current Unix time in microseconds: above anything used before the database, or the
newest part of it, was lost. A clock that was set back is made up for by what is on disk, and the other way round.
"""

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from arwd.database import Change, Database, marks
from arwd.errors import StorageError

BLOCK: Final = 10_000
"""Ids reserved with one write."""
_PATIENCE: Final = 1.0
"""Seconds until a failed reservation is tried again."""


class Ids:
    """The next id, drawn from blocks that are reserved ahead of use."""

    def __init__(self, database: Database, replenished: Callable[[], None]) -> None:
        """`replenished` is called whenever ids that could not be had can be had again."""
        self._database = database
        self._replenished = replenished
        reserved = database.read_now(_read_reserved)
        self.last = max(reserved or 0, time.time_ns() // 1000)
        """The newest id drawn."""
        self._reserved = self.last
        self._is_reserving = False

    async def begin(self) -> None:
        """Reserve the first block. StorageError if that cannot be."""
        await self._database.write(_reserve(self.last + BLOCK))
        self._reserved = self.last + BLOCK

    def draw(self, count: int = 1) -> int | None:
        """The first of `count` ids in a row, or None when none can be had right now."""
        if self.last + count > self._reserved:
            self._replenish()
            return None
        first = self.last + 1
        self.last += count
        if self._reserved - self.last < BLOCK // 2:
            self._replenish()
        return first

    def _replenish(self) -> None:
        if self._is_reserving:
            return
        self._is_reserving = True
        limit = self._reserved + BLOCK
        written = self._database.write(_reserve(limit))

        def reserved(_: object) -> None:
            if isinstance(written.exception(), StorageError):
                # A full disk may have room again in a moment; whoever waits for an id is still there. Until then no
                # draw asks again: there may be thousands.
                written.get_loop().call_later(_PATIENCE, self._retry)
            else:
                self._is_reserving = False
                self._reserved = limit
                self._replenished()

        written.add_done_callback(reserved)

    def _retry(self) -> None:
        self._is_reserving = False
        self._replenish()


def _reserve(limit: int) -> Change:
    return marks.put("ids_reserved", limit)


def _read_reserved(cursor: sqlite3.Cursor) -> int | None:
    return marks.get(cursor, "ids_reserved")
