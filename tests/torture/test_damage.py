"""A database cut at every sector, and every byte of it changed: what `tests/integration/test_damage.py` samples."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from tests import damage
from tests.damage import Lived, cut, flipped

FILES = [("killed", "arwd.db"), ("killed", "arwd.db-wal"), ("stopped", "arwd.db")]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lived]:
    base = tmp_path_factory.mktemp("damage")
    killed, stopped = asyncio.run(damage.lived(base / "state", base))
    return {"killed": killed, "stopped": stopped}


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("how", "file"), FILES)
async def test_cut_at_every_sector(
    left: dict[str, Lived], how: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [
        (length, fault)
        for length in range(0, (left[how].path / file).stat().st_size, 512)
        for fault in await damage.judged(left[how], file, cut(length), tmp_path / "state", caplog)
    ]
    assert broken == []


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("how", "file"), FILES)
async def test_every_byte_changed(
    left: dict[str, Lived], how: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(2**32)
    dice, seen, broken = random.Random(seed), Counter[str](), []
    for offset in range((left[how].path / file).stat().st_size):
        harm = flipped(offset, dice.randrange(8))
        broken += [(offset, fault) for fault in await damage.judged(left[how], file, harm, tmp_path / "state", caplog)]
        told = {getattr(record, "event", "") for record in caplog.records}
        seen[next((event for event in ("database_set_aside", "database_behind") if event in told), "harmless")] += 1
    print(f"seed {seed}: {how} {file}: {dict(seen)}")
    assert broken == []
