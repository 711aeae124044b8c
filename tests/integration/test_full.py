"""A disk with no room: a job waits for it, and what cannot be recorded is said to be so, never passed over."""

import asyncio
import errno
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.database import Change, Database
from arwd.errors import StorageError
from arwd.jobs import roster, vigil
from arwd.store import control, placing
from tests import running
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running


class Room:
    """Whether the database may still be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_there = True
        self._apply = Database._apply
        monkeypatch.setattr(Database, "_apply", lambda *arguments: self._applied(*arguments))

    def _applied(self, database: Database, cursor: sqlite3.Cursor, changes: tuple[Change, ...]) -> StorageError | None:
        if self.is_there:
            return self._apply(database, cursor, changes)
        return StorageError("database or disk is full")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, daemon: Running) -> Iterator[Room]:
    room = Room(monkeypatch)
    yield room
    room.is_there = True


@pytest.mark.parametrize("path", ["/models/download", "/models/download/cancel", "/models/delete"])
async def test_a_request_for_an_id_whose_last_word_cannot_be_recorded_is_answered(
    daemon: Running, origin: Origin, room: Room, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "PATIENCE", 0.2)
    origin.script(Stall(0), Status(404))
    await daemon.download("m", origin.url())
    await origin.requested()
    room.is_there = False
    origin.go_on.set()
    async with asyncio.timeout(5.0):
        while (await daemon.job("m"))["status"] != "error":
            await asyncio.sleep(0.01)
    async with asyncio.timeout(10.0):
        status, problem = await daemon.call("POST", path, {"id": "m", "url": origin.url()})
    assert (status, problem["code"]) == (500, "io")
    room.is_there = True
    assert (await daemon.settled("m"))["code"] == "not_found"
    assert (await daemon.call("POST", path, {"id": "m", "url": origin.url()}))[0] == 200


# A disk with no room for the files: wherever a job meets it


class Refusals:
    """A place that refuses so often, with this error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, when: Callable[..., bool]) -> None:
        self.left = 0
        self.number = errno.ENOSPC
        self.met = 0
        function = getattr(place, name)

        def refusing(*arguments: Any, **more: Any) -> Any:
            if self.left and when(*arguments):
                self.left -= 1
                self.met += 1
                raise OSError(self.number, os.strerror(self.number))
            return function(*arguments, **more)

        monkeypatch.setattr(place, name, refusing)


def any_call(*_: object) -> bool:
    return True


PLACES: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "the first control file": (control, "write", any_call),
    "opening the part": (fs, "open_at_length", any_call),
    "writing": (os, "pwritev", any_call),
    "making it durable": (fs, "fsync_file", any_call),
    "vouching for it": (control, "write", lambda _, known: known.checked is not None),
    "the rename": (fs, "rename_without_replacing", any_call),
    "the directory": (placing, "place", any_call),
}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for room need not wait for the clock."""
    monkeypatch.setattr(vigil, "EVERY", 0.01)


@pytest.mark.parametrize("place", PLACES)
async def test_wherever_the_disk_is_full_the_job_waits_keeps_its_part_and_goes_on(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, soon: None, place: str
) -> None:
    refusals = Refusals(monkeypatch, *PLACES[place])
    refusals.left = 1
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        seen = await stream.until(lambda message: message.payload.get("status") in ("complete", "error", "paused"))
        paused = seen[-1].payload
        assert (paused["status"], paused.get("code")) == ("paused", "disk_full")
        assert refusals.met == 1
        seen = await stream.until(lambda message: message.payload.get("status") in ("complete", "error", "paused"))
    statuses = [message.payload.get("status") for message in seen]
    assert statuses[0] == "queued"
    assert statuses[-1] == "complete", seen[-1].payload
    assert (daemon.models / "model.gguf").read_bytes() == data
    job = await daemon.job("m")
    assert ("code" in job, "error" in job) == (False, False)
    assert daemon.files() == ["model.gguf"]


async def test_a_waiting_job_says_how_much_it_needs_and_can_be_canceled(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    refusals.left = 1
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.status("paused", "error", "complete")
        job = await daemon.job("m")
        assert (job["status"], job["code"], job["total"]) == ("paused", "disk_full", len(data))
        assert f"{len(data)} bytes more are needed" in job["error"]
        assert [entry["status"] for entry in (await daemon.call("GET", "/models"))[1]] == ["paused"]
        await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        assert (await stream.status("canceled", "error", "complete"))["status"] == "canceled"
    assert daemon.files() == []


async def test_a_waiting_job_goes_on_when_it_is_asked_for_again(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    refusals.left = 1
    async with daemon.events("id=m") as stream:
        receipt = await daemon.download("m", origin.url())
        await stream.status("paused", "error", "complete")
        assert (await daemon.download("m", origin.url()))["job_id"] == receipt["job_id"]
        assert (await stream.status("paused", "error", "complete"))["status"] == "complete"


async def test_a_slot_is_not_held_by_a_job_that_waits_for_room(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    refusals.left = 1
    async with running.daemon(tmp_path / "state", max_jobs=1) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.status("paused", "error", "complete")
        await daemon.download("n", origin.url("n.gguf"))
        assert (await daemon.settled("n"))["status"] == "complete"
        assert (await daemon.job("m"))["status"] == "paused"


async def test_a_pause_that_could_not_be_recorded_is_told_when_there_is_room(
    daemon: Running, origin: Origin, room: Room, monkeypatch: pytest.MonkeyPatch, soon: None
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    origin.script(Stall(300_000), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.status("downloading")
        refusals.left = 1_000_000
        room.is_there = False
        origin.go_on.set()
        async with asyncio.timeout(10.0):
            while (await daemon.job("m"))["status"] != "paused":
                await asyncio.sleep(0.01)
        room.is_there = True
        assert (await stream.status("paused", "error", "complete"))["code"] == "disk_full"
        refusals.left = 0
        assert (await stream.status("error", "complete"))["status"] == "complete"


@pytest.mark.parametrize("ending", ["room", "cancel", "pause"])
async def test_whoever_waits_for_the_bytes_of_a_job_that_waits_for_room_gets_them_all_the_same(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    digest = hashlib.sha256(data).hexdigest()
    origin.script(Stall(600_000), Serve())
    async with daemon.events("id=a") as stream:
        first = await daemon.download("a", origin.url("a.gguf"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)
        await daemon.download("b", origin.url("b.gguf"), sha256=digest)
        refusals.left = 1
        origin.go_on.set()
        origin.script(Serve())
        assert (await stream.status("paused", "error", "complete"))["code"] == "disk_full"
    job = await daemon.job("b")
    assert (job["status"], job["waiting_for"]) == ("queued", first["job_id"])
    if ending != "room":
        await daemon.call("POST", f"/models/download/{ending}", {"id": "a"})
    assert (await daemon.settled("b"))["status"] == "complete"
    assert (daemon.models / "b.gguf").read_bytes() == data
    expected = {"room": "complete", "cancel": "canceled", "pause": "paused"}
    assert (await daemon.job("a"))["status"] == expected[ending]


# Limits that waiting does not change


async def test_a_file_larger_than_allowed_costs_no_byte(tmp_path: Path, origin: Origin, data: bytes) -> None:
    async with running.daemon(tmp_path / "state", max_file_size=len(data) - 1) as daemon:
        await daemon.download("m", origin.url())
        last = await daemon.settled("m")
        assert (last["status"], last["code"]) == ("error", "size_limit")
        assert daemon.files() == []
        assert str(len(data)) in last["error"]
    async with running.daemon(tmp_path / "state", max_file_size=len(data)) as daemon:
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"


async def test_a_file_of_unknown_size_is_counted_and_its_part_kept(tmp_path: Path, origin: Origin, data: bytes) -> None:
    origin.script(Serve(framing="chunked"))
    async with running.daemon(tmp_path / "state", max_file_size=500_000) as daemon:
        await daemon.download("m", origin.url())
        last = await daemon.settled("m")
        assert (last["status"], last["code"]) == ("error", "size_limit")
        part = (daemon.models / "model.gguf.part").read_bytes()
        assert 0 < len(part) <= 500_000
        assert data.startswith(part)
    async with running.daemon(tmp_path / "state") as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("resumed", "complete", "error"))["offset"] == len(part)
        assert (await stream.status("complete", "error"))["status"] == "complete"


async def test_models_and_parts_together_stay_within_the_quota(tmp_path: Path, origin: Origin, data: bytes) -> None:
    async with running.daemon(tmp_path / "state", quota=len(data) * 3 // 2) as daemon:
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
        await daemon.download("n", origin.url("n.gguf"))
        last = await daemon.settled("n")
        assert (last["status"], last["code"]) == ("error", "quota_exceeded")
        assert daemon.files() == ["model.gguf"]
        await daemon.call("DELETE", "/models/m")
        await daemon.download("n", origin.url("n.gguf"))
        assert (await daemon.settled("n"))["status"] == "complete"


async def test_a_quota_of_the_system_ends_the_job_and_keeps_the_part(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(monkeypatch, *PLACES["writing"])
    refusals.number = errno.EDQUOT
    origin.script(Stall(600_000), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)
        refusals.left = 1_000_000
        origin.go_on.set()
        last = await stream.status("complete", "error", "paused")
    assert (last["status"], last["code"]) == ("error", "quota_exceeded")
    refusals.left = 0
    part = (daemon.models / "model.gguf.part").read_bytes()
    assert part
    assert data.startswith(part)
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == data
