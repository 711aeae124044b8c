"""What lies on disk of a part: its bytes, and the control file beside them that says what they are.

Rule: a control file is replaced as a whole, and what it says is durable is so.
"""

import asyncio
import functools
import os
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from arwd import fs
from arwd.errors import NotSynced
from arwd.model import Job
from arwd.store import control, found
from arwd.store.control import Prefix
from arwd.store.found import Found
from arwd.store.layout import Folder
from arwd.store.names import Claim


class Kept:
    """The bytes of one part while nobody writes to it. Mutable state: how many they are, and what is known of them."""

    def __init__(self, layout: Folder, claim: Claim, job: Job) -> None:
        self._layout = layout
        self._claim = claim
        self._saving = asyncio.Lock()
        self.blank = control.blank(job)
        """What its control file says of a part of which nothing is known yet."""
        self.known = self.blank
        """What the control file says. It may say more: of a save that failed nothing is known."""
        self.held = 0
        """Bytes from the start of the file that are kept."""
        self.is_unsure = False
        """A sync failed: what came after the last good one may never reach the disk."""

    @property
    def path(self) -> Path:
        """The file of the bytes; only once the name is settled."""
        return self._layout.part(self._claim.settled)

    @property
    def control_file(self) -> Path:
        """Where it is said what they are; only once the name is settled."""
        return self._layout.control_file(self._claim.settled)

    async def look(self, *, is_ours: bool) -> Found:
        """What an earlier transfer left. `is_ours`: the name was settled as this job's before. StorageError."""
        with fs.translate_errors(f"cannot look for {self.path.name}"):
            return await fs.in_thread(found.look, self._layout, self._claim, self.blank, is_ours)

    async def take_over(self, there: Found) -> None:
        """It is ours. StorageError."""
        assert there.control is not None
        known = control.taken_over(self.blank, there.control, held=there.held, is_checked=there.is_checked)
        if there.is_placed and known.checked is None:
            # It was checked for a job that failed behind its rename. Nobody lists it, and for this one it is a part.
            with fs.translate_errors(f"cannot take {self._claim.settled} back"):
                await fs.in_thread(fs.rename_without_replacing, self._layout.final(self._claim.settled), self.path)
        self.held, self.known = there.held, known

    async def link(self, source: Path, *, sha256: str, size: int, mtime_ns: int) -> bool:
        """Be a second name of a finished file, in place of what is held. False where that cannot be: nothing changed.

        OSError, StorageError.
        """
        scratch = self.path.with_name(
            f".{self._layout.final(self._claim.settled).name}.link.part.json.tmp"
        )  # a start removes such names
        try:
            await fs.in_thread(functools.partial(scratch.unlink, missing_ok=True))
            link = functools.partial(fs.link_unchanged, size=size, mtime_ns=mtime_ns)
            status = await fs.in_thread(link, source, scratch)
            if status is None:
                return False
            # Vouched for before it is there, as ever.
            checked = control.checked(status, sha256, length_known=True)
            linked = replace(self.blank, boot_id=control.boot_id(), size=size, checked=checked)
            async with self._saving:
                await fs.in_thread(control.write, self.control_file, linked)
                try:
                    await fs.in_thread(os.replace, scratch, self.path)
                except OSError:
                    await fs.in_thread(control.write, self.control_file, self.known)
                    raise
                self.held, self.known, self.is_unsure = size, linked, False
            await fs.in_thread(fs.fsync_directory, self.path.parent)
            return True
        finally:
            await fs.in_thread(functools.partial(scratch.unlink, missing_ok=True))

    async def make_ready(
        self, start: int, *, is_open: bool, size: int | None, validator: str | None, declared: str | None
    ) -> None:
        """Say durably of which version the bytes are that come from `start` on. `is_open`: they come already. OSError.

        An answer to a range need not declare the digest again; one that begins the file says what there is to say.
        """
        if self.held > start and not is_open:
            # Before the control file says of which version the bytes are: never old bytes beside a new validator.
            await self.cut(start)
        declared = declared or (self.known.declared if start else None)
        is_news = (size, validator, declared) != (self.known.size, self.known.validator, self.known.declared)
        if is_news or not is_open:
            await self.save(size=size, validator=validator, declared=declared)

    async def cut(self, length: int) -> None:
        """Drop what is beyond. OSError."""
        await fs.in_thread(fs.cut, self.path, length)
        self.held = length
        self.known = replace(self.known, synced=min(self.known.synced, length), checked=None)

    async def fall_back(self) -> int:
        """Drop what is not known to be on disk. Returns how many bytes that were; StorageError."""
        dropped = max(self.held - self.known.synced, 0)
        with fs.translate_errors(f"cannot cut {self.path.name}"):
            await self.cut(self.held - dropped)
        self.is_unsure = False
        return dropped

    async def read(self, offset: int, count: int) -> bytes:
        """Bytes of the part as it lies there. StorageError."""
        with fs.translate_errors(f"cannot read {self.path.name}"):
            return await fs.in_thread(fs.read_piece, self.path, offset, count)

    async def inherit(self, name: str) -> bool:
        """Take over the part of another job, under that name. False if there is none. StorageError."""
        with fs.translate_errors(f"cannot take over {name}.part"):
            return await fs.in_thread(control.hand_over, self._layout, name, self._claim.settled, self.blank)

    def keep(self, written: int, prefix: Prefix | None) -> None:
        """So many bytes were written, and this is what some of them are."""
        self.held, self.known = written, replace(self.known, prefix=prefix)

    def forget(self) -> int:
        """Nothing is held any more, nothing known. Returns how many bytes were held."""
        dropped, self.held, self.known, self.is_unsure = self.held, 0, self.blank, False
        return dropped

    async def discard(self) -> None:
        """Delete both files, if they are ours. StorageError."""
        with fs.translate_errors(f"cannot remove {self.path.name}"):
            await fs.in_thread(control.discard, self._layout, self._claim.settled, self.blank.id)

    async def make_durable(self, length: int, prefix: Prefix | None, **news: Any) -> os.stat_result:
        """Bring the first `length` bytes to the disk and say so. StorageError."""
        try:
            status = await fs.in_thread(fs.fsync_file, self.path)
        except OSError as error:
            # Never sync again and believe it: the kernel drops what it could not write, and says so only once.
            self.is_unsure = True
            raise fs.storage_error(f"cannot sync {self.path.name}", error, NotSynced) from error
        await self.save(synced=length, prefix=prefix, **news)
        return status

    async def save(self, **news: Any) -> None:
        """Say durably what is known, and this. StorageError."""
        async with self._saving:  # one after another: two writers of one file would mix
            said = replace(self.known, boot_id=control.boot_id(), **news)
            with fs.translate_errors(f"cannot write {self.control_file.name}"):
                await fs.in_thread(control.write, self.control_file, said)
            # Only now: what could not be written down is not known, or a job would go on from what no disk holds.
            self.known = said
