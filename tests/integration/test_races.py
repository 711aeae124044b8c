"""What must hold when two things happen at once, or one of them fails: each was broken once."""

import asyncio
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arwd import client, errors
from arwd.api import protocol
from arwd.database import Change
from arwd.jobs import ledger
from arwd.jobs import record as records
from arwd.jobs.worker import Worker
from arwd.model import Job
from arwd.store import control, library, writer
from arwd.store.control import Checked, ControlFile
from arwd.store.library import Library
from arwd.store.parts import Part
from tests import running
from tests.models import gguf
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

SOME = 200_000
"""Bytes that have come before something happens."""
WRONG = "0" * 64


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5.0):
        while not condition():
            await asyncio.sleep(0.002)


async def arrived(daemon: Running, model_id: str, count: int = SOME) -> None:
    async with daemon.events(f"id={model_id}") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == count)


async def command(daemon: Running, name: str, model_id: str) -> str:
    status, body = await daemon.call("POST", f"/models/download/{name}", {"id": model_id})
    assert status == 200, body
    return str(body["data"]["status"])


async def fail_with_a_part(
    daemon: Running, origin: Origin, model_id: str, name: str = "model.gguf", **more: Any
) -> None:
    origin.script(Serve(SOME), Status(404))
    await daemon.download(model_id, origin.url(name), **more)
    assert (await daemon.settled(model_id))["status"] == "error"
    assert f"{name}.part" in daemon.files()


class Refusals:
    """A database that refuses the next so many units."""

    def __init__(self, daemon: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self.refused = 0
        self._write = daemon.daemon.database.write
        monkeypatch.setattr(daemon.daemon.database, "write", self)

    def __call__(self, *changes: Change, **more: Any) -> asyncio.Future[None]:
        if not self.left:
            return self._write(*changes, **more)
        self.left -= 1
        self.refused += 1
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(errors.StorageError("database or disk is full"))
        return refused


@pytest.fixture
def refusals(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> Refusals:
    monkeypatch.setattr(records, "_PATIENCE", 0.01)
    return Refusals(daemon, monkeypatch)


# Names and parts


async def test_a_cancel_after_a_failure_leaves_the_part_of_another_id_alone(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await daemon.download("a", origin.url(), sha256=WRONG)
    assert (await daemon.settled("a"))["code"] == "sha256_mismatch"
    assert (await daemon.job("a")).get("file") is None
    origin.script(Stall(SOME), Serve())
    await daemon.download("b", origin.url())
    await arrived(daemon, "b")
    assert await command(daemon, "cancel", "a") == "no-active-job"
    assert daemon.files() == ["model.gguf.part", "model.gguf.part.json"]
    origin.go_on.set()
    assert (await daemon.settled("b"))["sha256"] == hashlib.sha256(data).hexdigest()
    assert (daemon.models / "model.gguf").read_bytes() == data


async def test_a_repeated_download_gets_a_name_of_its_own_when_another_id_has_taken_the_old_one(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await daemon.download("a", origin.url(), sha256=WRONG)
    await daemon.settled("a")
    origin.script(Stall(SOME), Serve())
    await daemon.download("b", origin.url())
    await arrived(daemon, "b")
    await daemon.download("a", origin.url())
    first = await daemon.settled("a")
    origin.go_on.set()
    second = await daemon.settled("b")
    assert (first["status"], second["status"], second["file"]) == ("complete", "complete", "model.gguf")
    assert first["file"] != second["file"]
    assert [(daemon.models / each["file"]).read_bytes() == data for each in (first, second)] == [True, True]


async def test_a_failed_job_of_an_earlier_life_does_not_steal_a_name_back(
    tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("a", origin.url(), sha256="00" * 32)
        await daemon.settled("a")
        assert (await daemon.job("a")).get("file") is None
    async with running.daemon(tmp_path) as daemon:
        origin.script(Stall(SOME), Serve())
        await daemon.download("b", origin.url())
        await arrived(daemon, "b")
        await daemon.download("a", origin.url())
        first = await daemon.settled("a")
        origin.go_on.set()
        second = await daemon.settled("b")
        assert (first["status"], second["status"], second["file"]) == ("complete", "complete", "model.gguf")
        assert (daemon.models / second["file"]).read_bytes() == data


async def test_a_name_is_free_again_once_the_failed_job_that_had_it_is_canceled(
    daemon: Running, origin: Origin
) -> None:
    await fail_with_a_part(daemon, origin, "a")
    await command(daemon, "cancel", "a")
    assert daemon.files() == []
    origin.script(Serve())
    await daemon.download("b", origin.url())
    assert (await daemon.settled("b"))["file"] == "model.gguf"


async def test_a_new_job_from_elsewhere_drops_the_part_it_cannot_use_even_if_it_never_starts(
    tmp_path: Path, origin: Origin
) -> None:
    async with running.daemon(tmp_path, max_jobs=1) as daemon:
        await fail_with_a_part(daemon, origin, "a")
        origin.script(Stall(1_000))
        await daemon.download("x", origin.url("x.gguf"))
        await until(lambda: "x.gguf.part" in daemon.files())
        await daemon.download("a", origin.url("other.gguf"))
        await command(daemon, "cancel", "a")
        assert (await daemon.settled("a"))["status"] == "canceled"
        assert daemon.files() == ["x.gguf.part", "x.gguf.part.json"]
        await command(daemon, "cancel", "x")


async def test_a_download_that_is_had_already_drops_the_part_of_a_failed_one_before_it(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("a", origin.url(), sha256=digest)
    await daemon.settled("a")
    await fail_with_a_part(daemon, origin, "a", "new.gguf")
    await daemon.download("a", origin.url(), sha256=digest)
    assert daemon.files() == ["model.gguf"]
    await daemon.call("DELETE", "/models/a")
    assert daemon.files() == []


async def test_a_control_file_that_cannot_be_put_in_place_leaves_nothing_lying_about(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if str(source).endswith(".part.json.tmp"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url())
        assert (await stream.status("paused", "error", "complete"))["code"] == "disk_full"
        assert daemon.files() == []


async def test_a_part_that_cannot_be_removed_frees_the_slot_and_goes_with_a_later_cancel(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    async with running.daemon(tmp_path, max_jobs=1) as daemon:
        with monkeypatch.context() as patched:
            patched.setattr(control, "discard", refuse)
            await daemon.download("a", origin.url("a.gguf"), sha256=WRONG)
            assert (await daemon.settled("a"))["code"] == "sha256_mismatch"
        await daemon.download("b", origin.url("b.gguf"))
        assert (await daemon.settled("b"))["status"] == "complete"
        await command(daemon, "cancel", "a")
        assert daemon.files() == ["b.gguf"]


# What a transfer continues


@pytest.mark.parametrize("length", [None, 0, 1_000])
async def test_a_part_that_was_cut_or_removed_under_way_begins_anew(
    daemon: Running, origin: Origin, data: bytes, length: int | None
) -> None:
    origin.script(Stall(SOME), Status(503))
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    await command(daemon, "pause", "a")
    async with daemon.events("id=a&until=done") as stream:
        await command(daemon, "resume", "a")
        await origin.requested(3)
        part = daemon.models / "model.gguf.part"
        if length is None:
            part.unlink()
        else:
            os.truncate(part, length)
        origin.script(Serve())
        seen = await stream.rest()
    restarts = [message.payload["code"] for message in seen if message.payload.get("status") == "restarted"]
    assert (restarts, seen[-1].payload["status"]) == (["part_invalid"], "complete")
    assert (daemon.models / "model.gguf").read_bytes() == data


async def test_a_pause_while_a_new_version_is_noted_never_mixes_two_versions(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.script(Stall(SOME), Serve(etag='"v2"'))
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    await command(daemon, "pause", "a")
    origin.data = gguf(data[::-1])
    saving, go_on = threading.Event(), threading.Event()
    write = control.write

    def slow(path: Path, known: ControlFile) -> None:
        write(path, known)
        saving.set()
        go_on.wait(5.0)

    with monkeypatch.context() as patched:
        patched.setattr(control, "write", slow)
        await command(daemon, "resume", "a")
        await until(saving.is_set)
        pausing = asyncio.create_task(command(daemon, "pause", "a"))
        await asyncio.sleep(0.02)
        go_on.set()
        assert await pausing == "paused"
    await command(daemon, "resume", "a")
    assert (await daemon.settled("a"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == origin.data


async def test_a_server_without_validators_is_begun_anew_as_often_as_it_breaks(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(100_000, etag=None), Serve(100_000, etag=None), Serve(100_000, etag=None), Serve(etag=None))
    await daemon.download("a", origin.url())
    assert (await daemon.settled("a"))["status"] == "complete"
    assert [request.headers.get("Range") for request in origin.requests] == [None] * 4


async def test_a_control_file_never_claims_bytes_that_were_not_synced(daemon: Running, origin: Origin) -> None:
    def synced() -> int:
        known = control.read(daemon.models / "model.gguf.part.json")
        assert known is not None
        return known.synced

    origin.script(Stall(SOME), Stall(1_000))
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    assert synced() == 0
    await command(daemon, "pause", "a")
    assert synced() == SOME
    await command(daemon, "resume", "a")
    await arrived(daemon, "a", SOME + 1_000)
    assert synced() == SOME
    await command(daemon, "cancel", "a")


# Commands that meet a job which is ending


async def test_a_pause_while_verifying_answers_at_once_and_the_job_goes_on(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = asyncio.Event()
    digest = Part.digest

    async def slow(part: Part) -> str:
        await verified.wait()
        return await digest(part)

    monkeypatch.setattr(Part, "digest", slow)
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url())
        await stream.status("verifying")
        async with asyncio.timeout(1.0):
            await command(daemon, "pause", "a")
        assert (await daemon.job("a"))["status"] == "verifying"
        verified.set()
        assert (await stream.status("complete", "paused", "error"))["status"] == "complete"


async def test_a_cancel_after_a_pause_while_verifying_does_not_wait_for_the_digest(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(part: Part) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(Part, "digest", endless)
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url())
        await stream.status("verifying")
        await command(daemon, "pause", "a")
        async with asyncio.timeout(1.0):
            await command(daemon, "cancel", "a")
            await stream.status("canceled")
    assert daemon.files() == []


async def test_a_cancel_gives_up_a_digest_that_reads_back_what_was_held(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.script(Stall(SOME), Stall(0))
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    await command(daemon, "pause", "a")
    read = os.pread

    def slow(descriptor: int, count: int, offset: int) -> bytes:
        time.sleep(0.01)
        return read(descriptor, count, offset)

    monkeypatch.setattr(writer, "_READ_BACK", 256)
    monkeypatch.setattr(writer, "_NEAR", 1_000)
    monkeypatch.setattr(os, "pread", slow)
    async with daemon.events("id=a") as stream:
        await command(daemon, "resume", "a")
        await stream.status("resumed")
        async with asyncio.timeout(1.0):
            await command(daemon, "cancel", "a")
            await stream.status("canceled")
    assert daemon.files() == []


async def test_a_cancel_that_meets_a_failure_leaves_no_part_behind(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = Worker._fail
    answers: list[Job | None] = []

    async def fail_and_be_canceled(worker: Worker, error: errors.ArwdError) -> None:
        answers.append(await daemon.daemon.manager.cancel("a"))
        await fail(worker, error)

    monkeypatch.setattr(Worker, "_fail", fail_and_be_canceled)
    origin.script(Serve(SOME), Status(404))
    await daemon.download("a", origin.url())
    assert (await daemon.settled("a"))["status"] in ("canceled", "error")
    assert answers[0] is not None
    await until(lambda: daemon.files() == [])


async def test_a_cancel_while_the_part_of_a_failed_job_is_closed_leaves_no_part_behind(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Part.close
    answers: list[Job | None] = []

    async def close_and_be_canceled(part: Part) -> None:
        await close(part)
        if part.held and not answers:
            answers.append(await daemon.daemon.manager.cancel("a"))

    monkeypatch.setattr(Part, "close", close_and_be_canceled)
    origin.script(Serve(SOME), Status(404))
    await daemon.download("a", origin.url())
    assert (await daemon.settled("a"))["status"] in ("canceled", "error")
    assert answers[0] is not None
    await until(lambda: daemon.files() == [])


# A database that refuses


async def test_a_cancel_that_cannot_be_recorded_is_recorded_as_soon_as_it_can(
    daemon: Running, origin: Origin, refusals: Refusals
) -> None:
    origin.script(Stall(SOME), Serve())
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    async with daemon.events("id=a") as stream:
        refusals.left = 3
        await command(daemon, "cancel", "a")
        await stream.status("canceled")
    assert refusals.refused == 3
    await daemon.download("a", origin.url())
    assert (await daemon.settled("a"))["status"] == "complete"


async def test_a_completion_that_cannot_be_recorded_is_told_once_as_soon_as_it_can(
    daemon: Running, origin: Origin, refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Library.place

    async def place_and_refuse(shelf: Library, name: str, checked: Checked, *, replaces: bool) -> None:
        await place(shelf, name, checked, replaces=replaces)
        refusals.left = 3

    monkeypatch.setattr(Library, "place", place_and_refuse)
    async with daemon.events("id=a") as stream:
        await daemon.download("a", origin.url())
        seen = await stream.until(lambda message: message.payload.get("status") == "complete")
    assert refusals.refused == 3
    assert [message.payload.get("op") for message in seen].count("downloaded") == 1
    job_id = (await daemon.job("a"))["job_id"]
    async with daemon.events(f"job_id={job_id}&until=done") as stream:
        assert (await stream.rest())[-1].payload["status"] == "complete"
    rows = daemon.daemon.database.read_now(lambda cursor: cursor.execute("SELECT id FROM models").fetchall())
    assert (rows, daemon.files()) == ([("a",)], ["model.gguf"])


async def test_a_failure_that_cannot_be_recorded_is_told_as_soon_as_it_can(
    daemon: Running, origin: Origin, refusals: Refusals
) -> None:
    origin.script(Stall(SOME), Status(404))
    await daemon.download("a", origin.url())
    await arrived(daemon, "a")
    async with daemon.events("id=a&until=done") as stream:
        refusals.left = 4
        origin.go_on.set()
        assert (await stream.rest())[-1].payload["code"] == "not_found"
    await until(lambda: daemon.daemon.manager.scheduler.running == 0)


async def test_a_download_that_cannot_be_recorded_is_refused_and_leaves_no_secret(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_: Job) -> Change:
        def change(cursor: object) -> None:
            raise OSError("database or disk is full")

        return change

    body = {"id": "a", "url": origin.url()}
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "record", refusing)
        status, _ = await daemon.call("POST", "/models/download", body)
    assert status >= 500
    assert list(daemon.daemon.layout.secrets.iterdir()) == []
    assert (await daemon.call("GET", "/models/jobs"))[1]["jobs"] == []
    await daemon.download(**{"model_id": "a", "url": body["url"]})
    assert (await daemon.settled("a"))["status"] == "complete"


async def test_a_stop_ends_streams_and_gives_all_back_although_nothing_can_be_recorded(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arwd.daemon._DEADLINE", 0.1)
    origin.script(Stall(SOME), Serve())
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("a", origin.url())
        await arrived(daemon, "a")
        stream = await daemon.session.get(f"{daemon.url}/events")
        Refusals(daemon, monkeypatch).left = 1_000_000
        daemon.server.should_exit = True
        async with asyncio.timeout(1.5):
            await stream.read()
    assert daemon.daemon.session.closed
    assert not daemon.daemon.database._thread.is_alive()
    async with running.daemon(tmp_path) as daemon:
        assert (await daemon.settled("a"))["status"] == "complete"


async def test_a_stop_does_not_wait_for_a_cancel_that_cannot_be_recorded(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arwd.daemon._DEADLINE", 0.1)
    monkeypatch.setattr(records, "_PATIENCE", 0.01)
    origin.script(Stall(SOME))
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("a", origin.url())
        await arrived(daemon, "a")
        Refusals(daemon, monkeypatch).left = 1_000_000
        await command(daemon, "cancel", "a")
        begun = time.monotonic()
    assert time.monotonic() - begun < 1.5
    assert not daemon.daemon.database._thread.is_alive()


# Deletion


async def test_a_download_that_begins_while_its_model_is_deleted_is_there_in_the_end(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.download("a", origin.url())
    await daemon.settled("a")
    forgetting, go_on = threading.Event(), threading.Event()
    forget = library.forget

    def slow(model_id: str) -> Change:
        change = forget(model_id)

        def changes(cursor: Any) -> None:
            forgetting.set()
            go_on.wait(5.0)
            change(cursor)

        return changes

    monkeypatch.setattr(library, "forget", slow)
    deleting = asyncio.create_task(daemon.call("DELETE", "/models/a"))
    await until(forgetting.is_set)
    downloading = asyncio.create_task(daemon.download("a", origin.url()))
    await asyncio.sleep(0.02)
    go_on.set()
    assert (await deleting)[1]["data"]["status"] == "deleted"
    await downloading
    last = await daemon.settled("a")
    assert last["status"] == "complete"
    rows = daemon.daemon.database.read_now(lambda cursor: cursor.execute("SELECT id FROM models").fetchall())
    assert (rows, daemon.files()) == ([("a",)], [last["file"]])
    assert [each["id"] for each in (await daemon.call("GET", "/models"))[1]] == ["a"]
    assert [each["id"] for each in json.loads(daemon.daemon.layout.list.read_text())] == ["a"]
    assert (daemon.models / last["file"]).read_bytes() == data


async def test_a_model_whose_file_cannot_be_unlinked_is_gone_from_memory_and_record_alike(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await daemon.download("a", origin.url())
    await daemon.settled("a")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        assert (await daemon.call("DELETE", "/models/a"))[1]["data"]["status"] == "deleted"
    rows = daemon.daemon.database.read_now(lambda cursor: cursor.execute("SELECT id FROM models").fetchall())
    assert (rows, (await daemon.call("GET", "/models"))[1]) == ([], [])
    assert daemon.daemon.layout.list.read_text() == "[]"


async def test_a_deletion_that_cannot_be_recorded_can_be_repeated(
    daemon: Running, origin: Origin, refusals: Refusals
) -> None:
    await daemon.download("a", origin.url())
    await daemon.settled("a")
    refusals.left = 1
    assert (await daemon.call("DELETE", "/models/a"))[0] >= 500
    assert (await daemon.call("DELETE", "/models/a"))[1]["data"]["status"] == "deleted"
    assert daemon.files() == []


# Streams and connections


@pytest.mark.parametrize("given", ["nonsense", "9" * 40])
@pytest.mark.parametrize("later", [0, 1, 5])
async def test_an_unknown_id_on_a_finished_job_is_told_as_a_gap_with_its_last_word(
    daemon: Running, origin: Origin, given: str, later: int
) -> None:
    await daemon.download("a", origin.url("a.gguf"))
    last = await daemon.settled("a")
    for number in range(later):
        await daemon.call("POST", "/models/download/cancel", {"id": f"nobody{number}"})
    async with daemon.events("id=a&until=done", **{"Last-Event-ID": given}) as stream:
        seen = await stream.rest()
    assert sorted(message.event for message in seen) == ["Bus.Gap", "Models.DownloadProgress", "Service.Connected"]
    assert last in [message.payload for message in seen]
    ids = [int(message.id) for message in seen]
    assert ids == sorted(set(ids))


async def test_an_id_from_before_the_memory_on_a_finished_job_keeps_its_last_word(
    daemon: Running, origin: Origin
) -> None:
    await daemon.download("a", origin.url("a.gguf"))
    last = await daemon.settled("a")
    async with daemon.events("id=a&until=done&after=5") as stream:
        seen = await stream.rest()
    assert [message.event for message in seen[:2]] == ["Service.Connected", "Bus.Gap"]
    assert seen[-1].payload == last
    ids = [int(message.id) for message in seen]
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("junk", [b"", b"\r\n", b"\r\n\r\n"])
async def test_an_idle_connection_is_closed_whatever_empty_lines_it_sends(
    daemon: Running, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_DEADLINE", 0.1)
    daemon.server.config.timeout_keep_alive = 0.2  # type: ignore[assignment]
    reader, connection = await asyncio.open_connection("127.0.0.1", int(daemon.url.rpartition(":")[2]))
    connection.write(b"GET /version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None
    await reader.readexactly(int(length[1]))
    connection.write(junk)
    async with asyncio.timeout(1.5):
        await reader.read()
    connection.close()


@pytest.mark.parametrize(
    "disposition", ["attachment; filename*=UTF-8''x; filename*0=y", "attachment; filename*0*=x; filename*=''"]
)
async def test_a_content_disposition_that_contradicts_itself_costs_only_the_name(
    daemon: Running, origin: Origin, disposition: str
) -> None:
    origin.script(Serve(headers={"Content-Disposition": disposition}))
    await daemon.download("a", origin.url())
    assert (await daemon.settled("a"))["status"] == "complete"


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..b", "%41"])
async def test_a_host_that_cannot_be_one_is_no_fault_of_ours(tmp_path: Path, host: str) -> None:
    async with running.daemon(tmp_path, retry_for=0) as daemon:
        status, _ = await daemon.call("POST", "/models/download", {"id": "a", "url": f"http://{host}:1/x"})
        assert status in (200, 400, 403, 422)
        if status == 200:
            assert "fault in arwd" not in (await daemon.settled("a"))["error"]


def test_a_follower_waits_anew_for_each_restart_however_long_the_stream_was_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    clock.sleep = lambda seconds: setattr(clock, "now", clock.now + seconds)
    monkeypatch.setattr(client, "time", clock)
    calls: list[str] = []

    def stream(_: object, query: dict[str, str], last_id: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        calls.append(last_id)
        if len(calls) in (1, 10):
            yield str(len(calls)), "Service.Start", {}
            clock.now += 120.0  # nothing but heartbeats
        raise ConnectionRefusedError("it restarts")

    monkeypatch.setattr(client.Client, "_stream", stream)
    seen = []
    with pytest.raises(client.NotReachable):
        seen.extend(client.Client("http://127.0.0.1:9", None).follow())
    assert calls[1:12] == ["1"] * 9 + ["10"] * 2
    assert 240.0 + 30.0 <= clock.now < 240.0 + 35.0
