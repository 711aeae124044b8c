"""Jobs and models as ARW's dialect lists them. PURE."""

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from arwd.api.arw_wire import JobEntry, JobFile, ModelEntry, Plan, PlannedFile
from arwd.jobs.work import FileState
from arwd.jobs.worker import Worker
from arwd.model import Artifact, Job, Model, RemoteFile, total_of
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
    files = None if job.directory is None else _files_of(job, worker)
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
        sha256=job.actual_sha256 or (job.content if files is None else None),
        trust=job.trust,
        files_done=None if files is None else job.files_done,
        files_total=None if files is None else len(files),
        files=files,
        queued_at=job.queued_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
    )


def _files_of(job: Job, worker: Worker | None) -> list[JobFile]:
    """Each of several files. How far one has come is absent where only its directory knows: that of a job which failed,
    or which an earlier life began and this one has not taken up yet.
    """
    known = {} if worker is None else {state.name: state for state in worker.files}
    is_untouched = not job.downloaded and not job.files_done
    return [_file_of(file, known.get(file.name or ""), job.state, is_untouched=is_untouched) for file in job.files]


def _file_of(file: RemoteFile, state: FileState | None, of_job: State, *, is_untouched: bool) -> JobFile:
    entry = JobFile(name=file.name or "", bytes=file.size, sha256=file.sha256)
    if of_job is State.COMPLETED:
        return replace(entry, downloaded=file.size or 0, status="done")
    if state is None:
        return replace(entry, downloaded=0, status="waiting") if is_untouched else entry
    status = "done" if state.is_done else "downloading" if state.downloaded else "waiting"
    return replace(entry, downloaded=state.downloaded, status=status)


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
