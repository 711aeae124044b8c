"""Many jobs on a small disk: what does not fit waits, and goes on by itself; the disk is never filled by arwd."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from arwd.jobs import vigil
from arwd.store.space import Space
from tests import disks, running
from tests import origin as origins
from tests.disks import Disk
from tests.models import gguf
from tests.origin import Origin, Raw, Serve
from tests.running import Running, Stream

pytestmark = pytest.mark.needs("mount")

MIB = 1 << 20
RESERVE = 8 * MIB
SIZE = 20_000_000
SETTINGS = {"reserve": RESERVE, "max_jobs": 10}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    monkeypatch.setattr(vigil, "EVERY", 0.05)
    with disks.small(tmp_path / "disk", 64) as disk:
        yield disk


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(gguf(os.urandom(SIZE))) as served:
        yield served


def free(disk: Disk) -> int:
    status = os.statvfs(disk.path)
    return status.f_bavail * status.f_frsize


@contextlib.asynccontextmanager
async def watched(disk: Disk) -> AsyncIterator[list[int]]:
    """The least that was ever free, looked at all the time."""
    least = [free(disk)]

    async def watch() -> None:
        while True:
            least[0] = min(least[0], free(disk))
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    try:
        yield least
    finally:
        watching.cancel()


@contextlib.asynccontextmanager
async def paused_half_way(disk: Disk, origin: Origin) -> AsyncIterator[tuple[Running, Stream]]:
    """A job in whose middle somebody else took all the room."""
    origin.may_go_on = lambda place: place < SIZE // 2
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= SIZE // 4)
        disk.fill(0)
        origin.may_go_on = lambda _: True
        assert (await stream.status("paused", "complete", "error"))["code"] == "disk_full"
        yield daemon, stream


async def test_ten_jobs_that_do_not_fit_together_all_end_complete_and_the_reserve_is_never_touched(
    disk: Disk, origin: Origin
) -> None:
    ids = [f"m{number}" for number in range(10)]
    paused: list[str] = []
    gone_on: list[str] = []
    complete: list[str] = []
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, watched(disk) as least:
        fitting = (free(disk) - RESERVE) // SIZE
        assert fitting == 2
        async with daemon.events() as stream:
            for model_id in ids:
                await daemon.download(model_id, origin.url(f"{model_id}.gguf"))
            while len(complete) < len(ids):
                payload: dict[str, Any] = (await stream.next()).payload
                status, model_id = payload.get("status"), payload.get("id", "")
                assert status != "error", payload
                if status == "paused":
                    assert payload["code"] == "disk_full"
                    paused.append(model_id)
                elif status == "queued" and model_id in paused:
                    gone_on.append(model_id)
                elif status == "complete":
                    complete.append(model_id)
                    if len(complete) == fitting:
                        job = await daemon.job(paused[0])
                        assert (job["status"], job["code"], job["total"]) == ("paused", "disk_full", SIZE)
                        assert f"{SIZE} bytes more are needed" in job["error"]
                        assert not list(daemon.models.glob("*.part"))
                    if len(complete) >= fitting:
                        assert (daemon.models / f"{model_id}.gguf").read_bytes() == origin.data
                        assert (await daemon.call("DELETE", f"/models/{complete[len(complete) - fitting]}"))[0] == 200
        _, storage = await daemon.call("GET", "/storage")
        assert storage["promised"] == 0
    assert len(paused) == len(set(paused)) == len(ids) - fitting, "each waits once, until there is room for it"
    assert gone_on == paused, "the first paused is the first to go on"
    assert least[0] >= RESERVE


async def test_what_is_promised_is_what_is_still_to_come(disk: Disk, origin: Origin) -> None:
    origin.may_go_on = lambda place: place < SIZE // 2
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= SIZE // 4)
        _, storage = await daemon.call("GET", "/storage")
        assert SIZE // 2 - MIB <= storage["promised"] <= SIZE * 3 // 4
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        _, storage = await daemon.call("GET", "/storage")
        assert storage["promised"] == 0


async def test_a_file_that_says_it_is_larger_than_the_disk_costs_no_byte(disk: Disk, origin: Origin) -> None:
    origin.script(Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + origin.data))
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("paused", "error", "complete"))["code"] == "disk_full"
        assert daemon.files() == []
        assert "1000000000 bytes more are needed" in (await daemon.job("m"))["error"]
        origin.script(Serve())
        await daemon.download("other", origin.url("other.gguf"))
        assert (await daemon.settled("other"))["status"] == "complete", "one that never fits holds nobody up"
        await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        assert (await stream.status("canceled"))["status"] == "canceled"


@pytest.mark.parametrize("seconds", [0.0, 0.05])
async def test_a_body_without_end_is_stopped_before_the_reserve_and_its_part_is_kept(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    look_again = Space.look_again

    async def look_slowly(space: Space, job_id: str) -> int | None:
        await asyncio.sleep(seconds)
        return await look_again(space, job_id)

    monkeypatch.setattr(Space, "look_again", look_slowly)
    async with (
        origins.running(gguf(os.urandom(80 * MIB))) as endless,
        running.daemon(disk.path / "state", **SETTINGS) as daemon,
        daemon.events("id=m") as stream,
        watched(disk) as least,
    ):
        endless.script(Serve(framing="chunked"))
        await daemon.download("m", endless.url())
        assert (await stream.status("paused", "error", "complete"))["code"] == "disk_full"
        assert least[0] >= RESERVE
        held = (daemon.models / "model.gguf.part").stat().st_size
        assert held > 30 * MIB
        assert endless.data.startswith((daemon.models / "model.gguf.part").read_bytes())
        assert (await daemon.call("GET", "/healthz"))[0] == 200
        await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        assert (await stream.status("canceled"))["status"] == "canceled"
        assert daemon.files() == []


async def test_a_body_that_is_longer_than_it_said_ends_where_it_said(disk: Disk, origin: Origin) -> None:
    declared = 1_000_000
    origin.script(Raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % declared + origin.data))
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, watched(disk) as least:
        before = free(disk)
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["bytes"] == declared
        assert (daemon.models / "model.gguf").read_bytes() == origin.data[:declared]
        assert least[0] >= before - 4 * declared


async def test_when_others_take_the_room_half_way_the_job_waits_and_goes_on_where_it_was(
    disk: Disk, origin: Origin
) -> None:
    async with paused_half_way(disk, origin) as (daemon, stream):
        part = (daemon.models / "model.gguf.part").read_bytes()
        assert part
        assert origin.data.startswith(part)
        job = await daemon.job("m")
        assert "bytes more are needed" in job["error"]
        assert job["downloaded"] <= len(part)
        disk.free()
        assert (await stream.status("resumed", "restarted"))["offset"] >= job["downloaded"]
        assert (await stream.status("complete", "error"))["status"] == "complete"
        assert (daemon.models / "model.gguf").read_bytes() == origin.data
    assert origin.requests[-1].headers["If-Range"] == '"v1"'


async def test_a_job_that_waits_for_room_waits_and_goes_on_after_a_restart_too(disk: Disk, origin: Origin) -> None:
    async with paused_half_way(disk, origin):
        pass
    async with running.daemon(disk.path / "state", **SETTINGS) as daemon, daemon.events("id=m") as stream:
        job = await daemon.job("m")
        assert (job["status"], job["code"], job["total"]) == ("paused", "disk_full", SIZE)
        disk.free()
        assert (await stream.status("complete", "error"))["status"] == "complete"
        assert (daemon.models / "model.gguf").read_bytes() == origin.data


async def test_a_pause_by_its_user_makes_the_job_the_users(disk: Disk, origin: Origin) -> None:
    async with paused_half_way(disk, origin) as (daemon, stream):
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        assert (await stream.next()).payload == {
            "id": "m",
            "job_id": (await daemon.job("m"))["job_id"],
            "status": "paused",
        }
        disk.free()
        await daemon.daemon.manager._dispatcher.vigil.look()
        job = await daemon.job("m")
        assert (job["status"], "code" in job, "error" in job) == ("paused", False, False)
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.status("complete", "error", "paused"))["status"] == "complete"


async def test_a_resume_by_its_user_tries_at_once(disk: Disk, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    async with paused_half_way(disk, origin) as (daemon, stream):
        asked = len(origin.requests)
        monkeypatch.setattr(vigil, "EVERY", 1_000.0)
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.status("paused", "complete", "error"))["code"] == "disk_full"
        assert len(origin.requests) == asked + 1
        disk.free()
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.status("paused", "complete", "error"))["status"] == "complete"
