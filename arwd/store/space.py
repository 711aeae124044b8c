"""Room on the disk: how much is free, how much is left alone, how much the models use."""

import os
from pathlib import Path

import msgspec

from arwd import fs
from arwd.store.layout import Layout

_LEAST_RESERVE = 1 << 30
_RESERVE_SHARE = 20
"""One part in so many of the disk: 5 %."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes."""

    free: int
    reserve: int
    used: int


class Space:
    """Measures the disk that the models are on."""

    def __init__(self, layout: Layout, reserve: int | None) -> None:
        self._layout = layout
        self._reserve = reserve

    async def measure(self) -> Room:
        """The room there is now. StorageError."""
        with fs.translate_errors("cannot measure the disk"):
            return await fs.in_thread(self._measure)

    def _measure(self) -> Room:
        models = self._layout.models
        reserve = self._reserve
        if reserve is None:
            reserve = max(_LEAST_RESERVE, fs.total_bytes(models) // _RESERVE_SHARE)
        return Room(free=fs.free_bytes(models), reserve=reserve, used=_used(models))


def _used(directory: Path) -> int:
    with os.scandir(directory) as entries:
        return sum(
            entry.stat(follow_symlinks=False).st_size for entry in entries if entry.is_file(follow_symlinks=False)
        )
