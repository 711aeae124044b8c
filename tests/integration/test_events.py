"""`GET /events`: where a stream begins, what it leaves out, how it ends; and readers that do not read."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from arwd import events
from arwd.events import Durability, Fact
from tests import running
from tests.origin import Origin, Serve, Stall
from tests.running import Running
from tests.sse import Message, Parser


def milestone(text: str, model_id: str = "other") -> Fact:
    payload = events.DownloadProgress(id=model_id, status=text)
    return Fact(kind=events.PROGRESS, payload=payload, model_id=model_id)


def tick(downloaded: int, model_id: str = "m", job_id: str = "job_0") -> Fact:
    payload = events.DownloadProgress(id=model_id, job_id=job_id, status="downloading", downloaded=downloaded)
    return Fact(kind=events.PROGRESS, payload=payload, model_id=model_id, job_id=job_id, durability=Durability.TICK)


async def test_the_first_frame_says_who_we_are_and_where_the_stream_begins(daemon: Running) -> None:
    async with daemon.events("prefix=Models.,Bus.&prefix=Service.", **{"X-Request-Id": "mine"}) as stream:
        first = await stream.next()
        headers = stream.response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert first.event == "Service.Connected"
    assert int(first.id) == daemon.daemon.bus.head
    assert first.payload["request_id"] == "mine"
    assert first.payload["prefixes"] == ["Models.", "Bus.", "Service."]
    assert first.payload["replayed"] == 0
    assert "resume_from" not in first.payload
    assert stream.parser.retry == 3000


async def test_after_goes_on_without_gap_and_without_duplicate(daemon: Running) -> None:
    bus = daemon.daemon.bus
    begin = bus.head
    for number in range(300):
        await bus.publish(milestone(f"s{number}"))
    async with daemon.events(f"after={begin}") as stream:
        first = await stream.next()
        seen = [(await stream.next()) for _ in range(300)]
        bus.publish(milestone("live"))
        last = await stream.next()
    assert (first.payload["resume_from"], first.payload["replayed"], int(first.id)) == (begin, 300, begin)
    assert [message.payload["status"] for message in [*seen, last]] == [*(f"s{n}" for n in range(300)), "live"]


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
async def test_replay_sends_the_last_matching_milestones(daemon: Running, count: int) -> None:
    bus = daemon.daemon.bus
    for number in range(20):
        await bus.publish(milestone(f"s{number}", "a" if number % 2 else "b"))
        bus.tell(tick(number))
    async with daemon.events(f"replay={count}&id=a") as stream:
        await stream.next()
        await bus.publish(milestone("live", "a"))
        seen = await stream.until(lambda message: message.payload["status"] == "live")
    expected = [f"s{number}" for number in range(1, 20, 2)][-count:] if count else []
    assert [message.payload["status"] for message in seen[:-1]] == expected


async def test_the_header_comes_before_after_and_after_before_replay(daemon: Running) -> None:
    bus = daemon.daemon.bus
    marks = []
    for number in range(4):
        await bus.publish(milestone(f"s{number}"))
        marks.append(bus.head)
    async with daemon.events(f"after={marks[0]}&replay=4", **{"Last-Event-ID": str(marks[1])}) as stream:
        assert (await stream.next()).payload["replayed"] == 2
    async with daemon.events(f"after={marks[0]}&replay=4") as stream:
        assert (await stream.next()).payload["replayed"] == 3


@pytest.mark.parametrize("given", ["nonsense", "-1", "9" * 15 + "0", "9" * 40, "1e3"])
async def test_an_unknown_id_is_told_as_a_gap_and_goes_on_live(daemon: Running, given: str) -> None:
    bus = daemon.daemon.bus
    asked = given if given != "9" * 15 + "0" else str(bus.head + 5_000_000)
    async with daemon.events("", **{"Last-Event-ID": asked}) as stream:
        connected, gap = await stream.next(), await stream.next()
        await bus.publish(milestone("live"))
        live = await stream.next()
    assert gap.event == "Bus.Gap"
    assert gap.payload == {"to": int(gap.id)}
    assert live.payload["status"] == "live"
    assert int(connected.id) < int(gap.id) < int(live.id)


async def test_an_id_from_before_the_memory_is_told_as_a_gap(daemon: Running) -> None:
    async with daemon.events("after=5") as stream:
        connected, gap = await stream.next(), await stream.next()
    assert (connected.id, connected.payload["resume_from"]) == ("5", 5)
    assert gap.event == "Bus.Gap"
    assert (gap.payload["after"], gap.payload["to"]) == (5, int(gap.id))


async def test_filters_let_through_what_was_asked_for_and_nothing_else(daemon: Running, origin: Origin) -> None:
    async with daemon.events("id=a&prefix=Models.DownloadProgress") as stream:
        await asyncio.gather(daemon.download("a", origin.url("a.gguf")), daemon.download("b", origin.url("b.gguf")))
        seen = await stream.until(lambda message: message.payload.get("status") == "complete")
    assert {message.payload["id"] for message in seen[1:]} == {"a"}
    assert {message.event for message in seen[1:]} == {"Models.DownloadProgress"}


@pytest.mark.parametrize("shape", ["envelope", "cloudevents"])
async def test_other_shapes_carry_the_same_payload(daemon: Running, shape: str) -> None:
    async with daemon.events(f"data={shape}&named=false") as stream:
        await daemon.daemon.bus.publish(milestone("x", "ünï"))
        connected, message = await stream.next(), await stream.next()
    outer = message.payload
    assert connected.event == message.event == "message"
    if shape == "envelope":
        assert set(outer) == {"time", "kind", "payload"}
        assert (outer["kind"], outer["payload"]) == ("Models.DownloadProgress", {"id": "ünï", "status": "x"})
    else:
        assert (outer["specversion"], outer["id"], outer["type"]) == ("1.0", message.id, "Models.DownloadProgress")
        assert (outer["subject"], outer["data"]) == ("ünï", {"id": "ünï", "status": "x"})


async def test_until_done_ends_with_the_last_word_on_every_selected_job(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(pace=0.01))
    await daemon.download("a", origin.url("a.gguf"))
    await daemon.download("b", origin.url("b.gguf"))
    async with daemon.events("id=a&id=b&until=done") as stream:
        seen = await stream.rest()
    finals = [message.payload["id"] for message in seen if message.payload.get("status") == "complete"]
    assert sorted(finals) == ["a", "b"]
    assert seen[-1].payload["status"] == "complete"


async def test_until_done_on_a_finished_job_tells_its_last_word_and_ends(daemon: Running, origin: Origin) -> None:
    await daemon.download("a", origin.url("a.gguf"))
    await daemon.settled("a")
    async with daemon.events("id=a&until=done") as stream:
        connected, last = await stream.rest()
    assert (last.payload["status"], int(connected.id) < int(last.id)) == ("complete", True)
    async with daemon.session.get(
        f"{daemon.url}/events?id=a&until=done", headers={"Last-Event-ID": last.id}
    ) as response:
        assert response.status == 204
    async with daemon.events(f"id=a&until=done&after={last.id}") as stream:
        assert [message.event for message in await stream.rest()] == ["Service.Connected"]


async def test_until_done_waits_through_a_pause(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(200_000), Serve())
    await daemon.download("a", origin.url("a.gguf"))
    async with daemon.events("id=a&until=done") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == 200_000)
        await daemon.call("POST", "/models/download/pause", {"id": "a"})
        await stream.status("paused")
        await daemon.call("POST", "/models/download/resume", {"id": "a"})
        assert (await stream.rest())[-1].payload["status"] == "complete"


async def test_until_done_with_a_filter_that_hides_the_end_still_ends(daemon: Running, origin: Origin) -> None:
    await daemon.download("a", origin.url("a.gguf"))
    async with daemon.events("id=a&until=done&prefix=Service.") as stream:
        assert [message.event for message in await stream.rest()] == ["Service.Connected"]


async def test_until_done_without_a_selection_waits_for_all_unfinished_jobs(daemon: Running, origin: Origin) -> None:
    async with daemon.events("until=done") as stream:
        assert [message.event for message in await stream.rest()] == ["Service.Connected"]
    origin.script(Serve(pace=0.01))
    await daemon.download("a", origin.url("a.gguf"))
    await daemon.download("b", origin.url("b.gguf"))
    async with daemon.events("until=done") as stream:
        seen = await stream.rest()
    assert len([message for message in seen if message.payload.get("status") == "complete"]) == 2


@pytest.mark.parametrize("query", ["id=nobody&until=done", "job_id=job_0000000000&until=done"])
async def test_until_done_for_an_unknown_job_is_not_found(daemon: Running, query: str) -> None:
    status, body = await daemon.call("GET", f"/events?{query}")
    assert (status, body["code"]) == (404, "not_found")


async def test_the_job_list_and_the_stream_fit_together(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(pace=0.005))
    for number in range(5):
        await daemon.download(f"m{number}", origin.url(f"m{number}.gguf"))
        _, listed = await daemon.call("GET", "/models/jobs")
        known = {job["job_id"]: job["status"] for job in listed["jobs"]}
        async with daemon.events(f"after={listed['last_event_id']}&prefix=Models.DownloadProgress") as stream:
            for message in await stream.until(lambda message: message.payload.get("status") == "complete"):
                if "job_id" in message.payload:
                    known[message.payload["job_id"]] = message.payload["status"]
                    assert int(message.id) > listed["last_event_id"]
    for number in range(5):
        await daemon.settled(f"m{number}")


async def test_running_jobs_tick_again_for_a_newcomer(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(200_000))
    await daemon.download("a", origin.url("a.gguf"))
    async with daemon.events("id=a") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == 200_000)
    async with daemon.events("id=a") as stream:
        assert (await stream.status("downloading"))["downloaded"] == 200_000
    await daemon.call("POST", "/models/download/cancel", {"id": "a"})


async def test_answers_are_told_but_never_journaled(daemon: Running) -> None:
    async with daemon.events("id=nobody") as stream:
        await stream.next()
        await daemon.call("POST", "/models/download/cancel", {"id": "nobody"})
        told = await stream.next()
    assert told.payload == {"id": "nobody", "status": "no-active-job"}
    rows = daemon.daemon.database.read_now(lambda cursor: cursor.execute("SELECT kind FROM events").fetchall())
    assert rows == [("Service.Start",)]


async def test_silence_is_broken_by_a_comment_that_is_no_event(tmp_path: Path) -> None:
    async with running.daemon(tmp_path, heartbeat=1.0) as daemon, daemon.events() as stream:
        first = await stream.next()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                await stream.next()
    assert stream.raw.endswith(b"\n\n: hb\n")
    assert stream.messages == [first]


async def test_milestones_survive_a_restart_and_ids_go_on(tmp_path: Path, origin: Origin) -> None:
    async with running.daemon(tmp_path) as daemon:
        begin = daemon.daemon.bus.head
        await daemon.download("a", origin.url("a.gguf"))
        last = await daemon.settled("a")
        head = daemon.daemon.bus.head
    async with running.daemon(tmp_path) as daemon:
        assert daemon.daemon.bus.head > head
        async with daemon.events(f"after={begin}&id=a") as stream:
            seen = await stream.until(lambda message: message.payload.get("status") == "complete")
        assert seen[-1].payload == last
        assert [message.payload.get("status") for message in seen[1:]] == [
            None, "queued", "started", "verifying", None, "complete",
        ]  # fmt: skip


async def test_a_reader_that_never_reads_delays_nobody_and_is_let_go_at_the_end(tmp_path: Path) -> None:
    async with running.daemon(tmp_path) as daemon:
        port = int(daemon.url.rpartition(":")[2])
        stalled = []
        for _ in range(3):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            stalled.append(connection)
        bus = daemon.daemon.bus
        async with daemon.events("id=m") as stream:
            await stream.next()
            for number in range(20_000):
                bus.tell(tick(number))
                if number % 1_000 == 0:
                    await bus.publish(milestone("breath"))
            seen = await stream.until(lambda message: message.payload.get("downloaded") == 19_999)
        assert [int(message.id) for message in seen] == sorted({int(message.id) for message in seen})
        begin = asyncio.get_running_loop().time()
        await daemon.daemon.bus.close(0.5)
        assert asyncio.get_running_loop().time() - begin < 1.5
        assert bus.subscribers == 0
        for connection in stalled:
            connection.close()


async def test_every_stream_ends_cleanly_at_a_stop(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as streams:
        async with running.daemon(tmp_path) as daemon:
            opened = [await streams.enter_async_context(_stream(daemon)) for _ in range(50)]
            for parser, _ in opened:
                assert parser.last_id == ""
        ends = [await _rest(*each) for each in opened]
    assert all(messages[-1].event == "Service.Stop" and raw.endswith(b"0\r\n\r\n") for messages, raw in ends)


async def test_over_the_limit_a_browser_is_told_to_come_back_and_others_get_503(tmp_path: Path) -> None:
    async with running.daemon(tmp_path, max_streams=1) as daemon:
        async with daemon.events() as stream:
            await stream.next()
            async with daemon.session.get(f"{daemon.url}/events", headers={"Accept": "text/event-stream"}) as response:
                assert (response.status, await response.read()) == (200, b"retry: 5000\n\n")
            async with daemon.session.get(f"{daemon.url}/events") as response:
                assert (response.status, response.headers["Retry-After"]) == (503, "5")
                assert (await response.json())["code"] == "too_many_streams"
        while daemon.daemon.bus.subscribers:
            await asyncio.sleep(0.01)
        async with daemon.events() as stream:
            assert (await stream.next()).event == "Service.Connected"


@contextlib.asynccontextmanager
async def _stream(daemon: Running) -> AsyncIterator[tuple[Parser, asyncio.StreamReader]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield Parser(), reader
    finally:
        writer.close()


async def _rest(parser: Parser, reader: asyncio.StreamReader) -> tuple[list[Message], bytes]:
    raw = await reader.read()
    body, rest = b"", raw
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    messages = parser.feed(body)
    assert all(json.loads(message.data) for message in messages)
    return messages, raw
