"""Who begins: at once where the bytes are held, behind a job that fetches the same, or with a slot of its own.

Rule: of the jobs that were given one digest, one at a time fetches; a job that its user paused holds nobody up.
"""

import asyncio
import contextlib

from arwd.jobs.rooms import Rooms
from arwd.jobs.roster import PATIENCE, Roster
from arwd.jobs.scheduler import Scheduler
from arwd.jobs.tolerance import tolerated
from arwd.jobs.vigil import Vigil
from arwd.jobs.worker import Worker
from arwd.model import Job, ModelFile
from arwd.states import State


class Dispatcher:
    """The employer of the workers. Mutable state: who fetches each digest, and the links in the making."""

    def __init__(self, rooms: Rooms, roster: Roster, scheduler: Scheduler) -> None:
        self._rooms = rooms
        self._roster = roster
        self._scheduler = scheduler
        self._leaders: dict[str, Worker] = {}
        self._links: dict[Worker, asyncio.Task[None]] = {}
        self.vigil = Vigil(rooms.space, roster, self._go_on, asyncio.get_running_loop().time)

    def offer(self, worker: Worker) -> None:
        """This job is queued, and wants to begin."""
        content = worker.job.content
        if worker in self._links:
            return  # it is being decided
        if content is None:
            self._scheduler.offer(worker)
            return
        holder = self._rooms.library.holder(content, but=worker.job.id)
        if not holder:
            self._line_up(worker, content)
        else:
            self._links[worker] = asyncio.get_running_loop().create_task(self._link(worker, content, holder))

    def leader(self, content: str, *, but: str) -> Worker | None:
        """The job of another id that fetches these bytes."""
        leader = self._leaders.get(content)
        if leader is None or leader.job.id == but or leader.is_canceling or leader.job.is_final:
            return None
        is_paused = leader.job.state is State.PAUSED and leader.job.paused_by == "user"
        return None if is_paused else leader

    async def linked(self, worker: Worker) -> None:
        """Return when it is decided, and written down, whether this job can be complete at once; or if that takes long.

        The caller has a client to answer, and a full disk may take nothing for hours.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                if worker in self._links:
                    await asyncio.shield(self._links[worker])
                if worker.job.is_final:
                    await worker.finished.wait()

    def freed(self, worker: Worker) -> None:
        """The slot is no longer needed."""
        self._scheduler.release(worker)
        self.vigil.notice(worker)

    def settled(self, worker: Worker) -> None:
        """Nothing of the job is left to do: those that waited for it begin."""
        self.keep(worker.job)
        self.let_go(worker)

    def keep(self, job: Job) -> None:
        """This job is final; the oldest of those that are give way to it."""
        for old in self._roster.keep(job):
            self._rooms.bus.forget(old.job_id)

    async def resume(self, worker: Worker, *, is_asked: bool = True) -> None:
        """Let a paused job line up again; unasked, one that its user paused is left alone. StorageError."""
        await worker.resume(self.offer, self._scheduler.next_position, is_asked=is_asked)

    def let_go(self, worker: Worker) -> None:
        """Nobody waits for this job any longer."""
        content = worker.job.content
        if content is None:
            return
        if self._leaders.get(content) is worker:
            del self._leaders[content]
        for follower in self._followers(worker):
            # One that is not recorded yet is offered as soon as it is.
            if follower.accepted is None or follower.accepted.done():
                self.offer(follower)

    def heir(self, worker: Worker) -> Worker | None:
        """Who goes on with the part of a job that ends without a file: the first that waits for it."""
        return next(iter(self._followers(worker)), None)

    async def close(self) -> None:
        """Return when no link is in the making, and nobody goes on by himself."""
        await self.vigil.close()
        if self._links:
            # What cannot be written down now the next life finds vouched for.
            await asyncio.wait(list(self._links.values()), timeout=PATIENCE)

    async def _go_on(self, worker: Worker) -> None:
        with tolerated("A job that goes on is not recorded yet", "resume_unrecorded"):
            await self.resume(worker, is_asked=False)

    def _followers(self, leader: Worker) -> list[Worker]:
        if leader.job.content is None:
            return []
        workers = [worker for worker in self._roster.workers if worker.job.waiting_for == leader.job.job_id]
        return [worker for worker in workers if worker.job.state is State.QUEUED and not worker.is_canceling]

    async def _link(self, worker: Worker, content: str, holder: tuple[ModelFile, ...]) -> None:
        try:
            is_linked = await worker.have(holder)
        finally:
            # In the step in which it is decided: whoever resumes the job next must not find it undecided.
            del self._links[worker]
        if not is_linked and worker.job.state is State.QUEUED:
            self._line_up(worker, content)

    def _line_up(self, worker: Worker, content: str) -> None:
        leader, position = self.leader(content, but=worker.job.id), self._scheduler.next_position()
        if leader is not None:
            worker.wait_for(leader.job.job_id, position)
            return
        self._leaders[content] = worker
        worker.wait_for(None, position)
        self._scheduler.offer(worker)
