"""A disk that refuses, or a process that dies, at the k-th system call: strace injects it. All k is torture."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests import origin as origins
from tests import strace
from tests.models import gguf
from tests.nursery import Nursery
from tests.origin import Origin
from tests.strace import RENAMES, SYNCS, Case, Fault

pytestmark = [pytest.mark.needs("strace"), pytest.mark.timeout(180)]


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with origins.running(gguf(random.Random(3).randbytes(600_000))) as served:
        yield served


@pytest.mark.parametrize("call", [call for call in (*SYNCS, *RENAMES) if call != "link"])
async def test_a_death_at_any_sync_or_rename_loses_nothing(
    nursery: Nursery, origin: Origin, tmp_path: Path, call: str
) -> None:
    swept = await strace.sweep(nursery, origin, tmp_path, call, "KILL")
    print(swept)
    assert swept.violations == []
    assert swept.cases, "nothing was ever injected"


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("fsync", "EIO", when) for when in (1, 4, 7)),
        *(Fault("fdatasync", "EIO", when) for when in (3, 6, 8)),
        *(Fault("pwrite64", "ENOSPC", when) for when in (9, 24, 40)),
        *(Fault("write", "ENOSPC", when) for when in (1, 2)),
        Fault("pwritev2", "ENOSPC", 1),
        Fault("pwritev2", "EDQUOT", 2),
        Fault("fsync", "ENOSPC", 4),
        Fault("pwritev2", "KILL", 2),
        Fault("renameat2", "EIO", 1),
    ],
    ids=str,
)
async def test_a_disk_that_refuses_costs_a_job_at_most(
    nursery: Nursery, origin: Origin, tmp_path: Path, fault: Fault
) -> None:
    assert await Case(nursery, origin, tmp_path).run(fault), "nothing was injected"
