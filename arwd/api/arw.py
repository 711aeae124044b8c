"""ARW's dialect: `/models`, its commands, jobs, limits and storage. A route decodes, calls, encodes."""

from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from arwd import errors
from arwd.api.arw_wire import (
    Done,
    DownloadRequest,
    IdRequest,
    JobEntry,
    JobList,
    Limits,
    LimitsChange,
    ModelEntry,
    Receipt,
    Storage,
    checked_id,
    to_request,
)
from arwd.api.endpoints import Endpoint, Handler, decode, encode, reading
from arwd.bus.local import LocalBus
from arwd.jobs.admission import Outcome
from arwd.jobs.manager import Manager
from arwd.jobs.worker import Worker
from arwd.model import Job
from arwd.states import State
from arwd.store.library import Library
from arwd.store.space import Space

STATUS: Final = {
    State.QUEUED: "queued",
    State.DOWNLOADING: "downloading",
    State.VERIFYING: "verifying",
    State.PAUSED: "paused",
    State.COMPLETED: "complete",
    State.FAILED: "error",
    State.CANCELED: "canceled",
}
"""State → status on this wire; a downloading job between two attempts says `retrying`."""

_OUTCOMES: Final = {"accepted": "queued", "joined": "already-in-progress", "have": "complete"}
_BAD_BODY: Final = (errors.InvalidField, errors.MissingField, errors.InvalidJson, errors.UnsupportedMediaType)


class Arw:
    """The routes of this dialect."""

    def __init__(self, manager: Manager, library: Library, space: Space, bus: LocalBus) -> None:
        self._manager = manager
        self._library = library
        self._space = space
        self._bus = bus

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route, with what the documents say of it."""
        return (
            Endpoint(
                method="POST",
                path="/models/download",
                handle=self.download,
                summary="Start, resume or join a download",
                body=DownloadRequest,
                answer=Done,
                refusals=(
                    *_BAD_BODY,
                    errors.InvalidUrlScheme,
                    errors.CredentialsInUrl,
                    errors.InvalidSha256,
                    errors.IdInUse,
                ),
            ),
            _command("/models/download/cancel", self.cancel, "Cancel a download and delete its part"),
            _command("/models/download/pause", self.pause, "Pause a download"),
            _command("/models/download/resume", self.resume, "Let a paused download go on"),
            _command("/models/delete", self.delete, "Delete a model"),
            Endpoint(
                method="DELETE",
                path="/models/{id:path}",
                handle=self.delete_named,
                summary="Delete a model",
                answer=Done,
                refusals=(errors.InvalidField,),
            ),
            reading("/models", self.models, "The models", list[ModelEntry]),
            reading("/models/jobs", self.jobs, "The jobs", JobList),
            reading("/storage", self.storage, "Room on the disk", Storage),
            reading("/limits", self.limits, "The limits in force", Limits),
            Endpoint(
                method="PATCH",
                path="/limits",
                handle=self.change_limits,
                summary="Change limits while running",
                body=LimitsChange,
                answer=Limits,
                refusals=_BAD_BODY,
            ),
        )

    async def download(self, request: Request) -> Response:
        """Answer at once: accepted, joined, resumed or had."""
        asked = await decode(request, DownloadRequest)
        outcome = await self._manager.submit(to_request(asked))
        job = outcome.job
        return _done(job.id, _outcome_status(outcome), job.job_id)

    async def cancel(self, request: Request) -> Response:
        """Begin to cancel."""
        asked = await _named(request)
        job = await self._manager.cancel(asked)
        return _done(asked, "cancel-requested", job.job_id) if job else _done(asked, "no-active-job")

    async def pause(self, request: Request) -> Response:
        """Pause, and say how the job stands."""
        asked = await _named(request)
        return _standing(asked, await self._manager.pause(asked))

    async def resume(self, request: Request) -> Response:
        """End a pause, and say how the job stands."""
        asked = await _named(request)
        return _standing(asked, await self._manager.resume(asked))

    async def delete(self, request: Request) -> Response:
        """Delete the model of the id in the body."""
        return await self._delete(await _named(request))

    async def delete_named(self, request: Request) -> Response:
        """Delete the model of the id in the path."""
        return await self._delete(checked_id(request.path_params["id"]))

    async def models(self, request: Request) -> Response:
        """Finished models, and those on their way."""
        entries = {
            found.id: ModelEntry(
                id=found.id,
                provider=found.provider,
                status="available",
                path=str(self._library.path(found)),
                file=found.name,
                sha256=found.sha256,
                bytes=found.bytes,
                trust=found.trust,
            )
            for found in self._library
        }
        for worker in self._manager.roster.workers:
            job = worker.job
            status: Literal["paused", "downloading"] = "paused" if job.state is State.PAUSED else "downloading"
            before = entries.get(job.id, ModelEntry(id=job.id, provider=job.provider, status=status))
            entries[job.id] = msgspec.structs.replace(before, status=status)
        return encode(list(entries.values()))

    async def jobs(self, request: Request) -> Response:
        """All kept jobs and the position that goes with them, in one step of the loop."""
        await self._bus.quiet()
        entries = [self._entry(job, worker) for job, worker in self._manager.roster]
        return encode(JobList(jobs=entries, last_event_id=self._bus.head))

    async def storage(self, request: Request) -> Response:
        """Room on the disk."""
        room = await self._space.measure()
        return encode(Storage(free=room.free, reserve=room.reserve, promised=room.promised, used=room.used))

    async def limits(self, request: Request) -> Response:
        """The limits in force."""
        return encode(Limits(max_jobs=self._manager.scheduler.max_jobs))

    async def change_limits(self, request: Request) -> Response:
        """Change them; running jobs are left alone."""
        change = await decode(request, LimitsChange)
        if change.max_jobs is not None:
            self._manager.scheduler.set_limit(change.max_jobs)
        return await self.limits(request)

    async def _delete(self, model_id: str) -> Response:
        was_there = await self._manager.remove(model_id)
        return _done(model_id, "deleted" if was_there else "no-active-job")

    def _entry(self, job: Job, worker: Worker | None) -> JobEntry:
        progress = None if worker is None else worker.progress
        is_moving = job.state is State.DOWNLOADING and progress is not None
        return JobEntry(
            id=job.id,
            job_id=job.job_id,
            status=status_of(job),
            provider=job.provider,
            url=job.url,
            downloaded=job.downloaded if progress is None else progress.downloaded,
            total=job.total if progress is None else progress.total,
            bytes_per_second=progress.bytes_per_second if is_moving and progress else None,
            eta_seconds=progress.eta_seconds if is_moving and progress else None,
            position=None if worker is None else self._manager.scheduler.position(worker),
            waiting_for=job.waiting_for,
            attempt=job.attempt or None,
            code=job.code,
            error=job.error,
            file=job.name,
            sha256=job.actual_sha256 or job.sha256,
            trust=job.trust,
            queued_at=job.queued_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


def status_of(job: Job) -> str:
    """The job's state in this dialect's words."""
    return "retrying" if job.state is State.DOWNLOADING and job.attempt else STATUS[job.state]


async def _named(request: Request) -> str:
    return checked_id((await decode(request, IdRequest)).id)


def _outcome_status(outcome: Outcome) -> str:
    return _OUTCOMES.get(outcome.kind) or status_of(outcome.job)


def _standing(model_id: str, job: Job | None) -> Response:
    if job is None:
        return _done(model_id, "no-active-job")
    # A verifying job is about to be complete; this answer knows the coarse states only.
    status = "downloading" if job.state is State.VERIFYING else STATUS[job.state]
    return _done(model_id, status, job.job_id)


def _done(model_id: str, status: str, job_id: str | None = None) -> Response:
    return encode(Done(data=Receipt(id=model_id, status=status, job_id=job_id)))


def _command(path: str, handle: Handler, summary: str) -> Endpoint:
    return Endpoint(
        method="POST", path=path, handle=handle, summary=summary, body=IdRequest, answer=Done, refusals=_BAD_BODY
    )
