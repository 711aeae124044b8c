"""Jobs of several files, seen from outside: what they say, what they keep, what they leave."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests import hub, running
from tests.hub import Answer, Hub, Repo
from tests.models import SEVERAL, tensors, tree
from tests.running import Running

LARGE = "model-00001-of-00002.safetensors"
TOTAL = sum(map(len, SEVERAL.values()))


@pytest.fixture
def daemon(supplied: Running) -> Running:
    return supplied


async def begin(daemon: Running, model_id: str = "m", ref: str = "hf://org/m") -> dict[str, Any]:
    status, body = await daemon.call("POST", "/models/download", {"id": model_id, "ref": ref})
    assert status == 200, body
    return body["data"]


def asked(served: Hub, name: str = LARGE) -> list[str]:
    """The ranges that this file was asked for with, where its bytes are."""
    digest = hashlib.sha256(SEVERAL[name]).hexdigest()
    return [seen.headers.get("range", "") for seen in served.storage.requests if digest in seen.path]


async def half(daemon: Running, served: Hub, model_id: str = "m") -> None:
    """A job whose small files are here, and of whose large ones nothing comes."""
    served.storage.go_on.clear()
    await begin(daemon, model_id)
    async with daemon.events(f"id={model_id}&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)


async def test_it_says_how_many_files_are_here(daemon: Running, served: Hub) -> None:
    await begin(daemon)
    async with daemon.events("id=m&after=0&until=done") as stream:
        told = [message.payload for message in await stream.rest() if "status" in message.payload]
    states = [payload["status"] for payload in told if payload["status"] != "downloading"]
    assert states == ["queued", "started", "verifying", "complete"]
    assert all(payload["files_total"] == len(SEVERAL) for payload in told)
    ticks = [payload for payload in told if payload["status"] == "downloading"]
    assert all(payload["total"] == TOTAL and payload["current_file"] in SEVERAL for payload in ticks)
    assert [payload["downloaded"] for payload in ticks] == sorted(payload["downloaded"] for payload in ticks)
    assert (ticks[-1]["progress"], ticks[-1]["files_done"]) == (100, len(SEVERAL))
    last = told[-1]
    assert (last["file"], last["files"], last["bytes"], last["cached"]) == ("org--m", len(SEVERAL), TOTAL, False)
    _, models = await daemon.call("GET", "/models")
    assert models == [
        {
            "id": "m", "provider": "local", "status": "available", "path": str(daemon.models / "org--m"),
            "file": "org--m", "bytes": TOTAL, "trust": "source",
        }
    ]  # fmt: skip


async def test_each_file_is_in_the_list_of_jobs(daemon: Running, served: Hub) -> None:
    await half(daemon, served)
    job = await daemon.job("m")
    files = {file["name"]: file for file in job["files"]}
    assert (job["files_done"], job["files_total"], job["total"]) == (3, len(SEVERAL), TOTAL)
    assert files["config.json"]["status"] == "done"
    assert files["config.json"]["downloaded"] == files["config.json"]["bytes"] == len(SEVERAL["config.json"])
    assert files[LARGE]["sha256"] == hashlib.sha256(SEVERAL[LARGE]).hexdigest()
    assert (files[LARGE]["downloaded"], files[LARGE]["status"]) == (0, "waiting")
    served.storage.go_on.set()
    await daemon.settled("m")
    job = await daemon.job("m")
    assert {file["status"] for file in job["files"]} == {"done"}
    assert "sha256" not in job


@pytest.mark.parametrize("end", ["restart", "failure"])
async def test_what_is_known_of_no_file_is_not_said_of_it(tmp_path: Path, end: str) -> None:
    async with hub.running({"org/m": Repo(SEVERAL)}) as served:
        async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
            await half(daemon, served)
            if end == "restart":
                await daemon.call("POST", "/models/download/pause", {"id": "m"})
            else:
                served.storage.answers += [Answer(404)] * 2
                served.storage.go_on.set()
                await daemon.settled("m")
                job = await daemon.job("m")
        if end == "restart":
            async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
                job = await daemon.job("m")
        assert (job["status"], job["files_done"]) == ("paused" if end == "restart" else "error", 3)
        assert ("files" in job, job["files_total"]) == (False, len(SEVERAL))


async def test_room_for_the_whole_is_promised_at_the_start(daemon: Running, served: Hub) -> None:
    await half(daemon, served)
    here = sum(len(data) for name, data in SEVERAL.items() if not name.endswith("safetensors"))
    _, room = await daemon.call("GET", "/storage")
    assert room["promised"] == TOTAL - here
    served.storage.go_on.set()
    await daemon.settled("m")
    _, room = await daemon.call("GET", "/storage")
    assert (room["promised"], room["used"]) == (0, TOTAL)


@pytest.mark.parametrize("how", ["pause", "stop"])
async def test_what_is_done_is_not_fetched_again_and_a_large_file_goes_on(
    tmp_path: Path, served: Hub, how: str
) -> None:
    size = 700_000
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        data = SEVERAL[LARGE]
        served.storage.answers += [_torn(data, size), Answer(503, {"Retry-After": "1"})]
        served.storage.answers += [Answer(503, {"Retry-After": "1"})] * 5
        await begin(daemon)
        async with daemon.events("id=m&after=0") as stream:
            await stream.until(lambda message: message.payload.get("status") == "retrying")
        if how == "pause":
            await daemon.call("POST", "/models/download/pause", {"id": "m"})
            served.requests.clear()
            served.storage.answers.clear()
            await daemon.call("POST", "/models/download/resume", {"id": "m"})
            last = await daemon.settled("m")
            assert tree(daemon.models / "org--m") == SEVERAL
    if how == "stop":
        served.requests.clear()
        served.storage.answers.clear()
        async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
            last = await daemon.settled("m")
            assert tree(daemon.models / "org--m") == SEVERAL
    assert (last["status"], last["bytes"]) == ("complete", TOTAL)
    again = {seen.path.rpartition("/")[2] for seen in served.requests}
    assert again <= {name.rpartition("/")[2] for name in SEVERAL if name.endswith("safetensors")}


def _torn(data: bytes, size: int) -> Answer:
    """A body that ends early."""
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    return Answer(200, {"Content-Length": str(len(data)), "ETag": etag}, data[:size])


@pytest.mark.parametrize("state", ["running", "paused", "failed"])
async def test_a_cancel_leaves_nothing(daemon: Running, served: Hub, state: str) -> None:
    if state == "failed":
        served.storage.answers += [Answer(404)] * 2
        await begin(daemon)
        assert (await daemon.settled("m"))["code"] == "not_found"
        assert daemon.files() == ["org--m.part", "org--m.part.json"]
    else:
        await half(daemon, served)
        if state == "paused":
            await daemon.call("POST", "/models/download/pause", {"id": "m"})
    await daemon.call("POST", "/models/download/cancel", {"id": "m"})
    if state != "failed":
        assert (await daemon.settled("m"))["status"] == "canceled"
    assert daemon.files() == []
    _, room = await daemon.call("GET", "/storage")
    assert (room["promised"], room["used"]) == (0, 0)


async def test_one_file_that_is_wrong_fails_the_job_and_the_others_are_kept(daemon: Running, served: Hub) -> None:
    wrong = tensors(2_000_000, salt=1)
    served.storage.blobs[hashlib.sha256(SEVERAL[LARGE]).hexdigest()] = wrong
    signed = served.storage.signed
    served.storage.signed = lambda data, lifetime: _swap(signed(data, lifetime), served, wrong)  # type: ignore[method-assign]
    await begin(daemon)
    last = await daemon.settled("m")
    assert (last["status"], last["code"], last["error"]) == ("error", "sha256_mismatch", "checksum mismatch")
    job = await daemon.job("m")
    assert "files" not in job, "nobody looks any more"
    assert job["downloaded"] <= TOTAL - len(SEVERAL[LARGE])
    assert (job["files_done"], job["files_total"]) == (last["files_done"], len(SEVERAL))
    assert (last["expected"], last["current_file"]) == (hashlib.sha256(SEVERAL[LARGE]).hexdigest(), LARGE)
    assert not (daemon.models / "org--m").exists()
    served.storage.signed = signed  # type: ignore[method-assign]
    served.requests.clear()
    await begin(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == SEVERAL
    assert not [seen for seen in served.requests if seen.path.endswith(("config.json", "vocab.json"))]


def _swap(url: str, served: Hub, wrong: bytes) -> str:
    served.storage.blobs[hashlib.sha256(SEVERAL[LARGE]).hexdigest()] = wrong
    return url


async def test_of_two_files_that_fail_at_once_the_one_that_is_named_is_the_one_that_is_told_of(
    daemon: Running, served: Hub
) -> None:
    await half(daemon, served)
    await daemon.call("POST", "/models/download/pause", {"id": "m"})
    del served.repos["org/m"]
    await daemon.call("POST", "/models/download/resume", {"id": "m"})
    last = await daemon.settled("m")
    assert last["code"] == "unauthorized"
    assert f"/{last['current_file']} answered 401" in last["error"]


async def test_a_small_file_that_git_would_call_otherwise_is_wrong(daemon: Running, served: Hub) -> None:
    listed = served.repos["org/m"].commits[served.repos["org/m"].commit]
    served.after = lambda seen: (
        listed.update({"config.json": b'{"architectures": ["Y"]}'}) if "/tree/" in seen.path else None
    )
    await begin(daemon)
    last = await daemon.settled("m")
    assert (last["code"], last["current_file"]) == ("sha256_mismatch", "config.json")
    assert last["expected"] == hub.git_oid(SEVERAL["config.json"])
