"""What becomes of a request: a new job, or the answer that none is needed.

Memory decides, SQLite records: what is there is looked at and the accepted job inserted in one step of the loop,
so that a hundred equal requests at once make one job.
"""

import asyncio
import contextlib
from typing import Final

from msgspec.structs import replace

from arwd import errors, events
from arwd.database import Change
from arwd.jobs import admission, facts, ledger, left_over
from arwd.jobs.admission import Wanted
from arwd.jobs.dispatch import Dispatcher
from arwd.jobs.rooms import Rooms
from arwd.jobs.roster import Roster
from arwd.jobs.scheduler import Scheduler
from arwd.jobs.worker import Worker
from arwd.model import MAX_ID, Artifact, Job, Model, Request, new_job, total_of
from arwd.sources.registry import Registry
from arwd.states import State, Trigger, advance
from arwd.store import names

_NAME_IT: Final = "give this one an id of your own, in POST /models/download or by arwd get --id"


class Intake:
    """Accepts requests. All its state is the roster's and the library's."""

    def __init__(
        self, rooms: Rooms, roster: Roster, registry: Registry, scheduler: Scheduler, dispatcher: Dispatcher
    ) -> None:
        self._rooms = rooms
        self._roster = roster
        self._registry = registry
        self._scheduler = scheduler
        self._dispatcher = dispatcher

    async def submit(self, request: Request) -> admission.Outcome:
        """Accept a request, or find that it needs no new job. Returns when that is durable.

        RequestError, or TransferError when the source does not answer.
        """
        artifact = await self._registry.resolve(request)
        request = replace(request, id=request.id or self._id_of(artifact))
        wanted = admission.Wanted(request=request, artifact=artifact)
        while True:
            await self._roster.settled(request.id)
            # No await between looking and acting: this is where equal requests become one job.
            model, worker = self._rooms.library.get(request.id), self._roster.worker(request.id)
            decision = admission.decide(
                wanted,
                current=self._current(request.id),
                model=model,
                is_unchanged=model is not None and self._rooms.library.is_unchanged(model),
                elsewhere=self._elsewhere(wanted),
            )
            match decision:
                case admission.Accept():
                    return await self._accept(wanted, decision)
                case admission.Link():
                    return await self._accept(wanted, admission.Accept())
                case admission.Have(model=held):
                    return await self._have(wanted, held)
                case admission.Refuse(error=error):
                    raise error
            assert worker is not None, "the rest is decided beside an unfinished job"
            match decision:
                case admission.Join():
                    return await self._join(worker)
                case admission.GoOn():
                    await self._dispatcher.resume(worker)
                    return admission.Outcome(kind="resumed", job=worker.job)
                case admission.AwaitCancel():
                    await self._roster.over(worker)

    def employ(self, job: Job, url: str) -> Worker:
        """A worker for this job; `url` in full."""
        worker = Worker(self._rooms, job, url, self._dispatcher)
        self._roster.employ(worker)
        return worker

    async def _accept(self, wanted: Wanted, accepted: admission.Accept) -> admission.Outcome:
        tidy, request = None, wanted.request
        if accepted.part_name is None:
            tidy = left_over.discarding(self._rooms, self._roster.newest(request.id))
        job = new_job(
            request,
            wanted.artifact,
            job_id=ledger.new_job_id(),
            state=State.QUEUED,
            now=events.now(),
            name=accepted.part_name,
            total=total_of(wanted.artifact.files),
            waiting_for=accepted.waiting_for,
        )
        worker = self.employ(job, wanted.url)
        secret: tuple[Change, ...] = ()
        if wanted.url != job.url:
            path = self._rooms.layout.secret(job.job_id)
            # In the database's thread and before the row: a job that is recorded has its URL.
            secret = (lambda _: ledger.keep_secret(path, wanted.url),)
        position = self._scheduler.next_position()
        worker.accepted = self._rooms.bus.publish(
            facts.download(job),
            facts.milestone(job, "queued", position=position, waiting_for=job.waiting_for),
            changes=(*secret, ledger.record(job)),
            after=tidy,
        )
        worker.accepted.add_done_callback(lambda accepted: self._recorded(worker, accepted))
        await asyncio.shield(worker.accepted)
        await self._dispatcher.linked(worker)
        is_there = worker.job.state is State.COMPLETED and worker.finished.is_set()
        return admission.Outcome(kind="have" if is_there else "accepted", job=worker.job)

    def _recorded(self, worker: Worker, accepted: asyncio.Future[None]) -> None:
        if accepted.exception() is not None:
            self._roster.dismiss(worker)
            worker.finished.set()
            with contextlib.suppress(OSError):  # the next start removes it
                ledger.drop_secret(self._rooms.layout.secret(worker.job.job_id))
        elif worker.job.state is State.QUEUED:
            self._dispatcher.offer(worker)

    async def _join(self, worker: Worker) -> admission.Outcome:
        self._rooms.bus.tell(facts.answer(worker.job.id, "already-in-progress", worker.job.job_id))
        if worker.accepted is not None:
            await asyncio.shield(worker.accepted)
        return admission.Outcome(kind="joined", job=worker.job)

    async def _have(self, wanted: Wanted, model: Model) -> admission.Outcome:
        now, request = events.now(), wanted.request
        job = new_job(
            request,
            wanted.artifact,
            job_id=ledger.new_job_id(),
            state=advance(State.QUEUED, Trigger.HAVE),
            now=now,
            finished_at=now,
            name=model.name,
            total=model.bytes,
            downloaded=model.bytes,
            files_done=len(model.files),
            actual_sha256=model.sha256,
            trust=model.trust if request.sha256 is None else "caller",
        )
        tidy = left_over.discarding(self._rooms, self._roster.newest(request.id))
        self._dispatcher.keep(job)
        self._roster.make_newest(job)
        last = facts.complete(job, model, cached=True)
        await self._rooms.bus.publish(last, changes=(ledger.record(job),), after=tidy)
        return admission.Outcome(kind="have", job=job)

    def _id_of(self, artifact: Artifact) -> str:
        """The id of a model that was given none: the source's key, else what its URL is called.

        InvalidField if it cannot be one; IdInUse if it is that of another URL's model, which it would replace unasked.
        """
        model_id = artifact.key or names.preferred(filename=None, suggested=None, url=artifact.url)
        if len(model_id) > MAX_ID:
            raise errors.InvalidField(
                f"The source's own name for this model is longer than {MAX_ID} characters: {_NAME_IT}."
            )
        model = self._rooms.library.get(model_id)
        if artifact.key is None and model is not None and model.url != artifact.url:
            raise errors.IdInUse(f"The id {model_id} is that of the model from {model.url}: {_NAME_IT}.")
        return model_id

    def _current(self, model_id: str) -> admission.Current | None:
        worker, job = self._roster.worker(model_id), self._roster.newest(model_id)
        if worker is not None:
            return admission.Current(job=worker.job, url=worker.url, is_canceling=worker.is_canceling)
        return None if job is None else admission.Current(job=job, url=job.url)

    def _elsewhere(self, wanted: Wanted) -> admission.Elsewhere:
        content, model_id = wanted.content, wanted.request.id
        if content is None:
            return admission.Elsewhere()
        leader = self._dispatcher.leader(content, but=model_id)
        return admission.Elsewhere(
            holder=self._rooms.library.holder(content, but=model_id),
            fetching=None if leader is None else leader.job.job_id,
        )
