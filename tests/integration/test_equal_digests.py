"""Two ids ask for the same bytes, by their digest: one transfer serves both."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.store.writer import PartWriter
from tests import origin as origins
from tests import running
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

NOWHERE = "http://127.0.0.1:9/b.bin"


async def lead(daemon: Running, origin: Origin, digest: str, count: int = 300_000) -> None:
    """`a` fetches, and has come so far; it will not come further."""
    origin.script(Stall(count))
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url("a.bin"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded") == count)


async def command(daemon: Running, what: str, model_id: str) -> dict[str, Any]:
    status, body = await daemon.call("POST", f"/models/download/{what}", {"id": model_id})
    assert status == 200
    return body["data"]


def no_links(*_: object) -> bool:
    return False


async def test_what_is_held_is_complete_at_once_under_a_second_name(
    daemon: Running, origin: Origin, data: bytes, digest: str
) -> None:
    await daemon.download("a", origin.url("a.bin"))  # nobody gave a digest: it counts all the same
    await daemon.settled("a")
    async with daemon.events("id=b") as stream:
        receipt = await daemon.download("b", NOWHERE, sha256=digest.upper())
        assert receipt["status"] == "complete"
        heard = await stream.until(lambda message: message.payload.get("status") == "complete")
    last = heard[-1].payload
    assert (last["file"], last["cached"], last["trust"], last["bytes"]) == ("b.bin", True, "caller", len(data))
    assert [message.payload["status"] for message in heard if "status" in message.payload] == ["queued", "complete"]
    assert len({(daemon.models / name).stat().st_ino for name in ("a.bin", "b.bin")}) == 1
    assert daemon.files() == ["a.bin", "b.bin"]
    await daemon.call("DELETE", "/models/a")
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["b.bin"])
    assert len(origin.requests) == 1


async def test_a_second_name_takes_the_place_of_an_older_version_in_one_rename(
    daemon: Running, origin: Origin, data: bytes, digest: str
) -> None:
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    origin.data = b"an older version"
    await daemon.download("b", origin.url("b.bin"))
    await daemon.settled("b")
    assert (await daemon.download("b", NOWHERE, sha256=digest))["status"] == "complete"
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["a.bin", "b.bin"])


async def test_a_part_of_a_failed_job_gives_way_to_what_is_held(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    mirror.script(Serve(200_000), Status(404))
    await daemon.download("b", mirror.url("b.bin"))
    assert (await daemon.settled("b"))["status"] == "error"
    assert "b.bin.part" in daemon.files()
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    assert (await daemon.download("b", mirror.url("b.bin"), sha256=digest))["status"] == "complete"
    assert daemon.files() == ["a.bin", "b.bin"]
    assert (daemon.models / "b.bin").read_bytes() == data


async def test_a_file_that_was_changed_is_nobody_s_source(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    (daemon.models / "a.bin").write_bytes(b"changed")
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    assert (await daemon.settled("b"))["cached"] is False
    assert (daemon.models / "b.bin").read_bytes() == data


async def test_where_there_are_no_links_the_file_is_copied(
    daemon: Running, origin: Origin, data: bytes, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "link", no_links)
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    await daemon.download("b", NOWHERE, sha256=digest)
    last = await daemon.settled("b")
    assert (last["status"], last["cached"], last["sha256"]) == ("complete", True, digest)
    assert len({(daemon.models / name).stat().st_ino for name in ("a.bin", "b.bin")}) == 2
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["a.bin", "b.bin"])


async def test_a_copy_of_bytes_that_rotted_is_not_believed(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "link", no_links)
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    path = daemon.models / "a.bin"
    before = path.stat()
    path.write_bytes(b"?" + data[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    last = await daemon.settled("b")
    assert (last["status"], last["cached"]) == ("complete", False)
    assert (daemon.models / "b.bin").read_bytes() == data


async def test_who_asks_for_what_is_on_its_way_waits_for_it(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    await lead(daemon, origin, digest)
    async with daemon.events("id=b") as stream:
        receipt = await daemon.download("b", mirror.url("b.bin"), sha256=digest)
        assert receipt["status"] == "queued"
        leader = (await daemon.job("a"))["job_id"]
        assert (await stream.status("queued"))["waiting_for"] == leader
        job = await daemon.job("b")
        assert (job["status"], job["waiting_for"]) == ("queued", leader)
        assert "position" not in job
        await command(daemon, "cancel", "b")
        assert (await stream.status("canceled"))["id"] == "b"
    assert "waiting_for" not in await daemon.job("b")


async def test_when_the_transfer_ends_both_have_the_file(daemon: Running, data: bytes, digest: str) -> None:
    async with origins.running(data) as origin:
        origin.script(Serve(pace=0.02))
        await daemon.download("a", origin.url("a.bin"), sha256=digest)
        await origin.requested()
        await asyncio.gather(*(daemon.download(f"b{n}", origin.url(f"b{n}.bin"), sha256=digest) for n in range(50)))
        for model_id in ("a", *(f"b{n}" for n in range(50))):
            last = await daemon.settled(model_id)
            assert (last["status"], last["cached"]) == ("complete", model_id != "a")
        assert len(origin.requests) == 1
    assert len({path.stat().st_ino for path in daemon.models.iterdir()}) == 1
    assert len(daemon.files()) == 51


async def test_when_the_transfer_is_canceled_the_next_one_goes_on_with_its_part(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    await lead(daemon, origin, digest)
    await daemon.download("b", mirror.url("b.bin?signature=b"), sha256=digest)
    await daemon.download("c", NOWHERE, sha256=digest)
    async with daemon.events("after=0&id=a&id=b&id=c") as stream:
        await command(daemon, "cancel", "a")
        heard = await stream.until(lambda m: m.payload.get("id") == "c" and m.payload.get("status") == "complete")
    told = [m.payload for m in heard if "status" in m.payload]
    assert [each["status"] for each in told if each["id"] == "a"][-1] == "canceled"
    (resumed,) = [each for each in told if each["status"] == "resumed"]
    assert (resumed["id"], resumed["offset"]) == ("b", 300_000)
    waited = [each.get("waiting_for") for each in told if each["id"] == "c" and each["status"] == "queued"]
    ids = {m.payload["id"]: m.payload["job_id"] for m in heard if "job_id" in m.payload}
    assert waited == [ids["a"], ids["b"]]
    assert mirror.requests[0].headers["Range"] == "bytes=300000-"
    assert "If-Range" not in mirror.requests[0].headers  # the other server's validator says nothing here
    assert len(daemon.files()) == 2
    assert all(path.read_bytes() == data for path in daemon.models.iterdir())


async def test_when_the_transfer_fails_the_next_one_goes_on_with_its_part(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    origin.script(Serve(300_000), Status(404))
    origin.may_go_on = lambda end: end < 300_000 or len(waiting) == 1
    waiting: list[str] = []
    await daemon.download("a", origin.url("a.bin"), sha256=digest)
    await origin.requested()
    waiting.append((await daemon.download("b", mirror.url("b.bin"), sha256=digest))["job_id"])
    assert (await daemon.settled("a"))["code"] == "not_found"
    async with daemon.events("after=0&id=b") as stream:
        assert (await stream.status("resumed"))["offset"] == 300_000
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["b.bin"])
    # What the failed job left has gone to the other: asked for again, it is held.
    assert (await daemon.download("a", origin.url("a.bin"), sha256=digest))["status"] == "complete"


async def test_when_the_bytes_prove_wrong_the_next_one_fetches_its_own(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    origin.data = bytes(len(data))
    origin.script(Serve(pace=0.02))
    await daemon.download("a", origin.url("a.bin"), sha256=digest)
    await origin.requested()
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    assert (await daemon.settled("a"))["code"] == "sha256_mismatch"
    last = await daemon.settled("b")
    assert (last["status"], last["cached"]) == ("complete", False)
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["b.bin"])
    assert "Range" not in mirror.requests[0].headers


async def test_a_pause_of_the_one_holds_up_nobody_else(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str
) -> None:
    await lead(daemon, origin, digest)
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    await command(daemon, "pause", "a")
    assert (await daemon.settled("b"))["status"] == "complete"
    assert (await daemon.job("a"))["status"] == "paused"
    assert "a.bin.part" in daemon.files()
    # What it still lacks is here by now.
    async with daemon.events("id=a") as stream:
        await command(daemon, "resume", "a")
        assert (await stream.status("complete", "error"))["cached"] is True
    assert daemon.files() == ["a.bin", "b.bin"]


async def test_a_paused_one_that_goes_on_waits_for_the_one_that_fetches_now(
    daemon: Running, origin: Origin, mirror: Origin, digest: str
) -> None:
    await lead(daemon, origin, digest)
    mirror.script(Stall(100_000))
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    await command(daemon, "pause", "a")
    await mirror.requested()
    async with daemon.events("id=a") as stream:
        assert (await command(daemon, "resume", "a"))["status"] == "queued"
        assert (await daemon.job("a"))["waiting_for"] == (await daemon.job("b"))["job_id"]
        # It has bytes of its own, and goes on with those.
        origin.script(Serve())
        await command(daemon, "cancel", "b")
        assert (await stream.status("resumed"))["offset"] == 300_000
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert daemon.files() == ["a.bin"]


@pytest.mark.parametrize("what", ["pause", "cancel"])
async def test_who_waits_obeys(daemon: Running, origin: Origin, digest: str, what: str) -> None:
    await lead(daemon, origin, digest)
    await daemon.download("b", NOWHERE, sha256=digest)
    await command(daemon, what, "b")
    if what == "cancel":
        assert (await daemon.settled("b"))["status"] == "canceled"
    else:
        job = await daemon.job("b")
        assert (job["status"], "waiting_for" in job) == ("paused", False)
        assert (await command(daemon, "resume", "b"))["status"] == "queued"
        assert (await daemon.job("b"))["waiting_for"] == (await daemon.job("a"))["job_id"]
    assert [name for name in daemon.files() if name.startswith("b")] == []


async def test_a_restart_finds_them_waiting(tmp_path: Path, origin: Origin, data: bytes, digest: str) -> None:
    async with running.daemon(tmp_path) as daemon:
        await lead(daemon, origin, digest)
        await daemon.download("b", NOWHERE, sha256=digest)
    origin.script(Serve())
    async with running.daemon(tmp_path) as daemon:
        for model_id, is_cached in (("a", False), ("b", True)):
            last = await daemon.settled(model_id)
            assert (last["status"], last["cached"]) == ("complete", is_cached)
        assert daemon.files() == ["a.bin", "b.bin"]
        assert (daemon.models / "b.bin").read_bytes() == data


async def test_a_link_that_was_cut_off_before_it_was_told_is_taken_up(
    tmp_path: Path, origin: Origin, data: bytes, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path, max_jobs=1) as daemon:
        await daemon.download("a", origin.url("a.bin"))
        await daemon.settled("a")
        # It has the second name, as a part, and what vouches for it; the rename does not come to pass.
        monkeypatch.setattr("arwd.store.placing.place", refuse)
        await daemon.download("b", NOWHERE, sha256=digest)
        assert (await daemon.settled("b"))["code"] == "io"
    monkeypatch.undo()
    async with running.daemon(tmp_path) as daemon:
        assert (await daemon.download("b", NOWHERE, sha256=digest))["status"] == "complete"
        assert daemon.files() == ["a.bin", "b.bin"]
        assert (daemon.models / "b.bin").read_bytes() == data


def refuse(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


async def test_a_source_that_gives_way_to_another_version_this_instant_is_not_linked(
    daemon: Running, origin: Origin, mirror: Origin, data: bytes, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.download("a", origin.url("a.bin"))
    await daemon.settled("a")
    link = fs.link

    def link_too_late(source: Path, target: Path) -> bool:
        newer = source.with_name("newer")
        newer.write_bytes(bytes(len(data)))
        newer.replace(source)
        return link(source, target)

    monkeypatch.setattr(fs, "link", link_too_late)
    await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    last = await daemon.settled("b")
    assert (last["status"], last["cached"]) == ("complete", False)
    assert ((daemon.models / "b.bin").read_bytes(), daemon.files()) == (data, ["a.bin", "b.bin"])


async def test_a_pause_that_comes_too_late_lets_nobody_go(
    daemon: Running, origin: Origin, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end, compute = asyncio.Event(), PartWriter.digest

    async def slow(self: PartWriter) -> str:
        await may_end.wait()
        return await compute(self)

    monkeypatch.setattr(PartWriter, "digest", slow)
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url("a.bin"), sha256=digest)
        await stream.status("verifying")
    # At once, over and over: one that is not recorded yet must not be offered twice either.
    for number in range(20):
        accepted = asyncio.create_task(daemon.download(f"b{number}", NOWHERE, sha256=digest))
        assert (await command(daemon, "pause", "a"))["status"] == "downloading"
        await accepted
        assert (await daemon.job(f"b{number}"))["waiting_for"] == (await daemon.job("a"))["job_id"]
    may_end.set()
    for model_id in ("a", *(f"b{number}" for number in range(20))):
        assert (await daemon.settled(model_id))["status"] == "complete"
    assert len(origin.requests) == 1
    scheduler = daemon.daemon.manager.scheduler
    assert (scheduler.running, scheduler.queued) == (0, 0)


async def test_bytes_of_ones_own_outlast_a_link_that_cannot_be(
    daemon: Running, origin: Origin, data: bytes, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lead(daemon, origin, digest)
    await command(daemon, "pause", "a")
    async with origins.running(data) as other:
        await daemon.download("b", other.url("b.bin"))
        await daemon.settled("b")
    path = daemon.models / "b.bin"

    def vanish(source: Path, target: Path) -> bool:
        path.unlink(missing_ok=True)
        return False

    monkeypatch.setattr(fs, "link", vanish)
    async with daemon.events("id=a") as stream:
        origin.script(Serve())
        await command(daemon, "resume", "a")
        last = await stream.status("complete", "error")
    assert (last["status"], (daemon.models / "a.bin").read_bytes()) == ("complete", data)
