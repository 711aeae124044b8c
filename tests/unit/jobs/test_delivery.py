"""What one of several files tells of itself, as its job's."""

from typing import Any

from arwd.jobs.delivery import Delivery
from arwd.jobs.record import Record
from arwd.model import Job
from arwd.states import State

OTHERS = 500


class Silent:
    """A bus that nobody listens to."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def publish(self, *news: Any, **_: Any) -> None:
        self.told += [{"status": fact.payload.status, "attempt": fact.payload.attempt} for fact in news]

    def tell(self, _: Any) -> None:
        pass


class File:
    """One of several that holds so much."""

    name = "model.safetensors"
    held = 300


async def made() -> tuple[Record, File, Delivery]:
    job = Job(
        job_id="job_0123456789",
        id="m",
        state=State.DOWNLOADING,
        provider="local",
        url="http://127.0.0.1/m",
        queued_at="2026-01-01T00:00:00.000Z",
        directory="m",
    )
    file, record = File(), Record(job, Silent(), lambda: "m")  # type: ignore[arg-type]
    record.progress.begin(OTHERS + file.held, 1_000)
    return record, file, Delivery(record, file, lambda: OTHERS + file.held)  # type: ignore[arg-type]


async def test_what_a_file_gives_up_is_no_longer_counted_before_it_is_dropped() -> None:
    """The transfer says first what it drops: a tick in between must not count it."""
    record, file, delivery = await made()
    await delivery.restarted("range_ignored", file.held, 0)
    assert record.progress.downloaded == OTHERS
    assert record.job.downloaded == OTHERS


async def test_what_a_file_gave_up_is_not_taken_off_twice() -> None:
    record, file, delivery = await made()
    file.held = 0
    await delivery.restarted("part_invalid", 300, 0)
    assert record.progress.downloaded == OTHERS
