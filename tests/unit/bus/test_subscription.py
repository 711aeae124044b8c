"""One subscriber: it gets all it is due, whatever its neighbours do, and is told of a gap with ids that only grow."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arwd import events
from arwd.bus.base import Selector, Start
from arwd.bus.gap import with_gap
from arwd.bus.local import LocalBus, Options
from arwd.database import Database
from arwd.events import Durability, Event, Fact, Gap
from tests.sse import Parser


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[LocalBus]:
    database = Database(tmp_path / "bus.db")
    opened = LocalBus(database, Options())
    await opened.begin()
    yield opened
    await opened.close(0.05)
    await asyncio.to_thread(database.close)


def answer(text: str) -> Fact:
    payload = events.DownloadProgress(id=text, status="no-active-job")
    return Fact(kind=events.PROGRESS, payload=payload, model_id=text, durability=Durability.ANSWER)


def final(job_id: str) -> Fact:
    payload = events.DownloadProgress(id="m", job_id=job_id, status="complete")
    return Fact(kind=events.PROGRESS, payload=payload, model_id="m", job_id=job_id, is_final=True)


async def test_a_reader_that_was_slow_gets_all_it_is_due_before_its_stream_ends(bus: LocalBus) -> None:
    gate = asyncio.get_running_loop().create_future()
    got: list[bytes] = []
    ends: list[str] = []
    reached = asyncio.Event()

    async def write(body: bytes, more: bool) -> None:
        if body and got and not gate.done():
            reached.set()
            await gate
        got.append(body)
        if not more:
            ends.append("clean")

    (await bus.subscribe(Selector(), Start())).attach(b"opening", write, lambda: ends.append("aborted"))
    for number in range(2_000):
        bus.tell(answer("m" * 200 + str(number)))
    await reached.wait()
    closing = asyncio.create_task(bus.close(1.0))
    await asyncio.sleep(0.02)
    gate.set_result(None)
    await closing
    assert ends == ["clean"]
    assert b"".join(got).count(b"no-active-job") == 2_000


async def test_a_reader_that_never_takes_its_due_is_cut_off_after_the_patience(bus: LocalBus) -> None:
    gate = asyncio.get_running_loop().create_future()
    ends: list[str] = []

    async def write(body: bytes, more: bool) -> None:
        await gate

    (await bus.subscribe(Selector(), Start())).attach(b"opening", write, lambda: ends.append("aborted"))
    await bus.close(0.02)
    assert (ends, bus.subscribers) == (["aborted"], 0)
    gate.cancel()


async def test_a_write_that_breaks_ends_its_own_stream_and_no_other(bus: LocalBus) -> None:
    got: list[bytes] = []
    aborted: list[bool] = []
    heard = asyncio.Event()

    async def good(body: bytes, more: bool) -> None:
        got.append(body)
        if b"later" in body:
            heard.set()

    writes = 0

    async def bad(body: bytes, more: bool) -> None:
        nonlocal writes
        writes += 1
        if writes > 1:
            raise RuntimeError("the connection is in a state nobody foresaw")

    (await bus.subscribe(Selector(), Start())).attach(b"", good, lambda: None)
    (await bus.subscribe(Selector(), Start(), until_done=["job_x"])).attach(b"", bad, lambda: aborted.append(True))
    await bus.publish(final("job_x"))
    bus.tell(answer("later"))
    async with asyncio.timeout(1.0):
        await heard.wait()
    assert b"job_x" in b"".join(got)
    assert aborted
    assert bus.subscribers == 1


async def test_a_write_that_breaks_after_a_wait_ends_its_own_stream_and_no_other(bus: LocalBus) -> None:
    gate = asyncio.get_running_loop().create_future()
    heard = asyncio.Event()

    async def good(body: bytes, more: bool) -> None:
        if b"later" in body:
            heard.set()

    async def bad(body: bytes, more: bool) -> None:
        await gate

    (await bus.subscribe(Selector(), Start())).attach(b"", good, lambda: None)
    (await bus.subscribe(Selector(), Start())).attach(b"", bad, lambda: None)
    gate.set_exception(ConnectionError("gone"))
    while bus.subscribers > 1:
        await asyncio.sleep(0)
    bus.tell(answer("later"))
    async with asyncio.timeout(1.0):
        await heard.wait()


async def test_a_reader_that_the_ring_overran_hears_the_last_words_from_the_journal_and_its_stream_ends(
    tmp_path: Path,
) -> None:
    database = Database(tmp_path / "small.db")
    bus = LocalBus(database, Options(ring=8))
    await bus.begin()
    gate = asyncio.get_running_loop().create_future()
    got: list[bytes] = []
    ended = asyncio.Event()

    async def write(body: bytes, more: bool) -> None:
        await gate
        got.append(body)
        if not more:
            ended.set()

    (await bus.subscribe(Selector(), Start(), until_done=["job_x", "job_y"])).attach(b"opening", write, lambda: None)
    for number in range(20):
        bus.tell(answer(f"before{number}"))
    await bus.publish(final("job_y"))
    await bus.publish(final("job_x"))
    for number in range(3_000):
        bus.tell(answer(f"after{number}"))
    gate.set_result(None)
    async with asyncio.timeout(1.0):
        await ended.wait()
    seen = Parser().feed(b"".join(got[1:]))
    words = [message.payload["job_id"] for message in seen if message.payload.get("job_id") in ("job_x", "job_y")]
    assert (words, [message.event for message in seen].count("Bus.Gap")) == (["job_y", "job_x"], 0)
    ids = [int(message.id) for message in seen]
    assert ids == sorted(set(ids))
    await bus.close(0.05)
    await asyncio.to_thread(database.close)


@st.composite
def openings(draw: st.DrawFn) -> tuple[list[Event], int, Gap]:
    """What a stream opens with: milestones between its start and the end of the gap, in the order of their ids."""
    start = draw(st.integers(0, 30))
    end = draw(st.integers(start + 1, start + 12))
    ids = sorted(draw(st.sets(st.integers(start + 1, end))))
    latest = [Event(id=number, kind=events.PROGRESS, time=events.now(), data=b"{}") for number in ids]
    return latest, start, Gap(after=start, to=end)


@given(openings())
def test_ids_strictly_increase_around_a_gap(opening: tuple[list[Event], int, Gap]) -> None:
    latest, start, gap = opening
    ids = [event.id for event in with_gap(latest, start, gap)]
    assert ids == sorted(set(ids))
    assert all(start < number <= gap.to for number in ids)


@given(openings())
def test_a_milestone_is_never_lost_to_a_gap(opening: tuple[list[Event], int, Gap]) -> None:
    latest, start, gap = opening
    assert [event for event in with_gap(latest, start, gap) if event.kind != events.GAP] == latest


@given(openings())
def test_the_gap_covers_all_that_is_missing_and_its_id_is_its_end(opening: tuple[list[Event], int, Gap]) -> None:
    latest, start, gap = opening
    notices = [event for event in with_gap(latest, start, gap) if event.kind == events.GAP]
    told = [msgspec.json.decode(event.data, type=Gap) for event in notices]
    assert [event.id for event in notices] == [each.to for each in told]
    missing = set(range(start + 1, gap.to + 1)) - {event.id for event in latest}
    covered = {number for each in told for number in range(start + 1, each.to + 1)}
    assert missing <= covered
    assert len(notices) == bool(missing)
