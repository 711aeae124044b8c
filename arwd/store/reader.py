"""The head of a file, read in order and with bounds. Rule: nothing it says of lengths makes anybody read more."""

import os
import stat
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self

CHUNK: Final = 64 * 1024
"""Bytes of one read: the heads of a thousand shards are within what may be read of one model."""


class Ended(Exception):
    """The file has no more bytes, or no more may be read: what was read so far is all there is to know."""


class Budget:
    """How many bytes may still be read, over all files of a model."""

    def __init__(self, left: int) -> None:
        self.left = left
        """Bytes."""

    def spend(self, count: int) -> None:
        """So many were read."""
        self.left -= count


class Reader:
    """A file from its start. Blocks; OSError. What is skipped is neither read nor kept."""

    def __init__(self, path: Path, budget: Budget) -> None:
        # Whatever lies there: a link is not followed, and a pipe holds nobody up.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(path, flags)
        status = os.fstat(self._descriptor)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        """Bytes of the file; 0 of what is none."""
        self._budget = budget
        self._start = 0  # where in the file the buffer begins
        self._buffer = b""
        self._at = 0  # where in the buffer the next byte is; beyond its end after a skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def take(self, count: int) -> bytes:
        """The next bytes; Ended if they are not all there. The caller bounds their number."""
        self._fill(count)
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        return taken

    def skip(self, count: int) -> None:
        """Go on behind so many bytes, which need not be there."""
        self._at += count

    def skip_strings(self, count: int, length: struct.Struct) -> None:
        """Go on behind so many strings, each behind its length. Ended before the end of the last one at the latest."""
        width = length.size
        while count:
            self._fill(width)
            buffer, at, last = self._buffer, self._at, len(self._buffer) - width
            # A vocabulary has hundreds of thousands of them: no call for each.
            while count and at <= last:
                at += width + length.unpack_from(buffer, at)[0]
                count -= 1
            self._at = at

    def _fill(self, count: int) -> None:
        """See to it that so many bytes are in the buffer."""
        if self._at + count <= len(self._buffer):
            return
        start = self._start + self._at
        wanted = min(max(count, CHUNK), self.size - start, self._budget.left)
        if wanted < count:
            raise Ended
        buffer = os.pread(self._descriptor, wanted, start)
        self._budget.spend(len(buffer))
        if len(buffer) < count:
            raise Ended  # it is being cut
        self._start, self._buffer, self._at = start, buffer, 0
