"""A server that says when to come back is heard, in whichever form; but not for ever."""

import asyncio
import time

import pytest

from tests.origin import Origin, Serve, Status
from tests.running import Running

SOME = 400_000
THEN = "Wed, 01 Jan 2025 00:00:00 GMT"


@pytest.mark.parametrize("status", [429, 503])
async def test_a_server_is_not_asked_again_before_the_time_it_names(
    daemon: Running, origin: Origin, data: bytes, status: int
) -> None:
    origin.script(Serve(SOME), Status(status, {"Retry-After": "1"}), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("retrying"))["code"] == "truncated"
        told = await stream.status("retrying")
        asked = time.monotonic()
        assert (told["next_attempt_in"], told["http_status"]) == (1, status)
        await origin.requested(3)
        assert time.monotonic() - asked > 0.9
        assert (await stream.status("resumed"))["offset"] == SOME
        assert (await stream.status("complete", "error"))["bytes"] == len(data)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "300"}, 300),
        ({"Retry-After": "Wed, 01 Jan 2025 00:04:00 GMT", "Date": THEN}, 240),
        ({"Retry-After": "Wed, 01-Jan-25 00:02:00 GMT", "Date": THEN}, 120),
        ({"Retry-After": THEN, "Date": THEN}, 0),
        ({"Retry-After": THEN}, 0),
        ({"RateLimit": '"api";r=0;t=55'}, 56),
        ({"RateLimit": '"api";r=7;t=55'}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "9" * 400}, 0),
        ({}, 0),
    ],
)
async def test_every_form_is_understood_and_none_can_do_harm(
    daemon: Running, origin: Origin, headers: dict[str, str], seconds: int
) -> None:
    origin.script(Status(503, headers), Serve())
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("retrying"))["next_attempt_in"] == seconds
        if not seconds:
            assert (await stream.status("complete", "error"))["status"] == "complete"
        else:
            await daemon.call("POST", "/models/download/cancel", {"id": "m"})


@pytest.mark.parametrize("wish", ["301", "1000000000000", "Fri, 31 Dec 9999 23:59:59 GMT"])
@pytest.mark.parametrize("status", [429, 503])
async def test_who_wants_to_be_left_alone_for_longer_ends_the_job_and_the_part_is_kept(
    daemon: Running, origin: Origin, data: bytes, wish: str, status: int
) -> None:
    origin.script(Serve(SOME), Status(status, {"Retry-After": wish}), Serve())
    await daemon.download("m", origin.url())
    last = await daemon.settled("m")
    assert (last["code"], last["http_status"], len(origin.requests)) == ("too_many_requests", status, 2)
    assert "send the request again in" in last["error"]
    assert (daemon.models / "model.gguf.part").read_bytes() == data[:SOME]
    await daemon.download("m", origin.url())
    assert (await daemon.settled("m"))["status"] == "complete"
    assert origin.requests[-1].headers["Range"] == f"bytes={SOME}-"


@pytest.mark.parametrize("command", ["cancel", "pause"])
async def test_a_job_that_waits_hears_its_user(daemon: Running, origin: Origin, command: str) -> None:
    origin.script(Status(429, {"Retry-After": "300"}))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        await stream.status("retrying")
        assert (await daemon.job("m"))["status"] == "retrying"
        async with asyncio.timeout(1.0):
            await daemon.call("POST", f"/models/download/{command}", {"id": "m"})
            await stream.status("canceled" if command == "cancel" else "paused")


async def test_a_job_that_ends_well_says_nothing_of_the_faults_before(daemon: Running, origin: Origin) -> None:
    await daemon.download("m", origin.url())
    await daemon.settled("m")
    origin.script(Status(503), Status(304))
    async with daemon.events("id=m") as stream:
        await daemon.download("m", origin.url())
        assert (await stream.status("retrying"))["http_status"] == 503
        assert (await stream.status("complete", "error"))["cached"] is True
    job = await daemon.job("m")
    assert (job["status"], [name for name in ("code", "error", "attempt") if name in job]) == ("complete", [])
