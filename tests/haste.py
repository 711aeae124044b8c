"""Daemons without the waits that would be half of the time of most tests.

uvicorn looks ten times a second whether there is something to do, and a download tells of its progress four times a
second: the tests wait for both at every step. So does no daemon of this process (tests/running.py), and none of the
nursery's that was not told otherwise. Those that are started as users start them (tests/processes.py) keep the waits:
what a stop really takes is measured there.
"""

import asyncio
from typing import Any

import uvicorn.server

from arwd.jobs import progress

LOOK = 0.01
"""Seconds between two looks."""
TICK = 0.05
"""Seconds between two words on the progress of a job."""
WONTED_TICK = progress.TICK
"""The same where nobody is in a hurry."""


class _Hasty:
    """asyncio as uvicorn's server sees it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, LOOK))


def hurry() -> None:
    """From now on, in this process and those that are forked from it."""
    uvicorn.server.asyncio = _Hasty()  # type: ignore[attr-defined]
    progress.TICK = TICK  # type: ignore[misc]
