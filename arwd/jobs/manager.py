"""The one door to the jobs: every dialect submits, cancels, pauses, resumes, removes and asks here.

Memory decides, SQLite records: what is there is looked at and the accepted job inserted in one step of the loop,
so that a hundred equal requests at once make one job.
"""

import asyncio
import logging

import msgspec

from arwd import errors, events
from arwd.database import Change
from arwd.jobs import admission, boot, facts, ledger, left_over
from arwd.jobs.rooms import Rooms
from arwd.jobs.roster import Roster
from arwd.jobs.scheduler import Scheduler
from arwd.jobs.worker import Worker
from arwd.model import Job, Model, Request, new_job
from arwd.sources.registry import Registry
from arwd.states import State, Trigger, advance
from arwd.store import library

log = logging.getLogger(__name__)

_PATIENCE = 2.0
"""Seconds that a request waits for the last word of a job before it: while the disk is full there is none."""


class Manager:
    """Decides what a command means and hands it to the job's worker."""

    def __init__(self, rooms: Rooms, registry: Registry, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.roster = Roster(ledger.KEEP_FINAL)
        self._rooms = rooms
        self._registry = registry
        self._errands: set[asyncio.Task[None]] = set()

    async def boot(self, jobs: list[Job], doomed: list[library.Doomed]) -> None:
        """Take up what an earlier life left; `doomed` are the names of files that it did not come to unlink."""
        await boot.take_up(jobs, doomed, self._rooms, self.roster, employ=self._employ, offer=self.scheduler.offer)

    async def submit(self, request: Request) -> admission.Outcome:
        """Accept a request, or find that it needs no new job. Returns when that is durable.

        RequestError, or TransferError when the source does not answer.
        """
        artifact = await self._registry.resolve(request)
        while True:
            await self._settled_files(request.id)
            # No await between looking and acting: this is where equal requests become one job.
            model, worker = self._rooms.library.get(request.id), self.roster.worker(request.id)
            decision = admission.decide(
                request,
                artifact.url,
                current=self._current(request.id),
                model=model,
                is_unchanged=model is not None and self._rooms.library.is_unchanged(model),
            )
            match decision:
                case admission.Accept(part_name=part_name):
                    return await self._accept(request, artifact.url, part_name)
                case admission.Have(model=held):
                    return await self._have(request, artifact.url, held)
                case admission.Refuse(error=error):
                    raise error
            assert worker is not None, "the rest is decided beside an unfinished job"
            match decision:
                case admission.Join():
                    return await self._join(worker)
                case admission.GoOn():
                    await worker.resume(self.scheduler.next_position, self.scheduler.offer)
                    return admission.Outcome(kind="resumed", job=worker.job)
                case admission.AwaitCancel():
                    await worker.finished.wait()

    async def cancel(self, model_id: str) -> Job | None:
        """Begin to cancel the job of this id; None if there is none. `canceled` follows within a second."""
        worker = self.roster.worker(model_id)
        if worker is None:
            await self._settled_files(model_id)
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
        return None if worker is None else worker.job

    async def resume(self, model_id: str) -> Job | None:
        """Let the paused job of this id go on; None if there is none."""
        worker = self._worker_or_tell(model_id)
        if worker is not None:
            await worker.resume(self.scheduler.next_position, self.scheduler.offer)
        return None if worker is None else worker.job

    async def remove(self, model_id: str) -> bool:
        """Cancel the job of this id and unlink its model; False if there was neither."""
        worker = self.roster.worker(model_id)
        if worker is not None:
            worker.is_canceling = True
            await worker.stop(Trigger.CANCEL)
        await self._settled_files(model_id)
        was_there = await self._discard_left_over(model_id) or worker is not None
        if (model := self._rooms.library.get(model_id)) is not None:
            # One step: a job of this id that begins now finds neither the model nor, later, its file.
            self._rooms.library.drop(model_id)
            gone, tidy = facts.changed("delete", model_id), self._rooms.library.tidying(self._rooms.library.path(model))
            try:
                changes = library.forget(model_id), library.doom(model)
                await self._rooms.bus.publish(gone, changes=changes, after=tidy)
                left_over.bury(self._rooms, model)
            except errors.StorageError:
                if self._rooms.library.get(model_id) is None:
                    self._rooms.library.put(model)  # it is still there
                raise
        elif not was_there:
            self._rooms.bus.tell(facts.answer(model_id, "no-active-job"))
        return was_there or model is not None

    async def stop(self) -> None:
        """Nobody begins any more; running jobs are requeued for the next boot, their parts closed."""
        self.scheduler.close()
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

    async def _accept(self, request: Request, url: str, part_name: str | None) -> admission.Outcome:
        tidy = None if part_name is not None else left_over.discarding(self._rooms, self.roster.newest(request.id))
        job = new_job(request, url, job_id=ledger.new_job_id(), state=State.QUEUED, now=events.now(), name=part_name)
        worker = self._employ(job, request.ref)
        secret: tuple[Change, ...] = ()
        if request.ref != url:
            path = self._rooms.layout.secret(job.job_id)
            # In the database's thread and before the row: a job that is recorded has its URL.
            secret = (lambda _: ledger.keep_secret(path, request.ref),)
        worker.accepted = self._rooms.bus.publish(
            facts.download(job),
            facts.milestone(job, "queued", position=self.scheduler.next_position()),
            changes=(*secret, ledger.record(job)),
            after=tidy,
        )
        worker.accepted.add_done_callback(lambda accepted: self._recorded(worker, accepted))
        await asyncio.shield(worker.accepted)
        return admission.Outcome(kind="accepted", job=worker.job)

    def _recorded(self, worker: Worker, accepted: asyncio.Future[None]) -> None:
        if accepted.exception() is not None:
            self.roster.dismiss(worker)
            ledger.drop_secret(self._rooms.layout.secret(worker.job.job_id))
            worker.finished.set()
        elif worker.job.state is State.QUEUED:
            self.scheduler.offer(worker)

    async def _join(self, worker: Worker) -> admission.Outcome:
        self._rooms.bus.tell(facts.answer(worker.job.id, "already-in-progress", worker.job.job_id))
        if worker.accepted is not None:
            await asyncio.shield(worker.accepted)
        return admission.Outcome(kind="joined", job=worker.job)

    async def _have(self, request: Request, url: str, model: Model) -> admission.Outcome:
        now = events.now()
        job = new_job(
            request,
            url,
            job_id=ledger.new_job_id(),
            state=advance(State.QUEUED, Trigger.HAVE),
            now=now,
            finished_at=now,
            name=model.name,
            total=model.bytes,
            downloaded=model.bytes,
            actual_sha256=model.sha256,
            trust="caller",
        )
        tidy = left_over.discarding(self._rooms, self.roster.newest(request.id))
        self._keep(job)
        self.roster.make_newest(job)
        last = facts.complete(job, model, cached=True)
        await self._rooms.bus.publish(last, changes=(ledger.record(job),), after=tidy)
        return admission.Outcome(kind="have", job=job)

    async def _settled_files(self, model_id: str) -> None:
        """Return when no job of this id that is over has anything left to do with its files. StorageError: not soon."""
        try:
            async with asyncio.timeout(_PATIENCE):
                while (worker := self.roster.settling(model_id)) is not None:
                    await worker.finished.wait()
        except TimeoutError as error:
            raise errors.StorageError(
                f"What became of the last job of {model_id} cannot be written down. Make room on the disk; "
                "arwd tries again by itself."
            ) from error

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
        self._keep(job)
        await self._rooms.bus.publish(changes=(ledger.record(job),), after=tidy)
        return True

    def _worker_or_tell(self, model_id: str) -> Worker | None:
        worker = self.roster.worker(model_id)
        if worker is None:
            self._rooms.bus.tell(facts.answer(model_id, "no-active-job"))
        return worker

    def _current(self, model_id: str) -> admission.Current | None:
        worker, job = self.roster.worker(model_id), self.roster.newest(model_id)
        if worker is not None:
            return admission.Current(job=worker.job, url=worker.url, is_canceling=worker.is_canceling)
        return None if job is None else admission.Current(job=job, url=job.url)

    def _employ(self, job: Job, url: str) -> Worker:
        worker = Worker(self._rooms, job, url, freed=self.scheduler.release, settled=self._keep)
        self.roster.employ(worker)
        return worker

    def _keep(self, job: Job) -> None:
        for old in self.roster.keep(job):
            self._rooms.bus.forget(old.job_id)
