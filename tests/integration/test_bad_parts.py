"""A part or its control file that was cut or changed anywhere: right bytes in the end, and it says what it gave up.

The torture tests do the same at every place.
"""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import bad_parts, running
from tests import origin as origins
from tests.bad_parts import BITS, FILES, SECTOR, How, cut, flipped
from tests.origin import Origin

SOME = 3
"""Places tried of each file, besides its ends; a failure names them."""


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(bad_parts.DATA) as served:
        yield served


@pytest.mark.parametrize("how", ["paused", "stopped", "checked", "placed"])
async def test_without_harm_every_byte_is_kept_and_nothing_is_said(
    tmp_path: Path, origin: Origin, how: How, caplog: pytest.LogCaptureFixture
) -> None:
    before = await bad_parts.left(tmp_path / "left", how, origin)
    file = "m.gguf" if how == "placed" else "m.gguf.part"
    assert await bad_parts.judged(before, file, lambda _: None, tmp_path / "state", origin, caplog) == []
    assert origin.sent == len(bad_parts.DATA) - before.held
    assert caplog.records == []


@pytest.mark.parametrize(("how", "file"), FILES)
async def test_cut_anywhere(
    tmp_path: Path, origin: Origin, how: How, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await bad_parts.left(tmp_path / "left", how, origin)
    lengths = range(0, before.size(file), 1 if file.endswith(".json") else SECTOR)
    for length in [0, *random.sample(lengths[1:], SOME), lengths[-1]]:
        broken = await bad_parts.judged(before, file, cut(length), tmp_path / "state", origin, caplog)
        assert broken == [], f"{file} cut at {length}"


@pytest.mark.parametrize(("how", "file"), FILES)
async def test_changed_anywhere(
    tmp_path: Path, origin: Origin, how: How, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await bad_parts.left(tmp_path / "left", how, origin)
    size = before.size(file)
    for place in [0, *random.sample(range(1, size - 1), SOME), size - 1]:
        bit = random.randrange(BITS)
        broken = await bad_parts.judged(before, file, flipped(place, bit), tmp_path / "state", origin, caplog)
        assert broken == [], f"{file}: bit {bit} of byte {place}"


async def test_a_damaged_control_file_without_a_part_is_gone_after_a_start(
    tmp_path: Path, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    before = await bad_parts.left(tmp_path / "left", "placed", origin)
    broken = await bad_parts.judged(before, "m.gguf.part.json", cut(100), tmp_path / "state", origin, caplog)
    assert broken == []
    async with running.daemon(tmp_path / "state") as daemon:
        assert "m.gguf.part.json" not in daemon.files()
