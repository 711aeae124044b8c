"""The jobs whose end ends a stream (`until=done`)."""

from collections.abc import Callable, Iterable

from arwd.events import Event

Latest = Callable[[str], Event | None]
"""The newest revealed milestone of a job. After a final one none follows."""


class Waiting:
    """Which of the jobs are not known to be over at the reader's position."""

    def __init__(self, job_ids: Iterable[str], latest: Latest, *, cursor: int, floor: int) -> None:
        """Whatever happens, a stream first delivers everything up to `floor`."""
        self._missing = set(job_ids)
        self._ends: dict[str, Event] = {}
        self._latest = latest
        self._floor = floor
        self.look()
        self.pass_by(cursor)

    @property
    def is_over(self) -> bool:
        """Is there nobody left to wait for?"""
        return not self._missing

    def look(self) -> None:
        """Note who is over by now: a job may be forgotten before a slow reader comes to its end."""
        for job_id in self._missing - self._ends.keys():
            event = self._latest(job_id)
            if event is not None and event.is_final:
                self._ends[job_id] = event

    def pass_by(self, cursor: int) -> None:
        """The reader has come so far."""
        self._missing -= {job_id for job_id, event in self._ends.items() if event.id <= cursor}

    def end(self, head: int) -> int | None:
        """The position at which all are over; None while that is not visible."""
        if self._missing - self._ends.keys():
            return None
        end = max([self._floor, *(self._ends[job_id].id for job_id in self._missing)])
        return end if end <= head else None

    def last_words(self, after: int, to: int) -> list[Event]:
        """The newest milestones of those waited for that lie between two positions, in order."""
        known = [self._ends.get(job_id) or self._latest(job_id) for job_id in self._missing]
        return sorted((event for event in known if event and after < event.id <= to), key=lambda event: event.id)
