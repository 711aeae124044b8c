"""LM Studio's dialect: start a download, ask how it stands, list what is here. A route decodes, calls, encodes."""

import datetime
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from arwd import errors
from arwd.api.endpoints import BAD_BODY, BAD_REF, Endpoint, decode, encode, reading
from arwd.api.lmstudio_wire import (
    ALREADY_DOWNLOADED,
    DownloadStatus,
    Figures,
    LocalModels,
    ModelRequest,
    to_local_model,
    to_request,
    to_status,
)
from arwd.jobs.manager import Manager
from arwd.model import Job, Model
from arwd.states import State
from arwd.store.heads import Heads
from arwd.store.library import Library


class LmStudio:
    """The routes of this dialect."""

    def __init__(self, manager: Manager, library: Library, heads: Heads) -> None:
        self._manager = manager
        self._library = library
        self._heads = heads

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route, with what the documents say of it."""
        return (
            Endpoint(
                method="POST",
                path="/api/v1/models/download",
                handle=self.download_model,
                summary="LM Studio's: download a model",
                body=ModelRequest,
                answer=DownloadStatus,
                refusals=(*BAD_BODY, *BAD_REF, errors.IdInUse),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/models/download/status/{job_id}",
                handle=self.download_status,
                summary="LM Studio's: how a download stands",
                answer=DownloadStatus,
                refusals=(errors.JobNotFound,),
            ),
            reading("/api/v1/models", self.local_models, "LM Studio's: the models that are here", LocalModels),
        )

    async def download_model(self, request: Request) -> Response:
        """Have it, go on with it or begin; answered when the source has said what the model is."""
        asked = await decode(request, ModelRequest)
        outcome = await self._manager.submit(to_request(asked))
        return encode(ALREADY_DOWNLOADED if outcome.kind == "have" else self._status(outcome.job))

    async def download_status(self, request: Request) -> Response:
        """One job, of whatever dialect. JobNotFound."""
        job_id = request.path_params["job_id"]
        job = self._manager.roster.get(job_id)
        if job is None:
            raise errors.JobNotFound("There is no job of this id; final ones are kept for 30 days.", field="job_id")
        return encode(self._status(job))

    async def local_models(self, request: Request) -> Response:
        """Every finished model, with what the heads of its files say."""
        models = list(self._library)
        heads = await self._heads.of({model.id: self._paths_of(model) for model in models})
        return encode(
            LocalModels(
                models=[
                    to_local_model(key=model.id, provider=model.provider, size=model.bytes, head=heads[model.id])
                    for model in models
                ]
            )
        )

    def _paths_of(self, model: Model) -> tuple[Path, ...]:
        return tuple(self._library.path(file) for file in model.on_disk)

    def _status(self, job: Job) -> DownloadStatus:
        now = datetime.datetime.now(datetime.UTC)
        return to_status(job, self._figures(job, now), now)

    def _figures(self, job: Job, now: datetime.datetime) -> Figures:
        worker = self._manager.roster.worker(job.id)
        if worker is None or worker.job.job_id != job.job_id:  # it is final
            return Figures(downloaded=job.downloaded, total=job.total)
        progress = worker.progress
        return Figures(
            downloaded=progress.downloaded,
            total=progress.total,
            rate=progress.bytes_per_second if job.state is State.DOWNLOADING else 0.0,
            average=0.0 if job.started_at is None else _average(progress.downloaded, job.started_at, now),
        )


def _average(downloaded: int, started_at: str, now: datetime.datetime) -> float:
    """PURE: bytes a second since then; a clock that was set back says nothing."""
    seconds = (now - datetime.datetime.fromisoformat(started_at)).total_seconds()
    return downloaded / seconds if seconds > 0 else 0.0
