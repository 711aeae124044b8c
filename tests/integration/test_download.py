"""The main road: a POST becomes a verified file, and everyone hears of it."""

import asyncio
import hashlib
import time

from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running


async def test_a_post_becomes_a_verified_file(daemon: Running, origin: Origin, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    receipt = await daemon.download("m", origin.url("m.gguf"), sha256=digest)
    assert receipt["status"] == "queued"
    last = await daemon.settled("m")
    assert last["status"] == "complete"
    assert (last["sha256"], last["bytes"], last["trust"], last["cached"]) == (digest, len(data), "caller", False)
    assert (daemon.models / "m.gguf").read_bytes() == data
    assert daemon.files() == ["m.gguf"]


async def test_everyone_hears_of_it_in_order(daemon: Running, origin: Origin, data: bytes) -> None:
    async with daemon.events("prefix=Models.") as stream:
        receipt = await daemon.download("m", origin.url("m.gguf"))
        heard = await stream.until(lambda message: message.payload.get("status") == "complete")
    kinds = [(message.event, message.payload.get("status", message.payload.get("op"))) for message in heard]
    steps = [kind for kind in kinds if kind[1] != "downloading"]
    assert steps == [
        ("Service.Connected", None),
        ("Models.Download", None),
        ("Models.DownloadProgress", "queued"),
        ("Models.DownloadProgress", "started"),
        ("Models.DownloadProgress", "verifying"),
        ("Models.Changed", "downloaded"),
        ("Models.DownloadProgress", "complete"),
    ]
    ticks = [message.payload for message in heard if message.payload.get("status") == "downloading"]
    assert ticks[-1]["progress"] == 100
    assert ticks[-1]["downloaded"] == ticks[-1]["total"] == len(data)
    assert {message.payload["job_id"] for message in heard if "job_id" in message.payload} == {receipt["job_id"]}
    ids = [int(message.id) for message in heard]
    assert ids == sorted(set(ids))


async def test_a_hundred_equal_posts_make_one_job_and_one_connection(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(pace=0.05))
    receipts = await asyncio.gather(*(daemon.download("m", origin.url("m.gguf")) for _ in range(100)))
    assert len({receipt["job_id"] for receipt in receipts}) == 1
    assert sorted(receipt["status"] for receipt in receipts) == ["already-in-progress"] * 99 + ["queued"]
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (origin.accepts, len(origin.requests)) == (1, 1)


async def test_cancel_of_a_stalled_transfer_ends_within_a_second(daemon: Running, origin: Origin) -> None:
    origin.script(Stall(300_000))
    async with daemon.events("id=m") as stream:
        receipt = await daemon.download("m", origin.url("m.gguf"))
        await stream.status("downloading")
        begin = time.monotonic()
        status, body = await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        assert (status, body["data"]["status"], body["data"]["job_id"]) == (200, "cancel-requested", receipt["job_id"])
        heard = await stream.until(lambda message: message.payload.get("status") == "canceled")
        assert time.monotonic() - begin < 1.0
    assert heard[-1].payload == {"id": "m", "job_id": receipt["job_id"], "status": "canceled"}
    assert daemon.files() == []
    assert (await daemon.call("GET", "/models"))[1] == []


async def test_pause_keeps_the_part_and_resume_goes_on_behind_it(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Stall(400_000), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"))
        await stream.until(lambda message: message.payload.get("downloaded") == 400_000)
        _, body = await daemon.call("POST", "/models/download/pause", {"id": "m"})
        assert body["data"]["status"] == "paused"
        assert daemon.files() == ["m.gguf.part", "m.gguf.part.json"]
        assert (await daemon.call("GET", "/models"))[1][0]["status"] == "paused"
        _, body = await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert body["data"]["status"] in ("queued", "downloading")
        resumed = await stream.status("resumed")
        assert resumed["offset"] == 400_000
        assert (await stream.status("complete"))["bytes"] == len(data)
    assert origin.requests[-1].headers["Range"] == "bytes=400000-"
    assert origin.requests[-1].headers["If-Range"] == '"v1"'
    assert (daemon.models / "m.gguf").read_bytes() == data


async def test_a_wrong_digest_ends_in_the_seeds_words_and_leaves_nothing(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await daemon.download("m", origin.url("m.gguf"), sha256="00" * 32)
    last = await daemon.settled("m")
    assert last["error"] == "checksum mismatch"
    assert (last["expected"], last["actual"]) == ("00" * 32, hashlib.sha256(data).hexdigest())
    assert last["code"] == "sha256_mismatch"
    assert daemon.files() == []
    assert (await daemon.call("GET", "/models"))[1] == []


async def test_a_fault_in_the_middle_keeps_the_bytes_already_here(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Serve(500_000), Status(503), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"))
        first = await stream.status("retrying")
        assert (first["code"], first["attempt"]) == ("truncated", 1)
        second = await stream.status("retrying")
        assert (second["code"], second["attempt"], second["http_status"]) == ("http_status", 2, 503)
        assert (await stream.status("complete"))["bytes"] == len(data)
    assert origin.requests[-1].headers["Range"] == "bytes=500000-"


async def test_the_same_post_after_a_failure_takes_the_part_over(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Serve(500_000), Status(404), Serve())
    await daemon.download("m", origin.url("m.gguf"))
    last = await daemon.settled("m")
    assert (last["status"], last["code"], last["http_status"]) == ("error", "not_found", 404)
    assert "m.gguf.part" in daemon.files()
    await daemon.download("m", origin.url("m.gguf"))
    assert (await daemon.settled("m"))["bytes"] == len(data)
    assert origin.requests[-1].headers["Range"] == "bytes=500000-"
    assert daemon.files() == ["m.gguf"]
