"""PURE: a request, and what is there under its id or digest -> accept, join, resume, wait, have, link, or refuse."""

from typing import Literal

import msgspec

from arwd import errors
from arwd.model import Artifact, Job, Model, ModelFile, Request, content_of
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

    holder: tuple[ModelFile, ...]


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """It cannot be."""

    error: errors.RequestError


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for, now that its source has answered."""

    request: Request
    artifact: Artifact

    @property
    def url(self) -> str:
        """The ref in full. What a source keeps under a name is the same however it is asked for."""
        return self.request.ref if self.artifact.key is None else self.artifact.url

    @property
    def content(self) -> str | None:
        """The digest that says what it is, if caller or source give one."""
        return self.request.sha256 or content_of(self.artifact.files)


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """The newest job of an id, with the full URL that it was asked for."""

    job: Job
    url: str
    is_canceling: bool = False


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """Who else has what was asked for: files that are unchanged, or a job on its way."""

    holder: tuple[ModelFile, ...] = ()
    fetching: str | None = None


Decision = Accept | Join | GoOn | AwaitCancel | Have | Link | Refuse


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission came to."""

    kind: Literal["accepted", "joined", "resumed", "have"]
    job: Job


def decide(
    wanted: Wanted,
    *,
    current: Current | None,
    model: Model | None,
    is_unchanged: bool,
    elsewhere: Elsewhere,
) -> Decision:
    """What this request means, given what is there. `is_unchanged`: the model's file is as it was verified."""
    if current is not None and not current.job.is_final:
        return _beside(wanted, current)
    if model is not None and is_unchanged and _is_answer(wanted, model):
        return Have(model=model)
    if elsewhere.holder:
        return Link(holder=elsewhere.holder)
    is_failed = current is not None and current.job.state is State.FAILED
    part_name = _adoptable(wanted, current.job) if is_failed and current is not None else None
    return Accept(part_name=part_name, waiting_for=elsewhere.fetching)


def may_be_current(job: Job, model: Model) -> bool:
    """May the finished file be what this job asks for, if the server says that it has not changed?"""
    is_same_name = job.filename in (None, model.name)
    return (
        job.content is None
        and job.directory is None
        and job.url == model.url
        and model.validator is not None
        and is_same_name
    )


def _is_answer(wanted: Wanted, model: Model) -> bool:
    artifact = wanted.artifact
    is_pinned = artifact.revision is not None and (artifact.url, artifact.revision) == (model.url, model.revision)
    return wanted.content == model.content if wanted.content is not None else is_pinned and model.trust != "none"


def _beside(wanted: Wanted, current: Current) -> Decision:
    if current.is_canceling:
        return AwaitCancel()
    job, request = current.job, wanted.request
    has_same_digest = wanted.content is not None and wanted.content == job.content
    is_same = has_same_digest or (wanted.url == current.url and request.sha256 == job.sha256)
    if not is_same:
        return Refuse(
            error=errors.IdInUse(
                f"The id {request.id} is in use: job {job.job_id} fetches it from {job.url}. "
                "Cancel that one first, or choose another id."
            )
        )
    return GoOn() if job.state is State.PAUSED else Join()


def _adoptable(wanted: Wanted, failed: Job) -> str | None:
    """The failed job's part, if its bytes may be those of this request; the transfer still checks the validator."""
    request, is_directory = wanted.request, len(wanted.artifact.files) > 1
    if failed.name is None or (request.filename is not None and request.filename != failed.filename):
        return None
    if is_directory != (failed.directory is not None):
        return None
    by_digest = wanted.content is not None and failed.content in (None, wanted.content)
    by_url = wanted.artifact.url == failed.url and wanted.content in (None, failed.content)
    # A directory is looked through file by file: what has not changed from one commit to the next stays.
    return failed.name if by_digest or by_url or (is_directory and wanted.artifact.url == failed.url) else None
