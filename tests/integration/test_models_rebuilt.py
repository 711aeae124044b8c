"""What the files know of models of several files when the database knows nothing any more."""

import json
from pathlib import Path

import pytest

from arwd.model import Request
from tests import hub
from tests.hub import Repo
from tests.models import SEVERAL, tree
from tests.running import daemon


def lose_the_database(state_dir: Path) -> None:
    for path in state_dir.glob("arwd.db*"):
        path.unlink()


async def test_a_directory_is_listed_again_and_its_digests_are_checked(tmp_path: Path) -> None:
    async with hub.running({"org/m": Repo(SEVERAL)}) as served:
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            await started.daemon.manager.submit(Request(ref="hf://org/m"))
            await started.settled("org/m")
            _, before = await started.call("GET", "/models")
        lose_the_database(tmp_path)
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            await started.daemon.recheck()
            assert await started.call("GET", "/models") == (200, before)
            assert (await started.call("POST", "/models/delete", {"id": "org/m"}))[0] == 200
            assert started.files() == []


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors"])
async def test_a_directory_with_a_file_that_was_changed_is_not_listed_again(tmp_path: Path, name: str) -> None:
    async with hub.running({"org/m": Repo(SEVERAL)}) as served:
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            await started.daemon.manager.submit(Request(ref="hf://org/m"))
            await started.settled("org/m")
        lose_the_database(tmp_path)
        changed = tmp_path / "models" / "org--m" / name
        changed.write_bytes(bytes(changed.stat().st_size))
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            await started.daemon.recheck()
            assert await started.call("GET", "/models") == (200, [])
            assert started.files() == ["org--m"]


@pytest.mark.parametrize(
    "name", ["../config.json", "/etc/hostname", "a//b", "./config.json", "link/config.json", "x\0y"]
)
async def test_a_list_that_somebody_wrote_names_no_file_elsewhere(tmp_path: Path, name: str) -> None:
    async with hub.running({"org/m": Repo(SEVERAL)}) as served:
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            await started.daemon.manager.submit(Request(ref="hf://org/m"))
            await started.settled("org/m")
            (started.models / "config.json").write_bytes(SEVERAL["config.json"])
            (started.models / "org--m" / "link").symlink_to(started.models)
        lose_the_database(tmp_path)
        listed = json.loads((tmp_path / "models.json").read_text())
        file = next(file for file in listed[0]["files"] if file["name"] == "config.json")
        file["name"] = name
        (tmp_path / "models.json").write_text(json.dumps(listed))
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            assert await started.call("GET", "/models") == (200, [])


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_directory_that_was_growing_is_taken_up_again(tmp_path: Path, *, is_paused: bool) -> None:
    async with hub.running({"org/m": Repo(SEVERAL)}) as served:
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            served.storage.go_on.clear()  # the large files do not come
            await started.daemon.manager.submit(Request(ref="hf://org/m"))
            async with started.events("id=org/m&replay=10") as stream:
                await stream.until(lambda message: message.payload.get("files_done", 0) > 0)
            if is_paused:
                await started.call("POST", "/models/download/pause", {"id": "org/m"})
        lose_the_database(tmp_path)
        served.storage.go_on.set()
        served.requests.clear()
        async with daemon(tmp_path, hf_endpoint=served.url) as started:
            if is_paused:
                assert (await started.job("org/m"))["status"] == "paused"
                await started.call("POST", "/models/download/resume", {"id": "org/m"})
            last = await started.settled("org/m")
            assert (last["status"], last["files"], last["trust"]) == ("complete", len(SEVERAL), "source")
            assert tree(started.models / "org--m") == SEVERAL
        assert not [seen for seen in served.requests if seen.path.endswith("config.json")], "it was here already"
