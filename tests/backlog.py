"""State directories with a long past: many unfinished jobs, parts, a full journal. Made by the rooms that keep them."""

import asyncio
import hashlib
from pathlib import Path

from msgspec.structs import replace

from arwd import events
from arwd.bus.local import LocalBus, Options
from arwd.database import Database
from arwd.jobs import facts, ledger
from arwd.model import Job, Model
from arwd.states import State
from arwd.store import control
from arwd.store.layout import Layout

HELD = bytes(65_536)
"""What is there of each part."""
_PREFIX = control.Prefix(bytes=len(HELD), sha256=hashlib.sha256(HELD).hexdigest())
_STATES = (State.QUEUED, State.DOWNLOADING, State.VERIFYING, State.PAUSED)
_STEPS = 5
"""Milestones of a job that is over."""


async def fill(state_dir: Path, origin: str, *, jobs: int = 0, parts: int = 0, milestones: int = 0) -> int:
    """A directory with so many unfinished jobs, the first of them with parts, and so many milestones of finished ones.

    `origin` is where the rest of the jobs' files would come from. Returns the newest id that was used.
    """
    layout = Layout(state_dir)
    layout.prepare()
    database = Database(layout.database)
    bus = LocalBus(database, Options())
    try:
        await bus.begin()
        await _finish_many(bus, milestones)
        unfinished = [_unfinished(number, origin, has_part=number < parts) for number in range(jobs)]
        for job in unfinished[:parts]:
            await asyncio.to_thread(_keep_part, layout, job)
        recorded = []
        for job in unfinished:
            await asyncio.to_thread(ledger.keep_secret, layout.secret(job.job_id), f"{job.url}?key=secret")
            news = (facts.download(job), facts.milestone(job, "queued", position=1))
            recorded.append(bus.publish(*news, changes=(ledger.record(job),)))
        await asyncio.gather(*recorded)
        return bus.head
    finally:
        await bus.close(0.0)
        await asyncio.to_thread(database.close)
        layout.release()


async def _finish_many(bus: LocalBus, milestones: int) -> None:
    for number in range(milestones // _STEPS):
        job = _job(f"old/{number}", f"job_a{number:09x}", "https://h.example/m.gguf", State.COMPLETED)
        job = replace(job, name="m.gguf", finished_at=events.now())
        model = Model(
            id=job.id,
            provider=job.provider,
            name="m.gguf",
            sha256=_PREFIX.sha256,
            bytes=_PREFIX.bytes,
            trust="none",
            url=job.url,
            mtime_ns=0,
            job_id=job.job_id,
        )
        told = [facts.milestone(replace(job, state=State.QUEUED), step) for step in ("queued", "started", "verifying")]
        told += [facts.changed("downloaded", job.id), facts.complete(job, model, cached=False)]
        written = bus.publish(*told, changes=(ledger.record(job),) if number < ledger.KEEP_FINAL else ())
        if number % 500 == 0:
            await written


def _unfinished(number: int, origin: str, *, has_part: bool) -> Job:
    name = f"m{number}.gguf"
    state = _STATES[number % len(_STATES)]
    job = _job(f"org/m{number}", f"job_{number:010x}", f"{origin}/{name}", state)
    job = replace(job, paused_by="user" if state is State.PAUSED else None)
    return replace(job, name=name, downloaded=len(HELD), total=1 << 20) if has_part else job


def _job(model_id: str, job_id: str, url: str, state: State) -> Job:
    return Job(job_id=job_id, id=model_id, state=state, provider="local", url=url, queued_at=events.now())


def _keep_part(layout: Layout, job: Job) -> None:
    assert job.name is not None
    known = replace(control.blank(job), synced=len(HELD), prefix=_PREFIX, size=job.total, validator='"v1"')
    control.write(layout.control_file(job.name), replace(known, is_paused=job.state is State.PAUSED))
    layout.part(job.name).write_bytes(HELD)
