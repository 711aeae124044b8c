"""The unfinished file of one job: `<name>.part`, its control file, and the writer that fills it.

Rule: the control file is durable before the first byte of the body, so bytes without a known origin never exist.
"""

import os
from pathlib import Path
from typing import Any

from arwd import fs
from arwd.errors import PartChanged
from arwd.model import Job
from arwd.store import checkpoint, control
from arwd.store.kept import Kept
from arwd.store.layout import Folder
from arwd.store.names import Claim
from arwd.store.share import Share
from arwd.store.space import Space
from arwd.store.writer import PartWriter


class Part:
    """One part, from the settling of its name until it is placed or discarded. Satisfies the transfer's sink."""

    def __init__(self, layout: Folder, claim: Claim, space: Space | Share, job: Job) -> None:
        self._space = space
        self._claim = claim
        self._kept = Kept(layout, claim, job)
        self._writer: PartWriter | None = None
        self._rhythm: checkpoint.Rhythm | None = None
        self._stride: int | None = None
        self.length_known = True
        self.begun = 0  # answers that it has made ready for
        self.declared_size = job.total
        """The size that a server said last, whether or not there was room for it."""
        self.unproven = 0
        """Bytes that another program left under our name, until they are proved to be this file's."""
        self.is_taken_up = True
        """Is it known what an earlier transfer left? Until then nothing may be dropped."""
        self.is_pieced = False
        """Do its bytes come from more than one response?"""

    @property
    def name(self) -> str | None:
        """The settled name below `models/`."""
        return self._claim.name

    @property
    def held(self) -> int:
        """Bytes from the start of the file that are kept."""
        return self._kept.held if self._writer is None else self._writer.accepted

    @property
    def written(self) -> int:
        """Those of them that are on disk."""
        return self._kept.held if self._writer is None else self._writer.written

    @property
    def full(self) -> bool:
        """Is the disk behind, or has it refused?"""
        return self._writer is not None and self._writer.full

    @property
    def validator(self) -> str | None:
        """The strong validator of the bytes held."""
        return self._kept.known.validator

    @property
    def size(self) -> int | None:
        """The size of the whole file, if a server said it."""
        return self._kept.known.size

    @property
    def declared_sha256(self) -> str | None:
        """The digest of the whole file, if its server declared one."""
        return self._kept.known.declared

    @property
    def checked(self) -> control.Checked | None:
        """What was found when it was checked; then only its final name is missing."""
        return self._kept.known.checked

    @property
    def control_file(self) -> Path:
        """Where it is said what the part is; only once the name is settled."""
        return self._kept.control_file

    async def take_up(self) -> int:
        """Look for what an earlier transfer left. Returns how many bytes were ours, and nothing vouches for them."""
        is_ours = self.name is not None
        if not self._claim.hold():
            return self._kept.forget()
        self.is_taken_up = False
        there = await self._kept.look(is_ours=is_ours)
        lost = there.lost if there.use == "go on" else max(there.lost, self._kept.forget())
        match there.use:
            case "go on":
                await self._kept.take_over(there)
                self.is_pieced, self.length_known = there.held > 0, self.checked is None or self.checked.length_known
            case "prove":
                self.unproven = there.bare
            case "discard":
                await self.discard()
            case "leave":
                self._claim.give_up()
        self.is_taken_up = True
        return lost

    async def begin(
        self,
        *,
        start: int,
        size: int | None,
        validator: str | None,
        declared: str | None,
        length_known: bool,
        suggested: str | None,
    ) -> None:
        """Make ready to take bytes from `start` on; what is held beyond is dropped. StorageError."""
        if self._writer is not None and self._writer.accepted != start:
            await self.close()
        self._claim.settle(suggested)
        self.length_known, self.is_pieced, self.declared_size = length_known, start > 0, size
        self._stride = await self._space.promise(self._kept.known.job_id, size=size, written=lambda: self.written)
        self.begun += 1
        with fs.translate_errors(f"cannot prepare {self.name}.part"):
            is_open = self._writer is not None
            await self._kept.make_ready(start, is_open=is_open, size=size, validator=validator, declared=declared)
            if not is_open:
                await self._open(start)

    def put(self, chunk: bytes) -> None:
        """Take the next bytes; only after `begin`."""
        assert self._writer is not None
        self._space.admit(self._writer.accepted + len(chunk))
        self._writer.put(chunk)

    async def room(self) -> None:
        """Return when no longer full; StorageError if the disk refused."""
        assert self._writer is not None
        await self._writer.room()

    async def settle(self) -> None:
        """Return when every byte taken is written."""
        if self._writer is not None:
            await self._writer.settle()

    async def digest(self) -> str:
        """SHA-256 of what is on disk; the transfer must have ended."""
        if self._writer is None:
            with fs.translate_errors(f"cannot read {self.name}.part"):
                await self._open(self._kept.held)
        assert self._writer is not None
        return await self._writer.digest()

    async def vouch(self, sha256: str) -> None:
        """Say durably that the closed part is whole and has this digest: from here only its final name is missing."""
        status = await self._make_durable(self._kept.held)
        if status.st_size != self._kept.held:
            raise PartChanged(f"{self.name}.part is not as long as it was written")
        await self._kept.save(checked=control.checked(status, sha256, length_known=self.length_known))

    async def sync(self, *, is_paused: bool = False) -> None:
        """Make a closed part durable and let its control file say so; one that was checked is. StorageError."""
        if self.checked is None and self._kept.is_unsure:
            await self.fall_back()
        if self.checked is None and self.name is not None and self._kept.held:
            await self._make_durable(self._kept.held, is_paused=is_paused)

    async def close(self) -> None:
        """Write what was taken and let go of the file; `sync` makes it durable."""
        if self._rhythm is not None:
            await self._rhythm.end()
        if self._writer is not None:
            await self._writer.close()
            self._kept.keep(self._writer.written, self._writer.prefix)
            self._writer = None
        self._space.withdraw(self._kept.known.job_id)

    async def clear(self) -> int:
        """Drop every byte, keep the name. Returns how many they were; StorageError."""
        await self.close()
        dropped, self.is_pieced = self._kept.forget(), False
        if self.name is not None and not self.unproven:
            await self._kept.discard()
        return dropped

    async def fall_back(self) -> int:
        """Keep what is known to be on disk, drop the rest. Returns how many bytes were dropped; StorageError."""
        await self.close()
        return await self._kept.fall_back()

    async def discard(self) -> None:
        """Drop every byte and the name. StorageError."""
        await self.clear()
        self.disown()

    async def link(self, source: Path, *, sha256: str, size: int, mtime_ns: int) -> bool:
        """Be a second name of a finished file. False where that cannot be done: nothing has changed. StorageError."""
        if self.unproven:
            self.disown()
        is_named = self.name is not None
        self._claim.settle(None)
        with fs.translate_errors(f"cannot link {self.name}.part"):
            is_linked = await self._kept.link(source, sha256=sha256, size=size, mtime_ns=mtime_ns)
        if not (is_linked or is_named):
            self._claim.give_up()  # the server may yet say another one
        return is_linked

    async def inherit(self, other: "Part") -> bool:
        """Take over the bytes of another job's part, unless there are some already. StorageError."""
        if self.name is not None or other.name is None:
            return False
        self._claim.settle(None)
        is_ours = await self._kept.inherit(other.name)
        (other if is_ours else self).disown()
        return is_ours

    async def read(self, offset: int, count: int) -> bytes:
        """Bytes of the part as it lies there, for the proof that it is this file's. StorageError."""
        return await self._kept.read(offset, count)

    async def own(self, *, size: int, validator: str | None) -> None:
        """The bytes that another program left are proved: from now on they are ours. StorageError."""
        # Ours before it is written down: a cancel in between must know what it leaves.
        self._kept.held, self.unproven, self.is_pieced = self.unproven, 0, True
        await self._kept.save(size=size, validator=validator)

    def disown(self) -> None:
        """The name is not ours: what lies there is left alone."""
        self._claim.give_up()
        self.unproven = 0

    def release(self) -> None:
        """Neither name nor room is reserved any longer: what lies on disk speaks for itself."""
        self._claim.release()
        self._space.withdraw(self._kept.known.job_id)

    async def _open(self, start: int) -> None:
        descriptor = await fs.in_thread(fs.open_at_length, self._kept.path, start, undo=os.close)
        self._writer = PartWriter(descriptor, start, self._kept.known.prefix)
        self._rhythm = checkpoint.Rhythm(self._writer, self._take_stock, self._stride)

    async def _take_stock(self, length: int) -> int | None:
        await self._make_durable(length)
        return await self._space.look_again(self._kept.known.job_id)

    async def _make_durable(self, length: int, **news: Any) -> os.stat_result:
        prefix = self._kept.known.prefix if self._writer is None else self._writer.prefix
        return await self._kept.make_durable(length, prefix, **news)
