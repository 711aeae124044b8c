"""Directories of the same content, asked for at once: one transfer serves all, and none is lost with another."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from tests import hub, running
from tests.hub import Answer, Hub, Repo
from tests.models import SEVERAL, tensors, tree
from tests.running import Running


@pytest.fixture
async def served() -> AsyncIterator[Hub]:
    async with hub.running({"org/m": Repo(SEVERAL), "fork/n": Repo(SEVERAL | {"x.png": b"p"})}) as started:
        yield started


@pytest.fixture
async def daemon(tmp_path: Path, served: Hub) -> AsyncIterator[Running]:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as started:
        yield started


async def begin(daemon: Running, model_id: str | None, ref: str = "hf://org/m") -> dict[str, Any]:
    named = {} if model_id is None else {"id": model_id}
    status, body = await daemon.call("POST", "/models/download", {**named, "ref": ref})
    assert status == 200, body
    return body["data"]


async def lead(daemon: Running, served: Hub) -> str:
    """`org/m` has its small files, and comes no further."""
    served.storage.go_on.clear()
    receipt = await begin(daemon, None)
    async with daemon.events("id=org/m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
    return str(receipt["job_id"])


async def follow(daemon: Running, leader: str) -> None:
    """`fork/n` waits for it."""
    await begin(daemon, None, "hf://fork/n")
    job = await daemon.job("fork/n")
    assert (job["status"], job["waiting_for"]) == ("queued", leader)


def inodes(directory: Path) -> dict[str, int]:
    return {str(path.relative_to(directory)): path.stat().st_ino for path in directory.rglob("*") if path.is_file()}


async def test_a_hundred_equal_requests_make_one_job(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    receipts = await asyncio.gather(*(begin(daemon, None) for _ in range(100)))
    assert len({receipt["job_id"] for receipt in receipts}) == 1
    served.storage.go_on.set()
    assert (await daemon.settled("org/m"))["status"] == "complete"
    assert len(served.storage.requests) == 2
    assert [job["id"] for job in (await daemon.call("GET", "/models/jobs"))[1]["jobs"]] == ["org/m"]


async def test_another_repository_with_the_same_files_waits_and_is_linked(daemon: Running, served: Hub) -> None:
    leader = await lead(daemon, served)
    await follow(daemon, leader)
    served.storage.go_on.set()
    last = await daemon.settled("fork/n")
    assert (last["status"], last["file"], last["cached"], last["bytes"]) == (
        "complete", "fork--n", True, sum(map(len, SEVERAL.values())),
    )  # fmt: skip
    assert inodes(daemon.models / "fork--n") == inodes(daemon.models / "org--m")
    assert served.targets(beginning="/fork/n/resolve/") == []
    await daemon.call("POST", "/models/delete", {"id": "fork/n"})
    assert (daemon.files(), tree(daemon.models / "org--m")) == (["org--m"], SEVERAL)


@pytest.mark.parametrize("ending", ["cancel", "delete", "pause", "failure"])
async def test_whoever_waits_goes_on_however_the_first_ends(daemon: Running, served: Hub, ending: str) -> None:
    await follow(daemon, await lead(daemon, served))
    if ending == "failure":
        served.storage.answers += [Answer(404)] * 2
        served.storage.go_on.set()
    elif ending == "delete":
        await daemon.call("POST", "/models/delete", {"id": "org/m"})
    else:
        await daemon.call("POST", f"/models/download/{ending}", {"id": "org/m"})
    served.storage.go_on.set()
    assert (await daemon.settled("fork/n"))["status"] == "complete"
    assert tree(daemon.models / "fork--n") == SEVERAL
    states = {"cancel": "canceled", "delete": "canceled", "pause": "paused", "failure": "error"}
    assert (await daemon.job("org/m"))["status"] == states[ending]
    if ending == "pause":
        assert daemon.files() == ["fork--n", "org--m.part", "org--m.part.json"]
        served.storage.requests.clear()
        await daemon.call("POST", "/models/download/resume", {"id": "org/m"})
        assert (await daemon.settled("org/m"))["status"] == "complete"
        assert served.storage.requests == []
        # The small ones it had itself.
        theirs, own = inodes(daemon.models / "fork--n"), inodes(daemon.models / "org--m")
        assert [name for name in own if own[name] == theirs[name]] == [name for name in own if "tensors" in name]
        assert daemon.files() == ["fork--n", "org--m"]
    else:
        assert daemon.files() == ["fork--n"]
        # What was here already was handed on with its directory.
        assert not [target for target in served.targets(beginning="/fork/n/resolve/") if target.endswith("config.json")]


async def test_whoever_waits_still_waits_in_the_next_life(tmp_path: Path, served: Hub) -> None:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        await follow(daemon, await lead(daemon, served))
    served.storage.go_on.set()
    served.storage.requests.clear()
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        for model_id in ("org/m", "fork/n"):
            assert (await daemon.settled(model_id))["status"] == "complete"
        assert inodes(daemon.models / "fork--n") == inodes(daemon.models / "org--m")
        assert len(served.storage.requests) == 2


async def test_equal_files_in_one_directory_are_all_there(daemon: Running, served: Hub) -> None:
    twice = {
        "model.safetensors": tensors(1_500_000),
        "copy/model.safetensors": tensors(1_500_000),
        "config.json": b"{}",
    }
    served.repos["org/m"].push(twice)
    await begin(daemon, None)
    assert (await daemon.settled("org/m"))["status"] == "complete"
    assert tree(daemon.models / "org--m") == twice
    served.repos["org/m"].push(twice | {"config.json": b"{ }"})
    served.storage.requests.clear()
    await begin(daemon, None)
    assert (await daemon.settled("org/m"))["status"] == "complete"
    assert served.storage.requests == []
    assert tree(daemon.models / "org--m") == twice | {"config.json": b"{ }"}


async def test_a_file_that_two_models_share_survives_the_update_of_one(daemon: Running, served: Hub) -> None:
    await begin(daemon, None)
    await daemon.settled("org/m")
    await begin(daemon, None, "hf://fork/n")
    await daemon.settled("fork/n")
    served.repos["org/m"].push({"config.json": b"{ }", "model.safetensors": tensors(1_200_000)})
    await begin(daemon, None)
    assert (await daemon.settled("org/m"))["status"] == "complete"
    assert tree(daemon.models / "fork--n") == SEVERAL
    assert set(tree(daemon.models / "org--m")) == {"config.json", "model.safetensors"}


async def test_where_there_are_no_links_every_model_has_files_of_its_own(
    daemon: Running, served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fs, "link", lambda *_: False)
    await begin(daemon, None)
    await daemon.settled("org/m")
    await begin(daemon, None, "hf://fork/n")
    assert (await daemon.settled("fork/n"))["status"] == "complete"
    assert tree(daemon.models / "fork--n") == SEVERAL
    assert {path.stat().st_nlink for path in daemon.models.rglob("*") if path.is_file()} == {1}
    assert not os.path.lexists(daemon.models / "fork--n.part.json")
