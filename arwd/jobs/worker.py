"""One job, from its first slot until it is settled. Rule: only its worker changes a job's state.

Commands queue in the mailbox. `stop` answers with the state it finds, which is not always the one asked for: from
just before the rename the rest of the work is shielded, so a cancel that comes too late finds a completed job.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from arwd import errors, events
from arwd.jobs import facts, kinds, ledger, left_over
from arwd.jobs.progress import Progress
from arwd.jobs.record import NOT_PAUSED
from arwd.jobs.rooms import Rooms
from arwd.jobs.tolerance import tolerated
from arwd.jobs.work import Ending, FileState, Unchanged, Unfinished, Whole, keep
from arwd.model import Job, Model, ModelFile
from arwd.states import TRANSITIONS, State, Trigger

log = logging.getLogger(__name__)


class Employer(Protocol):
    """Whom a worker tells what becomes of its job."""

    def freed(self, worker: "Worker") -> None:
        """The slot is no longer needed."""

    def settled(self, worker: "Worker") -> None:
        """Nothing of the job is left to do."""

    def heir(self, worker: "Worker") -> "Worker | None":
        """Who goes on with the part of a job that ends without a file."""


class Worker:
    """Owns one job. Mutable state: the job's record, its part, and the task that moves its bytes."""

    def __init__(self, rooms: Rooms, job: Job, url: str, employer: Employer) -> None:
        self.url = url
        self.is_canceling = False
        self.accepted: asyncio.Future[None] | None = None
        """Ends when the job is recorded; None for a job of an earlier life."""
        self.finished = asyncio.Event()
        self._rooms = rooms
        self._employer = employer
        self._secret = rooms.layout.secret(job.job_id)
        self._mailbox = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._tail: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._record, self._part, self._work = kinds.open_job(rooms, job)

    @property
    def job(self) -> Job:
        """The job as it stands."""
        return self._record.job

    @property
    def progress(self) -> Progress:
        """How far its bytes have come."""
        return self._record.progress

    @property
    def files(self) -> tuple[FileState, ...]:
        """How far each of several files has come."""
        return self._work.files()

    @property
    def refusal(self) -> errors.StorageError | None:
        """Why its last word could not be written down yet."""
        return self._record.refusal

    def start(self) -> None:
        """A slot is ours."""
        job = self.job
        fields = {"started_at": job.started_at or events.now(), "attempt": 0}
        self._record.move(Trigger.START, "started", url=job.url, total=job.total, fields=fields)
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"job {job.job_id}")

    def wait_for(self, leader: str | None, position: int) -> None:
        """Another job fetches the same bytes; None: no longer. `position`: the place in the queue."""
        if self.job.waiting_for != leader:
            told = {"position": position, "waiting_for": leader}
            self._record.note("queued", fields={"waiting_for": leader}, **told)

    async def have(self, files: tuple[ModelFile, ...]) -> bool:
        """Complete at once with these files, which another model holds. False where that cannot be done."""
        async with self._mailbox:
            if self.job.state is not State.QUEUED:
                return True  # it was decided otherwise meanwhile
            try:
                with tolerated("A model could not be linked", "link_failed"):
                    found = await self._work.link(files)
                    if found is not None:
                        self._tail = asyncio.get_running_loop().create_task(self._finish(found))
                        await asyncio.shield(self._tail)
                        return True
                return False
            finally:
                self._tail = None

    async def inherit(self, part: Unfinished) -> None:
        """Go on, when it is our turn, with the bytes of a job that ended without a file. StorageError."""
        async with self._mailbox:
            if self.job.state is State.QUEUED and await self._part.inherit(part):
                self._record.rename(self._part.name)

    async def resume(self, offer: Callable[["Worker"], None], position: Callable[[], int], *, is_asked: bool) -> State:
        """End a pause; the job queues again. Any other state is left as it is; unasked, a user's pause is too."""
        async with self._mailbox:
            if self.job.state is State.PAUSED and (is_asked or self.job.paused_by == "disk"):
                self._record.move(Trigger.RESUME, "queued", position=position(), fields=NOT_PAUSED)
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
                self._employer.freed(self)
                await self._settle(intent)
            if intent is Trigger.PAUSE and self.job.paused_by == "disk":
                # Its user's from now on: it does not go on by itself.
                self._record.note("paused", fields={**NOT_PAUSED, "paused_by": "user"})
            if intent is Trigger.PAUSE and self.job.state is State.PAUSED:
                await self._sync_part()
                await self._record.recorded()
            return self.job.state

    async def sync(self) -> None:
        """Make the bytes of an unfinished job durable. StorageError."""
        await self._part.sync(is_paused=self.job.paused_by == "user")

    async def recorded(self) -> None:
        """Return when the job's newest milestone is on disk. StorageError."""
        await self._record.recorded()

    async def _run(self) -> None:
        try:
            found = await self._work.obtain(self.url)
            self._tail = asyncio.get_running_loop().create_task(self._finish(found))
            await asyncio.shield(self._tail)
        except errors.ArwdError as error:
            await (self._wait_for_room(error) if isinstance(error, errors.DiskFull) else self._fail(error))
        except Exception as error:
            log.exception("Job %s broke", self.job.job_id, extra={"event": "job_broke", "job": self.job.job_id})
            await self._fail(errors.ArwdError(f"a fault in arwd itself: {type(error).__name__}"))

    async def _finish(self, found: Whole | Unchanged) -> None:
        if isinstance(found, Unchanged):
            self._conclude(keep(self._rooms, self._record, found.model))
        else:
            self._conclude(await self._work.place(found))

    async def _wait_for_room(self, error: errors.DiskFull) -> None:
        """Pause, until there is room for what is still to come."""
        await self._part.close()
        await self._sync_part()
        size, kept = self._part.declared_size, self._part.held
        sentence = await self._rooms.space.explain(error, size=size, held=kept)
        self._tail = None
        self._record.run_out_of_room(sentence, size=size, held=kept)
        self._employer.freed(self)

    async def _fail(self, error: errors.ArwdError) -> None:
        await self._part.close()
        if self._work.is_worthless(error) or (self._part.is_taken_up and not self._part.held):
            await self._discard()
        await self._sync_part()
        await self._bequeath()
        sentence = str(error)
        job = self._record.close(Trigger.FAIL, code=error.code, error=sentence, name=self._part.name)
        log.warning("Job %s failed: %s", job.job_id, sentence, extra={"event": "job_failed", "code": error.code})
        last = facts.milestone(job, "error", code=error.code, error=sentence, **error.details())
        self._conclude(Ending(news=(last,), tidy=self._forget_secret))

    def _conclude(self, ending: Ending) -> None:
        """Tell the last word, then free what the job held: a task of its own. Nobody waits for it in the mailbox, as
        a full disk may refuse it for hours; `finished` says when it is over.
        """
        telling = self._record.conclude(*ending.news, changes=ending.changes, after=ending.tidy)
        self._ending = asyncio.get_running_loop().create_task(telling)
        self._ending.add_done_callback(lambda _: self._end(ending.outdated))

    async def _bequeath(self) -> None:
        """Leave the bytes to a job that waits for them."""
        heir = None if self._part.name is None else self._employer.heir(self)
        if heir is not None:
            with tolerated("A part could not be handed on", "bequest_failed"):
                await heir.inherit(self._part)

    async def _discard(self) -> None:
        with tolerated("A part could not be removed", "discard_failed"):
            await self._part.discard()

    async def _sync_part(self) -> None:
        with tolerated("A part could not be made durable", "sync_failed"):
            await self.sync()

    async def _interrupt(self) -> None:
        if self._task is not None:
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
            await self._bequeath()
            await self._discard()
            job = self._record.close(intent, name=None)
            self._conclude(Ending(news=(facts.milestone(job, "canceled"),), tidy=self._forget_secret))
        elif intent is Trigger.PAUSE:
            fields = {"name": name, "paused_by": "user", "waiting_for": None}
            self._record.move(intent, "paused", fields=fields)
        else:
            await self._record.move(intent, "queued", fields={"name": name})

    def _forget_secret(self) -> None:
        ledger.drop_secret(self._secret)

    def _end(self, outdated: tuple[Model, ...]) -> None:
        self._part.release()
        self.finished.set()
        self._employer.freed(self)
        self._employer.settled(self)
        for old in outdated:
            left_over.bury(self._rooms, old)
