"""The power goes at any moment. Whatever a client was told before is true afterwards, and no id comes twice.

What it is told between the cut and the death of the process counts for ids only: no real process outlives its disk's
power, and a kernel that lost its disk may call a sync done that was not.
"""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests import disks, oracle
from tests import origin as origins
from tests.disks import Powered
from tests.models import gguf
from tests.nursery import Nursery
from tests.oracle import History
from tests.origin import Origin, Serve
from tests.processes import Child
from tests.running import Stream
from tests.sse import Message

SEED = int(os.environ.get("ARWD_TEST_SEED", random.randrange(1 << 32)))
COMPLETIONS = 500
AT_ONCE = 4

pytestmark = [
    pytest.mark.needs("mkfs.ext4"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
    pytest.mark.timeout(0),
]


class Client:
    """Asks for one small file after the other, and remembers what it was told."""

    def __init__(self, disk: Powered, nursery: Nursery, small: Origin, large: Origin) -> None:
        self.disk = disk
        self.nursery = nursery
        self.small, self.large = small, large
        self.state_dir = disk.path / "state"
        self.history = History()
        self.accepted: set[str] = set()
        self.completed: set[str] = set()
        self.told: set[int] = set()
        """The ids that were heard while there was power."""
        self.has_power = True
        self.lives = 0
        self._chance = random.Random(SEED)
        self._asked = 0

    @contextlib.asynccontextmanager
    async def life(self) -> AsyncIterator[tuple[Child, Stream]]:
        self.lives += 1
        self.history.new_life()
        async with self.nursery.child(self.state_dir, boot_id=f"boot {self.lives}") as daemon:
            daemon.may_stumble = True
            async with daemon.events("after=0") as stream:
                yield daemon, stream
                self.history.heard(stream.messages)

    async def until_the_cut(self) -> None:
        """A life full of downloads, that ends without a warning."""
        async with self.life() as (daemon, stream):
            asking = [asyncio.create_task(self._ask(daemon)) for _ in range(AT_ONCE)]
            listening = asyncio.create_task(self._listen(stream))
            await asyncio.sleep(self._chance.uniform(0.05, 1.5))
            self._cut()
            # It has not noticed yet, and learns that its disk refuses.
            await asyncio.sleep(self._chance.choice([0, 0.1]))
            await daemon.stop(signal.SIGKILL)
            await asyncio.gather(*asking, listening)
        self._power_returns()

    async def cut_while_it_starts(self) -> None:
        """A life that ends while it takes up what the last one left."""
        born = await self.nursery.fork(self.state_dir, boot_id=f"boot {self.lives}, cut short")
        await asyncio.sleep(self._chance.uniform(0, 0.2))
        self._cut()
        born.send_signal(signal.SIGKILL)
        await born.wait()
        self._power_returns()

    def _cut(self) -> None:
        self.disk.cut()
        self.has_power = False

    def _power_returns(self) -> None:
        self.disk.unplug()
        self.disk.plug_in()
        self.has_power = True
        if not (self.state_dir / "arwd.db").exists():
            assert not self.accepted
            return
        milestones = oracle.journal(self.state_dir)
        self.history.recorded(milestones)
        self.history.assert_nothing_lost(milestones, self.told)
        self.history.assert_begun(max(row.id for row in milestones if row.kind == "Service.Start"))
        oracle.assert_lawful(milestones)
        oracle.assert_whole(self.state_dir / "models", [self.small.data, self.large.data])
        assert self.accepted <= {row.job_id for row in milestones}, "a job that was accepted is lost"
        for model_id in self.completed:
            assert (self.state_dir / "models" / f"{model_id}.gguf").read_bytes() == self.small.data

    async def assert_that_all_is_there(self) -> None:
        async with self.life() as (daemon, _):
            async with daemon.events("until=done") as unfinished:
                await unfinished.rest()
            listed = {model["id"] for model in (await daemon.call("GET", "/models"))[1]}
        assert self.completed <= listed
        assert (self.state_dir / "models" / "large.gguf").read_bytes() == self.large.data
        milestones = oracle.journal(self.state_dir)
        assert [job_id for job_id in self.accepted if oracle.ends(milestones, job_id) != ["complete"]] == []
        oracle.assert_tidy(self.state_dir)

    async def ask_for_the_large_one(self) -> None:
        async with self.life() as (daemon, _):
            url, sha256 = self.large.url("large.gguf"), oracle.digest(self.large.data)
            self.accepted.add((await daemon.download("large", url, sha256=sha256))["job_id"])

    async def _ask(self, daemon: Child) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while True:
                self._asked += 1
                model_id = f"m{self._asked}"
                body = {"id": model_id, "url": self.small.url(f"{model_id}.gguf")}
                status, answer = await daemon.call("POST", "/models/download", body)
                if status != 200 or not self.has_power:
                    return
                self.accepted.add(answer["data"]["job_id"])
                await daemon.settled(model_id)

    async def _listen(self, stream: Stream) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            while self.has_power:
                message = await stream.next()
                if self.has_power:
                    self._believe(message)
            await stream.rest()

    def _believe(self, message: Message) -> None:
        self.told.add(int(message.id))
        payload = message.payload
        if payload.get("status") == "complete" and payload["id"] != "large":
            self.completed.add(payload["id"])


async def test_no_acknowledged_completion_is_lost_and_no_id_is_reused(nursery: Nursery, tmp_path: Path) -> None:
    print(f"\nARWD_TEST_SEED={SEED}")
    chance = random.Random(SEED)
    async with (
        origins.running(gguf(chance.randbytes(40_001))) as small,
        origins.running(gguf(chance.randbytes(30_000_001))) as large,
    ):
        large.script(Serve(pace=0.005))
        with disks.powered(tmp_path, 512) as disk:
            client = Client(disk, nursery, small, large)
            await client.ask_for_the_large_one()
            cuts = 0
            while len(client.completed) < COMPLETIONS:
                await (client.cut_while_it_starts() if chance.random() < 0.2 else client.until_the_cut())
                cuts += 1
            await client.assert_that_all_is_there()
    print(
        f"{cuts} power cuts: 0 of {len(client.completed)} acknowledged completions lost,"
        f" 0 of {len(client.accepted)} accepted jobs, 0 of {len(client.history.said)} ids reused"
    )
