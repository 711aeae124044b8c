"""PURE: a request, and what is there under its id or digest -> accept, join, resume, wait, have, link, or refuse."""

from typing import Literal

import msgspec

from arwd import errors
from arwd.model import Job, Model, Request
from arwd.states import State


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """A new job. `part_name`: the part of the failed job before it may be taken over.

    `waiting_for`: the job of another id that fetches the same bytes.
    """

    part_name: str | None = None
    waiting_for: str | None = None


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """The same is under way."""


class GoOn(msgspec.Struct, frozen=True, kw_only=True):
    """The same is paused: it goes on."""


class AwaitCancel(msgspec.Struct, frozen=True, kw_only=True):
    """The job of this id is being canceled: decide again when it is gone."""


class Have(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes are here already, verified."""

    model: Model


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Another id holds these bytes: a new job, complete at once."""

    holder: Model


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """It cannot be."""

    error: errors.RequestError


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The newest job of an id, with the full URL that it was asked for."""

    job: Job
    url: str
    is_canceling: bool = False


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Who else has the digest that was asked for: a model whose file is unchanged, or a job on its way."""

    holder: Model | None = None
    fetching: str | None = None


Decision = Accept | Join | GoOn | AwaitCancel | Have | Link | Refuse


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission came to."""

    kind: Literal["accepted", "joined", "resumed", "have"]
    job: Job


def decide(
    request: Request,
    shown_url: str,
    *,
    current: Current | None,
    model: Model | None,
    is_unchanged: bool,
    elsewhere: Elsewhere,
) -> Decision:
    """What this request means, given what is there. `is_unchanged`: the model's file is as it was verified."""
    if current is not None and not current.job.is_final:
        return _beside(request, current)
    if model is not None and is_unchanged and request.sha256 == model.sha256:
        return Have(model=model)
    if elsewhere.holder is not None:
        return Link(holder=elsewhere.holder)
    is_failed = current is not None and current.job.state is State.FAILED
    part_name = _adoptable(request, shown_url, current.job) if is_failed and current is not None else None
    return Accept(part_name=part_name, waiting_for=elsewhere.fetching)


def may_be_current(job: Job, model: Model) -> bool:
    """May the finished file be what this job asks for, if the server says that it has not changed?"""
    is_same_name = job.filename in (None, model.name)
    return job.sha256 is None and job.url == model.url and model.validator is not None and is_same_name


def _beside(request: Request, current: Current) -> Decision:
    if current.is_canceling:
        return AwaitCancel()
    job = current.job
    has_same_digest = request.sha256 is not None and request.sha256 == job.sha256
    is_same = has_same_digest or (request.ref == current.url and request.sha256 == job.sha256)
    if not is_same:
        return Refuse(
            error=errors.IdInUse(
                f"The id {request.id} is in use: job {job.job_id} fetches it from {job.url}. "
                "Cancel that one first, or choose another id."
            )
        )
    return GoOn() if job.state is State.PAUSED else Join()


def _adoptable(request: Request, shown_url: str, failed: Job) -> str | None:
    """The failed job's part, if its bytes may be those of this request; the transfer still checks the validator."""
    if failed.name is None or (request.filename is not None and request.filename != failed.filename):
        return None
    by_digest = request.sha256 is not None and failed.sha256 in (None, request.sha256)
    by_url = shown_url == failed.url and request.sha256 in (None, failed.sha256)
    return failed.name if by_digest or by_url else None
