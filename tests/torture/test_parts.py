"""A control file cut and changed at every byte, a part cut at every sector: what `test_bad_parts.py` samples."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import bad_parts
from tests import origin as origins
from tests.bad_parts import BITS, FILES, SECTOR, How, cut, flipped
from tests.origin import Origin

STEP = 41
"""Every so many bytes of a part one is changed."""


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(bad_parts.DATA) as served:
        yield served


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("how", "file"), FILES)
async def test_cut_everywhere(
    tmp_path: Path, origin: Origin, how: How, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await bad_parts.left(tmp_path / "left", how, origin)
    lengths = range(0, before.size(file), 1 if file.endswith(".json") else SECTOR)
    broken = [
        (length, fault)
        for length in lengths
        for fault in await bad_parts.judged(before, file, cut(length), tmp_path / "state", origin, caplog)
    ]
    print(f"{how} {file}: cut {len(lengths)} times")
    assert broken == []


@pytest.mark.timeout(0)
@pytest.mark.parametrize(("how", "file"), FILES)
async def test_changed_everywhere(
    tmp_path: Path, origin: Origin, how: How, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(2**32)
    dice, before = random.Random(seed), await bad_parts.left(tmp_path / "left", how, origin)
    places = range(0, before.size(file), 1 if file.endswith(".json") else STEP)
    broken = []
    for place in places:
        harm = flipped(place, dice.randrange(BITS))
        faults = await bad_parts.judged(before, file, harm, tmp_path / "state", origin, caplog)
        broken += [(place, fault) for fault in faults]
    print(f"seed {seed}: {how} {file}: changed {len(places)} times")
    assert broken == []
