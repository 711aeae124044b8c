"""Every system call that touches the state directory fails, or is the last, once: what tests/process samples."""

import random
from pathlib import Path

import pytest

from tests import origin as origins
from tests import strace
from tests.models import gguf
from tests.nursery import Nursery
from tests.strace import FAULTS, RENAMES, SYNCS, WRITES


@pytest.mark.needs("strace")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("what", FAULTS)
@pytest.mark.parametrize("call", [*WRITES, *SYNCS, *RENAMES])
async def test_at_every_call(nursery: Nursery, tmp_path: Path, call: str, what: str) -> None:
    async with origins.running(gguf(random.Random(3).randbytes(600_000))) as origin:
        swept = await strace.sweep(nursery, origin, tmp_path, call, what)
    print(f"\n{swept}")
    assert swept.violations == []
