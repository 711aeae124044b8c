"""Which jobs there are: the unfinished ones with their workers, the final ones as records, the newest of each id."""

import asyncio
import contextlib
from collections.abc import Iterator

from arwd import errors
from arwd.jobs.worker import Worker
from arwd.model import Job

PATIENCE = 2.0
"""Seconds that anybody waits for the last word of a job to be written down: while the disk is full there is none."""
_LOOKS = 5
"""So often as long, while the disk is only slow."""


class Roster:
    """All jobs that are kept."""

    def __init__(self, keep_final: int) -> None:
        self._keep_final = keep_final
        self._workers: dict[str, Worker] = {}
        self._final: dict[str, Job] = {}
        self._newest: dict[str, str] = {}

    def __iter__(self) -> Iterator[tuple[Job, Worker | None]]:
        """Every job, final ones first, with the worker of those that have one."""
        for job in self._final.values():
            yield job, None
        for worker in self._workers.values():
            yield worker.job, None if worker.job.is_final else worker

    @property
    def workers(self) -> list[Worker]:
        """The workers of all unfinished jobs, oldest first."""
        return [worker for worker in self._workers.values() if not worker.job.is_final]

    def get(self, job_id: str) -> Job | None:
        """The job of this job id."""
        worker = self._workers.get(job_id)
        return self._final.get(job_id) if worker is None else worker.job

    def newest(self, model_id: str) -> Job | None:
        """The newest job of a model id."""
        return self.get(self._newest.get(model_id, ""))

    def worker(self, model_id: str) -> Worker | None:
        """The worker of the newest job of a model id, while that is unfinished."""
        worker = self._workers.get(self._newest.get(model_id, ""))
        return None if worker is None or worker.job.is_final else worker

    def settling(self, model_id: str) -> Worker | None:
        """The worker of a job of this model that is final but still tidies up: its files are not free yet."""
        worker = self._workers.get(self._newest.get(model_id, ""))
        return worker if worker is not None and worker.job.is_final else None

    async def settled(self, model_id: str) -> None:
        """Return when no job of this id that is over has anything left to do with its files. StorageError: not soon."""
        while (worker := self.settling(model_id)) is not None:
            await self.over(worker)

    async def over(self, worker: Worker) -> None:
        """Return when nothing of this job, which is ending, is left to do. StorageError: not soon."""
        for _ in range(_LOOKS):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await worker.finished.wait()
            if worker.finished.is_set():
                return
            if worker.refusal is not None:
                break
        family = errors.StorageError if worker.refusal is None else type(worker.refusal)
        raise family(
            f"What became of the last job of {worker.job.id} cannot be written down yet: "
            f"{worker.refusal or 'the disk is slow'}. arwd tries again by itself; if the disk is full, make room."
        )

    def employ(self, worker: Worker) -> None:
        """An unfinished job joins."""
        self._workers[worker.job.job_id] = worker
        self._newest[worker.job.id] = worker.job.job_id

    def dismiss(self, worker: Worker) -> None:
        """It was never recorded: as if it had not been."""
        self._workers.pop(worker.job.job_id, None)
        del self._newest[worker.job.id]
        for job in self._final.values():
            if job.id == worker.job.id:
                self._newest[job.id] = job.job_id

    def keep(self, job: Job) -> list[Job]:
        """A job is final, or was so in an earlier life. Returns the jobs that are let go for it."""
        self._workers.pop(job.job_id, None)
        self._final[job.job_id] = job
        self._newest.setdefault(job.id, job.job_id)
        surplus: list[Job] = []
        while len(self._final) > self._keep_final:
            old = self._final.pop(next(iter(self._final)))
            if self._newest.get(old.id) == old.job_id:
                del self._newest[old.id]
            surplus.append(old)
        return surplus

    def make_newest(self, job: Job) -> None:
        """From now on this job stands for its id."""
        self._newest[job.id] = job.job_id
