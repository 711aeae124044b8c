"""A server that is asked too much is left alone by every job, and nobody else is."""

import asyncio

import pytest

from tests import origin as origins
from tests.models import gguf
from tests.origin import Origin, Serve, Status
from tests.running import Running


@pytest.mark.parametrize(("status", "code"), [(429, "too_many_requests"), (503, "http_status")])
async def test_what_one_job_was_told_holds_for_all_of_that_origin(
    daemon: Running, origin: Origin, status: int, code: str
) -> None:
    origin.script(Status(status, {"Retry-After": "200"}), Serve())
    async with daemon.events("prefix=Models.") as stream:
        await daemon.download("a", origin.url("a.gguf"))
        first = await stream.status("retrying")
        await daemon.download("b", origin.url("b.gguf"))
        second = await stream.status("retrying")
        assert (first["id"], first["code"], first["next_attempt_in"]) == ("a", code, 200)
        assert (second["id"], second["code"], second["attempt"]) == ("b", code, 1)
        assert 195 <= second["next_attempt_in"] <= 200
        assert (await daemon.job("b"))["status"] == "retrying"
        async with origins.running(gguf(bytes(2_000))) as other:
            await daemon.download("c", other.url("c.gguf"))
            assert (await daemon.settled("c"))["status"] == "complete"
        assert len(origin.requests) == 1
        for model_id, command, outcome in (("a", "cancel", "canceled"), ("b", "pause", "paused")):
            async with asyncio.timeout(1.0):
                await daemon.call("POST", f"/models/download/{command}", {"id": model_id})
                assert (await stream.status(outcome))["id"] == model_id
        assert len(origin.requests) == 1


async def test_when_the_time_has_come_all_go_on(daemon: Running, origin: Origin) -> None:
    origin.script(Status(503, {"Retry-After": "1"}), Serve())
    async with daemon.events("prefix=Models.") as stream:
        await daemon.download("a", origin.url("a.gguf"))
        await stream.status("retrying")
        await daemon.download("b", origin.url("b.gguf"))
        assert (await stream.status("retrying"))["id"] == "b"
        ended = {(await stream.status("complete", "error"))["id"] for _ in "ab"}
    assert ended == {"a", "b"}
    assert daemon.files() == ["a.gguf", "b.gguf"]
    assert len(origin.requests) == 3


async def test_other_refusals_are_the_business_of_one_job(daemon: Running, origin: Origin) -> None:
    origin.script(Status(500, {"Retry-After": "200"}), Serve())
    async with daemon.events("prefix=Models.") as stream:
        await daemon.download("a", origin.url("a.gguf"))
        assert (await stream.status("retrying"))["next_attempt_in"] == 200
        await daemon.download("b", origin.url("b.gguf"))
        assert (await stream.status("complete", "retrying"))["id"] == "b"
