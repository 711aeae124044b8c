"""What a job does with its slot: get the bytes, check them, put them in place. Knows nothing of commands.

Where the bytes come from, in this order: a part that was checked already, a model that has the same digest, the server.
"""

import functools

import msgspec

from arwd import errors
from arwd.database import After, Change
from arwd.events import Fact
from arwd.jobs import admission, facts, held, ledger
from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.model import Model, Trust
from arwd.states import State, Trigger
from arwd.store.library import doom
from arwd.store.library import record as record_model
from arwd.store.parts import Part


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Every byte is in the part, and this is their digest."""

    sha256: str
    is_cached: bool = False
    """They were here before, under another id."""


class Unchanged(msgspec.Struct, frozen=True, kw_only=True):
    """The server says that this model is what it would send."""

    model: Model


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """The last words of a job that came to its file, and what is written down with them."""

    news: tuple[Fact, ...]
    changes: tuple[Change, ...] = ()
    tidy: After
    outdated: tuple[Model, ...] = ()
    """What the new file takes the place of, under another name."""


class Work:
    """The bytes of one job. All its state is the record's and the part's."""

    def __init__(self, rooms: Rooms, record: Record, part: Part) -> None:
        self._rooms = rooms
        self._record = record
        self._part = part
        self._secret = rooms.layout.secret(record.job.job_id)

    async def obtain(self, url: str) -> Whole | Unchanged:
        """Have every byte in the part, checked. TransferError, Sha256Mismatch, StorageError."""
        lost = await self._part.take_up()
        if lost:
            await self._record.restarted("part_invalid", lost, 0)
        if self._part.checked is not None:
            # An earlier life checked the part, and was cut off before it could say so.
            return self._found(is_cached=False)
        library, job = self._rooms.library, self._record.job
        holder = None if job.content is None else library.holder(job.content, but=job.id)
        if holder is not None:
            if await held.link(self._part, library.path(holder), holder):
                return self._found(is_cached=True)
            if await held.copy(self._part, library.path(holder), holder, self._record):
                self._verify()
                return Whole(sha256=holder.sha256, is_cached=True)
        return await self._fetch(job.files[0].mirrors[0] if job.files else url)

    async def place(self, whole: Whole) -> Ending:
        """Give the part its final name: then the job is complete, in memory. StorageError: it has none yet."""
        part, library = self._part, self._rooms.library
        if part.checked is None:
            await part.vouch(whole.sha256)
        name, checked, job = part.name, part.checked, self._record.job
        assert name is not None
        assert checked is not None
        replaced = library.get(job.id)
        await library.place(name, checked, replaces=replaced is not None and replaced.name == name)
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
        library.put(model)
        trigger = Trigger.HAVE if job.state is State.QUEUED else Trigger.VERIFIED
        job = self._record.close(trigger, actual_sha256=model.sha256, trust=model.trust, name=name)
        last = facts.complete(job, model, cached=whole.is_cached, length_known=part.length_known)
        outdated = () if replaced is None or replaced.name == name else (replaced,)
        return Ending(
            news=(facts.changed("downloaded", job.id), last),
            changes=(record_model(model), *map(doom, outdated)),
            tidy=library.tidying(part.control_file, self._secret, *map(library.path, outdated)),
            outdated=outdated,
        )

    def keep(self, model: Model) -> Ending:
        """The copy held is current: the job is complete, in memory."""
        self._record.progress.begin(model.bytes, model.bytes)
        job = self._record.close(Trigger.UNCHANGED, actual_sha256=model.sha256, trust=model.trust, name=model.name)
        return Ending(
            news=(facts.complete(job, model, cached=True),), tidy=functools.partial(ledger.drop_secret, self._secret)
        )

    async def _fetch(self, url: str) -> Whole | Unchanged:
        """Where bytes of an earlier answer may be to blame for a wrong digest, once more from zero."""
        may_repeat, job = True, self._record.job
        while True:
            current = self._current()
            is_fetched = await self._rooms.engine.fetch(
                url,
                self._part,
                self._record,
                has_digest=job.content is not None,
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
        return "none" if job.content is None else "source"

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
        expected = self._record.job.content
        if expected is not None and actual != expected:
            raise errors.Sha256Mismatch(expected=expected, actual=actual)
        return Whole(sha256=actual)

    def _found(self, *, is_cached: bool) -> Whole:
        checked = self._part.checked
        assert checked is not None
        self._record.progress.begin(checked.bytes, checked.bytes)
        self._record.progress.finish()
        self._verify()
        return Whole(sha256=checked.sha256, is_cached=is_cached)

    def _verify(self) -> None:
        self._record.move(Trigger.FETCHED, "verifying", fields={"total": self._record.progress.total})
