"""System calls that fail, or are the last of their process: the k-th of a kind, for every k, by strace.

strace counts for each thread apart, so one run may see the fault in several; that only makes it harder.
"""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests import oracle, processes
from tests.nursery import Nursery
from tests.oracle import History
from tests.origin import Origin
from tests.processes import Child, Stillborn

WRITES = ("write", "pwrite64", "pwritev", "pwritev2", "ftruncate")
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat2", "link", "unlink")
FAULTS = ("ENOSPC", "EIO", "KILL")
NAME = "m.gguf"
_PATIENCE = 30.0
_BLANKS = 2


@dataclass(frozen=True)
class Fault:
    """The `when`-th call of each thread fails so."""

    call: str
    what: str
    when: int

    @property
    def is_kill(self) -> bool:
        return self.what == "KILL"

    def __str__(self) -> str:
        return f"{self.call} {self.what} {self.when}"


def _paths(state_dir: Path) -> Iterator[Path]:
    """What arwd touches below its state directory, as far as it can be told beforehand."""
    yield from (state_dir / name for name in ("lock", "models.json", ".models.json.tmp", "models", "secrets"))
    yield from (state_dir / f"arwd.db{ending}" for ending in ("", "-wal", "-shm", "-journal"))
    names = ("", ".part", ".part.json")
    yield from (state_dir / "models" / f"{NAME}{ending}" for ending in names)
    yield state_dir / "models" / f".{NAME}.part.json.tmp"


class Tracer:
    """A strace that has taken hold of a process."""

    def __init__(self, log: Path) -> None:
        self._log = log

    @property
    def has_struck(self) -> bool:
        """Did the fault come to pass?"""
        said = self._log.read_text(errors="replace")
        return "INJECTED" in said or "killed by SIGKILL" in said


@contextlib.asynccontextmanager
async def tracing(pid: int, state_dir: Path, fault: Fault, log: Path) -> AsyncIterator[Tracer]:
    effect = "signal=KILL" if fault.is_kill else f"error={fault.what}"
    filters = [word for path in _paths(state_dir) for word in ("-P", str(path))]
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-p", str(pid), "-o", str(log), *filters, "-e", f"trace={fault.call}"),
        *("-e", f"inject={fault.call}:{effect}:when={fault.when}"),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Tracer(log)
    finally:
        # It ends with what it traces.
        async with asyncio.timeout(_PATIENCE):
            await tracer.communicate()


class Case:
    """One life with a fault, one without: what must be true in between and in the end."""

    def __init__(self, nursery: Nursery, origin: Origin, folder: Path) -> None:
        self.nursery = nursery
        self.origin = origin
        self.state_dir = folder / "state"
        self.log = folder / "strace"
        self.history = History()
        self.body = {"id": "m", "url": origin.url(NAME), "sha256": oracle.digest(origin.data)}
        self.accepted = ""
        self.waits = False
        """Was the job left waiting for room?"""

    async def run(self, fault: Fault) -> bool:
        """Whether the fault came to pass at all."""
        shutil.rmtree(self.state_dir, ignore_errors=True)
        self.log.write_text("")
        born = await self.nursery.fork(self.state_dir, is_traced=True)
        async with tracing(born.pid, self.state_dir, fault, self.log) as tracer:
            try:
                async with processes.attended(born, self.state_dir) as daemon:
                    daemon.may_stumble = not fault.is_kill
                    await self._live(daemon, fault)
                refusal = None
            except Stillborn as error:
                refusal = str(error)
        has_struck = tracer.has_struck
        if refusal is not None:
            # One that cannot begin says so in a sentence.
            assert has_struck
            assert born.returncode == -9 if fault.is_kill else refusal.splitlines()[-1].startswith("arwd: "), refusal
        self._look()
        self.history.new_life()
        async with self.nursery.child(self.state_dir) as daemon:
            await self._live_on(daemon, is_unasked=fault.is_kill or self.waits)
        self._look()
        oracle.assert_listed(self.state_dir, {"m": self.origin.data})
        oracle.assert_tidy(self.state_dir)
        if self.accepted:
            assert len(oracle.ends(oracle.journal(self.state_dir), self.accepted)) == 1
        return has_struck

    async def _live(self, daemon: Child, fault: Fault) -> None:
        with contextlib.suppress(aiohttp.ClientError) if fault.is_kill else contextlib.nullcontext():
            async with daemon.events("after=0") as stream:
                try:
                    status, answer = await daemon.call("POST", "/models/download", self.body)
                    if status == 200:
                        self.accepted = answer["data"]["job_id"]
                        # A job that met a full disk waits; it may meet it at every attempt of this life.
                        last = await stream.status(*oracle.FINAL, "paused")
                        self.waits = last["status"] == "paused"
                    else:
                        assert status >= 500, answer
                        assert answer["code"] in ("io", "read_only", "disk_full"), answer
                    assert (await daemon.call("GET", "/healthz"))[0] == 200
                except EOFError:
                    assert fault.is_kill
                finally:
                    self.history.heard(stream.messages)
        status = await daemon.stop()
        assert status == 0 or (fault.is_kill and status == -9), daemon.log.decode()

    async def _live_on(self, daemon: Child, *, is_unasked: bool) -> None:
        async with daemon.events("after=0") as stream:
            if is_unasked and self.accepted:
                last = (await stream.until(self._is_end))[-1].payload
                assert last["status"] == "complete", last
            status, answer = await daemon.call("POST", "/models/download", self.body)
            assert status == 200, answer
            assert (await daemon.settled("m"))["status"] == "complete"
            self.history.heard(stream.messages)

    def _is_end(self, message: object) -> bool:
        payload = message.payload  # type: ignore[attr-defined]
        return payload.get("job_id") == self.accepted and payload.get("status") in oracle.FINAL

    def _look(self) -> None:
        if not (self.state_dir / "arwd.db").exists():
            return
        milestones = oracle.journal(self.state_dir)
        self.history.recorded(milestones)
        self.history.assert_nothing_lost(milestones)
        oracle.assert_lawful(milestones)
        oracle.assert_whole(self.state_dir / "models", [self.origin.data])


@dataclass
class Swept:
    """What a sweep came to."""

    call: str
    what: str
    cases: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.call}: {self.cases} cases, {self.what}, {len(self.violations)} violations"


async def sweep(nursery: Nursery, origin: Origin, folder: Path, call: str, what: str, first: int = 1) -> Swept:
    """One case for every k, until a run has no injection; and one more, as threads share work in no fixed way."""
    swept, blanks = Swept(call, what), 0
    for when in itertools.count(first):
        fault = Fault(call, what, when)
        try:
            has_struck = await Case(nursery, origin, folder).run(fault)
        except Exception as error:
            swept.violations.append(f"{fault}: {error!r}")
            has_struck = True
        swept.cases += has_struck
        blanks = 0 if has_struck else blanks + 1
        if blanks == _BLANKS:
            return swept
    raise AssertionError("k rises for ever")
