"""PURE: what is still to come of a file, and what room there is -> may it go on, and how far before one looks again?"""

from typing import Final

import msgspec

from arwd.errors import DiskFull, QuotaExceeded, SizeLimit, StorageError

STEP: Final = 4 << 20
"""Bytes that a file of unknown size is promised at a time: enough to notice that there is no more before it is gone."""
_LEAST_STRIDE: Final = 2 << 20
"""Bytes: with what waits in memory less than a step."""
_STRIDES: Final = 8
"""Looks until the room that is left now is used up, should it be used up."""
_LEAST: Final = 1 << 20
"""Bytes that must be there for a job to go on by itself, however little is to come: its records are written too."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """The disk, in bytes."""

    free: int
    reserve: int
    """Left alone."""
    promised: int = 0
    """What is still to come of other files, to which it was promised."""
    used: int = 0
    """What models and parts take up."""

    @property
    def spare(self) -> int:
        """What may be promised; below 0 where others took what was."""
        return self.free - self.reserve - self.promised


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings allow, in bytes."""

    max_file_size: int | None = None
    quota: int | None = None


def remaining(size: int | None, written: int) -> int:
    """What is still to come, as far as it is promised."""
    return STEP if size is None else max(size - written, 0)


def refusal(size: int | None, needed: int, room: Room, limits: Limits) -> StorageError | None:
    """Why so many bytes more of a file of this size may not be taken; None if they may."""
    quota = limits.quota
    if size is not None and (error := too_large(size, limits)) is not None:
        return error
    if quota is not None and room.used + room.promised + needed > quota:
        return QuotaExceeded(
            f"{needed} bytes more are needed, but models and parts take {room.used} already, {room.promised} are "
            f"promised to other jobs, and quota is {quota}. Delete a model or raise quota."
        )
    if needed > room.spare:
        return DiskFull(
            f"{needed} bytes more are needed, but of the {room.free} that are free on the disk {room.reserve} are "
            f"left alone (reserve) and {room.promised} are promised to other jobs. The job goes on when there is room."
        )
    return None


def too_large(size: int, limits: Limits) -> SizeLimit | None:
    """Why a file may not be of this size; None if it may."""
    if limits.max_file_size is None or size <= limits.max_file_size:
        return None
    return SizeLimit(f"The file has {size} bytes or more, and max_file_size is {limits.max_file_size}.")


def may_go_on(needed: int, room: Room) -> bool:
    """Is there room for a job that was paused for want of it?"""
    return max(needed, _LEAST) <= room.spare


def stride(size: int | None, room: Room, limits: Limits) -> int | None:
    """How many bytes to take before looking again; None: those were promised, the usual rhythm will do."""
    if size is not None:
        return None
    spare = room.spare
    if limits.quota is not None:
        spare = min(spare, limits.quota - room.used - room.promised)
    return max(spare // _STRIDES, _LEAST_STRIDE)
