"""State directories that somebody lived in, damage done to them, and what a daemon makes of it."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from arwd import net, settings
from arwd.daemon import Daemon
from arwd.model import Job, Model
from tests import origin as origins
from tests import running
from tests.models import gguf
from tests.origin import Serve, Stall

DATA = gguf(bytes(range(256)) * 600 + b"the end")
SHA256 = hashlib.sha256(DATA).hexdigest()
HELD = 100_000
"""Bytes that the parts hold."""


@dataclass(frozen=True)
class Lived:
    """A state directory as a kill or a stop left it. It is copied, never used."""

    path: Path
    models: dict[str, str]
    """Ids and file names of the finished models."""
    jobs: dict[str, str]
    """Model ids and job ids of the unfinished ones: `queued`, and `paused` and `growing`, which have a part."""
    head: int
    """The newest id that a subscriber has seen."""

    def copy(self, to: Path) -> Path:
        """One to be damaged."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.path, to)
        return to


@dataclass
class Life:
    """What a daemon found and said."""

    models: dict[str, Model] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    first_id: int = 0


async def lived(state: Path, snapshots: Path) -> tuple[Lived, Lived]:
    """A directory that was killed in the middle, its database half in the write-ahead log; and one that was stopped."""
    models = {"plain": "plain.bin", "second": "second.bin", "org/third": "third.bin"}
    async with origins.running(DATA) as origin:
        async with running.daemon(state) as daemon:
            for model_id in list(models)[:2]:
                await daemon.download(model_id, origin.url(models[model_id]), sha256=SHA256)
                await daemon.settled(model_id)
        async with running.daemon(state, max_jobs=1) as daemon:
            await daemon.download("org/third", origin.url("third.bin"))
            await daemon.settled("org/third")
            origin.script(Stall(HELD), Stall(HELD), Serve())
            jobs = {}
            for model_id in ("paused", "growing", "queued"):
                # A digest of its own: what is held already would not be fetched.
                wanted = hashlib.sha256(model_id.encode()).hexdigest()
                receipt = await daemon.download(model_id, origin.url(f"{model_id}.bin"), sha256=wanted)
                jobs[model_id] = receipt["job_id"]
                if model_id == "paused":
                    await _holds(daemon, model_id)
                    await daemon.call("POST", "/models/download/pause", {"id": "paused"})
            await _holds(daemon, "growing")
            kept = Lived(snapshots / "killed", models, jobs, daemon.daemon.bus.head)
            shutil.copytree(state, kept.path)
        stopped = Lived(snapshots / "stopped", models, jobs, daemon.daemon.bus.head)
        shutil.copytree(state, stopped.path)
    return kept, stopped


async def _holds(daemon: running.Running, model_id: str) -> None:
    async with daemon.events(f"id={model_id}&prefix=Models.DownloadProgress") as stream:
        await stream.until(lambda message: message.payload.get("downloaded", 0) >= HELD)


async def live(state: Path) -> Life:
    """Open a daemon on it, look around, let it check what it wants to check, and close it."""
    options = settings.load({"state_dir": str(state), "reserve": 0, "retry_pause": 60.0}, {})
    daemon = Daemon(options, "", net.Egress(options.net, {}))
    await daemon.open()
    life = Life()
    life.jobs = {job.id: job for job, _ in daemon.manager.roster if not job.is_final}
    await daemon.recheck()
    await daemon.bus.quiet()
    life.models = {model.id: model for model in daemon.library}
    life.first_id = daemon.bus.head
    await daemon.quiesce()
    await daemon.close()
    return life


def files(state: Path) -> dict[str, bytes]:
    """What lies below models/, but for what a stop writes anew."""
    return {
        path.name: path.read_bytes() for path in (state / "models").iterdir() if not path.name.endswith(".part.json")
    }


def faults(before: Lived, life: Life, state: Path, kept: dict[str, bytes], log: str) -> list[str]:
    """Every promise that was broken, as sentences."""
    found = []
    if life.first_id <= before.head:
        found.append(f"id {life.first_id} after {before.head}")
    for model in life.models.values():
        data = (state / "models" / model.name).read_bytes()
        if hashlib.sha256(data).hexdigest() != model.sha256 or model.sha256 != SHA256:
            found.append(f"{model.id} is listed with wrong bytes")
        if before.models.get(model.id) != model.name:
            found.append(f"{model.id} is listed as {model.name}")
    now = files(state)
    found += [f"{name} was changed or deleted" for name in kept if now.get(name) != kept[name]]
    for model_id, job_id in before.jobs.items():
        job = life.jobs.get(model_id)
        if job is None and not any(words in log for words in ("set aside", "cannot be read", "is empty")):
            found.append(f"job {model_id} is lost in silence")
        elif job is not None and job.job_id != job_id:
            found.append(f"job {model_id} has another job id")
    return found + [f"{model_id} is not listed" for model_id in before.models if model_id not in life.models]


Damage = Callable[[bytes], bytes]


def cut(length: int) -> Damage:
    """Nothing is left beyond."""
    return lambda data: data[:length]


def flipped(offset: int, bit: int) -> Damage:
    """One bit is another."""
    return lambda data: data[:offset] + bytes([data[offset] ^ 1 << bit]) + data[offset + 1 :]


async def judged(before: Lived, file: str, harm: Damage, where: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every promise that a daemon breaks on a copy of this directory with a harmed file."""
    state = before.copy(where)
    (state / file).write_bytes(harm((state / file).read_bytes()))
    kept = files(state)
    caplog.clear()
    try:
        life = await live(state)
    except Exception as error:
        return [f"it does not start: {type(error).__name__}: {error}"]
    return faults(before, life, state, kept, caplog.text)
