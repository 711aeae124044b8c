"""A job's record and its voice: every change of it is made here, written down and told in one step.

Rule: the record changes in memory first, then one transaction carries the row and the milestone; ticks carry none.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from arwd import errors, events
from arwd.bus.base import Bus
from arwd.database import After, Change
from arwd.events import Fact
from arwd.jobs import facts, ledger
from arwd.jobs.progress import Progress
from arwd.model import Job
from arwd.states import Trigger, advance

log = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds until a last word that could not be recorded is tried again."""

NOT_PAUSED: Final[Mapping[str, None]] = dict.fromkeys(("paused_by", "paused_at", "code", "error"))
"""What of a pause is forgotten at its end."""


class Record:
    """One job as it stands. The transfer reports to it."""

    def __init__(self, job: Job, bus: Bus, part_name: Callable[[], str | None]) -> None:
        """`part_name` tells the name of the part, once it is settled."""
        self.job = job
        self._bus = bus
        self._part_name = part_name
        self._news: Fact | None = None
        self._told: asyncio.Future[None] | None = None
        self.refusal: errors.StorageError | None = None
        """Why the last word could not be written down yet."""
        loop = asyncio.get_running_loop()
        self.progress = Progress(self._tick, loop.time, loop.call_later)
        self.progress.downloaded, self.progress.total = job.downloaded, job.total

    def move(
        self, trigger: Trigger, status: str, *, fields: Mapping[str, Any] | None = None, **told: Any
    ) -> asyncio.Future[None]:
        """Change the state: `fields` are written, those of `told` go into the event."""
        return self.note(status, fields={"state": advance(self.job.state, trigger), **(fields or {})}, **told)

    def note(self, status: str, *, fields: Mapping[str, Any] | None = None, **told: Any) -> asyncio.Future[None]:
        """Something worth a milestone happened within a state."""
        self.job = replace(self.job, downloaded=self.progress.downloaded, **(fields or {}))
        self._news = facts.milestone(self.job, status, **told)
        self._told = self.publish(self._news)
        return self._told

    def run_out_of_room(self, sentence: str, *, size: int | None, held: int) -> None:
        """The job is paused because the disk is full: `held` bytes of so many are kept."""
        self.progress.end()
        self.progress.downloaded, self.progress.total = held, size
        code = errors.DiskFull.code
        fields = {"name": self._part_name(), "total": size, "attempt": 0, "code": code, "error": sentence}
        fields |= {"paused_by": "disk", "paused_at": events.now()}
        self.move(Trigger.PAUSE, "paused", code=code, fields=fields)
        log.warning("Job %s waits for room: %s", self.job.job_id, sentence, extra={"event": code})

    def rename(self, name: str | None) -> None:
        """The part has this name from now on."""
        self.job = replace(self.job, name=name)
        self.publish()

    async def recorded(self) -> None:
        """Return when the newest milestone is on disk; one that was refused is tried again. StorageError."""
        if self._told is not None and self._told.done() and self._told.exception() is not None:
            assert self._news is not None
            self._told = self.publish(self._news)
        if self._told is not None:
            await asyncio.shield(self._told)

    def close(self, trigger: Trigger, **fields: Any) -> Job:
        """The job is final, in memory; the caller publishes its last event."""
        if trigger is not Trigger.FAIL:  # of faults that passed, nothing is said any more
            fields = {"attempt": 0, "code": None, "error": None, **fields}
        self.progress.end()
        self.job = replace(
            self.job,
            state=advance(self.job.state, trigger),
            downloaded=self.progress.downloaded,
            total=self.progress.total,
            finished_at=events.now(),
            waiting_for=None,
            **fields,
        )
        return self.job

    def publish(
        self, *news: Fact, changes: tuple[Change, ...] = (), after: After | None = None
    ) -> asyncio.Future[None]:
        """Write the record as it stands, with what belongs to it, run `after`, and tell the news."""
        return self._bus.publish(*news, changes=(*changes, ledger.record(self.job)), after=after)

    async def conclude(self, *news: Fact, changes: tuple[Change, ...] = (), after: After | None = None) -> None:
        """Tell the last word of a job that is final: repeated until the database takes it, as it must be told once."""
        while True:
            try:
                await self.publish(*news, changes=changes, after=after)
            except errors.StorageError as error:
                self.refusal = error
                await asyncio.sleep(_PATIENCE)
            else:
                return

    def received(self, count: int) -> None:
        """So many more bytes have arrived."""
        self.progress.add(count)

    async def began(self, size: int | None) -> None:
        """The transfer begins at the first byte."""
        self.progress.begin(0, size)
        self.job = replace(self.job, name=self._part_name(), total=size, attempt=0, code=None, error=None)
        self.publish()

    async def resumed(self, offset: int, size: int | None) -> None:
        """The transfer goes on behind the bytes held."""
        self.progress.begin(offset, size)
        fields = {"name": self._part_name(), "total": size, "attempt": 0, "code": None, "error": None}
        self.note("resumed", offset=offset, fields=fields)

    async def restarted(self, code: str, discarded: int, kept: int) -> None:
        """Bytes held had to be given up; so many are kept."""
        self.progress.end()
        self.progress.downloaded = kept
        self.note("restarted", code=code, discarded=discarded)

    def begin_again(self, code: str, discarded: int) -> None:
        """Every byte was here, and they are wrong: all have to come again."""
        self.progress.end()
        self.progress.downloaded = 0
        self.move(Trigger.RESTART, "restarted", code=code, discarded=discarded)

    async def retrying(self, error: errors.TransferError, attempt: int, delay: float) -> None:
        """A transient fault: the next attempt follows after `delay` seconds."""
        self.progress.end()
        told = {"code": error.code, "error": str(error), "attempt": attempt, "next_attempt_in": round(delay)}
        fields = {"attempt": attempt, "code": error.code, "error": str(error)}
        self.note("retrying", fields=fields, **told, **error.details())

    def file_begins(self, name: str) -> None:
        """Of several files this one began last."""
        self.job = replace(self.job, current_file=name)

    def files_are_done(self, count: int) -> None:
        """So many of several files are whole and checked."""
        self.job = replace(self.job, files_done=count)
        if self.job.current_file is not None:
            self.progress.ask()  # no byte may follow for long: who counts files must not wait for one

    def gave_up(self, code: str, discarded: int, kept: int, name: str) -> None:
        """Bytes of one of several files had to be given up; so many of all are kept. The others go on."""
        self.progress.downloaded = kept
        self.note("restarted", fields={"current_file": name}, code=code, discarded=discarded)

    def waits(self, error: errors.TransferError, attempt: int, delay: float, name: str) -> None:
        """One of several files is tried again after `delay` seconds; the others go on."""
        told = {"code": error.code, "error": str(error), "attempt": attempt, "next_attempt_in": round(delay)}
        fields = {"attempt": attempt, "code": error.code, "error": str(error), "current_file": name}
        self.note("retrying", fields=fields, **told, **error.details())

    def goes_on(self) -> None:
        """The file that waited is being fetched."""
        self.job = replace(self.job, attempt=0, code=None, error=None)

    def _tick(self) -> None:
        self._bus.tell(facts.tick(self.job, self.progress))
