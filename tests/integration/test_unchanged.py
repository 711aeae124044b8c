"""A finished model is asked for again without a digest: the server is asked whether it has changed."""

import asyncio
import os
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests import running
from tests.origin import Origin, Serve, Stall, Status
from tests.running import Running

NAME = "m.bin"
OLD = {"Last-Modified": formatdate(5e8, usegmt=True), "Date": formatdate(1e9, usegmt=True)}


async def have(daemon: Running, origin: Origin, *steps: Any) -> Path:
    """A finished model; what the server answers from then on."""
    await daemon.download("m", origin.url(f"{NAME}?first=1"))
    assert (await daemon.settled("m"))["status"] == "complete"
    if steps:
        origin.script(*steps)
    return daemon.models / NAME


async def again(daemon: Running, origin: Origin, **more: Any) -> dict[str, Any]:
    await daemon.download("m", origin.url(f"{NAME}?second=2"), **more)
    return await daemon.settled("m")


async def test_a_model_that_has_not_changed_is_kept_and_said_to_be_cached(daemon: Running, origin: Origin) -> None:
    path = await have(daemon, origin, Status(304, {"ETag": '"v1"'}))
    before = path.stat()
    async with daemon.events("id=m") as stream:
        last = await again(daemon, origin)
        heard = await stream.until(lambda message: message.payload.get("status") == "complete")
    assert (last["status"], last["cached"], last["file"], last["trust"]) == ("complete", True, NAME, "none")
    assert [message.payload["status"] for message in heard if "status" in message.payload] == [
        "queued", "started", "complete",
    ]  # fmt: skip
    assert origin.requests[-1].headers["If-None-Match"] == '"v1"'
    assert "Range" not in origin.requests[-1].headers
    assert (path.stat().st_ino, daemon.files()) == (before.st_ino, [NAME])
    job = await daemon.job("m")
    assert (job["status"], job["downloaded"], job["total"]) == ("complete", before.st_size, before.st_size)


async def test_a_date_stands_in_for_an_entity_tag(daemon: Running, origin: Origin) -> None:
    origin.script(Serve(etag=None, headers=OLD))
    await have(daemon, origin, Status(304))
    assert (await again(daemon, origin))["cached"] is True
    assert origin.requests[-1].headers["If-Modified-Since"] == OLD["Last-Modified"]


async def test_the_old_file_stays_until_the_new_one_is_whole(daemon: Running, origin: Origin, data: bytes) -> None:
    path = await have(daemon, origin, Stall(300_000, etag='"v2"'))
    origin.data = bytes(reversed(data))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url(NAME))
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
        assert path.read_bytes() == data
        await daemon.call("POST", "/models/download/pause", {"id": "m"})
        origin.script(Serve(etag='"v2"'))
        await daemon.call("POST", "/models/download/resume", {"id": "m"})
        last = await stream.status("complete", "error")
    assert (last["status"], last["cached"]) == ("complete", False)
    assert (path.read_bytes(), daemon.files()) == (origin.data, [NAME])
    # The newer version is on its way already: it is gone on with, not asked about.
    assert "If-None-Match" not in origin.requests[-1].headers
    assert origin.requests[-1].headers["If-Range"] == '"v2"'


@pytest.mark.parametrize(
    ("step", "more"),
    [
        (Serve(etag=None), {}),
        (Serve(etag='W/"v1"'), {}),
        (Serve(), {"filename": "another.bin"}),
    ],
)
async def test_where_nothing_can_be_compared_it_is_fetched_anew(
    daemon: Running, origin: Origin, step: Serve, more: dict[str, str]
) -> None:
    origin.script(step)
    await have(daemon, origin)
    assert (await again(daemon, origin, **more))["cached"] is False
    assert not {"If-None-Match", "If-Modified-Since"} & set(origin.requests[-1].headers)
    assert len(daemon.files()) == 1


async def test_a_file_that_was_changed_here_is_not_asked_about(daemon: Running, origin: Origin, data: bytes) -> None:
    path = await have(daemon, origin)
    path.write_bytes(b"something else")
    assert (await again(daemon, origin))["cached"] is False
    assert "If-None-Match" not in origin.requests[-1].headers
    assert path.read_bytes() == data


async def test_a_file_that_is_changed_while_the_server_is_asked_is_fetched_anew(
    daemon: Running, origin: Origin, data: bytes
) -> None:
    path = await have(daemon, origin)

    class Meanwhile(dict[str, str]):
        def items(self) -> Any:
            path.write_bytes(b"something else")
            return super().items()

    origin.script(Status(304, Meanwhile(ETag='"v1"')), Serve())
    assert (await again(daemon, origin))["cached"] is False
    assert [request.headers.get("If-None-Match") for request in origin.requests[1:]] == ['"v1"', None]
    assert path.read_bytes() == data


@pytest.mark.parametrize("answer", [Status(304, {"ETag": '"v9"'}), Status(403), Status(404)])
async def test_a_refusal_leaves_the_finished_file_alone(
    daemon: Running, origin: Origin, data: bytes, answer: Status
) -> None:
    path = await have(daemon, origin, answer)
    assert (await again(daemon, origin))["status"] == "error"
    assert path.read_bytes() == data
    assert [entry["status"] for entry in (await daemon.call("GET", "/models"))[1]] == ["available"]


async def test_a_question_that_a_stop_cut_off_is_asked_by_the_next_life(tmp_path: Path, origin: Origin) -> None:
    async with running.daemon(tmp_path) as daemon:
        path = await have(daemon, origin, Stall())
        inode = path.stat().st_ino
        await daemon.download("m", origin.url(NAME))
        await origin.requested(2)
    origin.script(Status(304))
    async with running.daemon(tmp_path) as daemon:
        assert (await daemon.settled("m"))["cached"] is True
        assert path.stat().st_ino == inode


async def test_a_hundred_questions_at_once_are_one(daemon: Running, origin: Origin) -> None:
    await have(daemon, origin, Status(304))
    await asyncio.gather(*(daemon.download("m", origin.url(NAME)) for _ in range(100)))
    assert (await daemon.settled("m"))["cached"] is True
    assert len(origin.requests) <= 3 + 1
    assert os.listdir(daemon.models) == [NAME]
