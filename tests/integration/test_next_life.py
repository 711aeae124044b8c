"""What happens to the state directory between two lives of the daemon: it is moved, or its files are."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import running
from tests.origin import Origin, Serve, Stall
from tests.running import Running


async def life(state: Path, origin: Origin, **flags: int) -> None:
    """Two finished models and a paused job."""
    async with running.daemon(state, **flags) as daemon:
        for model_id in ("one", "two"):
            await daemon.download(model_id, origin.url(f"{model_id}.bin"))
            await daemon.settled(model_id)
        origin.script(Stall(300_000), Serve())
        async with daemon.events("id=half") as stream:
            await daemon.download("half", origin.url("half.bin"))
            await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
        await daemon.call("POST", "/models/download/pause", {"id": "half"})


async def models(daemon: Running) -> dict[str, str]:
    """Ids and paths of what is available."""
    _, listed = await daemon.call("GET", "/models")
    return {entry["id"]: entry["path"] for entry in listed if entry["status"] == "available"}


def listed(state: Path) -> dict[str, str]:
    """Ids and paths in `models.json`."""
    return {entry["id"]: entry["path"] for entry in json.loads((state / "models.json").read_bytes())}


async def test_a_state_directory_that_was_moved_has_lost_nothing(tmp_path: Path, origin: Origin, data: bytes) -> None:
    await life(tmp_path / "old", origin)
    new = tmp_path / "elsewhere" / "new"
    new.parent.mkdir()
    (tmp_path / "old").rename(new)
    async with running.daemon(new) as daemon:
        here = {model_id: str(new / "models" / f"{model_id}.bin") for model_id in ("one", "two")}
        assert await models(daemon) == here
        assert listed(new) == here
        assert (await daemon.job("half"))["status"] == "paused"
        await daemon.call("POST", "/models/download/resume", {"id": "half"})
        assert (await daemon.settled("half"))["status"] == "complete"
        assert (new / "models" / "half.bin").read_bytes() == data
        assert origin.requests[-1].headers["Range"] == "bytes=300000-"
    assert not (tmp_path / "old").exists()


def remove(path: Path) -> None:
    path.unlink()


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def touch(path: Path) -> None:
    path.touch()


def replace_by_a_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


@pytest.mark.parametrize("change", [remove, lengthen, touch, replace_by_a_link])
async def test_a_finished_file_that_is_not_what_it_was_is_unlisted_aloud(
    tmp_path: Path, origin: Origin, change: Callable[[Path], None]
) -> None:
    state = tmp_path / "state"
    await life(state, origin)
    change(state / "models" / "one.bin")
    async with running.daemon(state) as daemon:
        assert list(await models(daemon)) == list(listed(state)) == ["two"]
        async with daemon.events("prefix=Models.Changed&replay=1") as stream:
            missing = await stream.until(lambda message: message.event == "Models.Changed")
        assert missing[-1].payload == {"op": "missing", "id": "one"}
        # What lies there is not ours any more: it is neither deleted nor overwritten.
        there = (state / "models" / "one.bin").is_file()
        assert there is (change is not remove)
        await daemon.download("one", origin.url("one.bin"))
        again = await daemon.settled("one")
        assert (again["status"], again["cached"]) == ("complete", False)
        assert (again["file"] == "one.bin") is (change is remove)


async def test_both_lists_lost_the_files_are_still_nobodys_to_delete(tmp_path: Path, origin: Origin) -> None:
    state = tmp_path / "state"
    await life(state, origin)
    for file in (*state.glob("arwd.db*"), state / "models.json"):
        file.unlink()
    before = {path.name: path.stat().st_mtime_ns for path in (state / "models").glob("*.bin")}
    async with running.daemon(state) as daemon:
        assert await models(daemon) == {}
        assert {path.name: path.stat().st_mtime_ns for path in daemon.models.glob("*.bin")} == before


async def test_models_that_only_the_list_vouches_for_are_checked_while_the_daemon_serves(
    tmp_path: Path, origin: Origin
) -> None:
    state = tmp_path / "state"
    await life(state, origin)
    for file in state.glob("arwd.db*"):
        file.unlink()
    changed = bytearray((state / "models" / "one.bin").read_bytes())
    changed[1000] ^= 1
    (state / "models" / "one.bin").write_bytes(changed)
    async with running.daemon(state) as daemon, daemon.events("prefix=Models.Changed&after=0") as stream:
        missing = await stream.until(lambda message: message.event == "Models.Changed")
        assert missing[-1].payload == {"op": "missing", "id": "one"}
        assert list(await models(daemon)) == ["two"]
        assert (state / "models" / "one.bin").read_bytes() == changed
        # The part says whose it is, and that its user paused it.
        assert (await daemon.job("half"))["status"] == "paused"
