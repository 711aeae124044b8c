"""A thousand unfinished jobs do not keep a daemon from being ready."""

import asyncio
from pathlib import Path

import pytest

from benchmarks import boot
from tests import processes

JOBS = 1_000
PROMISED = 2.0
"""Seconds of work: what the clock says of a machine that does something else meanwhile proves nothing."""


@pytest.mark.timeout(120)
async def test_a_thousand_unfinished_jobs_are_taken_up_in_two_seconds(tmp_path: Path) -> None:
    with boot.silent_origin() as url:
        await boot.leave_unfinished(tmp_path / "state", JOBS, url)
        seconds, worked = await asyncio.to_thread(boot.start, tmp_path / "state")
        print(f"{JOBS} unfinished jobs: ready after {seconds:.2f} s, {worked:.2f} s of them work")
        assert worked <= PROMISED
        async with processes.child(tmp_path / "state") as daemon:
            status, listed = await daemon.call("GET", "/models/jobs")
            assert status == 200
            assert len(listed["jobs"]) == JOBS
            statuses = [job["status"] for job in listed["jobs"]]
            assert (statuses.count("downloading"), statuses.count("queued")) == (3, JOBS - 3)
