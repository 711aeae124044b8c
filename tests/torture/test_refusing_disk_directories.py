"""Every call to the disk refused in its turn, while a model of several files is fetched, replaced, linked, deleted."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from arwd import fs
from tests.hub import Hub, Repo
from tests.models import SEVERAL, tensors, tree
from tests.running import Running
from tests.torture.test_refusing_disk import Disk, acted, sweep

NEWER = SEVERAL | {"config.json": b'{"newer": true}', "model-00002-of-00002.safetensors": tensors(1_600_000)}
del NEWER["empty.txt"]


class Case:
    """One kind of work: what is there before, what is asked for, what must be there in the end."""

    def __init__(self, kind: str, served: Hub) -> None:
        self.kind, self.served = kind, served
        self.wanted = NEWER if kind == "replace" else SEVERAL

    async def prepare(self, daemon: Running) -> None:
        self.served.repos["org/m"] = Repo(SEVERAL)
        if self.kind in ("link", "delete"):
            await self._have(daemon, "holder")
        if self.kind in ("replace", "delete"):
            await self._have(daemon, "m")
        if self.kind == "replace":
            self.served.repos["org/m"].push(NEWER)

    async def act(self, daemon: Running) -> dict[str, Any]:
        return await acted(daemon, None if self.kind == "delete" else {"id": "m", "ref": "hf://org/m"})

    async def faults(self, daemon: Running, last: dict[str, Any], *, is_over: bool) -> list[str]:
        """What is wrong with what is there. `is_over`: the disk refuses nothing any more."""
        found = ["ended in internal"] if last.get("code") == "internal" else []
        _, models = await daemon.call("GET", "/models")
        paths = {model["id"]: Path(model["path"]) for model in models if "path" in model}
        there = {model_id: tree(path) for model_id, path in paths.items()}
        if last.get("status") == "complete" and there.get("m") != self.wanted:
            found.append("wrong bytes")
        if self.kind == "replace" and there.get("m") not in (SEVERAL, NEWER):
            found.append("neither the old one nor the new")
        if self.kind in ("link", "delete") and there.get("holder") != SEVERAL:
            found.append("the holder is damaged")
        if is_over and self.kind == "delete" and "m" in there:
            found.append("it is still listed")
        if is_over and self.kind != "delete" and last.get("status") != "complete":
            found.append(f"not complete: {last}")
        # Where a folder could not be removed it stays, empty.
        names = {path.name for path in daemon.models.iterdir() if not path.is_dir() or tree(path)}
        if is_over and (left := names - {path.name for path in paths.values()}):
            found.append(f"left: {left}")
        if (await daemon.call("GET", "/storage"))[1]["promised"]:
            found.append("room is still promised")
        return found

    async def _have(self, daemon: Running, model_id: str) -> None:
        assert (await daemon.call("POST", "/models/download", {"id": model_id, "ref": "hf://org/m"}))[0] == 200
        assert (await daemon.settled(model_id))["status"] == "complete"


@pytest.mark.timeout(0)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("kind", ["fresh", "replace", "link", "delete"])
async def test_refused_everywhere(
    tmp_path: Path, served: Hub, monkeypatch: pytest.MonkeyPatch, kind: str, times: int, number: int
) -> None:
    disk, case = Disk(number), Case(kind, served)
    for place, name in ((os, "mkdir"), (os, "rmdir"), (fs, "exchange")):
        monkeypatch.setattr(place, name, disk.refusing(getattr(place, name)))
    disk.plant(monkeypatch)
    await sweep(disk, case, tmp_path, times, hf_endpoint=served.url)
