"""The one door to the jobs: every dialect submits, cancels, pauses, resumes, removes and asks here."""

import asyncio
import functools
import logging

import msgspec

from arwd import errors
from arwd.database import After
from arwd.jobs import admission, boot, facts, ledger, left_over
from arwd.jobs.dispatch import Dispatcher
from arwd.jobs.intake import Intake
from arwd.jobs.rooms import Rooms
from arwd.jobs.roster import Roster
from arwd.jobs.scheduler import Scheduler
from arwd.jobs.worker import Worker
from arwd.model import Artifact, Job, Model, Request
from arwd.sources.registry import Registry
from arwd.states import State, Trigger
from arwd.store import doomed, library

log = logging.getLogger(__name__)


class Manager:
    """Decides what a command means and hands it to the job's worker."""

    def __init__(self, rooms: Rooms, registry: Registry, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.roster = Roster(ledger.KEEP_FINAL)
        self._rooms = rooms
        self._dispatcher = Dispatcher(rooms, self.roster, scheduler)
        self._intake = Intake(rooms, self.roster, registry, scheduler, self._dispatcher)
        self._registry = registry
        self._errands: set[asyncio.Task[None]] = set()

    async def boot(self, jobs: list[Job], condemned: list[doomed.Doomed]) -> None:
        """Take up what an earlier life left; `condemned` are the names of files that it did not come to unlink."""
        employ, offer = self._intake.employ, self._dispatcher.offer
        await boot.take_up(jobs, condemned, self._rooms, self.roster, employ=employ, offer=offer)
        self._dispatcher.vigil.begin()

    async def submit(self, request: Request) -> admission.Outcome:
        """Accept a request, or find that it needs no new job. Returns when that is durable.

        RequestError, or TransferError when the source does not answer.
        """
        return await self._intake.submit(request)

    async def plan(self, request: Request) -> Artifact:
        """What this request would fetch; nothing is started. RequestError, or TransferError as `submit`."""
        return await self._registry.resolve(request)

    async def cancel(self, model_id: str) -> Job | None:
        """Begin to cancel the job of this id; None if there is none. `canceled` follows within a second."""
        worker = self.roster.worker(model_id)
        if worker is None:
            await self.roster.settled(model_id)
            await self._discard_left_over(model_id)
            self._rooms.bus.tell(facts.answer(model_id, "no-active-job"))
            return None
        worker.is_canceling = True
        self._rooms.bus.tell(facts.answer(model_id, "cancel-requested", worker.job.job_id))
        errand = asyncio.get_running_loop().create_task(self._cancel(worker))
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)
        return worker.job

    async def pause(self, model_id: str) -> Job | None:
        """Pause the job of this id; None if there is none. One that is being verified is let finish."""
        worker = self._worker_or_tell(model_id)
        if worker is not None:
            await worker.stop(Trigger.PAUSE)
            await self.roster.settled(model_id)
            if worker.job.state is State.PAUSED:
                self._dispatcher.let_go(worker)
        return None if worker is None else worker.job

    async def resume(self, model_id: str) -> Job | None:
        """Let the paused job of this id go on; None if there is none."""
        worker = self._worker_or_tell(model_id)
        if worker is not None:
            await self._dispatcher.resume(worker)
        return None if worker is None else worker.job

    async def remove(self, model_id: str) -> bool:
        """Cancel the job of this id and unlink its model; False if there was neither."""
        worker = self.roster.worker(model_id)
        if worker is not None:
            worker.is_canceling = True
            await worker.stop(Trigger.CANCEL)
        await self.roster.settled(model_id)
        was_there = await self._discard_left_over(model_id) or worker is not None
        if (model := self._rooms.library.get(model_id)) is not None:
            # One step: a job of this id that begins now finds neither the model nor, later, its file.
            self._rooms.library.drop(model_id)
            try:
                await left_over.unlist(
                    functools.partial(self._record_removal, model),
                    self._rooms.library.removal(model),
                )
                left_over.bury(self._rooms, model)
            except errors.StorageError:
                if self._rooms.library.get(model_id) is None and self._rooms.library.is_unchanged(model):
                    self._rooms.library.put(model)  # it is still there
                raise
        elif not was_there:
            self._rooms.bus.tell(facts.answer(model_id, "no-active-job"))
        return was_there or model is not None

    async def stop(self) -> None:
        """Nobody begins any more; running jobs are requeued for the next boot, their parts closed."""
        self.scheduler.close()
        await self._dispatcher.close()
        stops = [worker.stop(Trigger.REQUEUE) for worker in self.roster.workers]
        for outcome in await asyncio.gather(*stops, *self._errands, return_exceptions=True):
            if isinstance(outcome, BaseException):
                log.warning("A job could not be requeued: %s", outcome, extra={"event": "requeue_failed"})

    async def sync(self) -> None:
        """Make the parts of unfinished jobs durable."""
        for worker in self.roster.workers:
            try:
                await worker.sync()
            except errors.StorageError as error:
                log.warning("%s", error, extra={"event": "sync_failed", "job": worker.job.job_id})

    async def _cancel(self, worker: Worker) -> None:
        if await worker.stop(Trigger.CANCEL) is State.FAILED:
            await worker.finished.wait()
            await self._discard_left_over(worker.job.id)

    async def _discard_left_over(self, model_id: str) -> bool:
        """Delete the part that a failed job of this id left."""
        failed = self.roster.newest(model_id)
        tidy = left_over.discarding(self._rooms, failed)
        if failed is None or tidy is None:
            return False
        job = msgspec.structs.replace(failed, name=None)
        self._dispatcher.keep(job)
        await left_over.unlist(
            lambda tidy: self._rooms.bus.publish(changes=(ledger.record(job),), after=tidy),
            tidy,
        )
        return True

    def _record_removal(self, model: Model, remove: After | None) -> asyncio.Future[None]:
        tidy = self._rooms.library.tidying(*() if remove is None else (remove,))
        changes = library.forget(model.id), *doomed.doom(model)
        return self._rooms.bus.publish(facts.changed("delete", model.id), changes=changes, after=tidy)

    def _worker_or_tell(self, model_id: str) -> Worker | None:
        worker = self.roster.worker(model_id)
        if worker is None:
            self._rooms.bus.tell(facts.answer(model_id, "no-active-job"))
        return worker
