"""What the ring no longer holds is read from the journal, a page at a time, in the database's thread.

Equal readers at the same position share one read: after a restart many come back at once.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from arwd.bus import journal
from arwd.bus.base import Selector
from arwd.bus.journal import Page
from arwd.database import Database


class Replay:
    """The journal, for readers who are behind the ring. StorageError where it cannot be read."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._under_way: dict[tuple[object, ...], asyncio.Task[Any]] = {}

    def page(self, cursor: int, end: int, selector: Selector) -> asyncio.Task[Page]:
        """The milestones after `cursor`, none beyond `end`; a page at most."""
        return self._shared(journal.page, cursor, end, selector)

    async def count(self, cursor: int, ring_floor: Callable[[], int], selector: Selector) -> int:
        """How many milestones lie between `cursor` and where the ring begins."""
        while True:
            end = ring_floor()
            if cursor >= end:
                return 0
            counted: int = await asyncio.shield(self._shared(journal.count, cursor, end, selector))
            if end == ring_floor():
                return counted

    async def first_of_last(self, count: int, end: int, selector: Selector) -> int | None:
        """The id of the first of the last `count` milestones up to `end`; None if there is none."""
        return await self._database.read(journal.first_of_last(count, end, selector))

    def _shared(self, query: Callable[..., Any], *asked: object) -> asyncio.Task[Any]:
        key = (query, *asked)
        task = self._under_way.get(key)
        if task is None:
            read = self._database.read(query(*asked))
            task = self._under_way[key] = asyncio.get_running_loop().create_task(read)
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task
