"""A disk that refuses at one moment: what was lost is asked for again, what may be there still is not called gone."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from tests import running
from tests.integration.test_full import Refusals, any_call
from tests.origin import Origin, Serve
from tests.running import Running


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
