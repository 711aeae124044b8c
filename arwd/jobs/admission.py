"""PURE: a request, and what is there under its id -> accept, join, resume, wait, have, or refuse."""

from typing import Literal

import msgspec

from arwd import errors
from arwd.model import Job, Model, Request
from arwd.states import State


class Accept(msgspec.Struct, frozen=True, kw_only=True):
    """A new job. `part_name`: the part of the failed job before it may be taken over."""

    part_name: str | None = None


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """The same is under way."""


class GoOn(msgspec.Struct, frozen=True, kw_only=True):
    """The same is paused: it goes on."""


class AwaitCancel(msgspec.Struct, frozen=True, kw_only=True):
    """The job of this id is being canceled: decide again when it is gone."""


class Have(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes are here already, verified."""

    model: Model


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """It cannot be."""

    error: errors.RequestError


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The newest job of an id, with the full URL that it was asked for."""

    job: Job
    url: str
    is_canceling: bool = False


Decision = Accept | Join | GoOn | AwaitCancel | Have | Refuse


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission came to."""

    kind: Literal["accepted", "joined", "resumed", "have"]
    job: Job


def decide(
    request: Request, shown_url: str, *, current: Current | None, model: Model | None, is_unchanged: bool
) -> Decision:
    """What this request means, given what is there. `is_unchanged`: the model's file is as it was verified."""
    if current is not None and not current.job.is_final:
        return _beside(request, current)
    if model is not None and is_unchanged and request.sha256 == model.sha256:
        return Have(model=model)
    if current is not None and current.job.state is State.FAILED:
        return Accept(part_name=_adoptable(request, shown_url, current.job))
    return Accept()


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
