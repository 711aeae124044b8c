"""The shapes of ARW's dialect on the wire: what comes in, what goes out. An optional field without value is absent."""

from typing import Annotated, Final, Literal

import msgspec

from arwd import errors, model, net

MAX_NAME: Final = 1024
"""Characters of a provider, a file name or a quantization, as given."""
MAX_REF: Final = 8_192
"""Characters of a ref: a signed URL is long."""


class DownloadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch this URL as that model; or in place of `url` and `id` any `ref` that a source knows."""

    id: str | None = None
    url: str | None = None
    ref: str | None = None
    provider: str | None = None
    sha256: str | None = None
    filename: str | None = None
    quantization: str | None = None


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What would be fetched for this `url`, or this `ref`?"""

    url: str | None = None
    ref: str | None = None
    quantization: str | None = None


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file that would be fetched, as far as its source says."""

    name: str
    bytes: int | None = None
    sha256: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a download would fetch; `total` in bytes."""

    files: list[PlannedFile]
    total: int | None = None
    quantizations: list[str] | None = None


class IdRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The model that is meant."""

    id: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command came to."""

    id: str
    job_id: str | None = None
    status: str


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """ARW's envelope of a success."""

    ok: bool = True
    data: Receipt


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model of the list."""

    id: str
    provider: str
    status: Literal["available", "downloading", "paused"]
    path: str | None = None
    file: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    trust: str | None = None


class JobFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of a job's several files. `status` is `done` when it was checked."""

    name: str
    bytes: int | None = None
    downloaded: int
    sha256: str | None = None
    status: Literal["waiting", "downloading", "done"]


class JobEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job as it stands. Sizes in bytes, rates in bytes a second, times RFC 3339 UTC."""

    id: str
    job_id: str
    status: str
    provider: str
    url: str
    queued_at: str
    downloaded: int
    total: int | None = None
    bytes_per_second: int | None = None
    eta_seconds: int | None = None
    position: int | None = None
    waiting_for: str | None = None
    attempt: int | None = None
    code: str | None = None
    error: str | None = None
    file: str | None = None
    sha256: str | None = None
    trust: str | None = None
    files_done: int | None = None
    files_total: int | None = None
    files: list[JobFile] | None = None
    started_at: str | None = None
    finished_at: str | None = None


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Every kept job; exactly the events up to `last_event_id` are in it."""

    jobs: list[JobEntry]
    last_event_id: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What may be changed while arwd runs."""

    max_jobs: int


class LimitsChange(msgspec.Struct, frozen=True, kw_only=True):
    """New limits; absent ones stay."""

    max_jobs: Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None = None


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """Room, in bytes."""

    free: int
    reserve: int
    promised: int
    used: int


def to_request(asked: DownloadRequest) -> model.Request:
    """The request that the body means. RequestError names the field that is wrong."""
    for name, value in (("provider", asked.provider), ("filename", asked.filename)):
        if value is not None:
            _check_printable(name, value, MAX_NAME)
    # ARW's own clients always name the model; a source may know what a ref is called.
    if asked.id is None and asked.ref is None:
        raise errors.MissingField("The field id is missing.", field="id")
    planned = to_planned(PlanRequest(url=asked.url, ref=asked.ref, quantization=asked.quantization))
    return msgspec.structs.replace(
        planned,
        id="" if asked.id is None else checked_id(asked.id),
        provider="local" if asked.provider is None else asked.provider,
        sha256=None if asked.sha256 is None else model.parse_sha256(asked.sha256),
        filename=asked.filename,
    )


def to_planned(asked: PlanRequest) -> model.Request:
    """The request without an id that the body means. RequestError names the field that is wrong."""
    if asked.quantization is not None:
        _check_printable("quantization", asked.quantization, MAX_NAME)
    if asked.ref is not None:
        if asked.url is not None:
            raise errors.InvalidField("url and ref say the same: leave one of them out.", field="ref")
        _check_printable("ref", asked.ref, MAX_REF)
        return model.Request(ref=asked.ref, quantization=asked.quantization)
    if asked.url is None:
        raise errors.MissingField("The field url is missing; a ref may be in its place.", field="url")
    if (fault := net.fault_in(asked.url)) is not None:
        raise fault
    return model.Request(ref=asked.url, quantization=asked.quantization)


def checked_id(model_id: str) -> str:
    """The id as given; InvalidField unless it can be one."""
    is_control = any(ord(character) < 0x20 or 0x7F <= ord(character) <= 0x9F for character in model_id)
    if not 1 <= len(model_id) <= model.MAX_ID or is_control:
        raise errors.InvalidField(f"id must have 1 to {model.MAX_ID} characters, none of them a control character.")
    return model_id


def _check_printable(name: str, value: str, longest: int) -> None:
    if not 1 <= len(value) <= longest or not value.isprintable():
        raise errors.InvalidField(f"{name} must have 1 to {longest} printable characters.", field=name)
