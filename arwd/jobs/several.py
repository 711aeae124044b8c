"""A job of several files: they are fetched side by side into one directory, which is put in place when all are there.

Where a file comes from, in this order: what an earlier transfer left, a model that has a file of its digest, the
server.
"""

import asyncio
import contextlib
from typing import Final

from arwd import errors, fs
from arwd.jobs.delivery import Delivery
from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.jobs.work import Ending, FileState, Unchanged, Whole, placed
from arwd.model import Model, ModelFile, Trust
from arwd.states import Trigger
from arwd.store import identity
from arwd.store.buffer import Buffer
from arwd.store.members import Member
from arwd.store.staging import Staging

SMALL_AT_ONCE: Final = 16
"""Small files cost round trips, not bytes: so many are asked for side by side."""
LARGE_AT_ONCE: Final = 4
"""A large file nearly fills a line by itself."""


class Several:
    """The files of one job. All its state is the record's and the directory's."""

    def __init__(self, rooms: Rooms, record: Record, staging: Staging) -> None:
        self._rooms = rooms
        self._record = record
        self._staging = staging

    async def obtain(self, url: str) -> Whole | Unchanged:
        """Have every file in the directory, checked. `url` is not asked: each file has its own.

        TransferError, Sha256Mismatch, StorageError.
        """
        staging, record = self._staging, self._record
        lost = await staging.take_up()
        if lost:
            await record.restarted("part_invalid", lost, staging.held)
        if staging.checked is not None:
            # An earlier life checked the files, and was cut off before it could say so.
            record.progress.begin(staging.checked.bytes, staging.checked.bytes)
            return self._whole(is_cached=False)
        await staging.begin()
        await self._link_held()
        await staging.promise()
        record.files_are_done(staging.files_done)
        if staging.held:
            await record.resumed(staging.held, staging.declared_size)
        else:
            await record.began(staging.declared_size)
        is_fetched = await self._fetch_missing()
        return self._whole(is_cached=not is_fetched)

    async def link(self, files: tuple[ModelFile, ...]) -> Whole | None:
        """Have every file by giving these a second name; None where that cannot be done. StorageError."""
        there = {file.name.partition("/")[2]: file for file in files}
        await self._staging.take_up()
        if self._staging.checked is None:
            await self._staging.begin()
            for member in self._staging.members:
                if member.done is None and (file := there.get(member.name)) is not None:
                    await member.link(self._rooms.library.path(file), file)
                if member.done is None:
                    return None
        size = sum(file.bytes for file in files)
        self._record.progress.begin(size, size)
        return Whole(is_cached=True)

    async def place(self, whole: Whole) -> Ending:
        """Give the directory its final name: then the job is complete, in memory. StorageError: it has none yet."""
        staging, library, job = self._staging, self._rooms.library, self._record.job
        if staging.checked is None:
            await staging.vouch()
        await staging.strip()
        name, checked = staging.name, staging.checked
        assert name is not None
        assert checked is not None
        replaced = library.get(job.id)
        await library.place(name, checked, replaces=replaced)
        self._record.files_are_done(len(job.files))
        model = Model(
            id=job.id,
            provider=job.provider,
            name=name,
            bytes=checked.bytes,
            trust=self._trust(),
            url=job.url,
            job_id=job.job_id,
            files=tuple(
                ModelFile(name=f"{name}/{file.name}", bytes=file.bytes, mtime_ns=file.mtime_ns, sha256=file.sha256)
                for file in checked.files
            ),
            list_sha256=job.content,
            revision=job.revision,
        )
        return placed(
            self._rooms,
            self._record,
            model,
            control_file=staging.control_file,
            replaced=replaced,
            is_cached=whole.is_cached,
        )

    def is_worthless(self, error: errors.ArwdError) -> bool:
        """Never: what is wrong with one file says nothing of the others."""
        return False

    def files(self) -> tuple[FileState, ...]:
        """How far each file has come."""
        return tuple(
            FileState(name=member.name, downloaded=member.held, is_done=member.done is not None)
            for member in self._staging.members
        )

    async def _fetch_missing(self) -> bool:
        """Returns whether anything had to be fetched."""
        small, large = asyncio.Semaphore(SMALL_AT_ONCE), asyncio.Semaphore(LARGE_AT_ONCE)
        missing = [member for member in self._staging.members if member.done is None]
        about: dict[BaseException, str] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for member in missing:
                    group.create_task(self._have(member, small if isinstance(member.sink, Buffer) else large, about))
        except BaseExceptionGroup as faults:
            fault = _first(faults)
            if fault in about:
                self._record.file_begins(about[fault])
            raise fault from None
        return bool(missing)

    async def _have(self, member: Member, slots: asyncio.Semaphore, about: dict[BaseException, str]) -> None:
        """`about` is told which file a fault is about."""
        async with slots:
            try:
                await self._fetch(member)
            except errors.ArwdError as fault:
                about[fault] = member.name
                raise
            self._record.files_are_done(self._staging.files_done)

    async def _link_held(self) -> None:
        """Other models, or this one as it is now, may have files of these digests."""
        library = self._rooms.library
        for member in self._staging.members:
            if member.done is None and not member.held:
                sha256 = member.file.sha256
                for file in await self._namesake(member) if sha256 is None else library.holder(sha256)[:1]:
                    await member.link(library.path(file), file)

    async def _namesake(self, member: Member) -> tuple[ModelFile, ...]:
        """What this model has in that place as it is now, if it is the same by git's name of it."""
        library = self._rooms.library
        model = library.get(self._record.job.id)
        if model is None:
            return ()
        for file in model.files:
            if file.name == f"{model.name}/{member.name}":
                with contextlib.suppress(OSError):  # then it is fetched
                    known = await fs.in_thread(identity.recognised, library.path(file), member.file)
                    return (file,) if known is not None and known.sha256 == file.sha256 else ()
        return ()

    async def _fetch(self, member: Member) -> None:
        """Where bytes of an earlier answer may be to blame for a wrong digest, once more from zero."""
        delivery = Delivery(self._record, member, lambda: self._staging.held)
        may_repeat = True
        while True:
            await self._rooms.engine.fetch(
                member.file.mirrors[0],
                member.sink,
                delivery,
                has_digest=member.has_digest,
                filename=member.name,
                expected=member.file.size,
            )
            try:
                await member.check()
            except (errors.Sha256Mismatch, errors.PartChanged) as error:
                is_final = not (member.sink.is_pieced and may_repeat)
                may_repeat = False
                dropped = member.held
                await member.drop()
                if is_final:
                    self._record.progress.downloaded = self._staging.held
                    raise
                code = "part_invalid" if isinstance(error, errors.PartChanged) else error.code
                await delivery.restarted(code, dropped, 0)
            else:
                return

    def _whole(self, *, is_cached: bool) -> Whole:
        self._record.progress.finish()
        self._record.move(Trigger.FETCHED, "verifying", fields={"total": self._record.progress.total})
        return Whole(is_cached=is_cached)

    def _trust(self) -> Trust:
        members = self._staging.members
        is_vouched = bool(members) and all(member.is_vouched for member in members)
        return "source" if is_vouched or self._record.job.content is not None else "none"


def _first(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """The fault that the others were cancelled for. A full disk before others: it passes."""
    leaves = [_first(fault) if isinstance(fault, BaseExceptionGroup) else fault for fault in faults.exceptions]
    return next((fault for fault in leaves if isinstance(fault, errors.DiskFull)), leaves[0])
