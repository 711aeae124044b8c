"""ARW's dialect, what there is: models, jobs, room on the disk, and the limits in force."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from arwd.api.arw_entries import job_entry, model_entry
from arwd.api.arw_wire import JobList, Limits, LimitsChange, ModelEntry, Storage
from arwd.api.endpoints import BAD_BODY, Endpoint, decode, encode, reading
from arwd.bus.local import LocalBus
from arwd.jobs.manager import Manager
from arwd.states import State
from arwd.store.library import Library
from arwd.store.space import Space


class ArwLists:
    """The routes that list, and the one that changes limits."""

    def __init__(self, manager: Manager, library: Library, space: Space, bus: LocalBus) -> None:
        self._manager = manager
        self._library = library
        self._space = space
        self._bus = bus

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every route, with what the documents say of it."""
        return (
            reading("/models", self.models, "The models", list[ModelEntry]),
            reading("/models/jobs", self.jobs, "The jobs", JobList),
            reading("/storage", self.storage, "Room on the disk", Storage),
            reading("/limits", self.limits, "The limits in force", Limits),
            Endpoint(
                method="PATCH",
                path="/limits",
                handle=self.change_limits,
                summary="Change limits while running",
                body=LimitsChange,
                answer=Limits,
                refusals=BAD_BODY,
            ),
        )

    async def models(self, request: Request) -> Response:
        """Finished models, and those on their way."""
        entries = {found.id: model_entry(found, self._library.path(found)) for found in self._library}
        for worker in self._manager.roster.workers:
            job = worker.job
            status: Literal["paused", "downloading"] = "paused" if job.state is State.PAUSED else "downloading"
            before = entries.get(job.id, ModelEntry(id=job.id, provider=job.provider, status=status))
            entries[job.id] = msgspec.structs.replace(before, status=status)
        return encode(list(entries.values()))

    async def jobs(self, request: Request) -> Response:
        """All kept jobs and the position that goes with them, in one step of the loop."""
        await self._bus.quiet()
        scheduler = self._manager.scheduler
        entries = [
            job_entry(job, worker, None if worker is None else scheduler.position(worker))
            for job, worker in self._manager.roster
        ]
        return encode(JobList(jobs=entries, last_event_id=self._bus.head))

    async def storage(self, request: Request) -> Response:
        """Room on the disk."""
        room = await self._space.measure()
        return encode(Storage(free=room.free, reserve=room.reserve, promised=room.promised, used=room.used))

    async def limits(self, request: Request) -> Response:
        """The limits in force."""
        return encode(Limits(max_jobs=self._manager.scheduler.max_jobs))

    async def change_limits(self, request: Request) -> Response:
        """Change them; running jobs are left alone."""
        change = await decode(request, LimitsChange)
        if change.max_jobs is not None:
            self._manager.scheduler.set_limit(change.max_jobs)
        return await self.limits(request)
