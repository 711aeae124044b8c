"""A daemon that is stopped, kindly or not, and what its next life makes of it."""

import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests import origin as origins
from tests import processes
from tests.models import gguf
from tests.nursery import Nursery
from tests.origin import Origin, Serve, Stall
from tests.processes import Child
from tests.sse import Message

HELD = 3_000_000
AT_RISK = 1024 * 1024
"""Bytes of a job that a kill may cost."""
SLACK = 1.0
"""Seconds that a busy machine may add to a deadline."""
HANGS = """
import pathlib, sys, time
from arwd import cli, database, server

hang, commit = pathlib.Path(sys.argv[1]), database.Database._commit
server._LAST_RESORT, server._HASTE = float(sys.argv[2]), 0.5

def hangs(*arguments):
    while hang.exists():
        time.sleep(3600)
    commit(*arguments)

database.Database._commit = hangs
sys.exit(cli.main(sys.argv[3:]))
"""


@pytest.fixture
def data() -> bytes:
    return gguf(bytes(range(251)) * 20_000)


@pytest.fixture
async def origin(data: bytes) -> AsyncIterator[Origin]:
    async with origins.running(data) as served:
        served.script(Stall(HELD), Serve())
        yield served


def assert_one_history(before: list[Message], after: list[Message]) -> None:
    """No id says two things, and every new one is larger than all that were seen."""
    ids = [int(message.id) for message in before + after]
    assert ids == sorted(set(ids))


async def test_sigterm_ends_every_stream_cleanly_and_the_daemon_with_0(tmp_path: Path, origin: Origin) -> None:
    async with processes.child(tmp_path / "state") as daemon:
        async with daemon.events() as everything, daemon.events("prefix=Service.") as service:
            async with daemon.events("id=m") as one:
                await daemon.download("m", origin.url("m.gguf"))
                await one.until(lambda message: message.payload.get("downloaded") == HELD)
                begin = time.monotonic()
                daemon.process.send_signal(signal.SIGTERM)
                # aiohttp raises on a chunked body without its last chunk: to come to the end is to have seen it.
                heard = await everything.rest()
                assert [message.event for message in await service.rest()][-1] == "Service.Stop"
                assert (await one.rest())[-1].payload["status"] == "queued"
        assert heard[-1].event == "Service.Stop"
        assert await daemon.ended() == 0
        assert time.monotonic() - begin < 2.0


async def test_after_sigterm_the_next_start_goes_on_unasked(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon, daemon.events() as stream:
        receipt = await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)
        assert await daemon.stop() == 0
        await stream.rest()
        before = stream.messages
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        async with daemon.events(**{"Last-Event-ID": before[-1].id}) as stream:
            last = await stream.status("complete", "error")
            after = stream.messages[1:]
        assert await daemon.stop() == 0
    assert_one_history(before, after)
    assert "Service.Start" in [message.event for message in after]
    assert (last["job_id"], last.get("bytes")) == (receipt["job_id"], len(data))
    assert origin.requests[-1].headers["Range"] == f"bytes={HELD}-"
    assert (tmp_path / "state" / "models" / "m.gguf").read_bytes() == data
    assert daemon.files() == ["m.gguf"]


async def test_a_kill_costs_at_most_a_mebibyte_and_no_id(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon, daemon.events() as stream:
        receipt = await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)
        before = stream.messages
        assert await daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        with pytest.raises(aiohttp.ClientError):
            await stream.rest()
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        async with daemon.events(f"after={before[-1].id}") as stream:
            last = await stream.status("complete", "error")
            after = stream.messages[1:]
        async with daemon.events("replay=1000&id=m&until=done") as stream:
            journal = {message.id: message.payload for message in await stream.rest()}
        assert await daemon.stop() == 0
    assert_one_history(before, after)
    assert (last["job_id"], last.get("bytes")) == (receipt["job_id"], len(data))
    # What was a milestone before the kill is one still, word for word.
    milestones = {
        message.id: message.payload for message in before if message.payload.get("status") in ("queued", "started")
    }
    assert len(milestones) == 2
    assert milestones.items() <= journal.items()
    asked = origin.requests[-1].headers["Range"]
    assert HELD - AT_RISK <= int(asked.removeprefix("bytes=").removesuffix("-")) <= HELD
    assert (tmp_path / "state" / "models" / "m.gguf").read_bytes() == data
    assert daemon.files() == ["m.gguf"]


async def test_a_kill_while_idle_loses_no_model_and_reuses_no_id(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes
) -> None:
    origin.script(Serve())
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon, daemon.events() as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.status("complete", "error")
        before = stream.messages
        await daemon.stop(signal.SIGKILL)
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        assert [model["status"] for model in (await daemon.call("GET", "/models"))[1]] == ["available"]
        async with daemon.events(f"after={before[-1].id}") as stream:
            await stream.until(lambda message: message.event == "Service.Start")
            assert_one_history(before, stream.messages[1:])
        receipt = await daemon.download("m", origin.url("m.gguf"), sha256=(await daemon.settled("m"))["sha256"])
        assert receipt["status"] == "complete"
    assert len(origin.requests) == 1
    assert (tmp_path / "state" / "models" / "m.gguf").read_bytes() == data


async def test_a_pause_outlives_a_restart(nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes) -> None:
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon, daemon.events() as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        assert await daemon.stop() == 0
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon, daemon.events("id=m") as stream:
        assert (await daemon.job("m"))["status"] == "paused"
        assert len(origin.requests) == 1
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.status("resumed"))["offset"] == HELD
        assert (await stream.status("complete", "error")).get("bytes") == len(data)


async def test_a_database_that_hangs_holds_up_neither_the_streams_nor_the_end(
    nursery: Nursery, tmp_path: Path, origin: Origin
) -> None:
    async with hanging(tmp_path, last_resort=2.5) as daemon, daemon.events() as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == HELD)
        (tmp_path / "hang").touch()
        begin = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        await stream.rest()  # raises if the end is not a clean one
        assert time.monotonic() - begin < 1.0 + SLACK
        assert await daemon.ended() == 0
    assert b"was cut short" in daemon.log
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        assert (await daemon.settled("m"))["status"] == "complete"


async def test_a_second_signal_is_obeyed_at_once_whatever_hangs(
    nursery: Nursery, tmp_path: Path, origin: Origin
) -> None:
    async with hanging(tmp_path, last_resort=60.0) as daemon:
        await daemon.download("m", origin.url("m.gguf"))
        (tmp_path / "hang").touch()
        # Its answer waits for a commit that does not come.
        waiting = asyncio.create_task(daemon.call("POST", "/models/download", {"id": "n", "url": origin.url("n.gguf")}))
        daemon.process.send_signal(signal.SIGTERM)
        while (await daemon.call("GET", "/readyz"))[0] == 200:
            await asyncio.sleep(0.01)
        begin = time.monotonic()
        assert await daemon.stop() == 0
        assert time.monotonic() - begin < 0.5 + SLACK
        await asyncio.wait([waiting])
        assert waiting.exception() is not None or waiting.result()[0] >= 500
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        assert (await daemon.settled("m"))["status"] == "complete"


async def test_what_is_accepted_while_the_stop_goes_on_is_there_afterwards(
    nursery: Nursery, tmp_path: Path, origin: Origin
) -> None:
    body = {"id": "late", "url": origin.url("late.gguf")}
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        await daemon.download("m", origin.url("m.gguf"))
        daemon.process.send_signal(signal.SIGTERM)
        accepted = []
        with contextlib.suppress(aiohttp.ClientError):
            for number in itertools.count():
                status, _ = await daemon.call("POST", "/models/download", body | {"id": f"late{number}"})
                assert status in (200, 503)
                if status == 200:
                    accepted.append(f"late{number}")
        assert await daemon.ended() == 0
    assert accepted
    async with nursery.child(tmp_path / "state", is_hurried=False) as daemon:
        async with daemon.events("until=done") as stream:
            await stream.rest()
        done = {model["id"] for model in (await daemon.call("GET", "/models"))[1] if model["status"] == "available"}
    assert {*accepted, "m"} <= done


def hanging(tmp_path: Path, *, last_resort: float) -> contextlib.AbstractAsyncContextManager[Child]:
    """A daemon whose database commits nothing any more once the file `hang` is there."""
    before = (sys.executable, "-c", HANGS, str(tmp_path / "hang"), str(last_resort))
    return processes.child(tmp_path / "state", before=before)
