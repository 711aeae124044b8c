"""A branch that moves: what a newer commit changes is fetched, and the old model stays until the new one is whole."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tests import running
from tests.hub import Answer, Broken, Hub, Repo
from tests.models import SEVERAL, tensors, tree
from tests.running import Running

LARGE, OTHER = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def daemon(supplied: Running) -> Running:
    return supplied


async def begin(daemon: Running, model_id: str = "m", ref: str = "hf://org/m") -> str:
    status, body = await daemon.call("POST", "/models/download", {"id": model_id, "ref": ref})
    assert status == 200, body
    return str(body["data"]["status"])


async def have(daemon: Running, model_id: str = "m", ref: str = "hf://org/m") -> None:
    await begin(daemon, model_id, ref)
    last = await daemon.settled(model_id)
    assert last["status"] == "complete", last


def everything(directory: Path) -> set[str]:
    """Folders too."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def fetched(served: Hub) -> set[str]:
    """The files whose bytes were asked for."""
    return {
        seen.path.partition("/resolve/")[2].partition("/")[2] for seen in served.requests if "/resolve/" in seen.path
    }


async def test_only_what_has_changed_is_fetched(daemon: Running, served: Hub) -> None:
    await have(daemon)
    served.repos["org/m"].push(SEVERAL | {"config.json": b'{"newer": true}'})
    served.requests.clear()
    served.storage.requests.clear()
    await have(daemon)
    assert served.storage.requests == []
    assert fetched(served) == {"config.json"}
    assert tree(daemon.models / "org--m") == SEVERAL | {"config.json": b'{"newer": true}'}


async def test_a_commit_that_changes_nothing_that_is_needed_is_had(daemon: Running, served: Hub) -> None:
    await have(daemon)
    served.repos["org/m"].push(SEVERAL | {"picture.png": b"newer"})
    served.requests.clear()
    assert await begin(daemon) == "complete"
    assert (await daemon.settled("m"))["cached"]
    assert fetched(served) == set()


async def test_a_folder_in_which_nothing_is_left_is_gone(daemon: Running, served: Hub) -> None:
    await have(daemon)
    newer = {name: data for name, data in SEVERAL.items() if not name.startswith("tokenizer/")}
    served.repos["org/m"].push(newer | {"config.json": b"{}"})
    await have(daemon)
    assert everything(daemon.models / "org--m") == set(newer)


async def fail(daemon: Running, served: Hub, files_done: int) -> None:
    """A job whose small files are here, and whose large ones are missing."""
    served.storage.answers += [Answer(404)]
    served.storage.go_on.clear()
    await begin(daemon)
    async with daemon.events("id=m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == files_done)
        served.storage.go_on.set()
        assert (await stream.status("error", "complete"))["code"] == "not_found"
    served.storage.answers.clear()


@pytest.mark.parametrize("news", [{}, {"tokenizer.json": b"{}", OTHER: tensors(1_600_000)}])
async def test_of_what_a_failed_job_left_the_next_commit_keeps_what_it_has(
    daemon: Running, served: Hub, news: dict[str, bytes]
) -> None:
    await fail(daemon, served, 3)
    newer = {name: data for name, data in SEVERAL.items() if not name.startswith("tokenizer/")} | news
    served.repos["org/m"].push(newer)
    served.requests.clear()
    await have(daemon)
    assert tree(daemon.models / "org--m") == newer
    assert everything(daemon.models / "org--m") == set(newer)
    assert daemon.files() == ["org--m"]
    assert not fetched(served) & {"config.json", "empty.txt"}


@pytest.mark.parametrize("is_folder_first", [True, False])
async def test_what_was_a_folder_may_be_a_file_in_the_next_commit(
    daemon: Running, served: Hub, is_folder_first: bool
) -> None:
    folder, file = {"vocab.json/vocab.json": b"{}"}, {"vocab.json": b"[]"}
    weights = {LARGE: SEVERAL[LARGE], OTHER: SEVERAL[OTHER], "config.json": b"{}"}
    first, second = (folder, file) if is_folder_first else (file, folder)
    served.repos["org/m"] = Repo(weights | first)
    await fail(daemon, served, 2)
    served.repos["org/m"].push(weights | second)
    await have(daemon)
    assert tree(daemon.models / "org--m") == weights | second


async def test_an_update_that_is_canceled_half_way_leaves_the_old_model(daemon: Running, served: Hub) -> None:
    await have(daemon)
    before = {path: path.stat().st_ino for path in (daemon.models / "org--m").rglob("*") if path.is_file()}
    served.repos["org/m"].push(SEVERAL | {LARGE: tensors(2_100_000)})
    served.storage.go_on.clear()
    await begin(daemon)
    async with daemon.events("id=m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 4)
    await daemon.call("POST", "/models/download/cancel", {"id": "m"})
    served.storage.go_on.set()
    assert (await daemon.settled("m"))["status"] == "canceled"
    assert daemon.files() == ["org--m"]
    assert {path: path.stat().st_ino for path in (daemon.models / "org--m").rglob("*") if path.is_file()} == before
    _, (listed,) = await daemon.call("GET", "/models")
    assert listed["status"] == "available"
    served.storage.requests.clear()
    await have(daemon, "other", "hf://org/m@" + next(iter(served.repos["org/m"].commits)))
    assert served.storage.requests == [], "the old one is still whole, and can be linked"


async def test_the_next_life_ends_an_update(tmp_path: Path, served: Hub) -> None:
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        await have(daemon)
        newer = SEVERAL | {LARGE: tensors(2_100_000)}
        served.repos["org/m"].push(newer)
        served.storage.go_on.clear()
        await begin(daemon)
        async with daemon.events("id=m&replay=20") as stream:
            await stream.until(lambda message: message.payload.get("files_done") == 4)
    served.storage.go_on.set()
    served.storage.requests.clear()
    async with running.daemon(tmp_path / "state", hf_endpoint=served.url) as daemon:
        assert (await daemon.settled("m"))["status"] == "complete"
        assert tree(daemon.models / "org--m") == newer
        assert len(served.storage.requests) == 1
        assert daemon.files() == ["org--m"]


@pytest.mark.parametrize("what", ["a small file", "a large file", "a changed file", "all"])
async def test_what_was_taken_away_while_it_was_paused_comes_again(daemon: Running, served: Hub, what: str) -> None:
    served.storage.faults[hashlib.sha256(SEVERAL[LARGE]).hexdigest()] = [Broken(700_000, is_cut=False)]
    async with daemon.events("id=m") as stream:
        await begin(daemon)
        await stream.until(lambda message: message.payload.get("files_done") == len(SEVERAL) - 1)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        part = daemon.models / "org--m.part"
        match what:
            case "a small file":
                (part / "config.json").unlink()
            case "a large file":
                (part / OTHER).unlink()
            case "a changed file":
                (part / "config.json").write_bytes(b'{"architectures": ["Y"]}')
            case _:
                shutil.rmtree(part)
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        last = await stream.status("complete", "error")
    assert last["status"] == "complete", last
    assert tree(daemon.models / "org--m") == SEVERAL
    assert daemon.files() == ["org--m"]
