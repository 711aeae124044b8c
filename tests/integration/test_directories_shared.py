"""Models that have files in common: fetched once, linked, and none of them at the mercy of another."""

from pathlib import Path

import pytest

from tests import hub
from tests.hub import Hub
from tests.models import SEVERAL, tensors, tree
from tests.running import Running

NEWER = SEVERAL | {"config.json": b'{"newer": true}', "model-00002-of-00002.safetensors": tensors(1_600_000)}
del NEWER["empty.txt"]
LARGE = "model-00001-of-00002.safetensors"


@pytest.fixture
def daemon(supplied: Running) -> Running:
    return supplied


async def begin(daemon: Running, model_id: str, ref: str = "hf://org/m", **more: str) -> str:
    status, body = await daemon.call("POST", "/models/download", {"id": model_id, "ref": ref, **more})
    assert status == 200, body
    return str(body["data"]["status"])


async def have(daemon: Running, model_id: str, ref: str = "hf://org/m", **more: str) -> None:
    await begin(daemon, model_id, ref, **more)
    assert (await daemon.settled(model_id))["status"] == "complete"


async def directory(daemon: Running, model_id: str) -> Path:
    """Where the finished model is."""
    _, models = await daemon.call("GET", "/models")
    return Path(next(model["path"] for model in models if model["id"] == model_id))


def inodes(path: Path) -> dict[str, int]:
    return {str(file.relative_to(path)): file.stat().st_ino for file in path.rglob("*") if file.is_file()}


async def test_a_model_that_is_here_under_another_id_is_linked_at_once(daemon: Running, served: Hub) -> None:
    await have(daemon, "a")
    served.storage.requests.clear()
    assert await begin(daemon, "b") == "complete"
    last = await daemon.settled("b")
    assert (last["cached"], last["files"], last["files_done"]) == (True, len(SEVERAL), len(SEVERAL))
    assert served.storage.requests == []
    a, b = await directory(daemon, "a"), await directory(daemon, "b")
    assert a != b
    assert inodes(a) == inodes(b)
    await daemon.call("POST", "/models/delete", {"id": "a"})
    assert tree(b) == SEVERAL
    assert daemon.files() == [b.name]


async def test_two_ids_at_once_make_one_transfer(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    await begin(daemon, "a")
    first = (await daemon.job("a"))["job_id"]
    await begin(daemon, "b")
    assert (await daemon.job("b"))["waiting_for"] == first
    served.storage.go_on.set()
    assert (await daemon.settled("b"))["cached"]
    assert inodes(await directory(daemon, "a")) == inodes(await directory(daemon, "b"))
    large = [seen for seen in served.storage.requests if seen.method == "GET"]
    assert len(large) == 2


async def test_who_waits_goes_on_with_the_directory_of_one_that_was_canceled(daemon: Running, served: Hub) -> None:
    served.storage.go_on.clear()
    await begin(daemon, "a")
    async with daemon.events("id=a&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
    await begin(daemon, "b")
    served.requests.clear()
    await daemon.call("POST", "/models/download/cancel", {"id": "a"})
    served.storage.go_on.set()
    assert (await daemon.settled("a"))["status"] == "canceled"
    assert (await daemon.settled("b"))["status"] == "complete"
    path = await directory(daemon, "b")
    assert (tree(path), daemon.files()) == (SEVERAL, [path.name])
    assert not [seen for seen in served.requests if seen.path.endswith("config.json")]


async def test_a_newer_commit_brings_what_has_changed(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    before = inodes(await directory(daemon, "m"))
    served.repos["org/m"].push(NEWER)
    served.storage.requests.clear()
    served.storage.go_on.clear()
    await begin(daemon, "m")
    async with daemon.events("id=m&replay=20") as stream:
        await stream.until(lambda message: message.payload.get("files_done") == 3)
    assert tree(daemon.models / "org--m") == SEVERAL, "whole, until the new one is"
    served.storage.go_on.set()
    last = await daemon.settled("m")
    assert (last["status"], last["file"], last["files"]) == ("complete", "org--m", len(NEWER))
    assert tree(daemon.models / "org--m") == NEWER
    assert daemon.files() == ["org--m"]
    after = inodes(daemon.models / "org--m")
    assert after[LARGE] == before[LARGE]
    assert after["config.json"] != before["config.json"]
    assert len(served.storage.requests) == 1


async def test_an_update_that_fails_leaves_what_was_there(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    served.repos["org/m"].push(NEWER)
    served.storage.answers += [hub.Answer(404)]
    await begin(daemon, "m")
    assert (await daemon.settled("m"))["code"] == "not_found"
    assert tree(daemon.models / "org--m") == SEVERAL
    _, (listed,) = await daemon.call("GET", "/models")
    assert (listed["status"], listed["bytes"]) == ("available", sum(map(len, SEVERAL.values())))
    await have(daemon, "m")
    assert tree(daemon.models / "org--m") == NEWER


async def test_a_directory_with_somebody_elses_file_is_not_replaced(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    stranger = daemon.models / "org--m" / "notes.txt"
    stranger.write_text("mine")
    served.repos["org/m"].push(NEWER)
    await begin(daemon, "m")
    last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "io")
    assert "notes.txt" in last["error"]
    assert tree(daemon.models / "org--m") == SEVERAL | {"notes.txt": b"mine"}
    stranger.unlink()
    served.storage.requests.clear()
    await have(daemon, "m")
    assert served.storage.requests == [], "it was whole"
    assert tree(daemon.models / "org--m") == NEWER


async def test_a_deleted_model_leaves_what_is_not_its_own(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    stranger = daemon.models / "org--m" / "tokenizer" / "notes.txt"
    stranger.write_text("mine")
    await daemon.call("POST", "/models/delete", {"id": "m"})
    assert tree(daemon.models / "org--m") == {"tokenizer/notes.txt": b"mine"}
    await have(daemon, "m")
    path = await directory(daemon, "m")
    assert path.name != "org--m"
    assert tree(path) == SEVERAL


async def test_a_file_of_a_directory_is_a_model_for_whoever_asks_for_it_alone(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    served.storage.requests.clear()
    link = f"{served.url}/org/m/resolve/main/{LARGE}"
    assert await begin(daemon, "alone", link) == "complete"
    assert served.storage.requests == []
    assert (await directory(daemon, "alone")).stat().st_ino == inodes(daemon.models / "org--m")[LARGE]
    await daemon.call("POST", "/models/delete", {"id": "m"})
    assert (await directory(daemon, "alone")).read_bytes() == SEVERAL[LARGE]


async def test_a_file_that_is_here_alone_is_linked_into_a_directory(daemon: Running, served: Hub) -> None:
    await have(daemon, "alone", f"{served.url}/org/m/resolve/main/{LARGE}")
    served.storage.requests.clear()
    await have(daemon, "m")
    assert len(served.storage.requests) == 1, "the other large one"
    async with daemon.events("id=m&after=0&until=done") as stream:
        resumed = await stream.status("resumed")
    assert (resumed["offset"], resumed["files_done"]) == (len(SEVERAL[LARGE]), 1)
    assert tree(daemon.models / "org--m") == SEVERAL


@pytest.mark.parametrize("first", ["one", "several"])
async def test_one_id_may_become_one_file_or_several(daemon: Running, served: Hub, first: str) -> None:
    link = f"{served.url}/org/m/resolve/main/{LARGE}"
    await have(daemon, "m", link if first == "one" else "hf://org/m")
    await have(daemon, "m", "hf://org/m" if first == "one" else link)
    assert daemon.files() == (["org--m"] if first == "one" else [LARGE])
    path = await directory(daemon, "m")
    assert (tree(path) if path.is_dir() else path.read_bytes()) == (SEVERAL if first == "one" else SEVERAL[LARGE])


async def test_a_model_whose_file_was_changed_by_hand_is_not_had(daemon: Running, served: Hub) -> None:
    await have(daemon, "m")
    (daemon.models / "org--m" / "config.json").write_bytes(b"{}")
    served.storage.requests.clear()
    await have(daemon, "m")
    assert tree(daemon.models / "org--m") == SEVERAL
    assert served.storage.requests == []
