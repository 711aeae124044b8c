"""An id is used once, for ever: whatever is reserved and not used is skipped by the next life."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arwd.bus import ids as module
from arwd.bus.ids import BLOCK, Ids
from arwd.database import Change, Database
from arwd.errors import StorageError
from arwd.model import MAX_WHOLE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "arwd.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


class Replenished:
    """Counts the calls and lets a test wait for one."""

    def __init__(self) -> None:
        self.calls = 0
        self.event = asyncio.Event()

    def __call__(self) -> None:
        self.calls += 1
        self.event.set()


RESERVED = 2**52  # beyond any moment's microseconds


class FullDisk:
    """A database whose reservations fail until told otherwise."""

    def __init__(self) -> None:
        self.is_full = True
        self.writes = 0

    def read_now(self, query: Callable[[object], object]) -> int:
        return RESERVED

    def write(self, change: Change) -> asyncio.Future[None]:
        self.writes += 1
        done = asyncio.get_running_loop().create_future()
        if self.is_full:
            done.set_exception(StorageError("no space left"))
        else:
            done.set_result(None)
        return done


async def test_ids_follow_one_another(database: Database) -> None:
    made = Ids(database, lambda: None)
    await made.begin()
    first = made.draw()
    assert first is not None
    assert made.draw() == first + 1
    assert made.draw(3) == first + 2
    assert made.draw() == first + 5
    assert made.last == first + 5


async def test_a_new_database_begins_at_the_unix_time_in_microseconds(database: Database) -> None:
    before = time.time_ns() // 1000
    made = Ids(database, lambda: None)
    assert before <= made.last <= time.time_ns() // 1000
    assert made.last < MAX_WHOLE


async def test_before_anything_is_reserved_there_is_no_id(database: Database) -> None:
    replenished = Replenished()
    made = Ids(database, replenished)
    assert made.draw() is None
    await asyncio.wait_for(replenished.event.wait(), 5)
    assert made.draw() is not None


async def test_no_id_comes_twice_however_a_life_ends(path: Path) -> None:
    used: list[int] = []
    for draws in (1, BLOCK - 1, BLOCK // 2 + 7, 0, 3):
        opened = Database(path)
        made = Ids(opened, lambda: None)
        await made.begin()
        used += [number for number in (made.draw() for _ in range(draws)) if number is not None]
        opened.close()
    assert used == sorted(set(used))
    assert len(used) > BLOCK


async def test_an_id_is_used_only_after_its_block_is_on_disk(database: Database, path: Path) -> None:
    made = Ids(database, lambda: None)
    await made.begin()
    reader = Database(path)
    for _ in range(3 * BLOCK):
        number = made.draw()
        if number is None:
            await asyncio.sleep(0)
        elif number % 1_000 == 0:
            assert number <= (reader.read_now(module._read_reserved) or 0)
    reader.close()


async def test_the_next_block_is_reserved_at_half_use(database: Database) -> None:
    replenished = Replenished()
    made = Ids(database, replenished)
    await made.begin()
    made.draw(BLOCK // 2)
    await asyncio.sleep(0)
    assert not made._is_reserving
    made.draw()
    await asyncio.wait_for(replenished.event.wait(), 5)
    assert replenished.calls == 1
    assert made.draw(BLOCK) is not None


async def test_more_than_can_be_had_now_can_be_had_later(database: Database) -> None:
    replenished = Replenished()
    made = Ids(database, replenished)
    await made.begin()
    wanted = 3 * BLOCK
    while (first := made.draw(wanted)) is None:
        replenished.event.clear()
        await asyncio.wait_for(replenished.event.wait(), 5)
    assert made.last == first + wanted - 1


@pytest.mark.parametrize(("clock", "mark", "begin"), [(500, 100, 500), (50, 100, 100), (50, None, 50)])
async def test_ids_begin_above_the_mark_and_above_the_clock(
    monkeypatch: pytest.MonkeyPatch, clock: int, mark: int | None, begin: int
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: clock * 1_000)
    disk = FullDisk()
    monkeypatch.setattr(disk, "read_now", lambda _: mark)
    assert Ids(disk, lambda: None).last == begin  # type: ignore[arg-type]


async def test_when_no_block_can_be_had_none_is_used_and_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    full, replenished = FullDisk(), Replenished()
    made = Ids(full, replenished)  # type: ignore[arg-type]
    assert made.draw() is None
    while full.writes < 3:
        await asyncio.sleep(0)
    assert (made.draw(), replenished.calls) == (None, 0)
    full.is_full = False
    await asyncio.wait_for(replenished.event.wait(), 5)
    assert made.draw() == RESERVED + 1


async def test_the_start_fails_when_the_first_block_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    made = Ids(FullDisk(), lambda: None)  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        await made.begin()
    assert made._reserved == made.last == RESERVED


async def test_a_thousand_draws_on_a_full_disk_ask_for_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.02)
    full = FullDisk()
    made = Ids(full, lambda: None)  # type: ignore[arg-type]
    for _ in range(1_000):
        assert made.draw() is None
        await asyncio.sleep(0)
    assert full.writes < 20
