"""Who waits for room goes on when there is some: the first first, each judged by what remains to it."""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from arwd import fs
from arwd.errors import StorageError
from arwd.jobs import vigil
from arwd.jobs.vigil import EVERY, Vigil
from arwd.states import State
from arwd.store.layout import Layout, Options
from arwd.store.space import Space
from tests.unit.samples import job

MIB = 1 << 20


class Progress:
    def __init__(self, downloaded: int, total: int | None) -> None:
        self.downloaded = downloaded
        self.total = total


class Worker:
    """A job that waits for room since `paused_at`."""

    def __init__(self, name: str, paused_at: str, total: int | None, downloaded: int = 0) -> None:
        self.job = job(job_id=name, id=name, state=State.PAUSED, paused_by="disk", paused_at=paused_at)
        self.progress = Progress(downloaded, total)
        self.is_canceling = False
        self.refusals = 0
        self.recordings = 0

    async def recorded(self) -> None:
        self.recordings += 1
        if self.refusals:
            self.refusals -= 1
            raise StorageError("database or disk is full")

    def change(self, **fields: Any) -> None:
        self.job = replace(self.job, **fields)


class Home:
    """A vigil over these workers; what it does is remembered."""

    def __init__(self, layout: Layout) -> None:
        self.free = 0
        self.now = 0.0
        self.workers: list[Worker] = []
        self.gone_on: list[str] = []
        self.becomes: dict[str, Any] = {"state": State.QUEUED, "paused_by": None}
        self.space = Space(layout, Options(reserve=0))
        self.vigil = Vigil(self.space, self, self.go_on, lambda: self.now)  # type: ignore[arg-type]

    async def go_on(self, worker: Worker) -> None:
        self.gone_on.append(worker.job.id)
        worker.change(**self.becomes)

    async def look(self, free: int) -> list[str]:
        """Who goes on with so many bytes free."""
        self.free = free
        before = len(self.gone_on)
        await self.vigil.look()
        return self.gone_on[before:]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    layout = Layout(tmp_path / "state")
    layout.prepare()
    home = Home(layout)
    monkeypatch.setattr(fs, "free_bytes", lambda _: home.free)
    yield home
    layout.release()


async def test_the_first_paused_is_the_first_to_go_on(home: Home) -> None:
    home.workers = [Worker("late", "2", 10 * MIB), Worker("early", "1", 10 * MIB)]
    assert await home.look(10 * MIB) == ["early"]
    assert await home.look(20 * MIB) == ["late"]


async def test_what_goes_on_has_its_room_promised_before_it_begins(home: Home) -> None:
    home.workers = [Worker("a", "1", 10 * MIB), Worker("b", "2", 10 * MIB)]
    assert await home.look(10 * MIB) == ["a"]
    assert home.space.promised == 10 * MIB
    assert await home.look(10 * MIB) == []


async def test_each_is_judged_by_what_remains_to_it(home: Home) -> None:
    home.workers = [Worker("whole", "1", 100 * MIB), Worker("nearly there", "2", 100 * MIB, 95 * MIB)]
    assert await home.look(10 * MIB) == ["nearly there"]


async def test_whoever_is_paused_by_its_user_or_being_canceled_does_not_go_on(home: Home) -> None:
    home.workers = [Worker("user's", "1", MIB), Worker("canceled", "2", MIB), Worker("b", "3", MIB)]
    home.workers[0].change(paused_by="user")
    home.workers[1].is_canceling = True
    assert await home.look(100 * MIB) == ["b"]


@pytest.mark.parametrize(
    "becomes",
    [
        {"paused_by": "user"},
        {"state": State.CANCELED, "paused_by": None},
        {"state": State.QUEUED, "paused_by": None, "waiting_for": "job_another0"},
    ],
)
async def test_who_does_not_begin_after_all_keeps_no_room(home: Home, becomes: dict[str, Any]) -> None:
    home.workers, home.becomes = [Worker("a", "1", 10 * MIB)], becomes
    assert await home.look(10 * MIB) == ["a"]
    assert home.space.promised == 0


async def test_a_disk_that_refuses_although_there_is_room_is_asked_less_and_less_often(home: Home) -> None:
    worker = Worker("a", "1", 10 * MIB)
    home.workers, home.becomes = [worker], {}
    tries = []
    while home.now < 400:
        if await home.look(100 * MIB):
            tries.append(home.now)
        home.now += EVERY
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    assert pauses[:6] == [2, 4, 8, 16, 32, 60]
    assert set(pauses[6:]) == {60}
    worker.progress.downloaded += 1
    assert await home.look(100 * MIB) == ["a"], "a new byte is progress"


async def test_what_could_not_be_recorded_is_recorded_when_there_is_room(home: Home) -> None:
    worker = Worker("a", "1", 10 * MIB)
    worker.refusals = 1
    home.workers = [worker]
    assert await home.look(0) == []
    assert worker.recordings == 1
    assert await home.look(10 * MIB) == ["a"]
    assert worker.recordings == 2


async def test_nobody_looks_while_nobody_waits(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "EVERY", 0.0)
    looks = 0
    measured = asyncio.Event()

    def count(_: Path) -> int:
        nonlocal looks
        looks += 1
        loop.call_soon_threadsafe(measured.set)
        return home.free

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(fs, "free_bytes", count)
    home.vigil.begin()
    for _ in range(20):
        await asyncio.sleep(0)
    assert looks == 0
    home.workers = [Worker("a", "1", MIB)]
    home.vigil.notice(home.workers[0])  # type: ignore[arg-type]
    await measured.wait()
    await home.vigil.close()
    assert looks


async def test_a_disk_that_cannot_be_measured_is_looked_at_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vigil, "EVERY", 0.0)
    answers = iter([OSError(5, "Input/output error")])
    gone = asyncio.Event()

    def measure(_: Path) -> int:
        for error in answers:
            raise error
        return 100 * MIB

    async def go_on(worker: Worker) -> None:
        worker.change(**home.becomes)
        gone.set()

    monkeypatch.setattr(fs, "free_bytes", measure)
    home.workers = [Worker("a", "1", MIB)]
    watching = Vigil(home.space, home, go_on, lambda: home.now)  # type: ignore[arg-type]
    watching.begin()
    await gone.wait()
    await watching.close()
    assert "Whether there is room cannot be told" in caplog.text


async def test_a_vigil_that_never_began_can_be_closed(home: Home) -> None:
    await home.vigil.close()
