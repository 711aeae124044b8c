"""Which kind of job it is decides what it holds and how it is worked on."""

from arwd.jobs.record import Record
from arwd.jobs.rooms import Rooms
from arwd.jobs.several import Several
from arwd.jobs.single import Single
from arwd.jobs.work import Unfinished, Work
from arwd.model import Job
from arwd.store.names import Claim
from arwd.store.parts import Part
from arwd.store.staging import Staging


def open_job(rooms: Rooms, job: Job) -> tuple[Record, Unfinished, Work]:
    """The record of this job, what it holds, and the work on it."""
    claim = Claim(rooms.names, job, rooms.library.name(job.id))
    if job.directory is None:
        part = Part(rooms.layout, claim, rooms.space, job)
        record = Record(job, rooms.bus, lambda: part.name)
        return record, part, Single(rooms, record, part)
    staging = Staging(rooms.layout, claim, rooms.space, job)
    record = Record(job, rooms.bus, lambda: staging.name)
    return record, staging, Several(rooms, record, staging)
