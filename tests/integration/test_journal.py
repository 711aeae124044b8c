"""The journal is the oracle: what a reader that comes back is told equals the rows, in their order, without a gap."""

import asyncio
import itertools
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from arwd import events
from arwd.bus import journal, ring
from arwd.bus.base import Selector, Start
from arwd.database import Change
from arwd.events import DownloadProgress, Durability, Event, Fact
from arwd.jobs.manager import Manager
from tests import journals, running
from tests.journals import Row, milestones, told
from tests.origin import Origin, Stall
from tests.running import Running, Stream
from tests.sse import Message, Parser

RING = 64
MANY = 300


def milestone(model_id: str, job_id: str, number: int = 0, *, is_final: bool = False) -> Fact:
    payload = DownloadProgress(id=model_id, job_id=job_id, status="complete" if is_final else "started", attempt=number)
    return Fact(kind=events.PROGRESS, payload=payload, model_id=model_id, job_id=job_id, is_final=is_final)


def tick(number: int) -> Fact:
    payload = DownloadProgress(id="t", job_id="job_t", status="downloading", downloaded=number)
    return Fact(kind=events.PROGRESS, payload=payload, model_id="t", job_id="job_t", durability=Durability.TICK)


async def publish(daemon: Running, count: int, first: int = 0) -> None:
    """So many milestones of three models, more than any ring of these tests holds."""
    bus = daemon.daemon.bus
    for number in range(first, first + count):
        bus.publish(milestone("abc"[number % 3], f"job_{number % 3}", number))
    await bus.publish(Fact(kind=events.CHANGED, payload=events.Changed(op="delete", id="a"), model_id="a"))


async def read_on(stream: Stream, last: int) -> list[Message]:
    """Everything up to the id `last`."""
    return await stream.until(lambda message: int(message.id) >= last)


@pytest.fixture(autouse=True)
def _rings_are_cut_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_SLACK", 8)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Running]:
    """A daemon whose ring is soon full."""
    async with running.daemon(tmp_path, ring=RING) as started:
        yield started


FILTERS: list[tuple[str, Callable[[Row], bool]]] = [
    ("", lambda row: True),
    ("prefix=Models.Changed", lambda row: row.kind == events.CHANGED),
    ("prefix=Service.,Models.Down", lambda row: row.kind != events.CHANGED),
    ("id=a", lambda row: row.model_id == "a"),
    ("id=a&job_id=job_1", lambda row: row.model_id == "a" or row.job_id == "job_1"),
    ("id=b&prefix=Models.DownloadProgress", lambda row: row.model_id == "b" and row.kind == events.PROGRESS),
    ("prefix=Nothing.", lambda row: False),
]


@pytest.mark.parametrize(("query", "wanted"), FILTERS, ids=[query or "all" for query, _ in FILTERS])
async def test_a_reader_is_told_every_row_after_its_id_and_no_other(
    tmp_path: Path, query: str, wanted: Callable[[Row], bool]
) -> None:
    async with running.daemon(tmp_path, ring=RING) as daemon:
        await publish(daemon, MANY)
    async with running.daemon(tmp_path, ring=RING) as daemon:
        await publish(daemon, MANY)
        everything = journals.rows(tmp_path)
        for begin in (everything[0].id, everything[len(everything) // 2].id, everything[-2].id, everything[-1].id):
            expected = journals.rows(tmp_path, lambda row, begin=begin: row.id > begin and wanted(row))  # type: ignore[misc]
            async with daemon.events(query, **{"Last-Event-ID": str(begin)}) as stream:
                opening = await stream.next()
                assert (int(opening.id), opening.payload["resume_from"]) == (begin, begin)
                assert opening.payload["replayed"] == len(expected)
                seen = await read_on(stream, expected[-1].id) if expected else []
            assert [(int(each.id), each.event, each.payload) for each in seen] == told(expected)


@pytest.mark.parametrize("count", [0, 1, 5, RING, 400])
async def test_the_last_milestones_are_had_from_the_journal(small: Running, tmp_path: Path, count: int) -> None:
    await publish(small, MANY)
    small.daemon.bus.tell(tick(1))
    wanted = journals.rows(tmp_path, lambda row: row.model_id == "a")[-count or 10_000 :][: count or 0]
    last = small.daemon.bus.head
    async with small.events(f"replay={count}&id=a&id=t") as stream:
        opening = await stream.next()
        seen = (
            [message for message in await read_on(stream, last) if message.event != "Service.Connected"]
            if count
            else []
        )
    assert milestones(seen) == told(wanted)
    if count:
        assert int(opening.id) == wanted[0].id - 1


async def test_a_reader_that_does_not_read_while_the_ring_goes_round_misses_no_milestone(
    small: Running, tmp_path: Path
) -> None:
    async with small.events() as stream:
        begin = int((await stream.next()).id)
        # More than the buffers of a connection hold: the writer is held up until the reader reads again.
        for number in range(20):
            await publish(small, 1_500, number * 1_500)
        last = small.daemon.bus.head
        seen = await read_on(stream, last)
    assert [message.event for message in seen].count("Bus.Gap") == 0
    assert milestones(seen) == told(journals.rows(tmp_path, lambda row: row.id > begin))


async def test_the_end_of_a_job_that_the_ring_forgot_ends_the_stream(small: Running, tmp_path: Path) -> None:
    bus = small.daemon.bus
    await bus.publish(milestone("a", "job_end"))
    begin = bus.head
    await bus.publish(milestone("a", "job_end", 1, is_final=True))
    await publish(small, 3 * RING)
    subscription = await bus.subscribe(Selector(model_ids=frozenset({"a"})), Start(after=begin), until_done=["job_end"])
    got: list[bytes] = []
    ended = asyncio.Event()

    async def write(body: bytes, more: bool) -> None:
        got.append(body)
        if not more:
            ended.set()

    subscription.attach(b"", write, lambda: None)
    async with asyncio.timeout(5.0):
        await ended.wait()
    frames = b"".join(got)
    expected = journals.rows(tmp_path, lambda row: row.id > begin and row.model_id == "a")
    assert [b"id: %d\n" % row.id in frames for row in expected] == [True] * len(expected)


async def test_what_was_pruned_is_told_as_one_gap_with_its_bounds(
    small: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(small, MANY)
    rows = journals.rows(tmp_path)
    monkeypatch.setattr(journal, "KEEP_MILESTONES", 100)
    await small.daemon.database.write(journal.prune)
    kept = journals.rows(tmp_path)[-100:]
    floor = rows[-101].id
    for begin in (rows[0].id, rows[50].id):
        async with small.events(f"after={begin}") as stream:
            _, gap, *seen = await read_on(stream, rows[-1].id)
        assert (gap.event, int(gap.id), gap.payload) == ("Bus.Gap", floor, {"after": begin, "to": floor})
        assert milestones(seen) == told(kept)
    for begin in (floor, kept[0].id):
        async with small.events(f"after={begin}") as stream:
            seen = await read_on(stream, rows[-1].id)
        assert milestones(seen) == told([row for row in kept if row.id > begin])
        assert "Bus.Gap" not in [message.event for message in seen]


async def test_a_prune_that_overtakes_a_replay_is_told_where_it_did(
    small: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "PAGE", 10)
    await publish(small, MANY)
    rows = journals.rows(tmp_path)
    bus = small.daemon.bus
    got: list[bytes] = []
    writes = 0
    reached = asyncio.Event()

    async def write(body: bytes, more: bool) -> None:
        nonlocal writes
        got.append(body)
        writes += 1
        if writes == 4:  # the opening and three pages
            monkeypatch.setattr(journal, "KEEP_MILESTONES", 100)
            await small.daemon.database.write(journal.prune)
        if b"id: %d\n" % rows[-1].id in body:
            reached.set()

    subscription = await bus.subscribe(Selector(), Start(after=rows[0].id))
    subscription.attach(b": opening\n", write, lambda: None)
    async with asyncio.timeout(5.0):
        await reached.wait()
    subscription.close()
    seen = Parser().feed(b"".join(got))
    (gap,) = [message for message in seen if message.event == "Bus.Gap"]
    before, after = rows[30].id, rows[-101].id
    assert gap.payload == {"after": before, "to": after}
    assert milestones(seen) == told(rows[1:31] + rows[-100:])
    ids = [int(message.id) for message in seen]
    assert ids == sorted(set(ids))


async def test_pruning_spares_the_last_word_of_a_job_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path, ring=RING) as daemon:
        await daemon.call("POST", "/models/download", {"id": "x", "url": "http://127.0.0.1:9/x", "sha256": None})
        await daemon.call("POST", "/models/download/cancel", {"id": "x"})
        await daemon.settled("x")
        monkeypatch.setattr(journal, "KEEP_MILESTONES", 5)
        await publish(daemon, 50)
        await daemon.daemon.database.write(journal.prune)
    async with running.daemon(tmp_path, ring=RING) as daemon:
        assert (await daemon.settled("x"))["status"] == "canceled"
        async with daemon.events("after=1") as stream:
            await stream.next()
            assert (await stream.next()).event == "Bus.Gap"
            assert "x" not in [message.payload.get("id") for message in await read_on(stream, daemon.daemon.bus.head)]


async def test_the_journal_is_pruned_while_it_grows(
    small: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "KEEP_MILESTONES", 50)
    await publish(small, 2_100)
    async with asyncio.timeout(5.0):
        while len(journals.rows(tmp_path)) > 50 + 1_000:
            await asyncio.sleep(0.01)


async def test_a_journal_that_cannot_be_read_ends_the_stream_and_loses_nothing(
    small: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(small, MANY)
    rows = journals.rows(tmp_path)

    def refuse(*_: object) -> Callable[[sqlite3.Cursor], object]:
        def read(_: sqlite3.Cursor) -> object:
            raise sqlite3.OperationalError("disk I/O error")

        return read

    with monkeypatch.context() as patched:
        patched.setattr(journal, "page", refuse)
        async with small.events(f"after={rows[0].id}") as stream:
            assert [message.event for message in await stream.rest()] == ["Service.Connected"]
        last_id = stream.messages[-1].id
    async with small.events(**{"Last-Event-ID": last_id}) as stream:
        assert milestones(await read_on(stream, rows[-1].id)) == told(rows[1:])


async def test_a_thousand_readers_of_old_events_are_all_served(small: Running, tmp_path: Path) -> None:
    await publish(small, 1_000)
    rows = journals.rows(tmp_path)
    bus, done = small.daemon.bus, asyncio.Event()
    bodies: list[bytearray] = []
    lag = 0.0

    async def watch() -> None:
        nonlocal lag
        while not done.is_set():
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            lag = max(lag, time.perf_counter() - before)

    async def reader(begin: int) -> None:
        body = bytearray()
        bodies.append(body)
        finished = asyncio.Event()

        async def write(data: bytes, more: bool) -> None:
            body.extend(data)
            if b"id: %d\n" % rows[-1].id in data:
                finished.set()

        subscription = await bus.subscribe(Selector(), Start(after=begin))
        subscription.attach(b"", write, lambda: None)
        await finished.wait()
        subscription.close()

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(30.0):
        await asyncio.gather(*(reader(rows[number % 20].id) for number in range(1_000)))
    done.set()
    await watching
    sys.stdout.write(f"1,000 readers of 1,000 old events: the loop was held up for {lag * 1000:.0f} ms at the most\n")
    assert len({bytes(body) for body in bodies}) == 20
    assert sorted(body.count(b"\nid: ") + body.startswith(b"id: ") for body in bodies) == sorted(
        len(rows) - 1 - number % 20 for number in range(1_000)
    )


# A commit that takes its time


async def test_nobody_hears_of_a_later_event_before_a_milestone_that_is_slow_to_commit(
    tmp_path: Path,
) -> None:
    async with running.daemon(tmp_path) as daemon:
        bus, database = daemon.daemon.bus, daemon.daemon.database
        seen: list[Message] = []
        begin = last = bus.head
        stop = asyncio.Event()

        async def flow() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                bus.tell(tick(number))
                await asyncio.sleep(0.002)

        async def slowly() -> None:
            for number in range(8):
                database.write(lambda _: time.sleep(0.2))
                published = bus.publish(milestone("a", "job_0", number))
                waiting = bus.head
                await asyncio.sleep(0.05)
                assert bus.head == waiting, "the head passed a milestone that is not committed"
                await published
            stop.set()

        ticking, publishing = asyncio.create_task(flow()), asyncio.create_task(slowly())
        while not stop.is_set() or last < bus.head:
            async with daemon.events(**{"Last-Event-ID": str(last)}) as stream:
                await stream.next()
                async with asyncio.timeout(5.0):
                    message = await stream.next()  # one frame, then the connection is gone
            seen.append(message)
            last = int(message.id)
        await asyncio.gather(ticking, publishing)
        ids = [int(message.id) for message in seen]
        assert ids == sorted(set(ids))
        assert milestones(seen) == told(journals.rows(tmp_path, lambda row: row.id > begin))
        assert len(milestones(seen)) == 8


# The first subscriber


async def test_nobody_is_let_in_before_what_an_earlier_life_left_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    origin.script(Stall(1_000))
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url())
        await origin.requested()
        # As a kill would: the row still says that it is downloading.
        monkeypatch.setattr(Manager, "stop", lambda _: asyncio.sleep(0))
    monkeypatch.undo()
    write = journal.record

    def slow(event: Event) -> Change:
        change = write(event)

        def slowly(cursor: sqlite3.Cursor) -> None:
            if b'"queued"' in event.data:
                time.sleep(0.3)
            change(cursor)

        return slowly

    monkeypatch.setattr(journal, "record", slow)
    async with running.daemon(tmp_path) as daemon, daemon.events() as stream:
        first = int((await stream.next()).id)
    rows = journals.rows(tmp_path)
    queued = [row.id for row in rows if row.payload.get("status") == "queued"][1]
    started = [row.id for row in rows if row.kind == events.START][1]
    assert queued < started <= first


# Streams that end by themselves


async def test_the_last_word_of_a_kept_job_is_told_with_the_gap_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path, ring=RING) as daemon:
        await daemon.download("x", "http://127.0.0.1:9/x")
        await daemon.call("POST", "/models/download/cancel", {"id": "x"})
        last = await daemon.settled("x")
        monkeypatch.setattr(journal, "KEEP_MILESTONES", 5)
        await publish(daemon, 50)
        await daemon.daemon.database.write(journal.prune)
        async with daemon.events("id=x&until=done&after=1") as stream:
            seen = await stream.rest()
    assert sorted(message.event for message in seen) == ["Bus.Gap", "Models.DownloadProgress", "Service.Connected"]
    assert last in [message.payload for message in seen]
    ids = [int(message.id) for message in seen]
    assert ids == sorted(set(ids))


async def test_a_stream_that_ends_by_itself_ends_there_although_it_was_overrun(small: Running, tmp_path: Path) -> None:
    bus, ended = small.daemon.bus, asyncio.Event()
    begin = bus.head
    gate = asyncio.get_running_loop().create_future()
    got: list[bytes] = []

    async def write(body: bytes, more: bool) -> None:
        await gate
        got.append(body)
        if not more:
            ended.set()

    subscription = await bus.subscribe(Selector(), Start(after=begin), until_done=["job_end"])
    subscription.attach(b": opening\n", write, lambda: None)
    await bus.publish(milestone("a", "job_end", is_final=True))
    end = bus.head
    await publish(small, 5 * RING)
    bus.forget("job_end")  # a slow reader comes to the end of a job that nobody remembers
    gate.set_result(None)
    async with asyncio.timeout(5.0):
        await ended.wait()
    seen = Parser().feed(b"".join(got))
    assert milestones(seen) == told(journals.rows(tmp_path, lambda row: begin < row.id <= end))
