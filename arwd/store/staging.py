"""The unfinished directory of one job: `<name>.part/`, the files in it, and the control file that says whose it is.

Rule: all or nothing. The directory gets its final name when every file in it was checked, in one rename.
"""

import os
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from arwd import fs
from arwd.model import Job, total_of
from arwd.store import assembling, control
from arwd.store.control import Checked
from arwd.store.layout import Folder
from arwd.store.members import Member
from arwd.store.names import Claim
from arwd.store.space import Space


class Staging:
    """One directory, from the settling of its name until it is placed or discarded."""

    def __init__(self, layout: Folder, claim: Claim, space: Space, job: Job) -> None:
        self._layout = layout
        self._space = space
        self._job = job
        self._claim = claim
        self._known = self._blank = control.blank(job)
        self.members: tuple[Member, ...] = ()
        """Its files, as soon as the name is settled."""
        self.declared_size = total_of(job.files)
        """The bytes of all of them, if their source said that."""
        self.is_taken_up = True
        """Is it known what an earlier transfer left? Until then nothing may be dropped."""

    @property
    def name(self) -> str | None:
        """The settled name below `models/`."""
        return self._claim.name

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return sum(member.held for member in self.members)

    @property
    def files_done(self) -> int:
        """How many files are whole and checked."""
        return len(self._job.files) if self.checked else sum(member.done is not None for member in self.members)

    @property
    def checked(self) -> Checked | None:
        """What was found when all was checked; then only its final name is missing."""
        return self._known.checked

    @property
    def control_file(self) -> Path:
        """Where it is said what the directory is; only once the name is settled."""
        return self._layout.control_file(self._claim.settled)

    async def take_up(self) -> int:
        """Look for what an earlier transfer left. Returns how many bytes were lost. StorageError."""
        is_ours = self.name is not None
        if not self._claim.hold():
            return 0
        self.is_taken_up, lost = False, 0
        with fs.translate_errors(f"cannot look for {self.name}.part"):
            there = await fs.in_thread(
                assembling.look, self._layout, self._claim.settled, self._blank, is_ours, self._claim.is_own
            )
        if there is None:
            self._claim.leave()
        elif there.checked is not None:
            self._known = there
        else:
            self._gather()
            for member in self.members:
                lost += await member.take_up()
        self.is_taken_up = True
        return lost

    async def promise(self) -> None:
        """Have the room for all that is still to come promised. DiskFull, QuotaExceeded, SizeLimit."""
        sizes = [file.size for file in self._job.files if file.size is not None]
        for size in sizes:
            self._space.admit(size)
        await self._space.promise(self._job.job_id, size=sum(sizes), written=lambda: self.held, is_directory=True)

    async def begin(self) -> None:
        """Make ready to take files. StorageError."""
        self._claim.settle(None)
        self._gather()
        await self._save(is_paused=False)
        with fs.translate_errors(f"cannot prepare {self.name}.part"):
            await fs.in_thread(assembling.prepare, self._directory, [member.name for member in self.members])

    async def vouch(self) -> None:
        """Say durably that every file is there and checked: from here only the final name is missing. StorageError."""
        files = tuple(member.done for member in self.members if member.done is not None)
        assert len(files) == len(self._job.files)
        await fs.in_thread(assembling.make_durable, self._directory, files)
        with fs.translate_errors(f"cannot sync {self.name}.part"):
            status = await fs.in_thread(os.stat, self._directory)
        checked = Checked(
            sha256=self._blank.sha256 or "",
            bytes=sum(file.bytes for file in files),
            inode=status.st_ino,
            mtime_ns=0,
            files=files,
        )
        await self._save(checked=checked)

    async def strip(self) -> None:
        """Remove the control files of the files: the directory's own vouches for all of them. StorageError."""
        with fs.translate_errors(f"cannot tidy {self.name}.part"):
            await fs.in_thread(assembling.strip, self._directory, [file.name or "" for file in self._job.files])

    async def sync(self, *, is_paused: bool = False) -> None:
        """Make what is held durable, and say so. StorageError."""
        if self.checked is not None or not self.members:
            return
        for member in self.members:
            await member.sync(is_paused=is_paused)
        await self._save(is_paused=is_paused)

    async def close(self) -> None:
        """Write what was taken and let go of the files; `sync` makes it durable."""
        for member in self.members:
            await member.close()
        self._space.withdraw(self._job.job_id)

    async def discard(self) -> None:
        """Drop every file and the name. StorageError."""
        await self.close()
        self.members, self._known = (), self._blank
        if self.name is not None:
            with fs.translate_errors(f"cannot remove {self.name}.part"):
                await fs.in_thread(control.discard, self._layout, self.name, self._job.id)
            self._claim.give_up()

    async def inherit(self, other: "Staging") -> bool:
        """Take over the files of another job's directory, unless there are some already. StorageError."""
        if self.name is not None or other.name is None:
            return False
        self._claim.settle(None)
        with fs.translate_errors(f"cannot take over {other.name}.part"):
            is_ours = await fs.in_thread(control.hand_over, self._layout, other.name, self._claim.settled, self._blank)
        (other if is_ours else self).disown()
        return is_ours

    def disown(self) -> None:
        """The name is not ours: what lies there is left alone."""
        self._claim.give_up()
        self.members = ()

    def release(self) -> None:
        """Neither the name nor room is reserved any longer: what lies on disk speaks for itself."""
        self._claim.release()
        self._space.withdraw(self._job.job_id)

    @property
    def _directory(self) -> Path:
        return self._layout.part(self._claim.settled)

    def _gather(self) -> None:
        if not self.members:
            folder = Folder(self._directory)
            self.members = tuple(Member(folder, self._space, self._job, file) for file in self._job.files)

    async def _save(self, **news: Any) -> None:
        known = replace(self._known, boot_id=control.boot_id(), **news)
        with fs.translate_errors(f"cannot write {self.control_file.name}"):
            await fs.in_thread(control.write, self.control_file, known)
        self._known = known
