"""Buffers in, bytes on disk: one thread writes a part, another hashes what was written. Never on the loop.

Chunks are gathered into slabs and written with one call each, without a copy. A slab is hashed only after its
write has returned in full, so the digest is of what is on disk. Where the digest thread falls behind, or a part
is taken up again, it catches up from the page cache instead of holding slabs in memory.
"""

import asyncio
import hashlib
import os
import queue
import threading
from typing import Final

from arwd import fs
from arwd.errors import ArwdError, PartChanged, StorageError
from arwd.store.control import Prefix

SLAB: Final = 256 * 1024
"""Bytes of one write. One call of more than 1 MiB halves the speed on virtual disks."""
POOL: Final = 3
"""Slabs that may wait for the disk; then the socket is paused. With the one being gathered: a crash costs 1 MiB."""
_HASHING: Final = 8
"""Slabs that may wait for the digest thread in memory; further ones it reads back."""
_READ_BACK: Final = 1024 * 1024
_NEAR: Final = 16 * 1024 * 1024
"""Bytes that are hashed in about ten milliseconds."""

_Slab = tuple[int, list[bytes] | None, int]
"""Offset, chunks (None: read them back), end."""


class PartWriter:
    """Appends to one open part. `put` never blocks; ask `full` and wait for `room`."""

    def __init__(self, descriptor: int, offset: int, prefix: Prefix | None = None) -> None:
        """Takes over the descriptor, which is positioned nowhere; `offset` bytes of it are held already.

        `prefix` is what they were when last seen: PartChanged as soon as they prove to be something else.
        """
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self.accepted = offset
        self.written = offset
        self._chunks: list[bytes] = []
        self._gathered = 0
        self._hashed = 0
        self._sha256 = hashlib.sha256()
        self._expected = prefix if prefix is not None and prefix.bytes <= offset else None
        self._mark = (0, self._sha256)
        self._failure: Exception | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_abandoned = False
        self._waiters: list[asyncio.Future[None]] = []
        self._goal = 0
        self._allowed: int | None = None
        self._reached = asyncio.Event()
        self._to_disk: queue.SimpleQueue[_Slab | None] = queue.SimpleQueue()
        self._to_digest: queue.SimpleQueue[_Slab | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write_slabs, name="part-writer", daemon=True),
            threading.Thread(target=self._hash_slabs, name="part-digest", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        # Begin at once with what is held: it is hashed while the rest arrives.
        self._to_digest.put((0, None, offset))

    @property
    def full(self) -> bool:
        """Is the disk behind by POOL slabs, or has it refused, or must somebody look for room first?"""
        return self._failure is not None or self.accepted - self.written >= POOL * SLAB or self._is_at_end

    @property
    def prefix(self) -> Prefix | None:
        """The digest of the bytes so far, as far as the digest thread has come."""
        length, sha256 = self._mark
        if self._expected is not None and self._expected.bytes >= length:
            return self._expected
        return Prefix(bytes=length, sha256=sha256.hexdigest()) if length else None

    def put(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._chunks.append(chunk)
        self._gathered += len(chunk)
        self.accepted += len(chunk)
        if self._gathered >= SLAB or self._is_at_end:
            self._hand_over()

    def allow(self, length: int | None) -> None:
        """So many bytes may be taken before anybody looks whether there is room; None: as many as come."""
        self._allowed = length
        self._wake()

    async def room(self) -> None:
        """Return when the writer is no longer full; StorageError if the disk refused."""
        while self.full and self._failure is None:
            await self._next_write()
        self._raise_failure()

    async def reached(self, length: int) -> None:
        """Return when so many bytes have been taken."""
        self._goal = length
        self._reached.clear()
        if self.accepted < length:
            await self._reached.wait()

    def fail(self, error: Exception) -> None:
        """Something else was wrong with the part: whoever waits for its bytes hears of it."""
        self._failure = self._failure or error
        self._wake()

    async def settle(self) -> None:
        """Return when every byte taken so far is written; StorageError if the disk refused."""
        self._hand_over()
        goal = self.accepted  # more may be put meanwhile; nobody waits for that
        while self.written < goal and self._failure is None:
            await self._next_write()
        self._raise_failure()

    async def digest(self) -> str:
        """SHA-256 of the whole part. Nothing may be put afterwards."""
        await self.settle()
        await self._end_threads()
        self._raise_failure()
        if self._hashed != self.written:
            raise StorageError("the part could not be read back to its end")
        return self._sha256.hexdigest()

    async def close(self) -> None:
        """Write what was taken, end the threads, close the file. Errors were told by the other calls.

        A digest that nobody asked for is given up if it is far behind: a cancel must not wait until gigabytes are
        hashed. If it is not, what was written can be recognised later.
        """
        self._is_abandoned = self.accepted - self._hashed > _NEAR
        self._hand_over()
        await self._end_threads()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _hand_over(self) -> None:
        if self._chunks:
            end = self.accepted
            self._to_disk.put((end - self._gathered, self._chunks, end))
            self._chunks, self._gathered = [], 0
            if end >= self._goal:
                self._reached.set()

    async def _next_write(self) -> None:
        waiter = self._loop.create_future()
        # Appended before the state is looked at again: the disk thread changes the state first, then looks here.
        self._waiters.append(waiter)
        is_behind = self.written < self.accepted - self._gathered
        if self._failure is None and (is_behind or self._is_at_end):
            await waiter
        elif waiter in self._waiters:
            self._waiters.remove(waiter)

    @property
    def _is_at_end(self) -> bool:
        return self._allowed is not None and self.accepted >= self._allowed

    async def _end_threads(self) -> None:
        if self._ending is None:
            self._to_disk.put(None)
            self._ending = self._loop.create_task(self._join_threads())
        # Shielded: a cancel must not wait until gigabytes are hashed; the `close` that follows it gives them up.
        await asyncio.shield(self._ending)

    async def _join_threads(self) -> None:
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _raise_failure(self) -> None:
        if isinstance(self._failure, ArwdError):
            raise self._failure
        if self._failure is not None:
            raise fs.storage_error("cannot write the part", self._failure) from self._failure

    def _write_slabs(self) -> None:
        while (slab := self._to_disk.get()) is not None:
            offset, chunks, end = slab
            assert chunks is not None
            if self._failure is None:
                try:
                    _write_all(self._descriptor, chunks, offset)
                except Exception as error:  # noqa: BLE001 (the loop waits for this thread; it must hear of anything)
                    self._failure = error
                else:
                    self.written = end
                    keep = self._to_digest.qsize() < _HASHING
                    self._to_digest.put((offset, chunks if keep else None, end))
            if self._waiters:
                self._loop.call_soon_threadsafe(self._wake)
        self._to_digest.put(None)

    def _hash_slabs(self) -> None:
        try:
            while (slab := self._to_digest.get()) is not None:
                offset, chunks, end = slab
                self._catch_up(offset if chunks is not None else end)
                if self._is_abandoned:
                    return  # half-way, perhaps: the mark must not vouch for bytes that were not hashed
                for chunk in chunks or ():
                    self._sha256.update(chunk)
                self._hashed = end
                self._mark = (end, self._sha256.copy())
        except Exception as error:  # noqa: BLE001 (as above)
            self._failure = error
            if self._waiters:
                self._loop.call_soon_threadsafe(self._wake)

    def _catch_up(self, end: int) -> None:
        expected = self._expected
        if expected is not None and self._hashed < expected.bytes <= end:
            self._read_back(expected.bytes)
            if not self._is_abandoned and self._sha256.hexdigest() != expected.sha256:
                raise PartChanged("the part is not what it was when it was left")
        self._read_back(end)

    def _read_back(self, end: int) -> None:
        while self._hashed < end and not self._is_abandoned:
            block = os.pread(self._descriptor, min(_READ_BACK, end - self._hashed), self._hashed)
            if not block:
                raise OSError(0, "the part is shorter than what was written to it")
            self._sha256.update(block)
            self._hashed += len(block)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


def _write_all(descriptor: int, chunks: list[bytes], offset: int) -> None:
    missing = sum(map(len, chunks))
    if len(chunks) > 1024:  # IOV_MAX
        chunks = [b"".join(chunks)]
    written = os.pwritev(descriptor, chunks, offset)
    if written == missing:
        return
    # A short write: a full disk says so only at the next call.
    rest = memoryview(b"".join(chunks))[written:]
    offset += written
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
