"""`kill -9`, at random moments and at every point of the road: the next life goes on unasked and loses next to nothing.

The random moments come from a seed, which a failure prints; ARWD_TEST_SEED repeats it.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests import faults, oracle
from tests import origin as origins
from tests.models import gguf
from tests.nursery import Nursery
from tests.oracle import AT_RISK, History
from tests.origin import Origin, Serve
from tests.processes import Child, Stillborn
from tests.running import Stream

SEED = int(os.environ.get("ARWD_TEST_SEED", random.randrange(1 << 32)))
MOMENTS = 20
SPAN = 0.6
"""Seconds that a download takes here, and a little more."""
PACE = 0.004
"""Seconds between two pieces, where a download must last until a moment of chance."""
LEAD = AT_RISK - 3 * 65_536
"""Bytes that the origin may be ahead of the disk before it sends another piece: where a busy machine does not let the
daemon read, the kernel's buffers must not count as its own. If the daemon kept back more itself, nothing would go on.
"""
NAME = "m.gguf"
ELSEWHERE = ("replaced", "linked", "handed-over", "exchanged", "half-removed", "removed")
"""Points that a first download does not come by."""


@pytest.fixture
def data() -> bytes:
    return gguf(random.Random(7).randbytes(5_000_001))


@pytest.fixture
async def origin(data: bytes) -> AsyncIterator[Origin]:
    async with origins.running(data) as served:
        yield served


class Lives:
    """One state directory, all its lives, and one download through them."""

    def __init__(self, nursery: Nursery, state_dir: Path, origin: Origin) -> None:
        self.nursery = nursery
        self.state_dir = state_dir
        self.origin = origin
        self.history = History()
        self.versions = [origin.data]
        self.job_id = ""
        origin.may_go_on = lambda end: end == len(origin.data) or end - self.on_disk() < LEAD

    @contextlib.asynccontextmanager
    async def life(self, pace: float = 0.0, **planned: Any) -> AsyncIterator[tuple[Child, Stream]]:
        """A life, and a stream that replays all that there is and goes on."""
        self.history.new_life()
        self.origin.script(Serve(pace=pace, etag=f'"v{len(self.versions)}"'))
        async with self.nursery.child(self.state_dir, **planned) as daemon:
            async with daemon.events("after=0") as stream:
                try:
                    yield daemon, stream
                finally:
                    self.history.heard(stream.messages)
        self.assert_sound()

    async def download(self, daemon: Child, **more: Any) -> None:
        self.job_id = (await daemon.download("m", self.origin.url(NAME), **more))["job_id"]

    async def die_by(self, daemon: Child, stream: Stream) -> None:
        """Return when the fault has killed it."""
        with contextlib.suppress(aiohttp.ClientError):
            await stream.rest()
        assert await daemon.ended() == -signal.SIGKILL, daemon.log.decode()

    async def is_stillborn(self, **planned: Any) -> None:
        """A life that is killed before it can say where it is."""
        with pytest.raises(Stillborn):
            async with self.nursery.child(self.state_dir, **planned):
                pytest.fail("it lives")
        self.assert_sound()

    def serve(self, data: bytes) -> None:
        """From now on the origin has another version."""
        self.versions.append(data)
        self.origin.data, self.origin.sent = data, 0

    def on_disk(self) -> int:
        try:
            return (self.state_dir / "models" / f"{NAME}.part").stat().st_size
        except FileNotFoundError:
            return 0

    def model(self) -> bytes:
        return (self.state_dir / "models" / NAME).read_bytes()

    def assert_sound(self) -> None:
        """What must be so after every life, however it ended."""
        milestones = oracle.journal(self.state_dir)
        self.history.recorded(milestones)
        self.history.assert_nothing_lost(milestones)
        oracle.assert_lawful(milestones)
        oracle.assert_whole(self.state_dir / "models", self.versions)
        starts = [row.id for row in milestones if row.kind == "Service.Start"]
        if starts:
            self.history.assert_begun(starts[-1])

    async def assert_that_the_next_life_ends_it(self, data: bytes, repeated: int = AT_RISK, **planned: Any) -> None:
        async with self.life(**planned) as (_, stream):
            last = await stream.until(
                lambda message: (
                    message.payload.get("job_id") == self.job_id and message.payload.get("status") in oracle.FINAL
                )
            )
        payload = last[-1].payload
        assert (payload["status"], payload.get("bytes")) == ("complete", len(data)), payload
        assert payload["sha256"] == hashlib.sha256(data).hexdigest()
        assert oracle.ends(oracle.journal(self.state_dir), self.job_id) == ["complete"]
        assert oracle.asked_again(self.origin) <= repeated
        oracle.assert_listed(self.state_dir, {"m": data})
        oracle.assert_tidy(self.state_dir)


@pytest.fixture
def lives(nursery: Nursery, tmp_path: Path, origin: Origin) -> Lives:
    return Lives(nursery, tmp_path / "state", origin)


@pytest.mark.parametrize("number", range(MOMENTS))
async def test_a_kill_at_a_random_moment_costs_at_most_a_mebibyte(lives: Lives, data: bytes, number: int) -> None:
    chance = random.Random(f"{SEED}/{number}")
    print(f"ARWD_TEST_SEED={SEED}")
    async with lives.life(PACE) as (daemon, stream):
        await lives.download(daemon, **chance.choice([{}, {"sha256": hashlib.sha256(data).hexdigest()}]))
        await asyncio.sleep(chance.uniform(0, SPAN))
        daemon.process.send_signal(signal.SIGKILL)
        await lives.die_by(daemon, stream)
    # A machine may have lost its clock as well: ids must grow all the same.
    await lives.assert_that_the_next_life_ends_it(data, clock=chance.choice([None, 0]))


async def test_twenty_kills_of_one_download_cost_at_most_a_mebibyte_each(lives: Lives, data: bytes) -> None:
    chance = random.Random(f"{SEED}/all")
    print(f"ARWD_TEST_SEED={SEED}")
    async with lives.life(PACE) as (daemon, _):
        await lives.download(daemon)
        await daemon.stop(signal.SIGKILL)
    for _ in range(MOMENTS):
        async with lives.life(PACE) as (daemon, _):
            await asyncio.sleep(chance.uniform(0, SPAN / 10))
            await daemon.stop(signal.SIGKILL)
    await lives.assert_that_the_next_life_ends_it(data, MOMENTS * AT_RISK)


@pytest.mark.parametrize("point", [point for point in faults.POINTS if point not in ELSEWHERE])
async def test_a_kill_at_a_point_costs_at_most_a_mebibyte(lives: Lives, data: bytes, point: str) -> None:
    async with lives.life(kill_at=point) as (daemon, stream):
        await lives.download(daemon)
        await lives.die_by(daemon, stream)
    await lives.assert_that_the_next_life_ends_it(data)
    if point in faults.SINCE_CHECKED:
        assert len(lives.origin.requests) == 1, "it asked again for what was whole and checked"


@pytest.mark.parametrize("nth", [2, 7, 12])  # a slab may be longer than usual: then there are fewer of them
async def test_a_kill_in_the_middle_of_a_later_write_costs_at_most_a_mebibyte(
    lives: Lives, data: bytes, nth: int
) -> None:
    # At full speed the slabs are so large that there are too few of them.
    async with lives.life(PACE, kill_at="mid-slab", nth=nth) as (daemon, stream):
        await lives.download(daemon)
        await lives.die_by(daemon, stream)
    await lives.assert_that_the_next_life_ends_it(data)


@pytest.mark.parametrize("point", ["placed", "in-the-commit", "committed", "half-tidied", "tidied", "revealed"])
async def test_a_kill_while_the_next_life_mends_what_the_last_one_left(lives: Lives, data: bytes, point: str) -> None:
    async with lives.life(kill_at="renamed") as (daemon, stream):
        await lives.download(daemon)
        await lives.die_by(daemon, stream)
    await lives.is_stillborn(kill_at=point)
    await lives.assert_that_the_next_life_ends_it(data)


@pytest.mark.parametrize("point", ["checked", "replaced", "placed", "in-the-commit", "committed", "half-tidied"])
async def test_a_kill_while_a_new_version_replaces_the_old_one(lives: Lives, data: bytes, point: str) -> None:
    async with lives.life() as (daemon, stream):
        await lives.download(daemon)
        await stream.status("complete")
    newer = gguf(data[::-1][:2_000_003])
    lives.serve(newer)
    async with lives.life(kill_at=point) as (daemon, stream):
        await lives.download(daemon, sha256=hashlib.sha256(newer).hexdigest())
        await lives.die_by(daemon, stream)
    assert lives.model() in (data, newer)
    await lives.assert_that_the_next_life_ends_it(newer)
