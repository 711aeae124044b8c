"""A stop that comes at a bad moment: every command that was answered is carried out, and no stream waits for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from arwd.api import protocol
from arwd.states import State
from arwd.store.library import Library
from arwd.store.parts import Part
from arwd.store.writer import PartWriter
from tests import journals, running, wire
from tests.origin import Origin, Serve, Stall
from tests.running import Running
from tests.wire import JSON

SOME = 200_000
"""Bytes that have come before the stop."""
SLACK = 1.0
"""Seconds that a busy machine may add to a deadline."""


class Halt:
    """Something that has begun and does not end before it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self) -> None:
        self.begun.set()
        await self.may_end.wait()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():
            await asyncio.sleep(0.002)


async def arrived(daemon: Running, model_id: str) -> None:
    async with daemon.events(f"id={model_id}") as stream:
        await stream.until(lambda message: message.payload.get("downloaded") == SOME)


def last_words(state_dir: Path, model_id: str) -> list[str]:
    """The final events of this id, as the journal has them."""
    told = [row.payload.get("status") for row in journals.rows(state_dir, lambda row: row.model_id == model_id)]
    return [status for status in told if status in ("complete", "error", "canceled")]


@contextlib.asynccontextmanager
async def stopping_streams_first(daemon: Running) -> AsyncIterator[None]:
    """The body runs once the stop has begun and the streams have ended in time."""
    async with daemon.events() as stream:
        begin = time.monotonic()
        daemon.server.should_exit = True
        assert (await stream.rest())[-1].event == "Service.Stop"
        assert time.monotonic() - begin < 1.0 + SLACK
        yield


async def test_a_cancel_that_is_asked_for_while_the_stop_goes_on_is_carried_out(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LAST_CHANCE", 5.0)
    discard = Part.discard

    async def slowly(part: Part) -> None:
        # Slower than anything in the stop that happens to take some time.
        await asyncio.sleep(0.5)
        await discard(part)

    monkeypatch.setattr(Part, "discard", slowly)
    origin.script(Stall(SOME), Serve())
    async with running.daemon(tmp_path) as daemon, wire.connected(daemon) as late:
        await daemon.download("a", origin.url())
        await arrived(daemon, "a")
        (worker,) = daemon.daemon.manager.roster.workers
        daemon.server.should_exit = True
        await until(lambda: worker.job.state is State.QUEUED)
        late.send(wire.request(daemon, "POST", "/models/download/cancel", JSON, body=b'{"id":"a"}'))
        assert b"cancel-requested" in (await late.answer()).body
    assert last_words(tmp_path, "a") == ["canceled"]
    async with running.daemon(tmp_path) as daemon:
        assert (await daemon.job("a"))["status"] == "canceled"
        assert daemon.files() == []


async def test_a_file_that_is_being_put_in_place_is_waited_for_but_not_by_the_streams(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt, place = Halt(), Library.place

    async def halted(*arguments: object, **named: object) -> None:
        await halt()
        await place(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Library, "place", halted)
    async with running.daemon(tmp_path) as daemon:
        await daemon.download("a", origin.url())
        await halt.begun.wait()
        async with stopping_streams_first(daemon):
            halt.may_end.set()
    assert last_words(tmp_path, "a") == ["complete"]
    async with running.daemon(tmp_path) as daemon:
        assert daemon.files() == ["model.gguf"]
        assert (await daemon.job("a"))["status"] == "complete"
    assert len(origin.requests) == 1


async def test_a_digest_that_is_being_made_holds_up_nobody_and_is_made_again(
    tmp_path: Path, origin: Origin, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    halt, digest = Halt(), PartWriter.digest

    async def halted(writer: PartWriter) -> str:
        await halt()
        return await digest(writer)

    with monkeypatch.context() as patched:
        patched.setattr(PartWriter, "digest", halted)
        async with running.daemon(tmp_path) as daemon:
            await daemon.download("a", origin.url())
            await halt.begun.wait()
            async with stopping_streams_first(daemon):
                pass
    assert last_words(tmp_path, "a") == []
    async with running.daemon(tmp_path) as daemon:
        await daemon.settled("a")
        assert (daemon.models / "model.gguf").read_bytes() == data
    assert last_words(tmp_path, "a") == ["complete"]
    assert origin.sent == len(data)


async def test_a_download_whose_record_is_slow_is_answered_although_the_daemon_stops(
    tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with running.daemon(tmp_path) as daemon:
        with journals.locked(tmp_path):
            asked = asyncio.create_task(daemon.download("a", origin.url()))
            await until(lambda: daemon.daemon.manager.roster.workers)
            async with daemon.events() as stream:
                daemon.server.should_exit = True
                await stream.rest()
            assert not asked.done()
        assert (await asked)["status"] == "queued"
    async with running.daemon(tmp_path) as daemon:
        await daemon.settled("a")
        assert (daemon.models / "model.gguf").read_bytes() == data
