"""How often the bytes of a part are made durable while they arrive.

Rule: a loss of power costs at most EVERY_BYTES or EVERY_SECONDS of a part, whichever is less.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from arwd.errors import StorageError
from arwd.store.writer import PartWriter

EVERY_BYTES: Final = 64 * 1024 * 1024
EVERY_SECONDS: Final = 5.0


class Rhythm:
    """The keeping of it for one writer, beside whoever writes."""

    def __init__(
        self, writer: PartWriter, take_stock: Callable[[int], Awaitable[int | None]], stride: int | None
    ) -> None:
        self._task = asyncio.get_running_loop().create_task(keep(writer, take_stock, stride))

    async def end(self) -> None:
        """Return when it is kept no longer."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def keep(writer: PartWriter, take_stock: Callable[[int], Awaitable[int | None]], stride: int | None) -> None:
    """Make durable what was written, in this rhythm, until cancelled. A disk that refuses ends the writing.

    `take_stock` makes so many bytes durable, and says after how many more, at the most, it is to be called again.
    """
    synced = writer.written
    while True:
        # However slow a look at the disk is: until then no more comes than was there at the last one.
        writer.allow(None if stride is None else synced + stride)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_SECONDS):
                await writer.reached(synced + (EVERY_BYTES if stride is None else min(stride, EVERY_BYTES)))
        try:
            await writer.settle()
            if (written := writer.written) > synced:
                stride = await take_stock(written)
                synced = written
        except StorageError as error:
            writer.fail(error)
            return
