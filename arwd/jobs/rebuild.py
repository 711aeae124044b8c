"""What the files know and the database does not: the models of `models.json`, the parts with a control file.

Asked once in the life of a database: a new one may stand in for one that was lost. Nothing is deleted here; what was
taken from the list is believed at first, and its digests are checked while the daemon runs.
"""

import hashlib
import io
import logging
import os
import re
import stat
from pathlib import Path

from arwd import events, fs
from arwd.bus.base import Bus
from arwd.database import Database, marks
from arwd.errors import StorageError
from arwd.jobs import facts, ledger
from arwd.jobs.rooms import Rooms
from arwd.model import Job, Model, content_of, total_of
from arwd.states import State
from arwd.store import control, library, listing
from arwd.store.control import ControlFile
from arwd.store.layout import Layout

log = logging.getLogger(__name__)

_CHUNK = 8 << 20
"""Bytes hashed at a stretch: a stop waits for so many at the most."""
_JOB_ID = re.compile(r"job_[0-9a-f]{10}")
_WAITING = {State.QUEUED: "queued", State.PAUSED: "paused"}
"""What is said of a job that stays as it is; the others are requeued aloud when they are taken up."""


async def rebuild(layout: Layout, database: Database, bus: Bus) -> None:
    """Give a database that may have lost something what the files still know. StorageError."""
    if await database.read(lambda cursor: marks.beginning(cursor, "rebuilt")):
        return
    jobs, models = await database.read(ledger.load), await database.read(library.load)
    ended = await database.read(lambda cursor: marks.beginning(cursor, "ended:"))
    found = await fs.in_thread(_missing_models, layout, models)
    with fs.translate_errors("cannot look for parts"):
        revived = await fs.in_thread(_missing_jobs, layout, jobs, [*models, *found], set(ended))
    for model in found:
        database.write(library.record(model), marks.put(f"unchecked:{model.id}"))
    for job in [*jobs, *revived]:
        # The journal may be as new as the database: who waits for this job hears again how it stands.
        if job.state in _WAITING:
            code = job.code if job.paused_by == "disk" else None
            bus.publish(facts.milestone(job, _WAITING[job.state], code=code), changes=(ledger.record(job),))
    await database.write(marks.put("rebuilt"), marks.drop(*(f"ended:{job_id}" for job_id in ended)))
    if found or revived:
        log.warning(
            "The database did not know of %d models in models.json, whose digests are checked now, and of %d parts "
            "with a control file: they are taken up again. Jobs without a part may be lost",
            len(found),
            len(revived),
            extra={"event": "rebuilt"},
        )


async def recheck(rooms: Rooms, database: Database) -> None:
    """Compare the models that only the list vouched for with their digests, one after the other."""
    try:
        for model_id in await database.read(lambda cursor: marks.beginning(cursor, "unchecked:")):
            model = rooms.library.get(model_id)
            if model is not None:
                await _recheck(rooms, model)
            await database.write(marks.drop(f"unchecked:{model_id}"))
    except StorageError as error:
        log.warning("Digests are checked at the next start: %s", error, extra={"event": "recheck_failed"})


async def _recheck(rooms: Rooms, model: Model) -> None:
    fault = await _fault(rooms, model)
    if rooms.library.get(model.id) is not model:
        return  # another one has taken its place meanwhile, by the usual way
    if fault is None and rooms.library.is_unchanged(model):
        log.info("%s is what models.json said", model.name, extra={"event": "model_rechecked"})
        return
    log.warning(
        "%s is not what models.json said and is no longer listed; it stays where it is (%s)",
        model.name,
        fault or "changed",
        extra={"event": "model_missing"},
    )
    rooms.library.drop(model.id)
    gone = facts.changed("missing", model.id)
    await rooms.bus.publish(gone, changes=(library.forget(model.id),), after=rooms.library.tidying())


async def _fault(rooms: Rooms, model: Model) -> str | None:
    """What is wrong with one of its files; None: nothing."""
    for file in model.on_disk:
        try:
            actual = await _digest(rooms.library.path(file))
        except OSError as error:
            return f"{file.name}: {error}"
        if actual != file.sha256:
            return f"{file.name}: sha256 {actual}, not {file.sha256}"
    return None


async def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    with await fs.in_thread(_open, path, undo=_close) as file:
        while await fs.in_thread(_hash_some, file, hasher):
            pass
    return hasher.hexdigest()


def _open(path: Path) -> io.FileIO:
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _close(file: io.FileIO) -> None:
    file.close()


def _hash_some(file: io.FileIO, hasher: "hashlib._Hash") -> int:
    chunk = file.read(_CHUNK)
    hasher.update(chunk)
    return len(chunk)


def _missing_models(layout: Layout, known: list[Model]) -> list[Model]:
    ids, names = {model.id for model in known}, {model.name for model in known}
    return [model for model in listing.listed(layout) if model.id not in ids and model.name not in names]


def _missing_jobs(layout: Layout, jobs: list[Job], models: list[Model], ended: set[str]) -> list[Job]:
    known = {job.job_id for job in jobs} | ended
    busy = {job.id for job in jobs if not job.is_final}
    finished = {(model.id, model.name) for model in models}
    found = []
    for name, kept in control.survey(layout).items():
        size = _size(layout.part(name))
        is_over = size is None and (kept.id, name) in finished
        if kept.job_id in known or kept.id in busy or is_over:
            continue
        job = _job(name, kept, size or 0)
        known.add(job.job_id)
        busy.add(job.id)
        found.append(job)
    return found


def _job(name: str, kept: ControlFile, held: int) -> Job:
    return Job(
        # It becomes a path.
        job_id=kept.job_id if _JOB_ID.fullmatch(kept.job_id) else ledger.new_job_id(),
        id=kept.id,
        state=State.PAUSED if kept.is_paused else State.QUEUED,
        paused_by="user" if kept.is_paused else None,
        provider=kept.provider,
        url=kept.url,
        queued_at=events.now(),
        # The source's digest is with its files.
        sha256=None if kept.sha256 == content_of(kept.files) else kept.sha256,
        filename=kept.filename,
        files=kept.files,
        directory=kept.directory,
        revision=kept.revision,
        name=name,
        total=kept.size if kept.directory is None else total_of(kept.files),
        downloaded=held,
    )


def _size(path: Path) -> int | None:
    """What a part holds; of a directory that is found out when it is taken up."""
    try:
        status = path.stat(follow_symlinks=False)
    except OSError:
        return None
    return 0 if stat.S_ISDIR(status.st_mode) else status.st_size
