"""What everyone is told about a job: the facts that its owner and the manager publish."""

from typing import Any

from msgspec import UNSET, UnsetType

from arwd import events
from arwd.events import Changed, Download, DownloadProgress, Durability, Fact
from arwd.jobs.progress import Progress
from arwd.model import Job, Model
from arwd.states import TERMINAL, State


def milestone(job: Job, status: str, **fields: Any) -> Fact:
    """A state change of the job; fields that are None are absent."""
    present = {name: value for name, value in fields.items() if value is not None} | _of_several(job)
    return Fact(
        kind=events.PROGRESS,
        payload=DownloadProgress(id=job.id, job_id=job.job_id, status=status, **present),
        model_id=job.id,
        job_id=job.job_id,
        is_final=job.state in TERMINAL,
    )


def tick(job: Job, progress: Progress) -> Fact:
    """How far the bytes have come."""
    return Fact(
        kind=events.PROGRESS,
        payload=DownloadProgress(
            id=job.id,
            job_id=job.job_id,
            status="downloading",
            progress=_present(progress.percent),
            downloaded=progress.downloaded,
            total=_present(progress.total),
            bytes_per_second=progress.bytes_per_second,
            eta_seconds=_present(progress.eta_seconds),
            **_of_several(job),
        ),
        model_id=job.id,
        job_id=job.job_id,
        durability=Durability.TICK,
    )


def answer(model_id: str, status: str, job_id: str | None = None) -> Fact:
    """What a request came to, when it changed nothing."""
    return Fact(
        kind=events.PROGRESS,
        payload=DownloadProgress(id=model_id, job_id=UNSET if job_id is None else job_id, status=status),
        model_id=model_id,
        job_id=job_id,
        durability=Durability.ANSWER,
    )


def complete(job: Job, model: Model, *, cached: bool, length_known: bool = True) -> Fact:
    """The model is in place."""
    return milestone(
        job,
        "complete",
        file=model.name,
        provider=model.provider,
        sha256=model.sha256,
        bytes=model.bytes,
        cached=cached,
        trust=model.trust,
        length_known=None if length_known else False,
        files=len(model.files) or None,
    )


def download(job: Job) -> Fact:
    """A request was accepted."""
    return Fact(kind=events.DOWNLOAD, payload=Download(id=job.id, url=job.url), model_id=job.id, job_id=job.job_id)


def changed(op: str, model_id: str) -> Fact:
    """The list of models is not what it was."""
    return Fact(kind=events.CHANGED, payload=Changed(op=op, id=model_id), model_id=model_id)  # type: ignore[arg-type]


def _of_several(job: Job) -> dict[str, Any]:
    """How far a job of several files has come with them."""
    if job.directory is None:
        return {}
    told: dict[str, Any] = {"files_done": job.files_done, "files_total": len(job.files)}
    is_at_one = job.state in (State.DOWNLOADING, State.FAILED) and job.current_file is not None
    return told | ({"current_file": job.current_file} if is_at_one else {})


def _present(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value
