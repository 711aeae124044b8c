"""`kill -9` while one id takes the bytes of another: both have their file in the end, and nothing else is left."""

import contextlib
import random
import signal
from pathlib import Path

import aiohttp
import pytest

from tests import oracle
from tests.nursery import Nursery
from tests.origin import Origin, Serve, Stall

NOWHERE = "http://127.0.0.1:9/b.bin"


@pytest.fixture
def data() -> bytes:
    return random.Random(8).randbytes(1_000_003)


@pytest.mark.parametrize(
    "point", ["checked", "linked", "renamed", "placed", "in-the-commit", "committed", "half-tidied", "revealed"]
)
async def test_a_kill_while_a_second_name_is_made(
    nursery: Nursery, tmp_path: Path, origin: Origin, data: bytes, digest: str, point: str
) -> None:
    async with nursery.child(tmp_path) as daemon:
        await daemon.download("a", origin.url("a.bin"), sha256=digest)
        assert (await daemon.settled("a"))["status"] == "complete"
    async with nursery.child(tmp_path, kill_at=point) as daemon:
        with contextlib.suppress(aiohttp.ClientError):
            await daemon.download("b", NOWHERE, sha256=digest)
        assert await daemon.ended() == -signal.SIGKILL
    async with nursery.child(tmp_path) as daemon:
        assert (await daemon.settled("b"))["status"] == "complete"
    oracle.assert_listed(tmp_path, {"a": data, "b": data})
    oracle.assert_tidy(tmp_path)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["a.bin", "b.bin"]
    milestones = oracle.journal(tmp_path)
    oracle.assert_lawful(milestones)


@pytest.mark.parametrize("point", ["renamed", "handed-over"])
async def test_a_kill_while_a_part_is_handed_over(
    nursery: Nursery, tmp_path: Path, origin: Origin, mirror: Origin, data: bytes, digest: str, point: str
) -> None:
    origin.script(Stall(300_000))
    async with nursery.child(tmp_path) as daemon, daemon.events("id=a") as stream:
        await daemon.download("a", origin.url("a.bin"), sha256=digest)
        await stream.until(lambda message: message.payload.get("downloaded") == 300_000)
        await daemon.download("b", mirror.url("b.bin"), sha256=digest)
    async with nursery.child(tmp_path, kill_at=point) as daemon:
        with contextlib.suppress(aiohttp.ClientError):
            await daemon.call("POST", "/models/download/cancel", {"id": "a"})
        assert await daemon.ended() == -signal.SIGKILL
    origin.script(Serve())
    async with nursery.child(tmp_path) as daemon:
        for model_id in ("a", "b"):
            assert (await daemon.settled(model_id))["status"] in ("complete", "canceled")
        assert (await daemon.settled("b"))["status"] == "complete"
    assert (tmp_path / "models" / "b.bin").read_bytes() == data
    oracle.assert_whole(tmp_path / "models", [data])
    oracle.assert_tidy(tmp_path)
