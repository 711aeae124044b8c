"""`kill -9` at every point of the road of a model of several files: the next life ends it unasked, and all is there."""

import contextlib
import hashlib
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests import faults, oracle
from tests.hub import Hub
from tests.models import SEVERAL, tensors, tree
from tests.nursery import Nursery
from tests.processes import Child, Stillborn

NEWER = SEVERAL | {"config.json": b'{"newer": true}', "model-00002-of-00002.safetensors": tensors(1_600_000)}
POINTS = [
    ("control-file", 1),  # the directory's
    ("control-file", 2),  # of the first large file, before its first byte
    ("control-file", 3),
    ("mid-slab", 1),
    ("mid-slab", 6),
    ("digested", 1),
    ("digested", 2),
    ("checked", 1),  # a large file
    ("checked", 2),
    ("checked", 3),  # all of them
    ("renamed", 1),  # within the directory
    ("renamed", 2),
    ("renamed", 3),  # the directory itself
    *((point, 1) for point in ("placed", "in-the-commit", "committed", "half-tidied", "tidied", "revealed")),
]

SINCE_CHECKED = POINTS[POINTS.index(("checked", 3)) :][:1] + POINTS[POINTS.index(("renamed", 3)) :]
"""Those behind which no file is missing, and the directory's control file says so."""


class Lives:
    """One state directory and its lives."""

    def __init__(self, nursery: Nursery, state_dir: Path, served: Hub) -> None:
        self.nursery, self.state_dir, self.served = nursery, state_dir, served

    @contextlib.asynccontextmanager
    async def life(self, **planned: Any) -> AsyncIterator[Child]:
        environ = {"ARWD_HF_ENDPOINT": self.served.url}
        async with self.nursery.child(self.state_dir, environ=environ, **planned) as daemon:
            yield daemon

    async def dies(self, method: str, path: str, body: object, **planned: Any) -> None:
        """A life in which this is asked for, and which is killed where it was planned."""
        async with self.life(**planned) as daemon:
            with contextlib.suppress(aiohttp.ClientError):
                await daemon.call(method, path, body)
            assert await daemon.ended() == -signal.SIGKILL, daemon.log.decode()
        oracle.assert_lawful(oracle.journal(self.state_dir))

    async def dies_downloading(self, **planned: Any) -> None:
        await self.dies("POST", "/models/download", {"id": "m", "ref": "hf://org/m"}, **planned)

    async def assert_that_the_next_life_ends_it(self, files: Mapping[str, bytes]) -> None:
        large = {name: data for name, data in files.items() if name.endswith("safetensors")}
        held = {name: self.on_disk(name) for name in large}
        self.served.storage.requests.clear()
        async with self.life() as daemon:
            last = await daemon.settled("m")
            assert (last["status"], last["files"]) == ("complete", len(files)), last
            _, listed = await daemon.call("GET", "/models")
            assert [model["id"] for model in listed] == ["m"]
        assert tree(self.state_dir / "models" / "org--m") == files
        assert [path.name for path in (self.state_dir / "models").iterdir()] == ["org--m"]
        milestones = oracle.journal(self.state_dir)
        oracle.assert_lawful(milestones)
        assert oracle.ends(milestones, last["job_id"]) == ["complete"]
        for name, data in large.items():
            # What is on disk is not asked for again.
            assert self.asked_from(data) in ([], [held[name]]), name

    def on_disk(self, name: str) -> int:
        """The bytes that are there of a file."""
        staging = self.state_dir / "models" / "org--m.part"
        return max([path.stat().st_size for path in (staging / name, staging / f"{name}.part") if path.exists()] or [0])

    def asked_from(self, data: bytes) -> list[int]:
        """The places in a large file from which the storage was asked for it."""
        digest = hashlib.sha256(data).hexdigest()
        requests = [seen for seen in self.served.storage.requests if digest in seen.path]
        return [int(seen.headers.get("range", "bytes=0-")[6:].partition("-")[0]) for seen in requests]


@pytest.fixture
def lives(nursery: Nursery, tmp_path: Path, served: Hub) -> Lives:
    return Lives(nursery, tmp_path / "state", served)


@pytest.mark.parametrize(("point", "nth"), POINTS)
async def test_a_kill_at_a_point_loses_no_file(lives: Lives, served: Hub, point: str, nth: int) -> None:
    await lives.dies_downloading(kill_at=point, nth=nth)
    await lives.assert_that_the_next_life_ends_it(SEVERAL)
    is_checked = nth == 3 or (nth == 1 and point in faults.SINCE_CHECKED)
    if is_checked and (point, nth) not in (("checked", 1), ("renamed", 1), ("control-file", 3)):
        assert served.storage.requests == [], "it asked again for what was whole and checked"


@pytest.mark.parametrize("point", ["checked", "exchanged", "placed", "in-the-commit", "committed", "half-tidied"])
async def test_a_kill_while_a_newer_commit_replaces_the_old_one(lives: Lives, served: Hub, point: str) -> None:
    async with lives.life() as daemon:
        await daemon.call("POST", "/models/download", {"id": "m", "ref": "hf://org/m"})
        await daemon.settled("m")
    served.repos["org/m"].push(NEWER)
    await lives.dies_downloading(kill_at=point)
    assert tree(lives.state_dir / "models" / "org--m") in (SEVERAL, NEWER)
    await lives.assert_that_the_next_life_ends_it(NEWER)


@pytest.mark.parametrize("point", ["placed", "in-the-commit", "committed", "half-tidied", "tidied", "revealed"])
async def test_a_kill_while_the_next_life_mends_what_the_last_one_left(lives: Lives, point: str) -> None:
    await lives.dies_downloading(kill_at="renamed", nth=3)
    with pytest.raises(Stillborn):
        async with lives.life(kill_at=point):
            pytest.fail("it lives")
    await lives.assert_that_the_next_life_ends_it(SEVERAL)


@pytest.mark.parametrize("point", ["half-removed", "removed"])
async def test_a_deletion_that_was_cut_off_is_done_by_the_next_life(lives: Lives, point: str) -> None:
    async with lives.life() as daemon:
        await daemon.call("POST", "/models/download", {"id": "m", "ref": "hf://org/m"})
        await daemon.settled("m")
        (lives.state_dir / "models" / "org--m" / "mine.txt").write_text("mine")
    await lives.dies("POST", "/models/delete", {"id": "m"}, kill_at=point)
    async with lives.life() as daemon:
        assert await daemon.call("GET", "/models") == (200, [])
    assert tree(lives.state_dir / "models" / "org--m") == {"mine.txt": b"mine"}
