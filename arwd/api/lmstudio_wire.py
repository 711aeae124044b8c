"""The shapes of LM Studio's dialect on the wire, and what goes into them. PURE. A field without value is absent.

Which field is there in which status is LM Studio's rule (its docs of `/api/v1/models/download` and `…/status`).
"""

import datetime
from typing import Any, Final, Literal

import msgspec

from arwd import errors, events, model
from arwd.model import Job
from arwd.states import State
from arwd.store.inspect import Head

Status = Literal["downloading", "paused", "completed", "failed", "already_downloaded"]

MAX_MODEL: Final = 2_048
"""Characters of what a client calls a model, which may be a URL."""
NOMINAL_RATE: Final = 1024 * 1024
"""Bytes a second of a job of which nothing has come yet: an estimate must be there while it downloads."""

STATUS: Final[dict[State, Status]] = {
    State.QUEUED: "downloading",
    State.DOWNLOADING: "downloading",
    State.VERIFYING: "downloading",
    State.PAUSED: "paused",
    State.COMPLETED: "completed",
    State.FAILED: "failed",
    State.CANCELED: "failed",
}
"""State → status on this wire."""

Kind = Literal["invalid_request", "model_not_found", "job_not_found", "internal_error"]

KINDS: Final[dict[str, Kind]] = {"model_not_found": "model_not_found", "job_not_found": "job_not_found"}
"""Codes that are types of error on this wire; what has none is told by its code."""


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch this model."""

    model: str
    quantization: str | None = None


class DownloadFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed: arwd's own addition."""

    code: str
    message: str


class DownloadStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a download stands. Sizes in bytes, the rate in bytes a second, times RFC 3339 UTC."""

    job_id: str | None = None
    status: Status
    total_size_bytes: int | None = None
    downloaded_bytes: int | None = None
    bytes_per_second: float | None = None
    estimated_completion: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    error: DownloadFault | None = None


class LocalQuantization(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the weights are packed."""

    name: str
    bits_per_weight: float | None = None


class LocalModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished model."""

    type: Literal["llm", "embedding"]
    publisher: str
    key: str
    display_name: str
    architecture: str | None = None
    quantization: LocalQuantization | None = None
    size_bytes: int
    params_string: str | None = None
    loaded_instances: list[Any]
    max_context_length: int | None = None
    format: Literal["gguf", "safetensors"] | None


class LocalModels(msgspec.Struct, frozen=True, kw_only=True):
    """Every finished model."""

    models: list[LocalModel]


class Refusal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused."""

    type: Kind
    message: str
    code: str | None = None
    param: str | None = None


class RefusalBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every refusal below `/api/v1/`."""

    error: Refusal


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of a job that change from moment to moment."""

    downloaded: int
    total: int | None = None
    rate: float = 0.0
    """Bytes a second just now."""
    average: float = 0.0
    """Bytes a second since it began."""


ALREADY_DOWNLOADED: Final = DownloadStatus(status="already_downloaded")
"""The answer where there is nothing to do: that field alone."""


def to_request(asked: ModelRequest) -> model.Request:
    """The request that the body means, under the id that the source gives it. InvalidField says what is wrong."""
    for name, value in (("model", asked.model), ("quantization", asked.quantization)):
        if value is not None and (not 1 <= len(value) <= MAX_MODEL or not value.isprintable()):
            raise errors.InvalidField(f"{name} must have 1 to {MAX_MODEL} printable characters.", field=name)
    return model.Request(ref=asked.model, quantization=asked.quantization)


def to_status(job: Job, figures: Figures, now: datetime.datetime) -> DownloadStatus:
    """The job as it stands `now`."""
    status = STATUS[job.state]
    is_downloading, is_complete = status == "downloading", status == "completed"
    return DownloadStatus(
        job_id=job.job_id,
        status=status,
        # A file of unknown size is as large as what came of it.
        total_size_bytes=figures.downloaded if is_complete and figures.total is None else figures.total,
        downloaded_bytes=figures.downloaded,
        bytes_per_second=float(figures.rate) if is_downloading else None,
        estimated_completion=estimated_completion(now, figures) if is_downloading else None,
        started_at=job.queued_at,
        completed_at=job.finished_at if is_complete else None,
        error=_fault(job) if status == "failed" else None,
    )


def estimated_completion(now: datetime.datetime, figures: Figures) -> str:
    """When the last byte will be here at the rate of now, or else of the whole, or else a nominal one."""
    remaining = 0 if figures.total is None else max(figures.total - figures.downloaded, 0)
    rate = next((rate for rate in (figures.rate, figures.average) if rate > 0), NOMINAL_RATE)
    # At a byte a second a large model would end after the last year that can be written.
    last = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    seconds = min(remaining / rate, (last - now).total_seconds() - 1)
    return events.stamp(now + datetime.timedelta(seconds=seconds))


def to_local_model(*, key: str, provider: str, size: int, head: Head | None) -> LocalModel:
    """The entry of a finished model of `size` bytes; what its head does not say is absent, its format null."""
    publisher, slash, name = key.partition("/")
    bare = LocalModel(
        type="llm",
        publisher=publisher if slash and publisher else provider,
        key=key,
        display_name=name.rpartition("/")[2] or key,
        size_bytes=size,
        loaded_instances=[],
        format=None,
    )
    if head is None:
        return bare
    packed = head.quantization
    return msgspec.structs.replace(
        bare,
        type=head.type,
        display_name=head.display_name or bare.display_name,
        architecture=head.architecture,
        quantization=packed and LocalQuantization(name=packed.name, bits_per_weight=packed.bits_per_weight),
        params_string=head.params_string,
        max_context_length=head.context_length,
        format=head.format,
    )


def to_refusal(error: errors.ArwdError) -> RefusalBody:
    """The body that this error is. Rule: 404 has types of its own, other 4xx are `invalid_request`, the rest ours."""
    if error.code in KINDS:
        return RefusalBody(error=Refusal(type=KINDS[error.code], message=str(error)))
    if error.status >= 500:
        code = "hub_unreachable" if error.status == 502 else error.code
        return RefusalBody(error=Refusal(type="internal_error", message=str(error), code=code))
    field = error.field if isinstance(error, errors.RequestError) else None
    if isinstance(error, errors.MissingField) and field is not None:
        refusal = Refusal(
            type="invalid_request", message=f'"{field}" is required', code="missing_required_parameter", param=field
        )
        return RefusalBody(error=refusal)
    return RefusalBody(error=Refusal(type="invalid_request", message=str(error), code=error.code, param=field))


def _fault(job: Job) -> DownloadFault:
    if job.state is State.CANCELED:
        return DownloadFault(code="canceled", message="The download was canceled.")
    return DownloadFault(code=job.code or "internal", message=job.error or "The download failed.")
