"""A server that sends, but next to nothing, is given up for another connection; where nothing is asked, nothing is."""

from pathlib import Path

from tests import running
from tests.origin import Origin, Serve

TRICKLE = Serve(pace=0.3)
"""About 200 kB a second."""


async def test_a_server_below_the_least_speed_is_asked_anew_and_the_bytes_are_kept(
    tmp_path: Path, origin: Origin, data: bytes
) -> None:
    async with running.daemon(tmp_path / "state", stall_timeout=1, min_speed=10_000_000) as daemon:
        origin.script(TRICKLE, Serve())
        async with daemon.events("id=m") as stream:
            await daemon.download("m", origin.url())
            told = await stream.status("retrying")
            assert (told["code"], "bytes a second" in told["error"]) == ("stalled", True)
            resumed = await stream.status("resumed")
            assert 0 < resumed["offset"] < len(data)
            assert (await stream.status("complete", "error"))["status"] == "complete"
        assert (daemon.models / "model.gguf").read_bytes() == data
    assert (origin.accepts, len(origin.requests)) == (2, 2)


async def test_zero_asks_for_no_speed(tmp_path: Path, origin: Origin, data: bytes) -> None:
    origin.data = data[: 5 * 65_536]
    async with running.daemon(tmp_path / "state", stall_timeout=1, min_speed=0) as daemon:
        origin.script(TRICKLE)
        await daemon.download("m", origin.url())
        assert (await daemon.settled("m"))["status"] == "complete"
    assert len(origin.requests) == 1
