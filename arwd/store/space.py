"""Room on the disk: how much is free, how much is left alone, and what is promised to whom.

Rule: a file that is about to grow asks first, and is promised what is still to come of it. What others grow by does
not touch that: the promise shrinks as its own bytes are written.
"""

import stat
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from arwd import fs
from arwd.errors import DiskFull, StorageError
from arwd.store import allowance
from arwd.store.allowance import Limits, Room
from arwd.store.layout import Layout, Options

_LEAST_RESERVE = 1 << 30
_RESERVE_SHARE = 20
"""One part in so many of the disk: 5 %."""

Written = Callable[[], int]
"""How many bytes of a file are on disk now."""


class _Promise(msgspec.Struct, frozen=True, kw_only=True):
    size: int | None
    written: Written

    @property
    def remaining(self) -> int:
        return allowance.remaining(self.size, self.written())


class Space:
    """The disk that the models are on. All mutable state: the promises, by job id."""

    def __init__(self, layout: Layout, options: Options) -> None:
        self._models = layout.models
        self._reserve = options.reserve
        self._limits = Limits(max_file_size=options.max_file_size, quota=options.quota)
        self._promises: dict[str, _Promise] = {}

    @property
    def promised(self) -> int:
        """Bytes that are still to come of all files to which they were promised."""
        return sum(promise.remaining for promise in self._promises.values())

    async def measure(self, *, is_used_wanted: bool = True) -> Room:
        """The room there is now; `used` costs a look at every file. StorageError."""
        with fs.translate_errors("cannot measure the disk"):
            room = await fs.in_thread(self._measure, is_used_wanted)
        return replace(room, promised=self.promised)

    async def promise(
        self, job_id: str, *, size: int | None, written: Written, is_directory: bool = False
    ) -> int | None:
        """Promise the room for a file, in place of what its job was promised before, or let go of that.

        `is_directory`: for several together, each of which may be as large as a file. Returns after how many bytes to
        look again, None if that does not matter. DiskFull, QuotaExceeded, SizeLimit.
        """
        before = {each: promise.remaining for each, promise in self._promises.items()}
        needed = allowance.remaining(size, written())
        room = await self.measure(is_used_wanted=self._limits.quota is not None)
        # No await from here on: two that ask at once must not get the same room. What was written while the disk was
        # measured counts as free and as promised: the error is on the safe side.
        others = sum(
            max(promise.remaining, before.get(each, 0)) for each, promise in self._promises.items() if each != job_id
        )
        self._promises[job_id] = _Promise(size=size, written=written)
        limits = replace(self._limits, max_file_size=None) if is_directory else self._limits
        return self._judged(job_id, size, needed, replace(room, promised=others), limits)

    async def look_again(self, job_id: str) -> int | None:
        """Others write to this disk too: is the room still there? As `promise`."""
        if (promise := self._promises.get(job_id)) is None:
            return None
        is_used_wanted = promise.size is None and self._limits.quota is not None
        room = await self.measure(is_used_wanted=is_used_wanted)
        # What was written meanwhile is taken as gone from the free bytes: nobody is stopped for the moment between.
        return self._judged(job_id, promise.size, promise.remaining, self._for(job_id, room), self._limits)

    def promise_now(self, job_id: str, *, size: int | None, written: Written, room: Room) -> bool:
        """Promise it to a job that waits for room, if there is enough: is there?"""
        needed = allowance.remaining(size, written())
        if not allowance.may_go_on(needed, self._for(job_id, room)):
            return False
        self._promises[job_id] = _Promise(size=size, written=written)
        return True

    async def explain(self, error: DiskFull, *, size: int | None, held: int) -> str:
        """The sentence of a disk that is full, with the figures."""
        if error.__cause__ is None:
            return str(error)  # it was judged, and says them
        try:
            room = await self.measure(is_used_wanted=False)
        except StorageError:
            return str(error)
        return f"{error}. {allowance.remaining(size, held)} bytes more are needed, and {room.free} are free."

    def withdraw(self, job_id: str) -> None:
        """Nothing more of its file comes."""
        self._promises.pop(job_id, None)

    def admit(self, length: int) -> None:
        """A file has grown to this length. SizeLimit."""
        if (error := allowance.too_large(length, self._limits)) is not None:
            raise error

    def _judged(self, job_id: str, size: int | None, needed: int, room: Room, limits: Limits) -> int | None:
        # What was promised whole counts as used; only a file of unknown size can outgrow it.
        error = allowance.refusal(size, needed, room, limits)
        if error is not None:
            # In this very step: of two that are short of room the second may have enough without the first.
            self.withdraw(job_id)
            raise error
        return allowance.stride(size, room, limits)

    def _for(self, job_id: str, room: Room) -> Room:
        own = self._promises.get(job_id)
        return replace(room, promised=self.promised - (0 if own is None else own.remaining))

    def _measure(self, is_used_wanted: bool) -> Room:  # noqa: FBT001 (for a thread)
        reserve = self._reserve
        if reserve is None:
            reserve = max(_LEAST_RESERVE, fs.total_bytes(self._models) // _RESERVE_SHARE)
        used = _used(self._models) if is_used_wanted else 0
        return Room(free=fs.free_bytes(self._models), reserve=reserve, used=used)


def _used(directory: Path) -> int:
    # A second name takes no room.
    sizes = {status.st_ino: status.st_size for _, status in fs.files_below(directory) if stat.S_ISREG(status.st_mode)}
    return sum(sizes.values())
