"""A job of one file.

Where the bytes come from, in this order: a part that was checked already, a model that has the same digest, the server.
"""

from arwd import errors, fs
from arwd.jobs import admission, held
from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.jobs.work import Ending, FileState, Unchanged, Whole, placed
from arwd.model import Model, ModelFile, Trust
from arwd.states import Trigger
from arwd.store import identity
from arwd.store.parts import Part


class Single:
    """The file of one job. All its state is the record's and the part's."""

    def __init__(self, rooms: Rooms, record: Record, part: Part) -> None:
        self._rooms = rooms
        self._record = record
        self._part = part

    async def obtain(self, url: str) -> Whole | Unchanged:
        """Have every byte in the part, checked. TransferError, Sha256Mismatch, StorageError."""
        lost = await self._part.take_up()
        if lost:
            await self._record.restarted("part_invalid", lost, 0)
        if self._part.checked is not None:
            # An earlier life checked the part, and was cut off before it could say so.
            return self._found(is_cached=False)
        library, job = self._rooms.library, self._record.job
        for holder in () if job.content is None else library.holder(job.content, but=job.id):
            if await held.link(self._part, library.path(holder), holder):
                return self._found(is_cached=True)
            if await held.copy(self._part, library.path(holder), holder, self._record):
                self._verify()
                return Whole(sha256=holder.sha256, is_cached=True)
        return await self._fetch(job.files[0].mirrors[0] if job.files else url)

    async def link(self, files: tuple[ModelFile, ...]) -> Whole | None:
        """Make the part a second name of this file; None where that cannot be done. StorageError."""
        (file,) = files
        await self._part.take_up()
        if not await held.link(self._part, self._rooms.library.path(file), file):
            return None
        self._record.progress.begin(file.bytes, file.bytes)
        return Whole(sha256=file.sha256, is_cached=True)

    async def place(self, whole: Whole) -> Ending:
        """Give the part its final name: then the job is complete, in memory. StorageError: it has none yet."""
        part, library = self._part, self._rooms.library
        if part.checked is None:
            await part.vouch(whole.sha256)
        name, checked, job = part.name, part.checked, self._record.job
        assert name is not None
        assert checked is not None
        replaced = library.get(job.id)
        await library.place(name, checked, replaces=replaced)
        model = Model(
            id=job.id,
            provider=job.provider,
            name=name,
            sha256=whole.sha256,
            bytes=checked.bytes,
            trust=self._trust(),
            url=job.url,
            mtime_ns=checked.mtime_ns,
            job_id=job.job_id,
            revision=job.revision,
            validator=part.validator,
        )
        return placed(
            self._rooms,
            self._record,
            model,
            control_file=part.control_file,
            replaced=replaced,
            is_cached=whole.is_cached,
            length_known=part.length_known,
        )

    def is_worthless(self, error: errors.ArwdError) -> bool:
        """Are the bytes proved to be wrong?"""
        return isinstance(error, errors.Sha256Mismatch)

    def files(self) -> tuple[FileState, ...]:
        """It is one file, which the job itself tells of."""
        return ()

    async def _fetch(self, url: str) -> Whole | Unchanged:
        """Where bytes of an earlier answer may be to blame for a wrong digest, once more from zero."""
        may_repeat, job = True, self._record.job
        while True:
            current = self._current()
            is_fetched = await self._rooms.engine.fetch(
                url,
                self._part,
                self._record,
                has_digest=(job.content or self._git_oid) is not None,
                filename=job.wanted_name,
                unless=None if current is None else current.validator,
                expected=job.files[0].size if job.files else None,
            )
            if not is_fetched:
                assert current is not None
                if self._rooms.library.is_unchanged(current):
                    return Unchanged(model=current)
                continue  # it was changed while we asked: now it is no longer what we would ask for
            self._record.progress.finish()
            try:
                return await self._check()
            except (errors.Sha256Mismatch, errors.PartChanged) as error:
                if not self._part.is_pieced or not may_repeat:
                    raise
                may_repeat = False
                code = "part_invalid" if isinstance(error, errors.PartChanged) else error.code
                self._record.begin_again(code, await self._part.clear())

    def _trust(self) -> Trust:
        job = self._record.job
        if job.sha256 is not None:
            return "caller"
        is_vouched = (job.content or self._git_oid or self._part.declared_sha256) is not None
        return "source" if is_vouched else "none"

    def _current(self) -> Model | None:
        """The finished copy that the server is asked about; None if there is none to be kept."""
        library, job = self._rooms.library, self._record.job
        model = library.get(job.id)
        if model is None or self._part.held or not library.is_unchanged(model):
            return None
        return model if admission.may_be_current(job, model) else None

    async def _check(self) -> Whole:
        self._verify()
        actual = await self._part.digest()
        await self._part.close()
        expected = self._record.job.content or self._part.declared_sha256
        if expected is not None and actual != expected:
            raise errors.Sha256Mismatch(expected=expected, actual=actual)
        if self._git_oid is not None:
            path = self._rooms.layout.part(self._part.name or "")
            with fs.translate_errors(f"cannot read {path.name}"):
                _, git_oid = await fs.in_thread(identity.digests, path)
            identity.compare_git(self._git_oid, git_oid)
        return Whole(sha256=actual)

    @property
    def _git_oid(self) -> str | None:
        """What git calls the file, if its source gives no better digest."""
        job = self._record.job
        return job.files[0].git_oid if job.files and job.content is None else None

    def _found(self, *, is_cached: bool) -> Whole:
        checked = self._part.checked
        assert checked is not None
        self._record.progress.begin(checked.bytes, checked.bytes)
        self._record.progress.finish()
        self._verify()
        return Whole(sha256=checked.sha256, is_cached=is_cached)

    def _verify(self) -> None:
        self._record.move(Trigger.FETCHED, "verifying", fields={"total": self._record.progress.total})
