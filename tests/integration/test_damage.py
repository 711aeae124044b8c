"""A database that was cut or changed anywhere: the daemon starts, lists only right bytes, deletes nothing, says it.

The torture tests do the same at every sector and to every byte.
"""

import asyncio
import random
from pathlib import Path

import pytest

from tests import damage
from tests.damage import Lived, cut, flipped

PAGE, FRAME, SECTOR = 4096, 4096 + 24, 512
SOME = 60
"""Bytes changed at random, and cuts at the most, in each file."""
FILES = [("killed", "arwd.db"), ("killed", "arwd.db-wal"), ("stopped", "arwd.db")]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lived]:
    base = tmp_path_factory.mktemp("damage")
    killed, stopped = asyncio.run(damage.lived(base / "state", base))
    return {"killed": killed, "stopped": stopped}


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_without_damage_nothing_is_said_and_all_is_there(
    left: dict[str, Lived], how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = left[how].copy(tmp_path / "state")
    kept = damage.files(state)
    life = await damage.live(state)
    assert damage.faults(left[how], life, state, kept, "") == []
    assert life.models.keys() == left[how].models.keys()
    assert life.jobs.keys() == left[how].jobs.keys()
    assert "database" not in caplog.text


@pytest.mark.parametrize(("how", "file"), FILES)
async def test_cut_at_a_sector(
    left: dict[str, Lived], how: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = (left[how].path / file).stat().st_size
    sectors = range(0, size, SECTOR)
    for length in [0, *random.sample(sectors, min(SOME, len(sectors)))]:
        broken = await damage.judged(left[how], file, cut(length), tmp_path / "state", caplog)
        assert broken == [], f"{file} cut at {length}"


@pytest.mark.parametrize(("how", "file"), FILES)
async def test_changed_in_the_header_of_every_page_and_anywhere(
    left: dict[str, Lived], how: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = (left[how].path / file).stat().st_size
    step, first = (FRAME, 32) if file.endswith("-wal") else (PAGE, 100)
    heads = [
        offset + random.randrange(12)
        for offset in [0, first, *range(first % step if step == FRAME else step, size, step)]
    ]
    for offset in [*range(16, 100, 7), *heads, *(random.randrange(size) for _ in range(SOME))]:
        bit = random.randrange(8)
        broken = await damage.judged(left[how], file, flipped(offset, bit), tmp_path / "state", caplog)
        assert broken == [], f"{file}: bit {bit} of byte {offset}"


@pytest.mark.parametrize("how", ["killed", "stopped"])
@pytest.mark.parametrize("what", ["missing", "empty", "no database"])
async def test_a_database_that_is_none(
    left: dict[str, Lived], how: str, what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = left[how].copy(tmp_path / "state")
    for file in state.glob("arwd.db*"):
        file.unlink()
    if what == "empty":
        (state / "arwd.db").touch()
    elif what == "no database":
        (state / "arwd.db").write_bytes(b"these are not the pages you are looking for" * 100)
    kept = damage.files(state)
    life = await damage.live(state)
    # What only the database knew is lost: the job that had no byte yet.
    assert life.jobs.keys() == {"paused", "growing"}
    assert {job.id: job.paused_by for job in life.jobs.values()} == {"paused": "user", "growing": None}
    assert life.models.keys() == left[how].models.keys()
    assert damage.faults(left[how], life, state, kept, caplog.text + "set aside") == []
    assert "of 3 models in models.json" in caplog.text
    assert "of 2 parts" in caplog.text
    again = await damage.live(state)
    assert (again.models.keys(), again.jobs.keys()) == (life.models.keys(), life.jobs.keys())
