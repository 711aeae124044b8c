"""Room for a model of several files: it is promised as a whole, and a disk that is full holds the whole up."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.jobs import vigil
from arwd.store import assembling, control, members, placing
from tests import running
from tests.hub import Hub
from tests.integration.test_full import Refusals, any_call
from tests.models import SEVERAL, tree
from tests.running import Running

TOTAL = sum(map(len, SEVERAL.values()))
LARGEST = max(map(len, SEVERAL.values()))


@pytest.fixture
def daemon(supplied: Running) -> Running:
    return supplied


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for room need not wait for the clock."""
    monkeypatch.setattr(vigil, "EVERY", 0.01)


async def begin(daemon: Running, model_id: str = "m") -> None:
    status, body = await daemon.call("POST", "/models/download", {"id": model_id, "ref": "hf://org/m"})
    assert status == 200, body


def fetched(served: Hub) -> list[str]:
    return served.targets(beginning="/org/m/resolve/") + [seen.target for seen in served.storage.requests]


PLACES: dict[str, tuple[Any, str, Any]] = {
    "the first control file": (control, "write", any_call),
    "making the directory": (assembling, "prepare", any_call),
    "a small file": (members, "_write", any_call),
    "a large file": (os, "pwritev", any_call),
    "making a large one durable": (fs, "fsync_file", any_call),
    "naming a large one": (fs, "rename_without_replacing", any_call),
    "vouching for all": (control, "write", lambda _, known: known.checked is not None and known.checked.files),
    "tidying": (assembling, "strip", any_call),
    "the directory": (placing, "place", any_call),
}


@pytest.mark.parametrize("place", PLACES)
async def test_wherever_the_disk_is_full_the_job_waits_and_goes_on(
    daemon: Running, served: Hub, monkeypatch: pytest.MonkeyPatch, soon: None, place: str
) -> None:
    refusals = Refusals(monkeypatch, *PLACES[place])
    refusals.left = 1
    async with daemon.events("id=m") as stream:
        await begin(daemon)
        paused = await stream.status("complete", "error", "paused")
        assert (paused["status"], paused.get("code"), refusals.met) == ("paused", "disk_full", 1), paused
        assert (await stream.status("complete", "error", "paused"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == SEVERAL
    assert daemon.files() == ["org--m"]
    job = await daemon.job("m")
    assert ("code" in job, "error" in job) == (False, False)


async def test_it_waits_before_the_first_byte_where_there_is_no_room_for_the_whole(
    tmp_path: Path, served: Hub, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    room = [TOTAL - 1]  # more than any one file
    monkeypatch.setattr(fs, "free_bytes", lambda _: room[0])
    async with (
        running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon,
        daemon.events("id=m") as stream,
    ):
        await begin(daemon)
        assert (await stream.status("paused", "complete", "error"))["code"] == "disk_full"
        assert fetched(served) == []
        job = await daemon.job("m")
        assert (job["total"], job["downloaded"], str(TOTAL) in job["error"]) == (TOTAL, 0, True)
        room[0] = 10 * TOTAL
        assert (await stream.status("paused", "complete", "error"))["status"] == "complete"
        assert tree(daemon.models / "org--m") == SEVERAL


async def test_a_paused_one_is_canceled_without_a_trace(
    daemon: Running, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["a large file"])
    refusals.left = 1_000
    async with daemon.events("id=m") as stream:
        await begin(daemon)
        await stream.status("paused", "complete", "error")
        await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        assert (await stream.status("canceled", "complete", "error"))["status"] == "canceled"
    assert daemon.files() == []
    _, room = await daemon.call("GET", "/storage")
    assert (room["promised"], room["used"]) == (0, 0)


async def test_the_largest_file_counts_not_the_whole(tmp_path: Path, served: Hub) -> None:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url, max_file_size=LARGEST - 1) as daemon:
        await begin(daemon)
        last = await daemon.settled("m")
        assert (last["status"], last["code"]) == ("error", "size_limit")
        assert fetched(served) == []
        assert daemon.files() == []
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url, max_file_size=LARGEST) as daemon:
        await begin(daemon)
        assert (await daemon.settled("m"))["status"] == "complete"


async def test_the_whole_counts_for_the_quota_and_a_link_does_not(tmp_path: Path, served: Hub) -> None:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url, quota=TOTAL - 1) as daemon:
        await begin(daemon)
        assert (await daemon.settled("m"))["code"] == "quota_exceeded"
        assert (fetched(served), daemon.files()) == ([], [])
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url, quota=TOTAL + 4_096) as daemon:
        await begin(daemon)
        assert (await daemon.settled("m"))["status"] == "complete"
        await begin(daemon, "other")
        assert (await daemon.settled("other"))["cached"]


async def test_a_quota_of_the_system_ends_the_job_and_keeps_what_is_done(
    daemon: Running, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["a large file"])
    refusals.number = errno.EDQUOT
    served.storage.go_on.clear()
    await begin(daemon)
    async with daemon.events("id=m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
        refusals.left = 1_000
        served.storage.go_on.set()
        last = await stream.status("error", "complete", "paused")
    assert (last["status"], last["code"]) == ("error", "quota_exceeded")
    refusals.left = 0
    served.requests.clear()
    await begin(daemon)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert not [seen for seen in served.requests if seen.path.endswith("config.json")]


async def test_both_dialects_say_the_same_of_one_job(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    status, first = await daemon.call("POST", "/api/v1/models/download", {"model": f"{served.url}/org/m"})
    assert (status, first["status"], first["total_size_bytes"]) == (200, "downloading", TOTAL)
    where = f"/api/v1/models/download/status/{first['job_id']}"
    async with daemon.events("id=org/m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
        words = {"downloading": "downloading", "paused": "paused", "complete": "completed"}
        for command, wanted in ((None, "downloading"), ("pause", "paused"), ("resume", None)):
            if command is not None:
                await daemon.call("POST", f"/models/download/{command}", {"id": "org/m"})
            if wanted is None:
                served.storage.go_on.set()
                await stream.status("complete", "error")
            job, (_, theirs) = await daemon.job("org/m"), await daemon.call("GET", where)
            assert (theirs["status"], theirs["job_id"]) == (words[job["status"]], job["job_id"])
            assert theirs["total_size_bytes"] == job["total"] == TOTAL
            assert theirs.get("downloaded_bytes", TOTAL) == job["downloaded"]
            assert sum(file["downloaded"] for file in job["files"]) == job["downloaded"]
    _, models = await daemon.call("GET", "/api/v1/models")
    assert [(model["key"], model["size_bytes"]) for model in models["models"]] == [("org/m", TOTAL)]
    _, again = await daemon.call("POST", "/api/v1/models/download", {"model": f"{served.url}/org/m"})
    assert again == {"status": "already_downloaded"}
