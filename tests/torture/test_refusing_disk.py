"""Every call to the disk refused in its turn, with each errno: what `test_refusing_disk.py` and others sample."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from arwd import fs
from arwd.jobs import dispatch, record, roster, vigil
from tests import origin as origins
from tests import running
from tests.models import gguf
from tests.origin import Origin, Serve
from tests.running import Running

DATA = gguf(os.urandom(700_000))
NEWER = gguf(os.urandom(700_000))
CALLS = (
    "open", "write", "pwritev", "pwrite", "fsync", "replace", "rename", "link", "ftruncate", "unlink", "stat", "pread",
    "scandir", "listdir",
)  # fmt: skip


@dataclass
class Disk:
    """Refuses `times` calls from the `first` on, while it is armed."""

    number: int
    first: int = 0
    times: int = 1
    met: int = -1
    is_armed: bool = False

    def plant(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(vigil, "EVERY", 0.05)
        for module, patience in ((roster, "PATIENCE"), (dispatch, "PATIENCE"), (record, "_PATIENCE")):
            monkeypatch.setattr(module, patience, 0.3)  # nobody waits for long
        for place, name in [*((os, name) for name in CALLS), (fs, "rename_without_replacing")]:
            monkeypatch.setattr(place, name, self.refusing(getattr(place, name)))

    def arm(self, first: int, times: int) -> None:
        self.first, self.times, self.met, self.is_armed = first, times, -1, True

    @property
    def has_refused(self) -> bool:
        return self.met >= self.first

    def refusing(self, function: Any) -> Any:
        """The call, as this disk answers it."""

        def call(*arguments: Any, **more: Any) -> Any:
            if self.is_armed:
                self.met += 1
                if self.first <= self.met < self.first + self.times:
                    raise OSError(self.number, os.strerror(self.number))
            return function(*arguments, **more)

        return call


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(DATA) as served:
        yield served


class Case:
    """One kind of work: what is there before, what is asked for, what must be there in the end."""

    def __init__(self, kind: str, origin: Origin) -> None:
        self.kind = kind
        self.origin = origin
        self.wanted = NEWER if kind == "replace" else DATA
        self.request: dict[str, Any] = {"id": "m", "url": origin.url("m.gguf")}
        if kind in ("link", "delete"):
            self.request["sha256"] = hashlib.sha256(DATA).hexdigest()

    async def prepare(self, daemon: Running) -> None:
        self.origin.data = DATA
        self.origin.script(Serve())
        if self.kind in ("link", "delete"):
            await self._have(daemon, {**self.request, "id": "holder", "url": self.origin.url("holder.gguf")})
        if self.kind in ("replace", "delete"):
            await self._have(daemon, self.request)
        if self.kind == "replace":
            self.origin.data = NEWER
            self.origin.script(Serve(etag='"v2"'))

    async def act(self, daemon: Running) -> dict[str, Any]:
        return await acted(daemon, None if self.kind == "delete" else self.request)

    async def faults(self, daemon: Running, last: dict[str, Any], *, is_over: bool) -> list[str]:
        """What is wrong with what is there. `is_over`: the disk refuses nothing any more."""
        found = ["ended in internal"] if last.get("code") == "internal" else []
        file = daemon.models / "m.gguf"
        if last.get("status") == "complete" and file.read_bytes() != self.wanted:
            found.append("wrong bytes")
        if self.kind in ("link", "delete") and (daemon.models / "holder.gguf").read_bytes() != DATA:
            found.append("the holder is damaged")
        if is_over and self.kind == "delete" and file.exists():
            found.append("the file is still there")
        if is_over and self.kind != "delete" and last.get("status") != "complete":
            found.append(f"not complete: {last}")
        if is_over and (left := set(daemon.files()) - {"m.gguf", "holder.gguf"}):
            found.append(f"left: {left}")
        if (await daemon.call("GET", "/storage"))[1]["promised"]:
            found.append("room is still promised")
        return found

    async def _have(self, daemon: Running, request: dict[str, Any]) -> None:
        assert (await daemon.call("POST", "/models/download", request))[0] == 200
        assert (await daemon.settled(request["id"]))["status"] == "complete"


class Work(Protocol):
    """What is done while the disk refuses."""

    async def prepare(self, daemon: Running) -> None:
        """Have there what is there before."""

    async def act(self, daemon: Running) -> dict[str, Any]:
        """Ask for it. How it ended, as far as it did."""

    async def faults(self, daemon: Running, last: dict[str, Any], *, is_over: bool) -> list[str]:
        """What is wrong with what is there. `is_over`: the disk refuses nothing any more."""


async def acted(daemon: Running, request: dict[str, Any] | None) -> dict[str, Any]:
    """How this download of `m` ended, or its deletion if there is none, as far as it did."""
    async with asyncio.timeout(10.0):
        if request is None:
            status, answer = await daemon.call("DELETE", "/models/m")
        else:
            status, answer = await daemon.call("POST", "/models/download", request)
    if status != 200 or request is None:
        return {"status": status, **answer}
    try:
        async with asyncio.timeout(8.0):
            return await daemon.settled("m")
    except TimeoutError:
        return await daemon.job("m")


async def sweep(disk: Disk, work: Work, tmp_path: Path, times: int, **flags: Any) -> None:
    """Each call refused in its turn, and then the same request in the next life."""
    broken: list[tuple[int, str]] = []
    first = 0
    while not first or disk.has_refused:
        state = tmp_path / str(first)
        async with running.daemon(state, retry_pause=0.05, **flags) as daemon:
            await work.prepare(daemon)
            disk.arm(first, times)
            last = await work.act(daemon)
            disk.is_armed = False
            broken += [(first, fault) for fault in await work.faults(daemon, last, is_over=False)]
        async with running.daemon(state, retry_pause=0.05, **flags) as daemon:
            last = await work.act(daemon)
            broken += [(first, fault) for fault in await work.faults(daemon, last, is_over=True)]
        first += 1
    print(f"{times} at a time: {first} places")
    assert first > 5
    assert not broken, "\n".join(map(str, broken[:12]))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("kind", ["fresh", "replace", "link", "delete"])
async def test_refused_everywhere(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch, kind: str, times: int, number: int
) -> None:
    disk, case = Disk(number), Case(kind, origin)
    disk.plant(monkeypatch)
    await sweep(disk, case, tmp_path, times)
