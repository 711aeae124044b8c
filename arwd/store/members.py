"""One file of a model of several, in the directory that is being filled. It is there when it was checked.

Rule: a large file is a part like any other, with a control file of its own; a small one lies in memory until it is
whole. The bytes of a file are told from those of another by what its source said of it, not by its name.
"""

import hashlib
import os
from pathlib import Path

from msgspec.structs import replace

from arwd import fs
from arwd.model import Job, ModelFile, RemoteFile
from arwd.store import found, identity
from arwd.store.buffer import LARGEST, Buffer
from arwd.store.control import CheckedFile
from arwd.store.layout import Folder
from arwd.store.names import Claim, OneName
from arwd.store.parts import Part
from arwd.store.share import Share
from arwd.store.space import Space


class Member:
    """One file. Mutable state: the bytes that have come, and what was found when it was checked."""

    def __init__(self, folder: Folder, space: Space, job: Job, file: RemoteFile) -> None:
        self.file = file
        self.name = _name(file)
        self.done: CheckedFile | None = None
        """What it was found to be, under its own name."""
        self._folder = folder
        is_small = file.size is not None and file.size <= LARGEST
        share = Share(space, f"{job.job_id}/{self.name}", file.size)
        own = _as_job(job, file)
        self.sink: Part | Buffer = (
            Buffer(file.size or 0) if is_small else Part(folder, Claim(OneName(self.name), own), share, own)
        )

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return self.sink.held if self.done is None else self.done.bytes

    @property
    def has_digest(self) -> bool:
        """Will a digest decide in the end?"""
        return (self.file.sha256 or self.file.git_oid) is not None

    @property
    def is_vouched(self) -> bool:
        """Has its source, or its server, said what its digest must be?"""
        return self.has_digest or self.sink.declared_sha256 is not None

    async def take_up(self) -> int:
        """Look for what an earlier transfer left. Returns how many bytes are lost. StorageError."""
        if self.done is not None:
            if await fs.in_thread(found.is_file, self._folder.final(self.name), self.done):
                return 0
            lost = self.done.bytes
            await self.drop()
            return lost
        part, lost = self.sink, 0
        with fs.translate_errors(f"cannot look for {self.name}"):
            is_bare = not await fs.in_thread(os.path.lexists, self._folder.control_file(self.name))
            if is_bare and await fs.in_thread(os.path.lexists, self._folder.final(self.name)):
                self.done = await fs.in_thread(identity.recognised, self._folder.final(self.name), self.file)
                if self.done is None:
                    await fs.in_thread(self._folder.final(self.name).unlink)
        if self.done is None and isinstance(part, Part):
            lost = await part.take_up()
            if part.checked is not None:
                await self._put_in_place(part)
            elif part.name is None:
                await self.drop()
        return lost

    async def check(self) -> None:
        """Every byte has come: compare them with what the source said, and give them their name.

        Sha256Mismatch, PartChanged, StorageError.
        """
        if isinstance(self.sink, Buffer):
            data = self.sink.data
            actual = hashlib.sha256(data).hexdigest()
            identity.compare(self.file, actual, self.sink.declared_sha256, data)
            with fs.translate_errors(f"cannot write {self.name}"):
                status = await fs.in_thread(_write, self._folder.final(self.name), data)
            self.done = identity.as_checked(self.name, actual, status)
            await self.sink.clear()
            return
        actual = await self.sink.digest()
        await self.sink.close()
        identity.compare(self.file, actual, self.sink.declared_sha256, None)
        if self.file.sha256 is None and self.file.git_oid is not None:
            with fs.translate_errors(f"cannot read {self.name}"):
                _, git_oid = await fs.in_thread(identity.digests, self._folder.part(self.name))
            identity.compare_git(self.file.git_oid, git_oid)
        await self.sink.vouch(actual)
        await self._put_in_place(self.sink)

    async def link(self, source: Path, held: ModelFile) -> bool:
        """Be a second name of a finished file. False where that cannot be. StorageError."""
        if isinstance(self.sink, Part):
            # With a control file, so that the next life need not read all of it to know it.
            if await self.sink.link(source, sha256=held.sha256, size=held.bytes, mtime_ns=held.mtime_ns):
                await self._put_in_place(self.sink)
        else:
            with fs.translate_errors(f"cannot link {self.name}"):
                self.done = await fs.in_thread(_link, source, self._folder.final(self.name), held, self.name)
        return self.done is not None

    async def drop(self) -> None:
        """Nothing of it is kept. StorageError."""
        await self.sink.clear()
        self.done = None
        with fs.translate_errors(f"cannot remove {self.name}"):
            await fs.in_thread(self._folder.drop, self.name)

    async def close(self) -> None:
        """Write what was taken, and let go of the file."""
        if isinstance(self.sink, Part):
            await self.sink.close()

    async def sync(self, *, is_paused: bool) -> None:
        """Make what is held durable, as far as it would not come again in a moment. StorageError."""
        if isinstance(self.sink, Part) and self.done is None:
            await self.sink.sync(is_paused=is_paused)

    async def _put_in_place(self, part: Part) -> None:
        checked = part.checked
        assert checked is not None
        final = self._folder.final(self.name)
        with fs.translate_errors(f"cannot put {self.name} in place"):
            if not found.is_there(final, checked):
                await fs.in_thread(fs.rename_without_replacing, self._folder.part(self.name), final)
        self.done = CheckedFile(
            name=self.name,
            sha256=checked.sha256,
            bytes=checked.bytes,
            inode=checked.inode,
            mtime_ns=checked.mtime_ns,
        )


def _name(file: RemoteFile) -> str:
    assert file.name is not None, "the files of several have names"
    return file.name


def _as_job(job: Job, file: RemoteFile) -> Job:
    """What the file's control file says: whose directory it lies in says the directory's own."""
    mark = hashlib.sha256(f"{file.name}\0{file.size}\0{file.sha256}\0{file.git_oid}".encode()).hexdigest()[:10]
    return replace(
        job,
        job_id=f"job_{mark}",
        id=_name(file),
        url=file.mirrors[0],
        sha256=file.sha256,
        filename=None,
        files=(file,),
        directory=None,
        name=file.name,
        total=file.size,
    )


def _write(path: Path, data: bytes) -> os.stat_result:
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o644), "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        return os.fstat(file.fileno())


def _link(source: Path, final: Path, held: ModelFile, name: str) -> CheckedFile | None:
    final.unlink(missing_ok=True)
    status = fs.link_unchanged(source, final, size=held.bytes, mtime_ns=held.mtime_ns)
    return None if status is None else identity.as_checked(name, held.sha256, status)
