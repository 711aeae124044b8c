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
        self._latest = latest
        self._floor = floor
        self.pass_by(cursor)

    @property
    def is_over(self) -> bool:
        """Is there nobody left to wait for?"""
        return not self._missing

    def pass_by(self, cursor: int) -> None:
        """The reader has come so far."""
        known = {job_id: self._latest(job_id) for job_id in self._missing}
        self._missing -= {
            job_id for job_id, event in known.items() if event is not None and event.is_final and event.id <= cursor
        }

    def end(self, head: int) -> int | None:
        """The position at which all are over; None while that is not visible."""
        end = self._floor
        for job_id in self._missing:
            event = self._latest(job_id)
            if event is None or not event.is_final:
                return None
            end = max(end, event.id)
        return end if end <= head else None
