"""A disk with no room for the little that a link or a deletion writes: neither ends a job, neither keeps a file."""

import asyncio
import hashlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.database import Change, Database
from arwd.errors import StorageError
from arwd.jobs import roster, vigil
from arwd.store import control, placing
from arwd.store.ballast import Ballast
from tests.integration.test_full import Refusals, any_call
from tests.origin import Origin, Serve, Status
from tests.running import Running

PLACES: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "the control file": (control, "write", any_call),
    "the scratch name": (fs, "link", any_call),
    "the part's name": (os, "replace", lambda source, _: str(source).endswith(".link.part.json.tmp")),
    "the directory": (fs, "fsync_directory", lambda path: path.name == "models"),
    "the rename": (fs, "rename_without_replacing", any_call),
    "the final directory": (placing, "place", any_call),
    "once it is in place": (fs, "fsync_directory", lambda path: (path / "m.gguf").exists()),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for room need not wait for the clock."""
    monkeypatch.setattr(vigil, "EVERY", 0.01)
    monkeypatch.setattr(roster, "PATIENCE", 0.2)
    monkeypatch.setattr("arwd.jobs.dispatch.PATIENCE", 0.2)


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("place", PLACES)
async def test_wherever_a_link_meets_a_full_disk_the_job_waits_and_is_complete_without_a_second_download(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, place: str, times: int
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    refusals = Refusals(monkeypatch, *PLACES[place])
    refusals.left = times
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"), sha256=digest)
        last = await stream.status("complete", "error")
    assert last["status"] == "complete", last
    assert refusals.met == times
    assert daemon.files() == ["holder.gguf", "m.gguf"]
    assert (daemon.models / "m.gguf").read_bytes() == (daemon.models / "holder.gguf").read_bytes() == data
    assert len(origin.requests) == 1


async def test_a_link_that_fails_costs_no_byte_of_what_was_held(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    origin.may_go_on = lambda place: place < 600_000
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url("m.gguf"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        part = (daemon.models / "m.gguf.part").read_bytes()
        origin.may_go_on = lambda _: True
        await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
        assert (await daemon.settled("holder"))["status"] == "complete"
        refusals = Refusals(monkeypatch, *PLACES["the control file"])
        refusals.left = 1_000_000
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        assert (await stream.status("complete", "error", "paused"))["status"] == "paused"
        await stream.status("paused", "error")
        assert (daemon.models / "m.gguf.part").read_bytes() == part
        refusals.left = 0
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert (daemon.models / "m.gguf").read_bytes() == data
    assert daemon.files() == ["holder.gguf", "m.gguf"]


class Full:
    """The database of a disk that is full while a file is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, daemon: Running) -> None:
        self.is_full: Callable[[], bool] = lambda: False
        self._apply = Database._apply
        monkeypatch.setattr(Database, "_apply", lambda *arguments: self._applied(*arguments))
        monkeypatch.setattr(Ballast, "release", lambda _: False)  # it was spent long ago
        monkeypatch.setattr(daemon.daemon.database, "_make_room", lambda: False)

    def _applied(self, database: Database, cursor: sqlite3.Cursor, changes: tuple[Change, ...]) -> StorageError | None:
        if self.is_full():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return self._apply(database, cursor, changes)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, daemon: Running) -> Full:
    return Full(monkeypatch, daemon)


async def test_a_post_that_a_link_would_answer_is_answered_while_its_end_cannot_be_written_down(
    daemon: Running, origin: Origin, data: bytes, full: Full
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    full.is_full = (daemon.models / "m.gguf").exists  # from the moment the link is in place
    async with daemon.events("id=m") as stream:
        async with asyncio.timeout(10.0):
            receipt = await daemon.download("m", origin.url("m.gguf"), sha256=digest)
            assert receipt["status"] == "queued", "complete is said when it is durable"
            again = await daemon.call("POST", "/models/download", {"id": "m", "url": origin.url("m.gguf")})
            assert (again[0], again[1]["code"]) == (507, "disk_full")
        full.is_full = lambda: False
        assert (await stream.status("complete", "error"))["status"] == "complete"


async def test_a_deletion_makes_the_room_in_which_it_is_written_down(
    daemon: Running, origin: Origin, full: Full
) -> None:
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    full.is_full = (daemon.models / "model.gguf").exists
    async with daemon.events() as stream:
        assert (await daemon.call("DELETE", "/models/m"))[0] == 200
        gone = await stream.until(lambda message: message.payload.get("op") == "delete")
        assert gone[-1].payload["id"] == "m"
    assert daemon.files() == []
    assert (await daemon.call("GET", "/models"))[1] == []


async def test_a_deletion_that_makes_no_room_says_so_and_can_be_repeated(
    daemon: Running, origin: Origin, full: Full
) -> None:
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    full.is_full = lambda: True
    status, problem = await daemon.call("DELETE", "/models/m")
    assert (status, problem["code"]) == (507, "disk_full")
    full.is_full = lambda: False
    assert (await daemon.call("DELETE", "/models/m"))[0] == 200
    assert daemon.files() == []
    assert (await daemon.call("GET", "/models"))[1] == []


@pytest.mark.parametrize("path", ["/models/delete", "/models/download/cancel"])
async def test_what_a_failed_job_left_goes_before_that_is_written_down_if_there_is_no_room(
    daemon: Running, origin: Origin, full: Full, path: str
) -> None:
    origin.script(Serve(300_000), Status(404))
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "error"
    part = daemon.models / "model.gguf.part"
    assert part.stat().st_size > 0
    full.is_full = part.exists
    assert (await daemon.call("POST", path, {"id": "m"}))[0] == 200
    assert daemon.files() == []


async def test_a_rename_that_is_durable_only_at_the_third_try_leaves_nothing_beside_the_file(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = Refusals(
        monkeypatch, fs, "fsync_directory", lambda path: path.name == "models" and (path / "model.gguf").exists()
    )
    refusals.left = 2
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert refusals.met == 2
    assert daemon.files() == ["model.gguf"]
    assert (daemon.models / "model.gguf").read_bytes() == data


def test_nothing_is_made_where_a_file_is_to_be_cut(tmp_path: Path) -> None:
    fs.cut(tmp_path / "part", 0)
    with pytest.raises(StorageError, match="gone"):
        fs.cut(tmp_path / "part", 1)
    with pytest.raises(StorageError, match="gone"):
        fs.open_at_length(tmp_path / "part", 1)
    assert list(tmp_path.iterdir()) == []


# What a request waits for while nothing can be written down


async def begun(daemon: Running, origin: Origin, model_id: str = "m", **more: str) -> None:
    """A job in the middle of its file."""
    origin.may_go_on = lambda place: place < 600_000
    async with daemon.events(f"id={model_id}") as stream:
        await daemon.download(model_id, origin.url(f"{model_id}.gguf"), **more)
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)


@pytest.mark.parametrize(
    ("method", "path", "is_canceled_before"),
    [
        ("DELETE", "/models/m", False),
        ("POST", "/models/delete", False),
        ("DELETE", "/models/m", True),
        ("POST", "/models/download", True),
    ],
)
async def test_whoever_waits_for_the_end_of_a_running_job_is_told_that_it_cannot_be_written_down(
    daemon: Running, origin: Origin, full: Full, method: str, path: str, is_canceled_before: bool
) -> None:
    await begun(daemon, origin)
    full.is_full = lambda: True
    async with asyncio.timeout(10.0):
        if is_canceled_before:
            assert (await daemon.call("POST", "/models/download/cancel", {"id": "m"}))[0] == 200
        body = None if method == "DELETE" else {"id": "m", "url": origin.url("m.gguf")}
        status, problem = await daemon.call(method, path, body)
    assert (status, problem["code"]) == (507, "disk_full")
    full.is_full = lambda: False
    assert (await daemon.settled("m"))["status"] == "canceled"
    assert daemon.files() == []


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [("POST", "/models/download/pause", (200, "no-active-job")), ("DELETE", "/models/m", (507, "disk_full"))],
)
async def test_so_is_who_comes_while_a_link_is_being_written_down(
    daemon: Running, origin: Origin, data: bytes, full: Full, method: str, path: str, answer: tuple[int, str]
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    full.is_full = (daemon.models / "m.gguf").exists
    async with asyncio.timeout(10.0):
        await daemon.download("m", origin.url("m.gguf"), sha256=digest)
        status, said = await daemon.call(method, path, None if method == "DELETE" else {"id": "m"})
    assert (status, said.get("code") or said["data"]["status"]) == answer
    full.is_full = lambda: False
    assert (await daemon.settled("m"))["status"] == "complete"


async def test_a_deletion_that_could_not_be_recorded_lists_no_file_that_is_gone(
    daemon: Running, origin: Origin, full: Full
) -> None:
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    full.is_full = lambda: True
    assert (await daemon.call("DELETE", "/models/m"))[0] == 507
    assert daemon.files() == []
    assert (await daemon.call("GET", "/models"))[1] == []


async def test_a_job_that_is_resumed_while_its_link_is_given_up_is_offered_again(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await begun(daemon, origin, sha256=digest)
    await daemon.call("POST", "/models/download/pause", {"id": "m"})
    origin.may_go_on = lambda _: True
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    manager = daemon.daemon.manager
    # In this order they line up at the job: resume, pause, the link that the resume asked for, and one more resume.
    asked = [asyncio.create_task(manager.resume("m")), asyncio.create_task(manager.pause("m"))]
    while not manager._dispatcher._links:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.append(asyncio.create_task(manager.resume("m")))
    await asyncio.gather(*asked)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "m.gguf").read_bytes() == data
