"""What an earlier life left is taken up: unfinished jobs go on unasked, a user's pause stays, what is gone is said.

All of it happens before the first request is let in.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from arwd import fs, net
from arwd.jobs import facts, ledger
from arwd.jobs.rooms import Rooms
from arwd.jobs.roster import Roster
from arwd.jobs.worker import Worker
from arwd.model import Job
from arwd.states import TRANSITIONS, State, Trigger, advance
from arwd.store import control, doomed, found, library
from arwd.store.control import ControlFile
from arwd.store.doomed import Doomed

log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds that a start waits for the last words of an earlier life to be recorded."""

_Parts = Mapping[str, ControlFile]
"""The control files that count, by the names of their parts."""


async def take_up(
    jobs: list[Job],
    condemned: list[Doomed],
    rooms: Rooms,
    roster: Roster,
    *,
    employ: Callable[[Job, str], Worker],
    offer: Callable[[Worker], None],
) -> None:
    """Returns when what was cut off in the middle of being put in place is there."""
    with fs.translate_errors("cannot look through what an earlier life left"):
        parts = control.survey(rooms.layout)
        _drop_doomed(condemned, rooms, parts)
        _unlist_missing(rooms, parts)
        secrets = _drop_stray_secrets(rooms, jobs)
        _drop_stray_control_files(rooms, parts, jobs)
    names = {known.job_id: name for name, known in parts.items()}
    recovering: list[Worker] = []
    for job in jobs:
        if job.is_final:
            roster.keep(job)
            roster.make_newest(job)
            continue
        if job.name is None:
            # The control file is written before the database hears of the name.
            job = replace(job, name=names.get(job.job_id))
        job = _requeued(job, rooms)
        worker = employ(job, _url(job, rooms) if job.job_id in secrets else job.url)
        if job.name is not None:
            rooms.names.hold(job.name, job.id)
        if job.state is State.QUEUED and _is_checked(job, rooms, parts):
            worker.start()
            recovering.append(worker)
        elif job.state is State.QUEUED:
            offer(worker)
    with contextlib.suppress(TimeoutError):
        # A database that takes nothing must not keep the daemon from saying so: the workers go on trying.
        async with asyncio.timeout(_PATIENCE):
            for worker in recovering:
                await worker.finished.wait()


def _drop_doomed(files: list[Doomed], rooms: Rooms, parts: _Parts) -> None:
    """Unlink the files whose models were deleted or replaced by an earlier life that was cut off right then."""
    # The name may have come to new honours since: it is a model's, or a job was about to put its file there.
    listed = {file.name for model in rooms.library for file in model.on_disk}
    for file in files:
        # Nor is it the condemned file any more if somebody put one of his own there.
        path, is_owned = rooms.layout.final(file.name), file.name in listed or file.name.partition("/")[0] in parts
        if not is_owned and doomed.is_same(path, file):
            _attempt(path, fs.remove_files, rooms.layout.models, [file.name])
        if is_owned or doomed.is_gone(path, file):
            rooms.bus.publish(changes=(doomed.bury(file),))


def _unlist_missing(rooms: Rooms, parts: _Parts) -> None:
    # Where a control file vouches for what has the name now, a job was cut off in the middle of replacing it.
    replaced = {name for name, known in parts.items() if known.checked is not None}
    changed = [model for model in rooms.library if rooms.library.is_gone(model)]
    for model in [model for model in changed if model.name not in replaced]:
        log.warning("The file of %s is missing or was changed", model.id, extra={"event": "model_missing"})
        rooms.library.drop(model.id)
        rooms.bus.publish(facts.changed("missing", model.id), changes=(library.forget(model.id),))
    rooms.bus.publish(after=rooms.library.tidying())


def _drop_stray_secrets(rooms: Rooms, jobs: list[Job]) -> set[str]:
    """The ids of the jobs that have a secret."""
    # A kill between a job's last event and the removal of its URL, or in the middle of writing one, leaves it.
    kept = {job.job_id for job in jobs if not job.is_final}
    found = {path.name for path in rooms.layout.secrets.iterdir()}
    for name in found - kept:
        _drop(rooms.layout.secret(name))
    return found & kept


def _drop_stray_control_files(rooms: Rooms, parts: _Parts, jobs: list[Job]) -> None:
    # A kill between a job's last event and the removal of its control file leaves that, a kill in the middle of
    # writing one leaves half of it.
    unfinished = {job.job_id for job in jobs if not job.is_final}
    placed = {model.name for model in rooms.library}
    for name, known in parts.items():
        # A part beside it is of a newer version, whose job failed on the last step.
        is_in_place = name in placed and not os.path.lexists(rooms.layout.part(name))
        if known.checked is not None and is_in_place and known.job_id not in unfinished:
            _drop(rooms.layout.control_file(name))
    for path in rooms.layout.models.glob(".*.part.json.tmp"):
        _drop(path)
    for path in rooms.layout.models.glob("*.part.json"):
        name = path.name.removesuffix(".part.json")
        if name not in parts and not os.path.lexists(rooms.layout.part(name)) and control.was_ours(path):
            _drop(path)  # damaged, and there is nothing that it could vouch for


def _drop(path: Path) -> None:
    _attempt(path, fs.remove, path)


def _attempt(path: Path, remove: Callable[..., None], *arguments: Any) -> None:
    try:
        remove(*arguments)
    except OSError as error:
        # Whatever it is, it is no reason not to start.
        log.warning("%s was left lying: %s", path.name, error.strerror, extra={"event": "stray_left"})


def _requeued(job: Job, rooms: Rooms) -> Job:
    """The unfinished job as it goes on: one that was running is queued again."""
    if Trigger.REQUEUE in TRANSITIONS[job.state]:
        job = replace(job, state=advance(job.state, Trigger.REQUEUE))
        rooms.bus.publish(facts.milestone(job, "queued"), changes=(ledger.record(job),))
    return job


def _url(job: Job, rooms: Rooms) -> str:
    """The job's full URL. A secret that is damaged is not this job's any more."""
    url = ledger.read_secret(rooms.layout.secret(job.job_id)) or job.url
    return url if net.shown(url) == job.url else job.url


def _is_checked(job: Job, rooms: Rooms, parts: _Parts) -> bool:
    """Was this job's file checked, and only its place, or the word of it, is missing?"""
    known = parts.get(job.name or "")
    if job.name is None or known is None or known.job_id != job.job_id or known.checked is None:
        return False
    return found.is_checked(rooms.layout, job.name, known.checked)
