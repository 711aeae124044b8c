"""One job, from its first slot until it is settled. Rule: only its worker changes a job's state.

Commands queue in the mailbox. `stop` answers with the state it finds, which is not always the one asked for: from
just before the rename the rest of the work is shielded, so a cancel that comes too late finds a completed job.
"""

import asyncio
import logging
from collections.abc import Callable

from arwd import errors, events
from arwd.database import After, Change
from arwd.events import Fact
from arwd.jobs import facts, ledger, left_over
from arwd.jobs.progress import Progress
from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.model import Job, Model
from arwd.states import TRANSITIONS, State, Trigger
from arwd.store.control import Checked
from arwd.store.library import doom
from arwd.store.library import record as record_model
from arwd.store.parts import Part

log = logging.getLogger(__name__)


class Worker:
    """Owns one job. Mutable state: the job's record, its part, and the task that moves its bytes."""

    def __init__(
        self,
        rooms: Rooms,
        job: Job,
        url: str,
        *,
        freed: Callable[["Worker"], None],
        settled: Callable[[Job], None],
    ) -> None:
        """`freed` is called when the slot is no longer needed, `settled` when nothing of the job is left to do."""
        self.url = url
        self.is_canceling = False
        self.accepted: asyncio.Future[None] | None = None
        """Ends when the job is recorded; None for a job of an earlier life."""
        self.finished = asyncio.Event()
        self._rooms = rooms
        self._freed = freed
        self._settled = settled
        self._secret = rooms.layout.secret(job.job_id)
        self._mailbox = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._tail: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        finished = rooms.library.get(job.id)
        self._part = Part(rooms.layout, rooms.names, job, own_name=None if finished is None else finished.name)
        self._record = Record(job, rooms.bus, lambda: self._part.name)

    @property
    def job(self) -> Job:
        """The job as it stands."""
        return self._record.job

    @property
    def progress(self) -> Progress:
        """How far its bytes have come."""
        return self._record.progress

    def start(self) -> None:
        """A slot is ours."""
        job = self.job
        fields = {"started_at": job.started_at or events.now(), "attempt": 0}
        self._record.move(Trigger.START, "started", url=job.url, total=job.total, fields=fields)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"job {job.job_id}")

    async def resume(self, position: Callable[[], int], offer: Callable[["Worker"], None]) -> State:
        """End a pause; the job queues again. Any other state is left as it is."""
        async with self._mailbox:
            if self.job.state is State.PAUSED:
                self._record.move(Trigger.RESUME, "queued", position=position(), fields={"paused_by": None})
                offer(self)
            await self._record.recorded()
            return self.job.state

    async def stop(self, intent: Trigger) -> State:
        """Pause, cancel or requeue. Returns the state the job settled in."""
        async with self._mailbox:
            if self.accepted is not None:
                # Until then nobody may start it, and there is no row to change.
                await asyncio.wait([self.accepted])
                if self.accepted.exception() is not None:
                    return self.job.state
            if intent is Trigger.PAUSE and self.job.state is State.VERIFYING:
                return self.job.state  # there is nothing left to pause
            await self._interrupt()
            # Settle here, not in `_run`: a task cancelled before its first step never enters its body.
            if intent in TRANSITIONS[self.job.state]:
                self._freed(self)
                await self._settle(intent)
            if intent is Trigger.PAUSE and self.job.state is State.PAUSED:
                await self._sync_part()
                await self._record.recorded()
            return self.job.state

    async def sync(self) -> None:
        """Make the bytes of an unfinished job durable. StorageError."""
        await self._part.sync(is_paused=self.job.state is State.PAUSED)

    async def _run(self) -> None:
        try:
            lost = await self._part.take_up()
            if lost:
                await self._record.restarted("part_invalid", lost, 0)
            checked = self._part.checked
            self._tail = asyncio.get_running_loop().create_task(
                self._place(await self._obtain() if checked is None else self._found(checked))
            )
            await asyncio.shield(self._tail)
        except errors.ArwdError as error:
            await self._fail(error)
        except Exception as error:
            log.exception("Job %s broke", self.job.job_id, extra={"event": "job_broke", "job": self.job.job_id})
            await self._fail(errors.ArwdError(f"a fault in arwd itself: {type(error).__name__}"))

    async def _obtain(self) -> str:
        """Fetch and check; where bytes of an earlier answer may be to blame, once more from zero. The digest."""
        may_repeat = True
        while True:
            await self._rooms.engine.fetch(self.url, self._part, self._record, has_digest=self.job.sha256 is not None)
            self.progress.finish()
            try:
                return await self._check()
            except (errors.Sha256Mismatch, errors.PartChanged) as error:
                if not self._part.is_pieced or not may_repeat:
                    raise
                may_repeat = False
                code = "part_invalid" if isinstance(error, errors.PartChanged) else error.code
                self._record.begin_again(code, await self._part.clear())

    async def _check(self) -> str:
        self._record.move(Trigger.FETCHED, "verifying", fields={"total": self.progress.total})
        actual = await self._part.digest()
        await self._part.close()
        expected = self.job.sha256
        if expected is not None and actual != expected:
            raise errors.Sha256Mismatch(expected=expected, actual=actual)
        return actual

    def _found(self, checked: Checked) -> str:
        """An earlier life checked the part, and was cut off before it could say so. The digest."""
        self.progress.begin(checked.bytes, checked.bytes)
        self.progress.finish()
        self._record.move(Trigger.FETCHED, "verifying", fields={"total": checked.bytes})
        return checked.sha256

    async def _place(self, actual: str) -> None:
        if self._part.checked is None:
            await self._part.vouch(actual)
        name, checked, job, library = self._part.name, self._part.checked, self.job, self._rooms.library
        assert name is not None
        assert checked is not None
        replaced = library.get(job.id)
        await library.place(name, checked, replaces=replaced is not None and replaced.name == name)
        model = Model(
            id=job.id,
            provider=job.provider,
            name=name,
            sha256=actual,
            bytes=checked.bytes,
            trust="none" if job.sha256 is None else "caller",
            url=job.url,
            mtime_ns=checked.mtime_ns,
            job_id=job.job_id,
            validator=self._part.validator,
        )
        library.put(model)
        job = self._record.close(Trigger.VERIFIED, actual_sha256=actual, trust=model.trust, name=name)
        last = facts.complete(job, model, cached=False, length_known=self._part.length_known)
        news = (facts.changed("downloaded", job.id), last)
        outdated = [] if replaced is None or replaced.name == name else [replaced]
        tidy = library.tidying(self._part.control_file, self._secret, *map(library.path, outdated))
        changes = (record_model(model), *map(doom, outdated))
        await asyncio.shield(self._conclude(*news, changes=changes, after=tidy))
        for old in outdated:
            left_over.bury(self._rooms, old)

    async def _fail(self, error: errors.ArwdError) -> None:
        await self._part.close()
        if isinstance(error, errors.Sha256Mismatch) or (self._part.is_taken_up and not self._part.held):
            await self._discard()
        await self._sync_part()
        sentence = str(error)
        job = self._record.close(Trigger.FAIL, code=error.code, error=sentence, name=self._part.name)
        log.warning("Job %s failed: %s", job.job_id, sentence, extra={"event": "job_failed", "code": error.code})
        last = facts.milestone(job, "error", code=error.code, error=sentence, **error.details())
        await asyncio.shield(self._conclude(last, after=self._forget_secret))

    def _conclude(
        self, *news: Fact, changes: tuple[Change, ...] = (), after: After | None = None
    ) -> asyncio.Task[None]:
        """Tell the last word, then free what the job held: a task of its own, whatever becomes of its caller."""
        self._ending = asyncio.get_running_loop().create_task(
            self._record.conclude(*news, changes=changes, after=after)
        )
        self._ending.add_done_callback(lambda _: self._end())
        return self._ending

    async def _discard(self) -> None:
        try:
            await self._part.discard()
        except errors.StorageError as error:
            log.warning("A part could not be removed: %s", error, extra={"event": "discard_failed"})

    async def _sync_part(self) -> None:
        try:
            await self.sync()
        except errors.StorageError as error:
            log.warning("A part could not be made durable: %s", error, extra={"event": "sync_failed"})

    async def _interrupt(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._tail is not None:
            await asyncio.wait([self._tail])
            if (fault := self._tail.exception()) is not None:
                log.warning("Job %s could not be finished: %s", self.job.job_id, fault, extra={"event": "tail_failed"})
        self._task = self._tail = None
        self.progress.end()
        await self._part.close()

    async def _settle(self, intent: Trigger) -> None:
        name = self._part.name
        if intent is Trigger.CANCEL:
            await self._discard()
            job = self._record.close(intent, name=None)
            await self._conclude(facts.milestone(job, "canceled"), after=self._forget_secret)
        elif intent is Trigger.PAUSE:
            self._record.move(intent, "paused", fields={"name": name, "paused_by": "user"})
        else:
            await self._record.move(intent, "queued", fields={"name": name})

    def _forget_secret(self) -> None:
        ledger.drop_secret(self._secret)

    def _end(self) -> None:
        self._part.release()
        self._freed(self)
        self._settled(self.job)
        self.finished.set()
