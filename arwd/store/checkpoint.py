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


async def keep(writer: PartWriter, make_durable: Callable[[int], Awaitable[object]]) -> None:
    """Make durable what was written, in this rhythm, until cancelled. A disk that refuses ends the writing."""
    synced = writer.written
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_SECONDS):
                await writer.reached(synced + EVERY_BYTES)
        try:
            await writer.settle()
            if (written := writer.written) > synced:
                await make_durable(written)
                synced = written
        except StorageError as error:
            writer.fail(error)
            return
