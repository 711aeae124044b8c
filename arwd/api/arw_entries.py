"""Jobs and models as ARW's dialect lists them. PURE."""

from pathlib import Path
from typing import Final, Literal

from arwd.api.arw_wire import JobEntry, JobFile, ModelEntry, Plan, PlannedFile
from arwd.jobs.worker import Worker
from arwd.model import Artifact, Job, Model, total_of
from arwd.states import State
from arwd.store import names

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


def status_of(job: Job) -> str:
    """The job's state in this dialect's words."""
    return "retrying" if job.state is State.DOWNLOADING and job.attempt else STATUS[job.state]


def job_entry(job: Job, worker: Worker | None, position: int | None) -> JobEntry:
    """The job as it stands, with the `worker` that an unfinished one has, and its `position` in the queue."""
    progress = None if worker is None else worker.progress
    is_several = job.directory is not None
    files = _files_of(job, worker) if is_several else None
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
        position=position,
        waiting_for=job.waiting_for,
        attempt=job.attempt or None,
        code=job.code,
        error=job.error,
        file=job.name,
        sha256=job.actual_sha256 or (None if is_several else job.content),
        trust=job.trust,
        files_done=job.files_done if is_several else None,
        files_total=len(job.files) if is_several else None,
        files=files,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _files_of(job: Job, worker: Worker | None) -> list[JobFile] | None:
    """Each of several files; None where something is kept, and nobody has looked yet, or any more, of which."""
    known = {} if worker is None else {state.name: state for state in worker.files}
    if not known and job.downloaded and job.state is not State.COMPLETED:
        return None
    entries = []
    for file in job.files:
        name, state = file.name or "", known.get(file.name or "")
        if job.state is State.COMPLETED:
            downloaded, is_done = file.size or 0, True
        else:
            downloaded, is_done = (0, False) if state is None else (state.downloaded, state.is_done)
        status: Literal["waiting", "downloading", "done"] = "downloading" if downloaded else "waiting"
        entries.append(
            JobFile(
                name=name,
                bytes=file.size,
                downloaded=downloaded,
                sha256=file.sha256,
                status="done" if is_done else status,
            )
        )
    return entries


def model_entry(model: Model, path: Path) -> ModelEntry:
    """The finished model, which is at this `path`."""
    return ModelEntry(
        id=model.id,
        provider=model.provider,
        status="available",
        path=str(path),
        file=model.name,
        sha256=model.sha256,
        bytes=model.bytes,
        trust=model.trust,
    )


def plan(artifact: Artifact) -> Plan:
    """What a download of this artifact would fetch. Of a plain URL no more is known than what it is called."""
    return Plan(
        files=[
            PlannedFile(
                name=file.name or names.preferred(filename=None, suggested=None, url=artifact.url),
                bytes=file.size,
                sha256=file.sha256,
            )
            for file in artifact.files
        ],
        total=total_of(artifact.files),
        quantizations=list(artifact.quantizations) or None,
    )
