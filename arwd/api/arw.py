"""ARW's dialect, the commands: what is to be done with a model. A route decodes, calls, encodes."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from arwd import errors
from arwd.api.arw_entries import STATUS, plan, status_of
from arwd.api.arw_wire import (
    Done,
    DownloadRequest,
    IdRequest,
    Plan,
    PlanRequest,
    Receipt,
    checked_id,
    to_planned,
    to_request,
)
from arwd.api.endpoints import BAD_BODY, BAD_REF, Endpoint, Handler, decode, encode
from arwd.jobs.admission import Outcome
from arwd.jobs.manager import Manager
from arwd.model import Job
from arwd.states import State

_OUTCOMES: Final = {"accepted": "queued", "joined": "already-in-progress", "have": "complete"}


class Arw:
    """The routes of the commands."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

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
                refusals=(*BAD_BODY, *BAD_REF, errors.InvalidSha256, errors.IdInUse),
            ),
            Endpoint(
                method="POST",
                path="/models/plan",
                handle=self.plan,
                summary="What a download would fetch; nothing is started",
                body=PlanRequest,
                answer=Plan,
                refusals=(*BAD_BODY, *BAD_REF),
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
        )

    async def download(self, request: Request) -> Response:
        """Answer at once: accepted, joined, resumed or had."""
        asked = await decode(request, DownloadRequest)
        outcome = await self._manager.submit(to_request(asked))
        job = outcome.job
        return _done(job.id, _outcome_status(outcome), job.job_id)

    async def plan(self, request: Request) -> Response:
        """Ask the source, and say what it has."""
        asked = await decode(request, PlanRequest)
        return encode(plan(await self._manager.plan(to_planned(asked))))

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

    async def _delete(self, model_id: str) -> Response:
        was_there = await self._manager.remove(model_id)
        return _done(model_id, "deleted" if was_there else "no-active-job")


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
        method="POST", path=path, handle=handle, summary=summary, body=IdRequest, answer=Done, refusals=BAD_BODY
    )
