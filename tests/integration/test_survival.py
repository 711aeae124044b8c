"""A part survives everything but proof of wrong bytes, and a proof of wrong bytes costs one clean fetch, no more."""

import asyncio
import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from arwd import fs
from arwd.database import Database
from arwd.jobs import ledger, left_over
from arwd.store import checkpoint, control
from arwd.store.control import ControlFile
from arwd.store.library import Library
from tests import running
from tests.models import gguf
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running
from tests.sse import Message

SOME = 300_000
NAME = "model.gguf"


async def leave(daemon: Running, origin: Origin, **more: Any) -> None:
    """A paused job with SOME bytes in its part."""
    origin.script(Stall(SOME), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME), **more)
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})


async def resumed(daemon: Running) -> list[Message]:
    """Everything that is told from the end of the pause to the end of the job."""
    async with daemon.events("id=m&until=done") as stream:
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        return await stream.rest()


def restarts(seen: list[Message]) -> list[tuple[str, int]]:
    told = [message.payload for message in seen if message.payload.get("status") == "restarted"]
    return [(payload["code"], payload["discarded"]) for payload in told]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def known(daemon: Running) -> ControlFile:
    found = control.read(daemon.models / f"{NAME}.part.json")
    assert found is not None
    return found


# Bytes that changed while nobody looked


@pytest.mark.parametrize("place", [0, SOME // 2, SOME - 1])
@pytest.mark.parametrize("has_digest", [True, False])
async def test_a_byte_of_the_part_that_changed_is_found_and_all_are_fetched_anew(
    daemon: Running, origin: Origin, data: bytes, place: int, has_digest: bool
) -> None:
    await leave(daemon, origin, **({"sha256": hashlib.sha256(data).hexdigest()} if has_digest else {}))
    flip(daemon.models / f"{NAME}.part", place)
    seen = await resumed(daemon)
    assert [code for code, _ in restarts(seen)] == ["part_invalid"]
    assert seen[-1].payload["status"] == "complete"
    assert (daemon.models / NAME).read_bytes() == data


async def test_a_wrong_byte_that_only_the_digest_can_find_costs_one_clean_fetch(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    await leave(daemon, origin, sha256=hashlib.sha256(data).hexdigest())
    control.write(daemon.models / f"{NAME}.part.json", replace(known(daemon), prefix=None))
    flip(daemon.models / f"{NAME}.part", 7)
    seen = await resumed(daemon)
    assert restarts(seen) == [("sha256_mismatch", len(data))]
    steps = [
        message.payload["status"] for message in seen if message.payload.get("status") not in (None, "downloading")
    ]
    assert steps[-4:] == ["verifying", "restarted", "verifying", "complete"]
    assert (daemon.models / NAME).read_bytes() == data


async def test_a_file_that_is_not_the_one_ends_in_a_mismatch_after_one_clean_fetch(
    daemon: Running, origin: Origin
) -> None:
    await leave(daemon, origin, sha256="0" * 64)
    seen = await resumed(daemon)
    assert [code for code, _ in restarts(seen)] == ["sha256_mismatch"]
    assert (seen[-1].payload["status"], seen[-1].payload["code"]) == ("error", "sha256_mismatch")
    assert [request.headers.get("Range") for request in origin.requests] == [None, f"bytes={SOME}-", None]
    assert daemon.files() == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
async def test_a_damaged_control_file_costs_the_part_and_says_so(
    daemon: Running, origin: Origin, data: bytes, damage: str
) -> None:
    await leave(daemon, origin)
    path = daemon.models / f"{NAME}.part.json"
    match damage:
        case "flipped":
            flip(path, 30)
        case "cut":
            os.truncate(path, 40)
        case _:
            os.truncate(path, 0)
    seen = await resumed(daemon)
    assert restarts(seen) == [("part_invalid", SOME)]
    assert (daemon.models / NAME).read_bytes() == data
    assert daemon.files() == [NAME]


# A disk that refuses to make bytes durable


class Syncs:
    """Refuses the sync of parts so many times, once it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refusals = 0
        self._sync = fs.fsync_file
        monkeypatch.setattr(fs, "fsync_file", self)
        monkeypatch.setattr(checkpoint, "EVERY_SECONDS", 0.02)

    def __call__(self, path: Path) -> os.stat_result:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.EIO, "Input/output error")
        return self._sync(path)


async def until_synced(daemon: Running, count: int) -> None:
    async with asyncio.timeout(5.0):
        while known(daemon).synced < count:
            await asyncio.sleep(0.005)


async def test_after_a_failed_sync_the_bytes_behind_the_last_good_one_come_again(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    origin.script(Stall(SOME), Serve(pace=0.05), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
        await until_synced(daemon, SOME)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        syncs.refusals = 1
        seen = await stream.until(lambda message: message.payload.get("status") in ("complete", "error"))
    assert seen[-1].payload["status"] == "complete"
    assert [code for code, _ in restarts(seen)] == ["part_invalid"]
    assert origin.requests[-1].headers["Range"] == f"bytes={SOME}-"
    assert (daemon.models / NAME).read_bytes() == data


async def test_a_disk_that_refuses_twice_fails_the_job_and_keeps_what_is_durable(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    origin.script(Stall(SOME), Serve(pace=0.05), Serve(pace=0.05), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
        await until_synced(daemon, SOME)
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        syncs.refusals = 2
        assert (await stream.status("complete", "error"))["code"] == "io"
    assert (daemon.models / f"{NAME}.part").stat().st_size == known(daemon).synced == SOME
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / NAME).read_bytes() == data


# Parts of other programs


async def test_a_part_of_another_program_goes_on_once_its_ends_are_proved(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    (daemon.models / f"{NAME}.part").write_bytes(data[:SOME])
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        assert (await stream.status("resumed"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["status"] == "complete"
    asked = [request.headers["Range"] for request in origin.requests]
    assert asked == ["bytes=0-65535", f"bytes={SOME - 65_536}-{SOME - 1}", f"bytes={SOME}-"]
    assert origin.requests[-1].headers["If-Range"] == '"v1"'
    assert (daemon.files(), (daemon.models / NAME).read_bytes()) == ([NAME], data)


async def test_a_short_part_of_another_program_is_proved_whole(daemon: Running, origin: Origin, data: bytes) -> None:
    (daemon.models / f"{NAME}.part").write_bytes(data[:1_000])
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert [request.headers["Range"] for request in origin.requests] == ["bytes=0-999", "bytes=1000-"]


async def test_a_whole_part_of_another_program_needs_only_its_name(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    (daemon.models / f"{NAME}.part").write_bytes(data)
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["sha256"] == hashlib.sha256(data).hexdigest()
    assert origin.sent == 2 * 65_536
    assert daemon.files() == [NAME]


@pytest.mark.parametrize("change", ["first byte", "last byte", "too long"])
async def test_a_part_that_is_of_another_file_is_left_alone(
    daemon: Running, origin: Origin, data: bytes, change: str
) -> None:
    foreign = {"first byte": b"x" + data[1:SOME], "last byte": data[: SOME - 1] + b"x", "too long": data + b"more"}
    (daemon.models / f"{NAME}.part").write_bytes(foreign[change])
    await daemon.download("m", origin.url(NAME))
    last = await daemon.settled("m")
    assert last["status"] == "complete"
    assert last["file"] != NAME
    assert (daemon.models / last["file"]).read_bytes() == data
    assert (daemon.models / f"{NAME}.part").read_bytes() == foreign[change]


async def test_a_server_without_ranges_proves_nothing(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Serve(ranges=False))
    (daemon.models / f"{NAME}.part").write_bytes(data[:SOME])
    await daemon.download("m", origin.url(NAME))
    last = await daemon.settled("m")
    assert (daemon.models / last["file"]).read_bytes() == data
    assert (daemon.models / f"{NAME}.part").read_bytes() == data[:SOME]


async def test_the_version_that_changes_between_the_two_ends_proves_nothing(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    origin.script(Serve(etag='"v1"'), Serve(etag='"v2"'))
    (daemon.models / f"{NAME}.part").write_bytes(data[:SOME])
    await daemon.download("m", origin.url(NAME))
    assert (await daemon.settled("m"))["file"] != NAME
    assert (daemon.models / f"{NAME}.part").read_bytes() == data[:SOME]


async def test_a_fault_that_passes_leaves_the_question_open(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Status(503), Serve(1_000), Serve())
    (daemon.models / f"{NAME}.part").write_bytes(data[:SOME])
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        assert (await stream.status("retrying"))["http_status"] == 503
        assert (await stream.status("retrying"))["code"] in ("truncated", "reset")
        assert (await stream.status("resumed"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["file"] == NAME


async def test_the_digest_decides_over_the_middle_that_nobody_compared(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    foreign = bytearray(data[:SOME])
    foreign[SOME // 2] ^= 1
    (daemon.models / f"{NAME}.part").write_bytes(foreign)
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME), sha256=hashlib.sha256(data).hexdigest())
        assert (await stream.status("restarted"))["code"] == "sha256_mismatch"
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert (daemon.models / NAME).read_bytes() == data


async def test_a_cancel_leaves_the_part_of_another_program_alone(daemon: Running, origin: Origin, data: bytes) -> None:
    origin.script(Stall(0))
    (daemon.models / f"{NAME}.part").write_bytes(data[:SOME])
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await origin.requested()
        await daemon.call("POST", "/models/download/cancel", {"id": "m"})
        await stream.status("canceled")
    assert daemon.files() == [f"{NAME}.part"]


# A life that was cut off in the middle of putting a file in place


async def cut_off(state: Path, origin: Origin, data: bytes, *, is_placed: bool) -> str:
    """A life that ended with the file checked, and perhaps renamed, but nothing of it recorded. Its job's id."""
    origin.script(Stall(SOME), Status(404))
    async with running.daemon(state) as daemon, daemon.events("id=m") as stream:
        receipt = await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
    part, path = daemon.models / f"{NAME}.part", daemon.models / f"{NAME}.part.json"
    part.write_bytes(data)
    checked = control.checked(part.stat(), hashlib.sha256(data).hexdigest(), length_known=True)
    control.write(path, replace(known(daemon), checked=checked, synced=len(data)))
    if is_placed:
        part.rename(daemon.models / NAME)
    origin.requests.clear()
    return str(receipt["job_id"])


@pytest.mark.parametrize("is_placed", [False, True])
@pytest.mark.parametrize("is_another_boot", [False, True])
async def test_the_next_life_adopts_what_was_checked_without_asking_anybody(
    tmp_path: Path,
    origin: Origin,
    data: bytes,
    monkeypatch: pytest.MonkeyPatch,
    is_placed: bool,
    is_another_boot: bool,
) -> None:
    job_id = await cut_off(tmp_path, origin, data, is_placed=is_placed)
    if is_another_boot:
        monkeypatch.setattr(control, "boot_id", lambda: "another")
    async with running.daemon(tmp_path) as daemon:
        last = (await daemon.call("GET", "/models/jobs"))[1]["jobs"][-1]
        assert (last["job_id"], last["status"]) == (job_id, "complete")
        assert (await daemon.call("GET", "/models"))[1][0]["sha256"] == hashlib.sha256(data).hexdigest()
        assert (daemon.files(), (daemon.models / NAME).read_bytes()) == ([NAME], data)
    assert origin.requests == []


@pytest.mark.parametrize("is_placed", [False, True])
async def test_what_was_changed_since_it_was_checked_is_not_adopted(
    tmp_path: Path, origin: Origin, data: bytes, is_placed: bool
) -> None:
    await cut_off(tmp_path, origin, data, is_placed=is_placed)
    flip(tmp_path / "models" / (NAME if is_placed else f"{NAME}.part"), 5)
    origin.script(Serve())
    async with running.daemon(tmp_path) as daemon:
        last = await daemon.settled("m")
        assert last["status"] == "complete"
        assert (daemon.models / last["file"]).read_bytes() == data
        assert [model["path"] for model in (await daemon.call("GET", "/models"))[1]] == [
            str(daemon.models / last["file"])
        ]


async def test_the_file_that_a_cut_off_life_replaced_is_not_missed(tmp_path: Path, origin: Origin, data: bytes) -> None:
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url(NAME))
        await daemon.settled("m")
    newer = gguf(data[::-1])
    origin.data = newer
    await cut_off(tmp_path, origin, newer, is_placed=True)
    async with running.daemon(tmp_path) as daemon:
        async with daemon.events("replay=1000&prefix=Models.Changed") as stream:
            told = [(await stream.next()).payload.get("op") for _ in range(3)]
        assert told == [None, "downloaded", "downloaded"]
        assert (await daemon.call("GET", "/models"))[1][0]["sha256"] == hashlib.sha256(newer).hexdigest()


async def test_a_kill_between_the_control_file_and_the_database_costs_neither_name_nor_bytes(
    tmp_path: Path, origin: Origin, data: bytes
) -> None:
    origin.script(Stall(SOME), Serve())
    async with running.daemon(tmp_path) as daemon, daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)
    forget_the_name(tmp_path)
    async with running.daemon(tmp_path) as daemon:
        assert (await daemon.settled("m"))["file"] == NAME
        assert daemon.files() == [NAME]
    assert origin.requests[-1].headers["Range"] == f"bytes={SOME}-"


async def test_what_a_kill_left_beside_a_finished_file_is_tidied_up(
    tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url(NAME))
        last = await daemon.settled("m")
    final = tmp_path / "models" / NAME
    checked = control.checked(final.stat(), last["sha256"], length_known=True)
    left = ControlFile(id="m", job_id=last["job_id"], url=origin.url(NAME), boot_id="", checked=checked)
    control.write(final.with_name(f"{NAME}.part.json"), left)
    final.with_name(f".{NAME}.part.json.tmp").write_bytes(b"half")
    async with running.daemon(tmp_path) as daemon:
        assert daemon.files() == [NAME]
        assert os.listdir(daemon.models) == [NAME]


@pytest.mark.parametrize("end", ["deleted", "replaced"])
async def test_a_file_that_nobody_lists_any_more_goes_although_the_life_that_condemned_it_was_cut_off(
    tmp_path: Path, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("m", origin.url("old.gguf"))
        await daemon.settled("m")
        # As if the kill came after the commit: nothing is unlinked, and nothing more is written down.
        monkeypatch.setattr(Library, "tidying", lambda *_: lambda: None)
        monkeypatch.setattr(left_over, "bury", lambda *_: None)
        if end == "deleted":
            await daemon.call("POST", "/models/delete", {"id": "m"})
        else:
            await daemon.download("m", origin.url("new.gguf"))
            await daemon.settled("m")
        assert "old.gguf" in daemon.files()
    monkeypatch.undo()
    for _ in range(2):
        async with running.daemon(tmp_path) as daemon:
            assert daemon.files() == ([] if end == "deleted" else ["new.gguf"])
    (tmp_path / "models" / "old.gguf").write_bytes(b"somebody's own file, put there later")
    async with running.daemon(tmp_path) as daemon:
        assert "old.gguf" in daemon.files()


def forget_the_name(state: Path) -> None:
    """As if the kill had come before the name was committed."""
    with contextlib.closing(Database(state / "arwd.db")) as database:
        (job,) = database.read_now(ledger.load)
        database._writer.execute("BEGIN")
        ledger.record(replace(job, name=None))(database._writer.cursor())
        database._writer.execute("COMMIT")
