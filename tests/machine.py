"""A user, an origin, a disk and a murderer, in any order: after every step, what must be true is true."""

import asyncio
import contextlib
import itertools
import random
import shutil
import signal
import sqlite3
from collections.abc import Coroutine
from typing import Any

import aiohttp
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests import oracle
from tests import origin as origins
from tests.disks import Disk
from tests.models import gguf
from tests.nursery import Nursery
from tests.oracle import History
from tests.origin import Reset, Serve, Stall, Status
from tests.processes import Child
from tests.running import Stream

SIZE = 600_000
PACE = 0.004
"""Seconds between two pieces: slow enough that much can happen in the middle of a file."""
PATIENCE = 30.0
"""Seconds in which everything must come to its end once nothing is wrong any more."""
SETTINGS = {"ARWD_STALL_TIMEOUT": "1"}

ids = st.sampled_from(["a", "b", "c"])
places = st.integers(0, SIZE)


class Machine(RuleBasedStateMachine):
    """One state directory, all its lives."""

    def __init__(self, nursery: Nursery, disk: Disk) -> None:
        super().__init__()
        self.nursery = nursery
        self.disk = disk
        self.state_dir = disk.path / "state"
        self.history = History()
        self.accepted: set[str] = set()
        self.paused: set[str | None] = set()
        """The jobs that their user had paused when the last life ended."""
        self.clock: int | None = None
        """Where the clock of the next lives stands, if it is wrong."""
        self.numbers = itertools.count(1)
        self.versions: list[bytes] = []
        self.runner = asyncio.Runner()
        self.around = contextlib.AsyncExitStack()
        self.life = contextlib.AsyncExitStack()
        disk.free()
        shutil.rmtree(self.state_dir, ignore_errors=True)
        self.do(self._open())

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    # What users do

    @rule(model_id=ids, has_digest=st.booleans())
    def post(self, model_id: str, has_digest: bool) -> None:
        body = {"id": model_id, "url": self.origin.url(f"{model_id}.gguf")}
        if has_digest:
            body["sha256"] = oracle.digest(self.origin.data)
        status, answer = self.call("/models/download", body)
        if status == 200:
            self.accepted.add(answer["data"]["job_id"])
        else:
            assert status == 409 or self.disk.is_full, answer

    @rule(model_id=ids, command=st.sampled_from(["pause", "resume", "cancel"]))
    def command(self, model_id: str, command: str) -> None:
        status, answer = self.call(f"/models/download/{command}", {"id": model_id})
        assert status == 200 or self.disk.is_full, answer

    @rule(model_id=ids)
    def delete(self, model_id: str) -> None:
        status, answer = self.call("/models/delete", {"id": model_id})
        assert status == 200 or self.disk.is_full, answer

    @rule(milliseconds=st.integers(1, 40))
    def wait(self, milliseconds: int) -> None:
        self.do(asyncio.sleep(milliseconds / 1000))

    # What goes wrong

    @rule(count=st.integers(1, 3), after=places)
    def cut_off(self, count: int, after: int) -> None:
        self.origin.script(*[Serve(after, etag=self.etag)] * count, self.healthy)

    @rule(count=st.integers(1, 3), after=places)
    def reset(self, count: int, after: int) -> None:
        self.origin.script(*[Reset(after, etag=self.etag)] * count, self.healthy)

    @rule(count=st.integers(1, 3))
    def refuse(self, count: int) -> None:
        self.origin.script(*[Status(503)] * count, self.healthy)

    @rule(after=places)
    def stall(self, after: int) -> None:
        self.origin.script(Stall(after, etag=self.etag), self.healthy)

    @rule()
    def publish_anew(self) -> None:
        self.do(self._publish())

    @precondition(lambda self: not self.disk.is_full)
    @rule(left=st.sampled_from([0, 8_192, 65_536, SIZE // 2]))
    def fill_the_disk(self, left: int) -> None:
        self.disk.fill(left)
        self.daemon.may_stumble = True

    @precondition(lambda self: self.disk.is_full)
    @rule()
    def free_the_disk(self) -> None:
        self.disk.free()

    @rule()
    def hang_up(self) -> None:
        """Those that stalled are given up."""
        stalled, self.origin.go_on = self.origin.go_on, asyncio.Event()
        stalled.set()

    @rule(clock=st.sampled_from([None, 0]), is_published_anew=st.booleans())
    def kill(self, clock: int | None, is_published_anew: bool) -> None:
        self.clock = clock
        self.do(self._end(signal.SIGKILL))
        if is_published_anew:
            self.do(self._publish())
        self.do(self._begin())

    @rule()
    def restart(self) -> None:
        self.do(self._end(signal.SIGTERM))
        self.do(self._begin())

    # What must be true

    @invariant()
    def nothing_is_wrong(self) -> None:
        # Not through the daemon: what it would say is not what is there. It lives, so reading changes nothing.
        with contextlib.closing(sqlite3.connect(f"file:{self.state_dir}/arwd.db?mode=ro", uri=True)) as connection:
            milestones = oracle.rows(connection)
        self.history.recorded(milestones)
        oracle.assert_lawful(milestones)
        oracle.assert_whole(self.state_dir / "models", self.versions)

    def teardown(self) -> None:
        try:
            self.do(self._settle())
        finally:
            self.do(self._close())
            self.runner.close()

    # How it is done

    def call(self, path: str, body: object) -> tuple[int, Any]:
        return self.do(self.daemon.call("POST", path, body))

    @property
    def etag(self) -> str:
        return f'"v{len(self.versions)}"'

    @property
    def healthy(self) -> Serve:
        return Serve(pace=PACE, etag=self.etag)

    async def _open(self) -> None:
        self.origin = await self.around.enter_async_context(origins.running(b""))
        await self._publish()
        await self._begin()

    async def _close(self) -> None:
        self.disk.free()
        await self.life.aclose()
        await self.around.aclose()

    async def _publish(self) -> None:
        number = len(self.versions)
        self.versions.append(gguf(random.Random(number).randbytes(SIZE - 77 * (number % 3))))
        self.origin.data = self.versions[-1]
        self.origin.script(self.healthy)

    async def _begin(self) -> None:
        self.history.new_life()
        self.life = contextlib.AsyncExitStack()
        try:
            await self._bear()
        except AssertionError:
            # On a full disk a daemon may say that it cannot start; that is for its manager to try again.
            if not self.disk.is_full:
                raise
            self.disk.free()
            await self._bear()

    async def _bear(self) -> None:
        born = self.nursery.child(self.state_dir, environ=SETTINGS, clock=self.clock, **self.disk.planned)
        self.daemon: Child = await self.life.enter_async_context(born)
        self.stream: Stream = await self.life.enter_async_context(self.daemon.events("after=0"))
        self.daemon.may_stumble = self.disk.is_full
        _, listed = await self.daemon.call("GET", "/models/jobs")
        resumed = [job for job in listed["jobs"] if job["job_id"] in self.paused and job["status"] != "paused"]
        assert resumed == [], "a pause must outlive its daemon"
        # Whoever has been answered has been served: from here on a signal is handled.
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            await self.stream.rest()

    async def _end(self, number: signal.Signals) -> None:
        status = await self.daemon.stop(number)
        assert status == (0 if number is signal.SIGTERM else -number), self.daemon.log.decode()
        await self.listening
        await self.life.aclose()
        self.history.heard(self.stream.messages)
        milestones = oracle.journal(self.state_dir)
        self.history.recorded(milestones)
        self.history.assert_nothing_lost(milestones)
        starts = [row.id for row in milestones if row.kind == "Service.Start"]
        self.history.assert_begun(starts[-1])
        latest = [row for row in oracle.latest(milestones) if row.payload["status"] == "paused"]
        self.paused = {row.job_id for row in latest if "code" not in row.payload}

    async def _settle(self) -> None:
        """Nothing is wrong any more: everything comes to its end."""
        self.disk.free()
        self.origin.script(self.healthy)
        self.origin.go_on.set()
        _, listed = await self.daemon.call("GET", "/models/jobs")
        for job in listed["jobs"]:
            # Whoever waits for room goes on unasked.
            if job["status"] == "paused" and job.get("code") != "disk_full":
                await self.daemon.call("POST", "/models/download/resume", {"id": job["id"]})
        async with asyncio.timeout(PATIENCE):
            async with self.daemon.events("until=done") as stream:
                await stream.rest()
        for model_id in "abc":
            await self.daemon.download(
                model_id, self.origin.url(f"{model_id}.gguf"), sha256=oracle.digest(self.origin.data)
            )
            last = await self.daemon.settled(model_id)
            assert last["status"] == "complete", last
        status, listed = await self.daemon.call("GET", "/models")
        assert status == 200
        await self._end(signal.SIGTERM)
        milestones = oracle.journal(self.state_dir)
        for job_id in self.accepted:
            assert len(oracle.ends(milestones, job_id)) == 1, [row for row in milestones if row.job_id == job_id]
        oracle.assert_whole(self.state_dir / "models", [self.origin.data])
        oracle.assert_listed(self.state_dir, dict.fromkeys("abc", self.origin.data))
        oracle.assert_tidy(self.state_dir)
        assert {entry["id"]: entry["status"] for entry in listed} == dict.fromkeys("abc", "available")
