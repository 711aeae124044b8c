"""A disk that refuses at one moment: what was lost is asked for again, what may be there still is not called gone."""

import asyncio
import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from arwd.jobs import vigil
from arwd.store import allowance, control
from tests import running
from tests.integration.test_full import Refusals, any_call
from tests.integration.test_full_links import begun
from tests.origin import Origin, Serve
from tests.running import Running


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for room need not wait for the clock."""
    monkeypatch.setattr(vigil, "EVERY", 0.01)


def refusing(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, *, when: Any = any_call, times: int) -> Refusals:
    refusals = Refusals(monkeypatch, place, name, when)
    refusals.left, refusals.number = times, errno.EIO
    return refusals


async def failed_behind_its_rename(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch, **more: Any
) -> None:
    """The file has its final name, and nobody lists it."""
    with monkeypatch.context() as meanwhile:
        refusing(meanwhile, fs, "fsync_directory", when=lambda path: (path / "model.gguf").exists(), times=100)
        # Nor can the rename be taken back.
        refusing(
            meanwhile, fs, "rename_without_replacing", when=lambda source, _: source.name == "model.gguf", times=100
        )
        await daemon.download("m", origin.url())
        last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "io")
    assert (daemon.models / "model.gguf").exists()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_file_whose_job_failed_behind_its_rename_is_a_part_for_the_next(
    tmp_path: Path, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, is_restarted: bool
) -> None:
    async with contextlib.AsyncExitStack() as lives:
        daemon = await lives.enter_async_context(running.daemon(tmp_path / "state"))
        await failed_behind_its_rename(daemon, origin, monkeypatch)
        if is_restarted:
            await lives.pop_all().aclose()
            daemon = await lives.enter_async_context(running.daemon(tmp_path / "state"))
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
        assert daemon.files() == ["model.gguf"]
        assert (daemon.models / "model.gguf").read_bytes() == data
    assert origin.sent == len(data), "no byte is fetched twice"


async def test_but_bytes_of_another_version_give_way(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failed_behind_its_rename(daemon, origin, monkeypatch)
    newer = data[:-1] + bytes([data[-1] ^ 1])
    origin.script(Serve(data=newer, etag='"v2"'))
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert daemon.files() == ["model.gguf"]
    assert (daemon.models / "model.gguf").read_bytes() == newer


async def test_the_finished_file_stays_while_another_is_fetched_even_beside_a_stale_control_file(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as meanwhile:
        refusing(meanwhile, Path, "unlink", when=lambda path: path.name.endswith(".part.json"), times=100)
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
    assert daemon.files() == ["model.gguf", "model.gguf.part.json"]
    newer = data[:-1] + bytes([data[-1] ^ 1])
    origin.may_go_on = lambda place: place < 600_000
    origin.script(Serve(data=newer, etag='"v2"'))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= 300_000)
        assert (daemon.models / "model.gguf").read_bytes() == data
        origin.may_go_on = lambda _: True
        assert (await stream.status("complete", "error"))["status"] == "complete"
    assert (daemon.models / "model.gguf").read_bytes() == newer
    assert daemon.files() == ["model.gguf"]


async def test_names_that_cannot_be_listed_end_the_job_as_a_fault_of_the_disk(
    daemon: Running, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, os, "listdir", when=lambda path: path == daemon.models, times=1)
    await daemon.download("m", origin.url())
    last = await daemon.settled("m")
    assert (last["status"], last["code"]) == ("error", "io")
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"


async def test_a_deletion_that_the_disk_refused_is_done_by_the_next_life(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path / "state") as daemon:
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
        with monkeypatch.context() as meanwhile:
            refusing(meanwhile, Path, "unlink", when=lambda path: path.name == "model.gguf", times=1)
            refusing(meanwhile, fs, "status_of", when=lambda path: path.name == "model.gguf", times=100)
            assert (await daemon.call("DELETE", "/models/m"))[0] == 200
        assert daemon.files() == ["model.gguf"]
    async with running.daemon(tmp_path / "state") as daemon:
        assert daemon.files() == []


async def test_a_model_whose_file_does_not_answer_at_the_start_is_not_called_missing(
    tmp_path: Path, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running.daemon(tmp_path / "state") as daemon:
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
    with monkeypatch.context() as meanwhile:
        refusals = refusing(meanwhile, fs, "status_of", when=lambda path: path.name == "model.gguf", times=100)
        async with running.daemon(tmp_path / "state") as daemon:
            assert refusals.met
            assert [entry["id"] for entry in (await daemon.call("GET", "/models"))[1]] == ["m"]
    async with running.daemon(tmp_path / "state") as daemon:
        assert [entry["status"] for entry in (await daemon.call("GET", "/models"))[1]] == ["available"]
        assert (daemon.models / "model.gguf").read_bytes() == data


# What the disk did not make durable has not happened


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("request_", ["cancel", "delete"])
@pytest.mark.parametrize("is_replacing", [False, True])
async def test_a_job_that_is_canceled_between_rename_and_sync_leaves_what_was_there(
    daemon: Running,
    origin: Origin,
    data: bytes,
    monkeypatch: pytest.MonkeyPatch,
    is_replacing: bool,
    request_: str,
    number: int,
) -> None:
    if is_replacing:
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
    newer = data[:-1] + bytes([data[-1] ^ 1])
    origin.script(Serve(data=newer, etag='"v2"'))
    with monkeypatch.context() as meanwhile:
        final = daemon.models / "model.gguf"
        has_newer = lambda _: final.exists() and final.read_bytes() == newer  # noqa: E731
        refusing(meanwhile, fs, "fsync_directory", when=has_newer, times=1_000_000).number = number
        async with daemon.events("id=m") as stream:
            await daemon.download("m", origin.url())
            await stream.status("paused", "error")
        path = "/models/delete" if request_ == "delete" else "/models/download/cancel"
        assert (await daemon.call("POST", path, {"id": "m"}))[0] == 200
        await daemon.settled("m")
    left = ["model.gguf"] if is_replacing and request_ == "cancel" else []
    async with asyncio.timeout(5.0):
        while daemon.files() != left:
            await asyncio.sleep(0.01)
    entries = (await daemon.call("GET", "/models"))[1]
    assert [(entry["id"], entry["sha256"]) for entry in entries] == [
        ("m", hashlib.sha256(data).hexdigest()) for _ in left
    ]
    assert [(daemon.models / name).read_bytes() for name in left] == [data for _ in left]


@pytest.mark.parametrize("is_linked", [False, True])
async def test_a_checked_part_that_its_user_removed_is_fetched_anew(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch, is_linked: bool
) -> None:
    digest = {"sha256": hashlib.sha256(data).hexdigest()} if is_linked else {}
    if is_linked:
        await daemon.download("holder", origin.url("holder.gguf"), **digest)
        assert (await daemon.settled("holder"))["status"] == "complete"
    may_go_on = allowance.may_go_on
    monkeypatch.setattr(allowance, "may_go_on", lambda *_: False)
    with monkeypatch.context() as meanwhile:
        refusing(meanwhile, fs, "rename_without_replacing", times=100).number = errno.ENOSPC
        async with daemon.events("id=m") as stream:
            await daemon.download("m", origin.url("m.gguf"), **digest)
            await stream.status("paused", "error")
    for path in daemon.models.glob("m.gguf.part*"):
        path.unlink()
    if is_linked:
        (daemon.models / "holder.gguf").unlink()
    monkeypatch.setattr(allowance, "may_go_on", may_go_on)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "m.gguf").read_bytes() == data


async def test_a_link_that_a_failed_job_left_is_no_part_of_one_without_a_digest(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    with monkeypatch.context() as meanwhile:
        refusing(meanwhile, fs, "rename_without_replacing", times=100)
        await daemon.download("m", origin.url("m.gguf"), sha256=digest)
        assert (await daemon.settled("m"))["status"] == "error"
    assert (daemon.models / "m.gguf.part").stat().st_nlink == 2
    newer = data[:-1] + bytes([data[-1] ^ 1])
    origin.script(Serve(data=newer, etag='"v2"'))
    await daemon.download("m", origin.url("m.gguf"))
    assert (await daemon.settled("m"))["status"] == "complete"
    assert (daemon.models / "m.gguf").read_bytes() == newer
    assert (daemon.models / "holder.gguf").read_bytes() == data


async def test_a_link_that_fails_at_its_name_leaves_the_part_as_it_was(
    daemon: Running, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await begun(daemon, origin, sha256=digest)
    await daemon.call("POST", "/models/download/pause", {"id": "m"})
    origin.may_go_on = lambda _: True
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    before = control.read(daemon.models / "m.gguf.part.json")
    assert before is not None
    assert before.validator == '"v1"'
    refusing(monkeypatch, os, "replace", when=lambda source, _: ".link." in str(source), times=2)
    await daemon.call("POST", "/models/download/resume", {"id": "m"})
    assert (await daemon.settled("m"))["code"] == "io"
    after = control.read(daemon.models / "m.gguf.part.json")
    assert after is not None
    assert (after.validator, after.prefix, after.checked) == (before.validator, before.prefix, None)


async def test_a_scratch_name_that_was_left_is_no_hindrance(daemon: Running, origin: Origin, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    await daemon.download("holder", origin.url("holder.gguf"), sha256=digest)
    assert (await daemon.settled("holder"))["status"] == "complete"
    (daemon.models / ".m.gguf.link.part.json.tmp").write_bytes(b"left over")
    await daemon.download("m", origin.url("m.gguf"), sha256=digest)
    assert (await daemon.settled("m"))["status"] == "complete"
    assert daemon.files() == ["holder.gguf", "m.gguf"]
