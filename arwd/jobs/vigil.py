"""Jobs that were paused for want of room go on by themselves when there is some. Rule: the first paused is the first.

Looked at only while there are such jobs. Each is judged by what remains to it, so one that is too large holds nobody
up; what it needs is promised to it before it queues, so nobody takes it meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from arwd.jobs.roster import Roster
from arwd.jobs.tolerance import tolerated
from arwd.jobs.worker import Worker
from arwd.model import Job
from arwd.states import State
from arwd.store.allowance import Room
from arwd.store.space import Space

EVERY = 2.0
"""Seconds between two looks."""
_LONGEST = 60.0
"""Seconds. A disk may refuse although it has free bytes (of inodes it has none): then a job tries ever less often."""


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    time: float
    downloaded: int
    pause: float


class Vigil:
    """Watches the room. Mutable state: how the last attempt of each job went, and the task that watches."""

    def __init__(
        self, space: Space, roster: Roster, go_on: Callable[[Worker], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        """`go_on` lets a job queue again, if it still waits for room."""
        self._space = space
        self._roster = roster
        self._go_on = go_on
        self._clock = clock
        self._attempts: dict[str, _Attempt] = {}
        self._is_wanted = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Watch from now on; jobs may wait since an earlier life."""
        if self._waiting():
            self._is_wanted.set()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    def notice(self, worker: Worker) -> None:
        """This job stands still: for want of room?"""
        if worker.job.paused_by == "disk":
            self._is_wanted.set()

    async def close(self) -> None:
        """Nobody goes on by himself any more."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def look(self) -> None:
        """Let go on whoever has room now. StorageError: that cannot be told."""
        waiting = self._waiting()
        unfinished = {worker.job.job_id for worker in self._roster.workers}
        self._attempts = {job_id: attempt for job_id, attempt in self._attempts.items() if job_id in unfinished}
        for worker in waiting:
            # What could not be written down while the disk was full is tried again.
            with tolerated("A pause is not recorded yet", "pause_unrecorded"):
                await worker.recorded()
        room = await self._space.measure(is_used_wanted=False)
        for worker in waiting:
            pause = self._pause(worker)
            if pause is not None and worker.job.paused_by == "disk" and self._promise(worker, room):
                now, downloaded = self._clock(), worker.progress.downloaded
                self._attempts[worker.job.job_id] = _Attempt(time=now, downloaded=downloaded, pause=pause)
                await self._go_on(worker)
                if not _is_to_begin(worker.job):
                    self._space.withdraw(worker.job.job_id)

    async def _watch(self) -> None:
        while True:
            await self._is_wanted.wait()
            await asyncio.sleep(EVERY)
            if not self._waiting():
                self._is_wanted.clear()
                continue
            with tolerated("Whether there is room cannot be told", "room_unknown"):
                await self.look()

    def _waiting(self) -> list[Worker]:
        waiting = [worker for worker in self._roster.workers if worker.job.paused_by == "disk"]
        return sorted(
            (worker for worker in waiting if not worker.is_canceling), key=lambda each: each.job.paused_at or ""
        )

    def _pause(self, worker: Worker) -> float | None:
        """How long the job waits if this attempt brings it no byte; None: it is too early for one."""
        last = self._attempts.get(worker.job.job_id)
        if last is None or worker.progress.downloaded > last.downloaded:
            return EVERY
        return min(last.pause * 2, _LONGEST) if self._clock() >= last.time + last.pause else None

    def _promise(self, worker: Worker, room: Room) -> bool:
        held = worker.progress.downloaded
        return self._space.promise_now(worker.job.job_id, size=worker.progress.total, written=lambda: held, room=room)


def _is_to_begin(job: Job) -> bool:
    """Does it, or will it, fetch bytes of its own?"""
    return job.state in (State.QUEUED, State.DOWNLOADING, State.VERIFYING) and job.waiting_for is None
