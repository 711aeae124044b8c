"""What an earlier life or an earlier job left: files that are gone, jobs that were under way, parts, secrets."""

import functools
import logging

from msgspec.structs import replace

from arwd.database import After
from arwd.jobs import facts, ledger
from arwd.jobs.rooms import Rooms
from arwd.model import Job
from arwd.states import TRANSITIONS, State, Trigger, advance
from arwd.store import library, parts

log = logging.getLogger(__name__)


def unlist_missing(rooms: Rooms) -> None:
    """Drop the models whose file is missing or not the one that was verified, and say so."""
    for model in [model for model in rooms.library if not rooms.library.is_unchanged(model)]:
        log.warning("The file of %s is missing or was changed", model.id, extra={"event": "model_missing"})
        rooms.library.drop(model.id)
        rooms.bus.publish(facts.changed("missing", model.id), changes=(library.forget(model.id),))
    rooms.bus.publish(after=rooms.library.tidying())


def drop_stray_secrets(rooms: Rooms, jobs: list[Job]) -> None:
    """A kill between a job's last event and the removal of its URL, or in the middle of writing one, leaves it."""
    kept = {job.job_id for job in jobs if not job.is_final}
    for path in rooms.layout.secrets.iterdir():
        if path.name not in kept:
            ledger.drop_secret(path)


def revived(job: Job, rooms: Rooms) -> tuple[Job, str]:
    """The unfinished job as it goes on, and its full URL; one that was running is queued again."""
    url = ledger.read_secret(rooms.layout.secret(job.job_id)) or job.url
    if Trigger.REQUEUE in TRANSITIONS[job.state]:
        job = replace(job, state=advance(job.state, Trigger.REQUEUE))
        rooms.bus.publish(facts.milestone(job, "queued"), changes=(ledger.record(job),))
    return job, url


def discarding(rooms: Rooms, failed: Job | None) -> After | None:
    """The deletion of the part that this job left, if it failed and left one."""
    if failed is None or failed.state is not State.FAILED or failed.name is None:
        return None
    return functools.partial(parts.discard, rooms.layout, failed.name, failed.id)
